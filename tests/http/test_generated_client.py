"""The client that openapi-python-client generates from /openapi.json, with the real service."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.fixtures import Client, ServerProcess, StartServer
from tests.support.real_parts import missing

GENERATOR = "openapi_python_client"
PACKAGE = "yolo_service_client"


def generate(contract: bytes, folder: Path) -> str:
    """Generate the package into a folder; returns what the generator prints."""
    if importlib.util.find_spec(GENERATOR) is None:
        missing(f"{GENERATOR} is missing; make lint installs it")
    (folder / "openapi.json").write_bytes(contract)
    arguments = ("--path", folder / "openapi.json", "--output-path", folder / PACKAGE)
    answer = subprocess.run(
        [sys.executable, "-m", GENERATOR, "generate", "--meta=none", *arguments],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout
    return answer.stdout


class Generated:
    """A generated package; calls an operation by its module, such as ``health.get_metrics``."""

    def __init__(self, output: str, port: int, key: str | None = None) -> None:
        self.output = output
        self.types = self.module("types")
        address = f"http://127.0.0.1:{port}"
        classes = self.module("client")
        self._client = (
            classes.AuthenticatedClient(address, token=key) if key else classes.Client(address)
        )

    def close(self) -> None:
        self._client.get_httpx_client().close()

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{PACKAGE}.{name}")

    def model(self, name: str) -> Any:
        return getattr(self.module("models"), name)

    def __call__(self, operation: str, **arguments: Any) -> Any:
        return self.module(f"api.{operation}").sync(client=self._client, **arguments)

    def file(self, data: bytes) -> Any:
        return self.types.File(io.BytesIO(data), "photo.jpg", "image/jpeg")

    def upload(self, *images: bytes, **options: Any) -> Any:
        """Send images to POST /detect."""
        body = self.model("DetectByUploadBody")
        files = [self.file(image) for image in images]
        return self("detection.detect_by_upload", body=body(image_file=files, **options))


@pytest.fixture(scope="module")
def generated(
    server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Generated]:
    folder = tmp_path_factory.mktemp("generated")
    with closing(server.client()) as client:
        output = generate(client.get("/openapi.json").body, folder)
    sys.path.insert(0, str(folder))
    with closing(Generated(output, server.port)) as client_package:
        yield client_package
    sys.path.remove(str(folder))


def test_nothing_but_two_types_of_one_body_is_left_out(generated: Generated) -> None:
    """SageMaker sends images as image/* and application/x-image, which the generator cannot."""
    warnings = re.findall(r"WARNING parsing (.*) within.*\n+(.*)", generated.output)
    assert warnings == [
        ("POST /invocations", "Unsupported content type image/*"),
        ("POST /invocations", "Unsupported content type application/x-image"),
    ]


def test_one_image_is_answered_with_detections(
    generated: Generated, client: Client, photo: bytes
) -> None:
    assert generated.upload(photo) == client.post([("image_file", photo)]).json


def test_several_images_are_answered_each(generated: Generated, photo: bytes) -> None:
    first, broken = generated.upload(
        photo, photo[:200], format_=generated.model("Format").OBJECTS, threshold=0.01
    )
    assert {found.label for found in first.detections} <= {"cat", "dog"}
    assert first.detections
    assert broken.type_ == "undecodable-image"


def test_an_image_at_a_url_is_answered(generated: Generated, photos: str) -> None:
    kind = generated.model("Format").OPEX
    answer = generated("detection.detect_by_url", url_query=f"{photos}/photo.jpg", format_=kind)
    assert answer.id == "photo.jpg"


def test_an_error_is_a_problem(generated: Generated, photo: bytes) -> None:
    problem = generated.upload(photo, model="nope")
    assert isinstance(problem, generated.model("Problem"))
    assert problem.type_ == "model-not-found"


def test_a_drawn_image_is_a_file(generated: Generated, photo: bytes) -> None:
    body = generated.model("AnnotateByUploadBody")(image_file=generated.file(photo))
    drawn = generated("detection.annotate_by_upload", body=body)
    assert drawn.payload.read(2) == b"\xff\xd8"


def test_a_tensor_is_answered_with_tensors(generated: Generated) -> None:
    request = generated.model("InferenceRequest").from_dict(
        {"inputs": [{"name": "image_uint8", "datatype": "UINT8", "shape": [1, 1, 1, 3]}]}
    )
    request.inputs[0].data = [0, 0, 0]
    operation = "open_inference_protocol.inference_infer"
    assert generated(operation, model="a-tiny", body=request).model_name == "a-tiny"


def test_the_key_is_sent_where_one_is_set(
    generated: Generated, start_server: StartServer, photo: bytes
) -> None:
    port = start_server(api_key="secret").port
    with closing(Generated("", port, key="secret")) as known:
        assert known("models.list_models").models
    with closing(Generated("", port, key="wrong")) as stranger:
        assert stranger("models.list_models").type_ == "unauthorized"
