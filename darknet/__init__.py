"""Object detection with Darknet models: ``load_network``, its results and its exceptions.

>>> import cv2
>>> model = "models/blood-cells/blood-cells"
>>> network = load_network(f"{model}.cfg", f"{model}.weights", f"{model}.names")
>>> image = cv2.imread("models/blood-cells/sample.jpg", cv2.IMREAD_COLOR_RGB)
>>> sorted(set(network.detect([image])[0].labels))
['Platelets', 'RBC', 'WBC']
>>> network.close()
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
