"""Object detection with Darknet models: ``load_network``, its results and its exceptions.

>>> network = load_network("yolov3.cfg", "yolov3.weights", "coco.names")  # doctest: +SKIP
>>> network.detect([image])[0].labels  # doctest: +SKIP
['dog', 'bicycle', 'truck']
"""

from darknet.detections import Detections
from darknet.errors import (
    CfgError,
    DarknetError,
    DeviceUnavailableError,
    EngineError,
    EngineUnavailableError,
    ImageError,
    InferenceError,
    ModelError,
    NamesError,
    QuantizationError,
    UnsupportedError,
    WeightsError,
)
from darknet.network import Network, load_network

__all__ = [
    "CfgError",
    "DarknetError",
    "Detections",
    "DeviceUnavailableError",
    "EngineError",
    "EngineUnavailableError",
    "ImageError",
    "InferenceError",
    "ModelError",
    "NamesError",
    "Network",
    "QuantizationError",
    "UnsupportedError",
    "WeightsError",
    "load_network",
]
