"""The predictor of one actor: loaded once, fed with images that are read ahead."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from darknet.limits import available_cpus
from yolo_service import process
from yolo_service.inputs.options import InputOptions
from yolo_service.models.bundle import ModelBundle
from yolo_service.predictor import Answer, Image, Options, open_predictor
from yolo_service.results import is_of_item
from yolo_service.settings import Settings
from yolo_service.threads import submit_each

READERS = 16
"""Images that are read at once: those of object stores take long to come, and no CPU."""

Read = Callable[[], Image]
"""Reads an image; raises ItemError."""


class ActorPredictor:
    """A predictor in a process of its own, which ends with the process.

    Its engine uses as many threads as ``OMP_NUM_THREADS`` says, which Ray sets to the CPUs that
    the actor has asked for.

    Args:
        settings: of the predictor; the model is the bundle's, if there is one.
        options: of the detection.
        bundle: the model; None: the one that the settings name on this machine.

    Raises:
        ConfigurationError: there is no model.
        ServiceError: the model cannot be loaded.
        DarknetError: likewise.
    """

    def __init__(self, settings: Settings, options: Options, bundle: ModelBundle | None) -> None:
        process.tune()
        own: dict[str, Any] = {"queue_seconds": math.inf}
        if "workers" not in settings.model_fields_set:  # the number is that of another machine
            own["workers"] = available_cpus() + 1
        self._options = options
        with tempfile.TemporaryDirectory(prefix="yolo-service-model-") as folder:
            if bundle:
                bundle.unpack(Path(folder))
                files = dict.fromkeys(("config_file", "weights_file", "meta_file"))
                own |= {"models_dir": Path(folder), "model": bundle.name, **files}
            self._predictor = open_predictor(settings.model_copy(update=own))
            self._predictor.models.get()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="read")

    def answers(self, reads: Iterable[Read]) -> list[Answer | Exception]:
        """Detect in images, and return for each its answer or what is wrong with it.

        Several threads may call it: while one waits for its last images, the other's are computed.

        Raises:
            ServiceError: every image would fail: the engine is broken.
            DarknetError: likewise.
        """
        images = submit_each(reads, self._readers.submit, READERS)
        futures = submit_each(images, self._submit, max(1, self._predictor.items_ahead // 2))
        return [_outcome(future) for future in futures]

    def _submit(self, image: Future[Image]) -> Future[Answer]:
        return self._predictor.submit(image.result(), self._options)


def limits_of(settings: Settings) -> InputOptions:
    """Return the limits of images that are not files."""
    return InputOptions(max_bytes=settings.max_upload_bytes, timeout=settings.url_timeout)


def _outcome(future: Future[Answer]) -> Answer | Exception:
    try:
        return future.result()
    except Exception as error:
        if not is_of_item(error):
            raise
        return error.with_traceback(None)
