"""What the documents refer to exists: functions, files, headings, tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/*.md", "models/*/*.md") for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
FUNCTION = re.compile(r"`([\w/]+\.py):([\w.]+)`")
TEST = re.compile(r"`([\w/]*test_\w+\.py)`")

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def anchors(document: Path) -> set[str]:
    """Return the names that GitHub gives to the headings of a document."""
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def definitions(path: Path) -> set[str]:
    """Return the functions, classes and methods of a module, as ``name`` or ``Class.name``."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    top = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, kinds)]
    inner = {
        f"{node.name}.{child.name}"
        for node in top
        if isinstance(node, ast.ClassDef)
        for child in node.body
        if isinstance(child, kinds)
    }
    return inner | {node.name for node in top}


@every_document
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for path, anchor in LINK.findall(document.read_text("utf-8")):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@every_document
def test_functions_that_a_document_names_exist(document: Path) -> None:
    for path, name in FUNCTION.findall(document.read_text("utf-8")):
        assert name in definitions(ROOT / path), f"{path}:{name}"


@every_document
def test_tests_that_a_document_names_exist(document: Path) -> None:
    for path in TEST.findall(document.read_text("utf-8")):
        candidates = (ROOT / path, ROOT / "tests" / path)
        assert any(candidate.is_file() for candidate in candidates), path


def test_the_clients_that_were_tried_have_the_versions_that_are_tested() -> None:
    pinned = (ROOT / "tests" / "clients" / "requirements.in").read_text("utf-8")
    text = (ROOT / "docs" / "interfaces.md").read_text("utf-8")
    found = re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)$", pinned, re.MULTILINE)
    assert len(found) > 1
    for name, version in found:
        assert re.search(rf"^\| {name}\b[^|]*\| {re.escape(version)} \|", text, re.MULTILINE), name


def test_the_way_of_an_image_has_at_most_15_steps_that_each_name_a_function() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = text.partition("## The way of one image\n")[2].partition("\n## ")[0]
    steps = re.split(r"^\d+\. ", section.partition("\n\n`yolo-service")[0], flags=re.MULTILINE)[1:]
    assert 1 <= len(steps) <= 15
    assert all(FUNCTION.search(step) for step in steps)
