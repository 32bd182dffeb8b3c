"""scripts/build-libdarknet, with commands that note what they are given instead of compiling."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FAULTY = "                if(stride == 1 && is_avx() == 1) {\n"
COMMANDS = {
    "apt-get": "true",
    "strip": "true",
    "git": """
case $1 in
    init) mkdir -p darknet/src ;;
    checkout) printf '%s' "$GEMM" > src/gemm.c ;;
esac""",
    "make": "cp src/gemm.c libdarknet.so",
}


def build(folder: Path, gemm: str) -> subprocess.CompletedProcess[str]:
    """Run the script for a commit whose src/gemm.c has a text; that becomes the library."""
    (folder / "bin").mkdir()
    for name, text in COMMANDS.items():
        command = folder / "bin" / name
        command.write_text(f"#!/bin/sh\n{text}\n")
        command.chmod(0o755)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "GEMM": gemm}
    return subprocess.run(
        [ROOT / "scripts" / "build-libdarknet", "0123abc", "cpu", folder / "libdarknet.so"],
        env={**environment, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_faulty_code_for_pooling_with_stride_1_is_left_out(tmp_path: Path) -> None:
    other = "                else if (size == 2 && stride == 2 && is_avx() == 1) {\n"
    ended = build(tmp_path, FAULTY + other)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "libdarknet.so").read_text() == "                if (0) {\n" + other


@pytest.mark.parametrize("gemm", ["", "if(stride == 1) {\n"])
def test_a_source_without_that_code_is_not_built_unseen(tmp_path: Path, gemm: str) -> None:
    ended = build(tmp_path, gemm)
    assert ended.returncode == 2
    assert "does not have the line to patch" in ended.stderr
    assert not (tmp_path / "libdarknet.so").exists()
