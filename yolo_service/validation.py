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
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # connexion's own
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import UnsupportedMediaType

from yolo_service.errors import BadRequest
from yolo_service.framework import ConnexionRequest, ParameterValidator, RequestBodyValidator

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
        """Whether the value comes as a file of a form, or as several."""
        return bool(self._schema.get("items", self._schema).get("format") == "binary")

    @property
    def max_files(self) -> int:
        """How many files may come under this name."""
        return int(self._schema.get("maxItems", 1))

    def check(self, values: list[str]) -> None:
        """Check what was sent under this name.

        Raises:
            BadRequest: nothing although it is required, several values, or a wrong one.
        """
        if not values:
            if self.required:
                raise BadRequest(f"missing; expected {self._expected()}", name=self.name)
            return
        if len(values) > 1:
            raise BadRequest(f"expected one value, found {len(values)}", name=self.name)
        if not self._fits(values[0]):
            wrong = f"expected {self._expected()}, found {values[0][:100]!r}"
            raise BadRequest(wrong, name=self.name)

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


class Body(RequestBodyValidator):  # type: ignore[misc]  # connexion has no types
    """Checks the type of a body and, if it is a multipart form, its fields and files.

    Of the types of an operation a form has to be the first, because connexion gives the schema of
    that one. Other bodies are read where they are used, on another thread.
    """

    def __call__(self, function: Handler) -> Handler:
        """Wrap a handler."""
        required = self.schema.get("required", ())
        properties = self.schema["properties"] if FORM in self.consumes else {}
        fields = [
            Field(name, schema, required=name in required) for name, schema in properties.items()
        ]
        texts = [field for field in fields if not field.is_file]
        files = [field for field in fields if field.is_file]
        is_strict = self.schema.get("additionalProperties") is False
        example = files[0].name if files else None

        @functools.wraps(function)
        def wrapper(request: ConnexionRequest) -> Any:
            sent: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]
            _check_type(sent.mimetype, self.consumes, example)
            if sent.mimetype == FORM:
                _check_files(files, sent.files, sent.form)
                if is_strict:
                    _refuse_unknown(sent.files, files, "the form's files")
                    _refuse_unknown(sent.form, texts, "the form")
                for field in texts:
                    field.check(sent.form.getlist(field.name))
            return function(request)

        return wrapper


def _check_type(found: str, known: Iterable[str], example: str | None) -> None:
    # What has no type is a sequence of bytes (RFC 9110, section 8.3).
    candidates = {found, f"{found.partition('/')[0]}/*"} if found else {"application/octet-stream"}
    if candidates.isdisjoint(known):
        expected = " or ".join(known)
        advice = f"; {_example(example)}" if example else ""
        raise UnsupportedMediaType(
            f"expected a body of type {expected}, found {found or 'none'}{advice}"
        )


def _check_files(
    fields: list[Field], files: MultiDict[str, Any], texts: MultiDict[str, Any]
) -> None:
    for field in fields:
        _check_file(field, len(files.getlist(field.name)), field.name in texts)


def _check_file(field: Field, count: int, is_text: bool) -> None:
    name = field.name
    if is_text:
        raise BadRequest(f"expected a file, found a text field; {_example(name)}", name=name)
    if count == 0 and field.required:
        raise BadRequest(f"missing; expected a file; {_example(name)}", name=name)
    if count > field.max_files:
        most = "one file" if field.max_files == 1 else f"at most {field.max_files} files"
        raise BadRequest(f"expected {most}, found {count}; send more requests", name=field.name)


def _refuse_unknown(sent: MultiDict[str, Any], fields: Iterable[Field], where: str) -> None:
    if not sent:
        return
    known = [field.name for field in fields]
    for name in sent:
        if name not in known:
            allowed = ", ".join(known) or "nothing"
            raise BadRequest(f"{name[:100]!r} is unknown in {where}; known: {allowed}")


def _example(field: str) -> str:
    return f"for example: curl -F {field}=@photo.jpg {flask.request.base_url}"
