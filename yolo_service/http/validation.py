"""Validation of requests against swagger.yaml.

It replaces connexion's validators of parameters and forms, whose errors are dumps of the schema,
and which accept NaN, ignore second files and fail on other content types.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flask
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # connexion's own
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import UnsupportedMediaType

from yolo_service.errors import BadRequest
from yolo_service.http.query import read_query

FORM = "multipart/form-data"
UNQUOTED = "x-unquoted-address"
"""Says of a parameter in swagger.yaml that it is an address which clients may send unquoted;
unknown parameters of its operation are not refused."""
ANY_NAME = "x-any-name"
"""Says of a file in swagger.yaml that the form's first file is taken if none has its name."""
EXPECTED = "x-expected"
"""Says of a text in swagger.yaml in words what its pattern takes."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


class Field:
    """A parameter or form field with its schema: a number, a string or a file."""

    def __init__(self, name: str, schema: Mapping[str, Any], *, required: bool) -> None:
        self.name, self.required = name, required
        self._schema = schema
        self._validator = Draft4Validator(schema)

    @property
    def is_file(self) -> bool:
        """Whether the value is one file of a form or several."""
        return bool(self._schema.get("items", self._schema).get("format") == "binary")

    @property
    def takes_any_name(self) -> bool:
        """Whether a form's first file is this one if none has its name."""
        return bool(self._schema.get(ANY_NAME))

    @property
    def max_files(self) -> int:
        """How many files may have this name."""
        return int(self._schema.get("maxItems", 1))

    def read(self, values: list[str]) -> str | float | None:
        """Return the value of the texts that were sent with this name; None if there are none.

        Raises:
            BadRequest: a required value is missing, or there are several or an invalid one.
        """
        if not values:
            if self.required:
                raise BadRequest(f"missing; expected {self._expected()}", name=self.name)
            return None
        if len(values) > 1:
            raise BadRequest(f"expected one value, found {len(values)}", name=self.name)
        value = self._value(values[0])
        if value is None or not self._validator.is_valid(value):
            found = f"expected {self._expected()}, found {values[0][:100]!r}"
            raise BadRequest(found, name=self.name)
        return value

    def _value(self, text: str) -> str | float | None:
        if self._schema["type"] != "number":
            return text
        return float(text) if _NUMBER.fullmatch(text) else None

    def _expected(self) -> str:
        schema = self._schema
        if "enum" in schema:
            return f"one of {', '.join(schema['enum'])}"
        if schema["type"] == "number":
            return f"a number from {schema['minimum']} to {schema['maximum']}"
        if EXPECTED in schema:
            return str(schema[EXPECTED])
        return f"a text of {schema.get('minLength', 0)} to {schema.get('maxLength')} characters"


class Arguments:
    """Reads and validates the arguments of an operation's handler from a request.

    Of the media types of a body the form has to be the first in swagger.yaml, because connexion
    gives the schema of the first one. Bodies of other types are read by the handlers.

    Args:
        operation: connexion's.
        handler: its function. Each parameter of the query is an argument of it; the text fields of
            a form are its argument ``body``, and a file is an argument if it has one of that name.
    """

    def __init__(self, operation: Any, handler: Callable[..., Any]) -> None:
        self._query = [
            Field(param["name"], param["schema"], required=param.get("required", False))
            for param in operation.parameters
            if param["in"] == "query"
        ]
        self._address = next(
            (param["name"] for param in operation.parameters if param.get(UNQUOTED)), None
        )
        self._body = Body(operation, handler) if operation.body_schema else None

    def read(self, request: flask.Request) -> dict[str, Any]:
        """Return the arguments of the handler that a request has, by name.

        Raises:
            BadRequest: an unknown name, an invalid value, or a required one that is missing.
            UnsupportedMediaType: the body has a type that the operation does not take.
        """
        if self._body is not None:
            self._body.refuse_in_query(request.args)
        found = _read(self._query, self._sent(request))
        return found if self._body is None else found | self._body.read(request)

    def _sent(self, request: flask.Request) -> MultiDict[str, str]:
        """Return the parameters in the query; unknown ones are refused or left to an address."""
        if self._address is None:
            _refuse_unknown(request.args, self._query, "the query")
            return request.args
        known = [field.name for field in self._query]
        return read_query(request.query_string.decode("latin-1"), self._address, known)


class Body:
    """Reads and validates the arguments in a body; see ``Arguments``."""

    def __init__(self, operation: Any, handler: Callable[..., Any]) -> None:
        schema = operation.body_schema
        self._types = operation.consumes
        properties = schema["properties"] if FORM in self._types else {}
        fields = [
            Field(name, field, required=name in schema.get("required", ()))
            for name, field in properties.items()
        ]
        self._texts = [field for field in fields if not field.is_file]
        self._files = [field for field in fields if field.is_file]
        self._is_strict = schema.get("additionalProperties") is False
        self._example = self._files[0].name if self._files else None
        self._parameters = inspect.signature(handler).parameters

    def refuse_in_query(self, query: MultiDict[str, str]) -> None:
        """Refuse fields of the form that were sent in the query.

        Raises:
            BadRequest: there is one.
        """
        for name in (field.name for field in self._texts if field.name in query):
            advice = f"for example: curl -F {name}=VALUE"
            raise BadRequest(f"belongs into the form, not into the query; {advice}", name=name)

    def read(self, request: flask.Request) -> dict[str, Any]:
        """Return the arguments in a body; raises as ``Arguments.read`` does."""
        kind = request.mimetype
        _check_type(kind, self._types, self._example)
        texts: dict[str, Any] = {}
        found: dict[str, Any] = {}
        if kind == FORM:
            form, files = request.form, self._named(request.files)
            for field in self._files:
                _check_file(field, len(files.getlist(field.name)), field.name in form)
            if self._is_strict:
                _refuse_unknown(files, self._files, "the form's files")
                _refuse_unknown(form, self._texts, "the form")
            texts = _read(self._texts, form)
            found = {name: file for name, file in files.items() if name in self._parameters}
        return found | {"body": texts} if "body" in self._parameters else found

    def _named(self, files: MultiDict[str, FileStorage]) -> MultiDict[str, FileStorage]:
        """Return the files by their fields; the first one may stand for a field; see ANY_NAME."""
        for field in self._files:
            if field.takes_any_name and files and field.name not in files:
                first = next(iter(files.values()))
                first.name = field.name
                return MultiDict([(field.name, first)])
        return files


def _read(fields: Iterable[Field], sent: MultiDict[str, str]) -> dict[str, Any]:
    """Return the values of those fields that were sent."""
    values = ((field.name, field.read(sent.getlist(field.name))) for field in fields)
    return {name: value for name, value in values if value is not None}


def _check_type(found: str, known: Iterable[str], example: str | None) -> None:
    # A body without a type is application/octet-stream (RFC 9110, section 8.3).
    candidates = {found, f"{found.partition('/')[0]}/*"} if found else {"application/octet-stream"}
    if candidates.isdisjoint(known):
        expected = " or ".join(known)
        advice = f"; {_example(example)}" if example else ""
        raise UnsupportedMediaType(
            f"expected a body of type {expected}, found {found or 'none'}{advice}"
        )


def _check_file(field: Field, count: int, is_text: bool) -> None:
    name = field.name
    if is_text:
        raise BadRequest(f"expected a file, found a text field; {_example(name)}", name=name)
    if count == 0 and field.required:
        raise BadRequest(f"missing; expected a file; {_example(name)}", name=name)
    if count > field.max_files:
        most = "one file" if field.max_files == 1 else f"at most {field.max_files} files"
        raise BadRequest(f"expected {most}, found {count}; send more requests", name=name)


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
