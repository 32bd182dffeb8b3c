from __future__ import annotations

import errno
import json
from collections.abc import Iterator

import pytest
from werkzeug.exceptions import MethodNotAllowed

from yolo_service import errors
from yolo_service.api import problems
from yolo_service.errors import ModelUnavailable, Overloaded, ServiceError, Unauthorized


def classes(base: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for each in base.__subclasses__():
        yield each
        yield from classes(each)


@pytest.mark.parametrize("error", list(classes()))
def test_every_error_of_the_tree_is_a_problem_of_its_own(error: type[ServiceError]) -> None:
    problem = problems.of_error(error("what to do"))
    document = json.loads(problem.body)
    assert document == {
        "type": error.type,
        "title": error.title,
        "status": error.status,
        "detail": "what to do",
    }
    assert f"{error.__name__} {error.status}" in (errors.__doc__ or "")
    assert [other for other in classes() if other.type == error.type] == [error]


def test_an_unexpected_error_is_logged_and_not_shown_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    problem = problems.of_error(ValueError("secret"))
    assert problem.status == 500
    assert b"secret" not in problem.body
    assert "secret" in caplog.text


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "too many open files")])
def test_a_system_without_memory_or_files_is_an_overload(error: Exception) -> None:
    problem = problems.of_error(error)
    assert (problem.status, problem.headers) == (503, {"Retry-After": "1"})


def test_headers_have_the_time_to_retry_and_the_kind_of_authentication() -> None:
    assert problems.of_error(Overloaded("busy")).headers == {"Retry-After": "1"}
    assert problems.of_error(ModelUnavailable("broken")).headers == {}
    assert problems.of_error(Unauthorized("key")).headers == {"WWW-Authenticate": "Bearer"}


def test_errors_of_the_framework_are_problems_too() -> None:
    problem = problems.of_error(MethodNotAllowed(["GET", "POST"]))
    assert problem.status == 405
    assert problem.headers == {"Allow": "GET, POST"}
    assert json.loads(problem.body)["type"] == "about:blank"


def test_a_whole_http_answer_can_be_made() -> None:
    answer = problems.of_status(414, "too long").http("my-id")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 414 ")
    assert b"X-Request-ID: my-id" in head
    assert json.loads(body)["detail"] == "too long"
