"""Detection in images by worker threads behind a queue; returns futures."""

from yolo_service.predictor.answer import Answer, Timings
from yolo_service.predictor.job import Image, Options
from yolo_service.predictor.predictor import Predictor, open_predictor

__all__ = ["Answer", "Image", "Options", "Predictor", "Timings", "open_predictor"]
