"""A stand-in for NVIDIA's driver: a program ``nvidia-smi`` with a given answer."""

from __future__ import annotations

from pathlib import Path


def write_nvidia_smi(folder: Path, answer: str, code: int = 0) -> Path:
    """Write a program that prints an answer and ends with an exit code; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit {code}\n")
    program.chmod(0o755)
    return folder
