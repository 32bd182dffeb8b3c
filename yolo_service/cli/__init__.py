"""The command ``yolo-service``, one module per command."""
