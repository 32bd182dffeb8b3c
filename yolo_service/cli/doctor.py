"""The command ``yolo-service doctor``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yolo_service.cli.options import models_dir_option, settings_from

if TYPE_CHECKING:
    from yolo_service.doctor.finding import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


@click.command()
@models_dir_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
def doctor(models_dir: Path | None, as_json: bool) -> None:
    """Check the machine, the models and the settings of the environment, and print advice.

    The exit code is 1 if something FAILs.
    """
    from yolo_service.doctor import examine

    tally: Counter[str] = Counter()
    for finding in examine(settings_from(models_dir=models_dir)):
        tally[finding.status] += 1
        click.echo(json.dumps(dataclasses.asdict(finding)) if as_json else _text(finding))
    if not as_json:
        click.echo(f"\n{tally['ok']} ok, {tally['warn']} warnings, {tally['FAIL']} failed")
    sys.exit(1 if tally["FAIL"] else 0)


def _text(finding: Finding) -> str:
    status = click.style(f"{finding.status:<5}", _COLOURS[finding.status])
    lines = f"{finding.name}: {finding.message}".splitlines()
    if finding.advice:
        lines.append(f"-> {finding.advice}")
    return status + "\n      ".join(lines)
