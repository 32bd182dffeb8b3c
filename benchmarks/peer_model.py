"""The model as the peers want it: an ONNX file, and the anchors beside it."""

from __future__ import annotations

import json
from pathlib import Path

from darknet.cfg.layers import Yolo
from darknet.network import load_model
from darknet.onnx import build_onnx
from yolo_service.models.folder import ModelFiles


def write_peer_model(files: ModelFiles, folder: Path) -> None:
    """Write ``model.onnx`` and ``heads.json``.

    Raises:
        SystemExit: the network has heads that the peers do not decode.
    """
    model = load_model(files.cfg, files.weights, files.names, resize="stretch")
    heads = [head for head in model.cfg.heads if isinstance(head, Yolo) and not head.new_coords]
    if len(heads) < len(model.cfg.heads):
        raise SystemExit("the peers decode plain [yolo] heads only; choose another model")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(build_onnx(model, batch=1))
    about = {
        "names": model.names,
        "size": (model.cfg.net.input.width, model.cfg.net.input.height),
        "anchors": [head.anchors for head in heads],
    }
    (folder / "heads.json").write_text(json.dumps(about))
