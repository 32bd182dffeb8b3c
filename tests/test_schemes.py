"""Sources and sinks that are named by a scheme."""

from __future__ import annotations

import pytest

from yolo_service.errors import ConfigurationError
from yolo_service.inputs.opening import open_input
from yolo_service.inputs.options import InputOptions
from yolo_service.outputs.opening import open_output
from yolo_service.outputs.options import OutputOptions
from yolo_service.schemes import Scheme, load, scheme_of


@pytest.mark.parametrize(
    ("address", "scheme"),
    [
        ("s3://bucket/prefix", "s3"),
        ("HTTPS://host/a.jpg", "https"),
        ("folder", None),
        ("C:\\images", None),
        ("a:b://c", None),
        ("-", None),
    ],
)
def test_the_scheme_precedes_the_slashes(address: str, scheme: str | None) -> None:
    assert scheme_of(address) == scheme


def test_an_unknown_scheme_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"ftp:// is not known.*s3://"):
        open_input(["ftp://host/a.jpg"], InputOptions())
    with pytest.raises(ConfigurationError, match=r"https:// is not known.*redis://"):
        open_output("https://host/", OutputOptions())


def test_what_is_not_installed_is_named_with_its_extra() -> None:
    known = {"x": Scheme("no_such_module_here", "stars")}
    with pytest.raises(ConfigurationError, match=r"no_such_module_here; pip install '.*\[stars\]'"):
        load("x", known)
