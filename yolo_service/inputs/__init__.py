"""Where images come from: inputs yield items, each of which ends as done, failed or released."""

from yolo_service.inputs.item import Input, Item

__all__ = ["Input", "Item"]
