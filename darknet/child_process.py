"""Run a module of this project in another process, because native code may end or hang its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import IO, NamedTuple

LINES = 5
"""Number of lines of a dead process's output that are repeated."""
_MAX_LINE = 200
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
        how: ``ended with exit code 3``, ``ended with SIGFPE``, or ``gave no answer within 60
            seconds``; None: exit code 0.
        output: what it printed, on standard output and standard error.
    """

    how: str | None
    output: str

    @property
    def last_lines(self) -> str:
        """The last lines that it printed, without control characters, as one line."""
        lines = [_ESCAPE.sub("", line).strip() for line in self.output.splitlines()]
        lines = [re.sub(r"[^ -~]", "", line)[:_MAX_LINE] for line in lines if line]
        return " | ".join(filter(None, lines[-LINES:])) or "it printed nothing"


def run_module(
    module: str,
    *arguments: str,
    seconds: float,
    send: Callable[[IO[bytes]], None] | None = None,
) -> Ended:
    """Run ``python -m module arguments`` until it ends, for at most ``seconds``.

    Args:
        module: full name of the module.
        arguments: its command line.
        seconds: then it is killed.
        send: writes to its standard input; None: that is empty.

    Raises:
        OSError: the process cannot be started.
    """
    command = [sys.executable, "-m", module, *arguments]
    # A pipe would block a process that prints much while its input is still being written.
    with tempfile.TemporaryFile() as output:
        source = subprocess.PIPE if send else subprocess.DEVNULL
        process = subprocess.Popen(  # noqa: S603 - this Python with a module of ours
            command, stdin=source, stdout=output, stderr=output, env=_same_modules()
        )
        how = _wait(process, seconds, send)
        output.seek(0)
        return Ended(how, output.read().decode(errors="replace"))


def _same_modules() -> dict[str, str]:
    """Return an environment in which modules are searched for where this process does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _wait(
    process: subprocess.Popen[bytes], seconds: float, send: Callable[[IO[bytes]], None] | None
) -> str | None:
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        process.kill()

    timer = threading.Timer(seconds, end)  # also for a process that does not read its input
    timer.start()
    try:
        if send and process.stdin:
            _send(process.stdin, send)
        code = process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    if is_late.is_set():
        return f"gave no answer within {seconds:g} seconds"
    if code == 0:
        return None
    return f"ended with {f'exit code {code}' if code > 0 else signal.Signals(-code).name}"


def _send(stream: IO[bytes], send: Callable[[IO[bytes]], None]) -> None:
    try:
        with stream:
            send(stream)
    except BrokenPipeError:
        pass  # it ended before it had read everything; its end says why
