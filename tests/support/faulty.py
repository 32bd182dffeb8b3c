"""The service with an engine that is slow, hangs or fails: ``python -m tests.support.faulty``.

What the engine does while the folder named by the variable ``FAULTS`` holds a file:

- ``hang``: it does not answer,
- ``fail``: it raises what it raises when a device is lost,
- ``bug``: it raises an exception that is no DarknetError.

Where the variable ``SLOW`` gives a number of seconds, every image takes so much longer.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from darknet.engines.openvino import OpenVinoRunner
from darknet.errors import InferenceError
from yolo_service.http.serve import main

FAULTS = Path(os.environ["FAULTS"])
SLOW = float(os.environ.get("SLOW", "0"))
_infer = OpenVinoRunner.infer


def infer(self: OpenVinoRunner, count: int) -> object:
    while (FAULTS / "hang").exists():
        time.sleep(0.01)
    if (FAULTS / "fail").exists():
        raise InferenceError("openvino on CPU failed: the device is lost")
    if (FAULTS / "bug").exists():
        raise ZeroDivisionError("a bug in the engine")
    time.sleep(SLOW)
    return _infer(self, count)


if __name__ == "__main__":
    OpenVinoRunner.infer = infer  # type: ignore[method-assign, assignment]  # what is to be faulty
    raise SystemExit(main())
