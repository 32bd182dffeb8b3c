"""Where results go: outputs write each result whole, and acknowledge it when it is durable."""

from yolo_service.outputs.output import Acknowledge, Output

__all__ = ["Acknowledge", "Output"]
