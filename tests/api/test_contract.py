"""swagger.yaml is valid, and the service answers as it says."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # has no types
from openapi_spec_validator import OpenAPIV30SpecValidator, validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from tests.support.answers import problem
from tests.support.contract import CONTRACT, resolve, schema
from tests.support.fixtures import Client, Part
from yolo_service.api.operations import HANDLERS


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in CONTRACT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def examples() -> Iterator[Any]:
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            for content in resolve(response).get("content", {}).values():
                found = content.get("examples", {"": {"value": content.get("example")}})
                for name, example in found.items():
                    case = f"{method} {path} {status} {name}"
                    yield pytest.param(content["schema"], example["value"], id=case)


def test_the_contract_is_valid_openapi() -> None:
    validate(CONTRACT, cls=OpenAPIV30SpecValidator)


def test_the_validator_finds_a_parameter_that_is_not_in_its_path() -> None:
    wrong = copy.deepcopy(CONTRACT)
    wrong["paths"]["/v2/models/{model}"]["get"]["parameters"] = []
    with pytest.raises(OpenAPIValidationError, match="model"):
        validate(wrong, cls=OpenAPIV30SpecValidator)


@pytest.mark.parametrize(("described", "example"), list(examples()))
def test_every_example_fits_its_schema(described: dict[str, Any], example: Any) -> None:
    assert example is not None
    Draft4Validator(described).validate(example)


@pytest.mark.parametrize("form", ["darknet", "objects", "opex", "coco", "darknet-json"])
def test_detections_fit_their_schema(client: Client, photo: bytes, form: str) -> None:
    parts: list[Part] = [("image_file", photo), ("threshold", "0.01"), ("format", form)]
    answer = client.post(parts)
    Draft4Validator(schema("/detect", "post", "200")).validate(answer.json)


def test_models_fit_their_schema(client: Client) -> None:
    Draft4Validator(schema("/models", "get", "200")).validate(client.get("/models").json)


@pytest.mark.parametrize(("path", "method", "operation"), list(operations()))
def test_every_operation_refuses_unknown_query_parameters(
    client: Client, path: str, method: str, operation: dict[str, Any]
) -> None:
    """Connexion checks queries only where a parameter is declared, if only a header.

    Obico's route ignores them as ml_api does, and names the one that is missing.
    """
    assert operation["parameters"]
    kinds = resolve(operation.get("requestBody", {"content": {"": {}}}))["content"]
    kind, content = next(iter(kinds.items()))
    if kind == "multipart/form-data":
        required: list[Part] = [(name, b"x") for name in content["schema"]["required"]]
        answer = client.post(required, f"{path}?x=1")
    else:
        answer = client.request(method.upper(), f"{path}?x=1", b"", {"Content-Type": kind})
    assert answer.status == (422 if path == "/p/" else 400)
    words = b"img: missing" if path == "/p/" else b"'x' is unknown in the query"
    assert words in answer.body
    (content,) = resolve(operation["responses"][str(answer.status)])["content"].values()
    Draft4Validator(content["schema"]).validate(answer.json)


def test_operations_have_short_names_of_their_own() -> None:
    """Generated clients name their functions after them."""
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z]+(_[a-z]+){1,3}", name) for name in names)
    assert set(names) == HANDLERS.keys()


def test_operations_keep_their_names() -> None:
    names = {
        f"{method} {path}": operation["operationId"] for path, method, operation in operations()
    }
    assert names.items() >= {
        ("get /detect", "detect_by_url"),
        ("post /detect", "detect_by_upload"),
        ("get /annotate", "annotate_by_url"),
        ("post /annotate", "annotate_by_upload"),
        ("get /models", "list_models"),
        ("get /p/", "obico_detect"),
        ("post /invocations", "sagemaker_invoke"),
        ("post /v1/vision/detection", "deepstack_detect"),
        ("post /v1/vision/custom/{model}", "deepstack_detect_with_model"),
        ("post /v2/models/{model}/infer", "inference_infer"),
    }


def test_everything_is_described() -> None:
    """What spectral and redocly ask for besides validity; ``make contract`` runs them."""
    described = [
        CONTRACT["info"],
        *CONTRACT["tags"],
        *(operation for *_, operation in operations()),
    ]
    assert all(each.get("description") for each in described)
    assert {"contact", "license"} <= CONTRACT["info"].keys()
    assert {tag for *_, operation in operations() for tag in operation["tags"]} == {
        tag["name"] for tag in CONTRACT["tags"]
    }


def test_the_contract_is_served_in_its_order(client: Client) -> None:
    """The page shows routes and fields as they come."""
    served = client.get("/openapi.json").json
    assert list(served["paths"]) == list(CONTRACT["paths"])
    form = served["paths"]["/detect"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert next(iter(form["schema"]["properties"])) == "image_file"


def test_security_is_optional_where_no_key_is_set(client: Client) -> None:
    served = client.get("/openapi.json").json
    assert served["components"]["securitySchemes"].keys() == {"ApiKey", "Bearer", "ObicoToken"}
    assert served["security"] == [{}, {"ApiKey": []}, {"Bearer": []}]
    for path, method, operation in operations():
        security = served["paths"][path][method].get("security")
        assert security == ([{}, *operation["security"]] if operation.get("security") else security)
    assert client.get("/models", Authorization="Bearer whatever").status == 200


def test_the_ui_works_offline(client: Client) -> None:
    page = client.get("/ui/")
    assert page.status == 200
    text = page.body.decode()
    assert 'url: "/openapi.json"' in text
    assert not re.search(r"(src|href)=.?(https?:)?//", text)
    for asset in re.findall(r'(?:src|href)="\./([^"]+)"', text):
        assert client.get(f"/ui/{asset}").status == 200


def test_the_ui_is_found_without_its_slash(client: Client) -> None:
    answer = client.get("/ui")
    assert answer.status == 308
    assert answer.headers["Location"].endswith("/ui/")


def test_an_unknown_address_points_to_the_ui(client: Client) -> None:
    problem(client.get("/nope"), 404, "/ui/")
    problem(client.get("/ui/nope.js"), 404, "/ui/")


def test_another_method_is_not_allowed(client: Client) -> None:
    answer = client.request("DELETE", "/detect")
    problem(answer, 405, "")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))
