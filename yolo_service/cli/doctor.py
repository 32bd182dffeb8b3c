"""The command ``yolo-service doctor``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yolo_service.settings import load_settings

if TYPE_CHECKING:
    from yolo_service.doctor.finding import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


@click.command()
@click.option("--models-dir", type=click.Path(path_type=Path), help="Folder of models.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
def doctor(models_dir: Path | None, as_json: bool) -> None:
    """Check what usually goes wrong, with the settings of the environment, and say what to do.

    The exit code is 1 if something FAILs.
    """
    from yolo_service.doctor import examine  # at the start of the service nobody needs it

    settings = load_settings(**({} if models_dir is None else {"models_dir": models_dir}))
    tally: Counter[str] = Counter()
    for finding in examine(settings):
        tally[finding.status] += 1
        click.echo(json.dumps(dataclasses.asdict(finding)) if as_json else _text(finding))
    if not as_json:
        click.echo(f"\n{tally['ok']} ok, {tally['warn']} to look at, {tally['FAIL']} failed")
    sys.exit(1 if tally["FAIL"] else 0)


def _text(finding: Finding) -> str:
    status = click.style(f"{finding.status:<5}", _COLOURS[finding.status])
    lines = f"{finding.name}: {finding.message}".splitlines()
    if finding.advice:
        lines.append(f"-> {finding.advice}")
    return status + "\n      ".join(lines)
