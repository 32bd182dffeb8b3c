"""A loop of a few lines over a folder: OpenCV reads, ONNX Runtime computes on all cores.

Usage: python plain_loop.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
from detector import Detector, onnxruntime_infer

detector = Detector(onnxruntime_infer())
for path in sorted(Path(sys.argv[1]).iterdir()):
    found = detector.find(cv2.imread(str(path)))
    print(json.dumps({"file": str(path), "detections": found}), flush=True)
