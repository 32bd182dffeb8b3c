from __future__ import annotations

import gzip
from pathlib import Path

import onnxruntime

from tests.support.answers import problem
from tests.support.fixtures import Client, StartServer
from tests.support.networks import write_model


def test_models_are_listed_with_what_they_are(client: Client) -> None:
    models = {model["name"]: model for model in client.get("/models").json["models"]}
    assert list(models) == ["a-tiny", "b-shy", "c-broken", "d-empty"]
    tiny = models["a-tiny"]
    assert tiny["default"]
    assert tiny["loaded"]
    assert tiny["error"] is None
    assert tiny["classes"] == ["cat", "dog"]
    assert tiny["input"] == {"width": 64, "height": 48}
    assert tiny["precision"] == "fp32"
    assert tiny["engine"] in ("openvino", "onnxruntime", "libdarknet")
    assert models["b-shy"]["threshold"] == 1.0
    assert models["b-shy"]["license"] == "CC0-1.0"


def test_a_broken_model_is_listed_with_its_error(client: Client) -> None:
    models = {model["name"]: model for model in client.get("/models").json["models"]}
    assert "expected one .cfg" in models["d-empty"]["error"]
    assert not models["d-empty"]["loaded"]


def test_a_model_is_loaded_at_its_first_use(start_server: StartServer, photo: bytes) -> None:
    server = start_server(model="b-shy")
    client = server.client()

    def loaded() -> list[str]:
        return [model["name"] for model in client.get("/models").json["models"] if model["loaded"]]

    assert loaded() == ["b-shy"]
    assert client.post([("image_file", photo), ("model", "a-tiny")]).status == 200
    assert loaded() == ["a-tiny", "b-shy"]
    client.close()


def test_health_and_readiness_are_answered(client: Client) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").json == {"status": "ready"}


def test_all_routes_but_health_and_the_ui_need_the_api_key(
    start_server: StartServer, photo: bytes
) -> None:
    client = start_server(api_key="sesame").client()
    problem(client.get("/models"), 401, "X-API-Key")
    problem(client.post([("image_file", photo)]), 401, "X-API-Key")
    problem(client.get("/models", **{"X-API-Key": "wrong"}), 401, "X-API-Key")
    problem(client.get("/models", Authorization="Bearer wrong"), 401, "X-API-Key")
    problem(client.get("/models", Authorization="Basic wrong"), 401, "X-API-Key")
    assert client.get("/models").headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/models", **{"X-API-Key": "sesame"}).status == 200
    assert client.get("/models", Authorization="Bearer sesame").status == 200
    for path in ("/healthz", "/readyz", "/", "/web/main.js", "/ui/", "/openapi.json"):
        assert client.get(path).status == 200
    client.close()


def test_one_model_is_described_as_in_the_list(client: Client) -> None:
    listed = {model["name"]: model for model in client.get("/models").json["models"]}
    for name, model in listed.items():
        assert client.get(f"/models/{name}").json == model
    problem(client.get("/models/nothing"), 404, "no model 'nothing'; there are: a-tiny")
    assert listed["a-tiny"]["resize"] == "stretch"
    assert listed["a-tiny"]["public"] is False


def test_a_model_is_handed_out_only_if_it_is_public(
    start_server: StartServer, client: Client
) -> None:
    problem(client.get("/models/a-tiny/onnx"), 403, "YOLO_PUBLIC_MODELS")
    problem(client.get("/models/nothing/onnx"), 404, "no model")
    problem(client.get("/models/d-empty/onnx"), 503, "expected one .cfg")
    other = start_server(public_models="b-shy, a-tiny").client()
    assert other.get("/models/a-tiny").json["public"] is True
    answer = other.get("/models/a-tiny/onnx")
    session = onnxruntime.InferenceSession(answer.body, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["boxes", "scores"]
    assert session.get_modelmeta().custom_metadata_map["name"] == "a-tiny"
    compressed = other.get("/models/a-tiny/onnx", **{"Accept-Encoding": "gzip"})
    assert gzip.decompress(compressed.body) == answer.body
    assert compressed.headers["ETag"] != answer.headers["ETag"]
    other.close()


def test_a_client_that_has_the_model_already_is_told_so_until_it_changes(
    start_server: StartServer, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "model.yaml").write_text("public: true\n")
    client = start_server(models_dir=str(tmp_path)).client()
    tag = client.get("/models/tiny/onnx").headers["ETag"]
    again = client.get("/models/tiny/onnx", **{"If-None-Match": tag})
    assert (again.status, again.body) == (304, b"")
    weights = (folder / "model.weights").read_bytes()
    (folder / "model.weights").write_bytes(weights[:-4] + b"\0\0\0\0")
    assert client.get("/models/tiny/onnx", **{"If-None-Match": tag}).status == 200
    client.close()
