"""Requests checked against swagger.yaml, with errors in words.

These replace connexion's validators of parameters and forms (its ``validator_map``), which answer
with dumps of the schema, let NaN pass, ignore second files and fail on other content types.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flask
from connexion.decorators.validation import ParameterValidator, RequestBodyValidator
from connexion.lifecycle import ConnexionRequest
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # connexion's own
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import UnsupportedMediaType

from yolo_service.errors import BadRequest

Handler = Callable[[ConnexionRequest], Any]

FORM = "multipart/form-data"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


class Field:
    """A named value that comes as text, with its schema: a number or a string."""

    def __init__(self, name: str, schema: Mapping[str, Any], *, required: bool) -> None:
        self.name, self.required = name, required
        self._schema = schema
        self._validator = Draft4Validator(schema)

    @property
    def is_file(self) -> bool:
        """Whether the value comes as a file of a form."""
        return self._schema.get("format") == "binary"

    def check(self, values: list[str]) -> None:
        """Check what was sent under this name.

        Raises:
            BadRequest: nothing although it is required, several values, or a wrong one.
        """
        if not values:
            if self.required:
                raise BadRequest(f"{self.name}: missing; expected {self._expected()}")
            return
        if len(values) > 1:
            raise BadRequest(f"{self.name}: expected one value, found {len(values)}")
        if not self._fits(values[0]):
            raise BadRequest(f"{self.name}: expected {self._expected()}, found {values[0][:100]!r}")

    def _fits(self, text: str) -> bool:
        if self._schema["type"] != "number":
            return bool(self._validator.is_valid(text))
        return _NUMBER.fullmatch(text) is not None and self._validator.is_valid(float(text))

    def _expected(self) -> str:
        schema = self._schema
        if "enum" in schema:
            return f"one of {', '.join(schema['enum'])}"
        if schema["type"] == "number":
            return f"a number from {schema['minimum']} to {schema['maximum']}"
        return f"a text of {schema.get('minLength', 0)} to {schema.get('maxLength')} characters"


class Parameters(ParameterValidator):  # type: ignore[misc]  # connexion has no types
    """Checks the query of a request; unknown and repeated names are refused."""

    def __call__(self, function: Handler) -> Handler:
        """Wrap a handler."""
        fields = [
            Field(param["name"], param["schema"], required=param.get("required", False))
            for param in self.parameters["query"]
        ]

        @functools.wraps(function)
        def wrapper(request: ConnexionRequest) -> Any:
            query = flask.request.args
            _refuse_unknown(query, fields, "the query")
            for field in fields:
                field.check(query.getlist(field.name))
            return function(request)

        return wrapper


class FormBody(RequestBodyValidator):  # type: ignore[misc]  # connexion has no types
    """Checks a multipart form, its files included; other bodies are left to connexion."""

    def __call__(self, function: Handler) -> Handler:
        """Wrap a handler."""
        if FORM not in self.consumes:
            checked: Handler = super().__call__(function)
            return checked
        required = self.schema.get("required", ())
        fields = [
            Field(name, schema, required=name in required)
            for name, schema in self.schema["properties"].items()
        ]

        @functools.wraps(function)
        def wrapper(request: ConnexionRequest) -> Any:
            _check_form(fields)
            return function(request)

        return wrapper


def _check_form(fields: list[Field]) -> None:
    request = flask.request
    if request.mimetype != FORM:
        found = request.mimetype or "none"
        raise UnsupportedMediaType(f"expected a body of type {FORM}, found {found}; {_example()}")
    texts = [field for field in fields if not field.is_file]
    files = [field for field in fields if field.is_file]
    for field in files:
        _check_file(field, len(request.files.getlist(field.name)), field.name in request.form)
    _refuse_unknown(request.files, files, "the form's files")
    _refuse_unknown(request.form, texts, "the form")
    for field in texts:
        field.check(request.form.getlist(field.name))


def _check_file(field: Field, count: int, is_text: bool) -> None:
    if is_text:
        raise BadRequest(f"{field.name}: expected a file, found a text field; {_example()}")
    if count == 0 and field.required:
        raise BadRequest(f"{field.name}: missing; expected a file; {_example()}")
    if count > 1:
        raise BadRequest(f"{field.name}: expected one file, found {count}; send one request each")


def _refuse_unknown(sent: MultiDict[str, Any], fields: Iterable[Field], where: str) -> None:
    known = [field.name for field in fields]
    for name in sent:
        if name not in known:
            allowed = ", ".join(known) or "nothing"
            raise BadRequest(f"{name[:100]!r} is unknown in {where}; known: {allowed}")


def _example() -> str:
    return f"for example: curl -F image_file=@photo.jpg {flask.request.base_url}"
