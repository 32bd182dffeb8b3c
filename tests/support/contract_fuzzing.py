"""Generated requests to every route of swagger.yaml, by schemathesis."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

CONFIG = ROOT / "tests" / "fuzz" / "schemathesis.toml"


def run_schemathesis(port: int, folder: Path, *budget: str) -> subprocess.CompletedProcess[str]:
    """Send requests to a server of this machine; its output says what was found.

    Args:
        port: of the server.
        folder: that schemathesis may write to.
        budget: options of schemathesis for how many requests.
    """
    tool = Path(sys.executable).with_name("schemathesis")
    url = f"http://127.0.0.1:{port}/openapi.json"
    return subprocess.run(
        [tool, "--config-file", CONFIG, "run", url, *budget, "--no-color"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
