"""The classic design: gevent, Flask and the C library, called where the request is handled.

Nothing else is served meanwhile. It computes with the product's own binding of libdarknet.
"""

from __future__ import annotations

import os
from typing import Any

import cv2
import flask
import numpy as np
from gevent.pywsgi import WSGIServer

from darknet import load_network

app = flask.Flask(__name__)
files = (os.environ[f"PEER_{kind}"] for kind in ("CFG", "WEIGHTS", "NAMES"))
network = load_network(*files, engine="libdarknet")


@app.post("/detect")
def detect() -> Any:
    """Answer an upload."""
    data = np.frombuffer(flask.request.files["image_file"].read(), np.uint8)
    image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)
    (found,) = network.detect([image])
    rows = zip(found.labels, found.scores.tolist(), found.boxes.tolist(), strict=True)
    return flask.jsonify([list(row) for row in rows])


if __name__ == "__main__":
    WSGIServer(("127.0.0.1", int(os.environ["PEER_PORT"])), app, log=None).serve_forever()
