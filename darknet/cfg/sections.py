"""Parse the text of a .cfg into sections with named options and their lines.

The syntax is Darknet's: ``[section]`` starts a section, ``name=value`` sets an option, lines that
start with ``#`` or ``;`` are comments, white space is ignored. Of an option given twice the first
one counts, as in Darknet. After numbers, text behind ``#`` or ``;`` is a comment too, as for C's
atoi.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from darknet.errors import CfgError

Number = TypeVar("Number", int, float)

MAX_TEXT = 4 << 20
"""Largest length of a .cfg in characters; the largest published one has 30,000."""

_HEADER = re.compile(r"\[([A-Za-z0-9_]+)\]")
_REQUIRED = object()


@dataclass(frozen=True)
class Option:
    """One ``name=value`` line."""

    value: str
    line: int


@dataclass
class Section:
    """One ``[name]`` section; it records which options its getters have read.

    Every getter raises CfgError with file, line and option for text that is not a valid value.
    """

    source: str
    name: str
    line: int
    options: dict[str, Option] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list, repr=False)
    _read: set[str] = field(default_factory=set, repr=False)

    def error(self, message: str, option: str | None = None) -> CfgError:
        """Return an error with the line of an option, or of the section's header."""
        at = self.options.get(option or "")
        where = option or f"[{self.name}]"
        return CfgError(
            message, source=self.source, line=at.line if at else self.line, option=where
        )

    def warn(self, message: str, option: str) -> None:
        """Note what is read otherwise than it is written."""
        self.warnings.append(f"{self.error(message, option)}")

    def text(self, name: str, default: str) -> str:
        """Return an option's text."""
        self._read.add(name)
        option = self.options.get(name)
        return option.value if option else default

    def choice(self, name: str, default: str, allowed: frozenset[str]) -> str:
        """Return an option's text, which must be one of ``allowed``."""
        value = self.text(name, default).lower()
        if value not in allowed:
            raise self.error(f"expected one of {', '.join(sorted(allowed))}; found {value!r}", name)
        return value

    def choice_or(self, name: str, default: str, allowed: frozenset[str], other: str) -> str:
        """Return an option's text; ``other``, with a warning, if it is not one of ``allowed``."""
        value = self.text(name, default).lower()
        if value in allowed:
            return value
        self.warn(f"{value!r} is not known to Darknet, which takes {other} instead", name)
        return other

    def integer(self, name: str, default: int, low: int = 0, high: int = 1 << 30) -> int:
        """Return an integer from ``low`` to ``high``."""
        return self._number(name, default, low, high, int)

    def number(self, name: str, default: float, low: float = -math.inf) -> float:
        """Return a finite number of at least ``low``."""
        return self._number(name, default, low, math.inf, float)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return whether an integer is not 0."""
        return self.integer(name, default, -(1 << 30)) != 0

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return integers separated by commas."""
        return self._numbers(name, default, int)

    def numbers(self, name: str, default: tuple[float, ...] = ()) -> tuple[float, ...]:
        """Return finite numbers separated by commas."""
        return self._numbers(name, default, float)

    def refuse(self, *names: str) -> None:
        """Raise CfgError for options of unsupported computations that are not 0."""
        for name in names:
            if self.flag(name):
                raise self.error("is not supported; only 0 is", name)

    def check_numbers(self, *names: str) -> None:
        """Check that options which are not used here are numbers."""
        for name in names:
            self.number(name, 0)

    def known(self, names: frozenset[str]) -> None:
        """Mark options as read; they are only used by Darknet's training."""
        self._read |= names

    def unused(self) -> list[tuple[str, Option]]:
        """Return the options that were not read: most likely spelling mistakes."""
        return [(name, option) for name, option in self.options.items() if name not in self._read]

    def _number(
        self, name: str, default: Number, low: Number, high: Number, kind: Callable[[str], Number]
    ) -> Number:
        self._read.add(name)
        if name not in self.options:
            return default
        value = self._parse(name, _without_comment(self.options[name].value), kind)
        if not low <= value <= high:
            raise self.error(f"expected a number from {low} to {high}, found {value}", name)
        return value

    def _numbers(
        self, name: str, default: tuple[Number, ...], kind: Callable[[str], Number]
    ) -> tuple[Number, ...]:
        self._read.add(name)
        if name not in self.options:
            return default
        text = _without_comment(self.options[name].value).rstrip(",")
        return tuple(self._parse(name, item, kind) for item in text.split(","))

    def _parse(self, name: str, text: str, kind: Callable[[str], Number]) -> Number:
        what = "a whole number" if kind is int else "a number"
        try:
            value = kind(_whole(text) if kind is int else text)
        except ValueError as error:
            raise self.error(f"expected {what}, found {text[:40]!r}", name) from error
        if not text.isascii() or "_" in text or not math.isfinite(value):
            raise self.error(f"expected {what}, found {text[:40]!r}", name)
        return value


def parse_sections(text: str, source: str) -> list[Section]:
    """Split the text of a .cfg into its sections.

    Raises:
        CfgError: a line that is neither a header, an option, a comment nor blank; an option
            before the first header; a text longer than ``MAX_TEXT``; a NUL.
    """
    if len(text) > MAX_TEXT or "\0" in text:
        raise CfgError(
            f"expected text of at most {MAX_TEXT} characters without NUL, found {len(text)} "
            "characters; is this a .cfg?",
            source=source,
        )
    sections: list[Section] = []
    for number, raw in enumerate(re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")), start=1):
        line = re.sub(r"[ \t\v\f]", "", raw)
        if line and line[0] not in "#;":
            _add_line(sections, source, number, line)
    return sections


def _add_line(sections: list[Section], source: str, number: int, line: str) -> None:
    if line[0] == "[":
        header = _HEADER.match(line)
        if not header or _without_comment(line[header.end() :]):
            raise CfgError(f"expected [section], found {line[:40]!r}", source=source, line=number)
        sections.append(Section(source, header[1].lower(), number))
        return
    name, equals, value = line.partition("=")
    if not equals or not name:
        raise CfgError(f"expected name=value, found {line[:40]!r}", source=source, line=number)
    if not sections:
        raise CfgError("an option stands before the first [section]", source=source, line=number)
    sections[-1].options.setdefault(name, Option(value, number))


def _whole(text: str) -> str:
    """Return a whole number without its decimals, which C's atoi does not look at."""
    return re.sub(r"\.0*$", "", text, count=1)


def _without_comment(text: str) -> str:
    return re.split("[#;]", text, maxsplit=1)[0]
