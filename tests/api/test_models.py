from __future__ import annotations

from tests.support.answers import problem
from tests.support.fixtures import Client, StartServer


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
    for path in ("/healthz", "/readyz", "/ui/", "/openapi.json"):
        assert client.get(path).status == 200
    client.close()
