"""Starts the service: ``python app.py``. Its settings come from the environment."""

from yolo_service.http.serve import main

if __name__ == "__main__":
    raise SystemExit(main())
