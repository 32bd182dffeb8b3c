"""Number of detections of each class."""

from __future__ import annotations

from collections import Counter

from yolo_service.predictor.answer import Answer


def counts(answer: Answer) -> dict[str, int]:
    """Return the number of detections of every class of the model, by name."""
    found = Counter(answer.detections.labels)
    return {name: found[name] for name in answer.detections.names}
