"""What deepstack-python gets from the service, as JSON: ``run_deepstack.py PORT PHOTO``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deepstack.core import DeepstackException, DeepstackObject


def main(port: str, path: str) -> None:
    """Print everything."""
    photo, place = Path(path).read_bytes(), {"ip": "127.0.0.1", "port": port}
    try:
        DeepstackObject(**place, custom_model="nope").detect(photo)
        error = ""
    except DeepstackException as exception:
        error = str(exception)
    found = {
        "default": DeepstackObject(**place).detect(photo),
        "custom": DeepstackObject(**place, custom_model="b-shy").detect(photo),
        "low": DeepstackObject(**place, min_confidence=0.1).detect(photo),
        "error": error,
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
