"""Parsers under coverage-guided fuzzing: nothing but a designed error may come out of them.

Usage: python -m tests.fuzz.parsers cfg|weights|image|process|form|tensor [options of libFuzzer]

for example ``-max_total_time=300``. Needs atheris (``pip install atheris``), which is not made for
every Python and is therefore no dependency of the tests; those use hypothesis for the same.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # see above
from werkzeug.exceptions import RequestEntityTooLarge

with atheris.instrument_imports(include=["darknet", "yolo_service"]):
    from darknet import cfg, weights
    from darknet.errors import CfgError, WeightsError
    from darknet.model import RgbImage
    from yolo_service.api import tensors
    from yolo_service.errors import ServiceError
    from yolo_service.http import forms
    from yolo_service.images import decode as images

from tests.support import sample_images
from tests.support.fixtures import BOUNDARY, multipart
from tests.support.networks import TINY, random_weights

MAX_PIXELS = 1_000_000
NETWORK = cfg.parse_cfg(TINY)
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
WEIGHTS = FOLDER / "model.weights"


def fuzz_cfg(data: bytes) -> None:
    """Parse any text as a .cfg."""
    with suppress(CfgError):
        cfg.parse_cfg(data.decode(errors="replace"))


def fuzz_weights(data: bytes) -> None:
    """Read any bytes as the .weights of a small network."""
    WEIGHTS.write_bytes(data)
    with suppress(WeightsError):
        weights.read_weights(WEIGHTS, NETWORK)


def fuzz_image(data: bytes) -> None:
    """Decode any bytes as a plain image, which the service does in its own process."""
    with suppress(ServiceError):
        decoded = images.ImageDecoder(MAX_PIXELS).decode_plain(data, images.DecodeOptions())
        if decoded:
            check_pixels(decoded.pixels)


def fuzz_process(data: bytes) -> None:
    """Decode any bytes in a decoder process; it may end, but the answer is pixels or an error."""
    with suppress(ServiceError):
        check_pixels(images.ImageDecoder(MAX_PIXELS).decode_isolated(data).pixels)


def check_pixels(pixels: RgbImage) -> None:
    """Check that an image has three channels and at most ``MAX_PIXELS``."""
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert 0 < pixels.size <= 3 * MAX_PIXELS


def fuzz_form(data: bytes) -> None:
    """Read any bytes as a multipart body; the contents of its files are pieces of it."""
    with suppress(ServiceError, RequestEntityTooLarge):
        body, options = io.BytesIO(data), {"boundary": BOUNDARY}
        _, _, files = forms.FormParser(max_form_parts=50).parse(body, forms.FORM, None, options)
        for file in (file for name in files for file in files.getlist(name)):
            assert file.read() in data


def fuzz_tensor(data: bytes) -> None:
    """Read any shape and bytes as the binary tensor of a call of the inference protocol."""
    given = atheris.FuzzedDataProvider(data)
    declared = given.PickValueInList(list(tensors.INPUTS))
    shape = given.ConsumeIntListInRange(given.ConsumeIntInRange(0, 5), -1, 40)
    raw = given.ConsumeBytes(given.remaining_bytes())
    parameters = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [{**declared, "shape": shape, "parameters": parameters}]}).encode()
    with suppress(ServiceError):
        for image in tensors.read_call(head + raw, len(head), MAX_PIXELS).images:
            assert isinstance(image, bytes) or image.ndim == 3


TARGETS = {
    "cfg": fuzz_cfg,
    "weights": fuzz_weights,
    "image": fuzz_image,
    "process": fuzz_process,
    "form": fuzz_form,
    "tensor": fuzz_tensor,
}


def seeds(name: str) -> list[bytes]:
    """Return sound inputs of a parser, from which the fuzzer starts."""
    if name == "cfg":
        return [TINY.encode()]
    if name == "form":
        return [multipart([("image_file", b"x"), ("threshold", "0.5")])]
    if name == "tensor":
        return [bytes(32)]
    if name == "weights":
        weights.write_weights(WEIGHTS, NETWORK, random_weights(NETWORK))
        return [WEIGHTS.read_bytes()]
    kinds = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
    return [sample_images.encode(sample_images.quarters(16, 8), kind) for kind in kinds]


def main() -> None:
    """Fuzz the parser that the first argument names."""
    name = sys.argv.pop(1)
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([*sys.argv, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
