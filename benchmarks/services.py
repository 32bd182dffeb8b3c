"""The services that this one is compared with: how each is installed and started.

Each is a file of ``benchmarks/peers/`` with its own pinned requirements, in an environment of its
own under build/bench. The classic design computes with this project's binding of libdarknet.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import HERE, ROOT
from yolo_service.models.folder import ModelFiles

BUILD = ROOT / "build" / "bench"


@dataclass(frozen=True)
class Peer:
    """A service to compare with.

    Attributes:
        name: in the table.
        module: file in ``benchmarks/peers`` without its ending.
        requirements: its requirements file without its ending; None: what this project has.
        command: what its environment runs; ``{port}`` stands for the port.
        environment: besides the model's.
    """

    name: str
    module: str
    requirements: str | None
    command: Sequence[str] = ("python", "{module}.py")
    environment: dict[str, str] = field(default_factory=dict)

    def arguments(self, port: int) -> list[str]:
        """Return the command, made ready to run."""
        program, *rest = (part.format(port=port, module=self.module) for part in self.command)
        folder = Path(sys.executable).parent if self.requirements is None else self._environment()
        return [str(folder / program), *rest]

    def variables(self, files: ModelFiles, model: Path, port: int) -> dict[str, str]:
        """Return the environment variables that its file reads."""
        return {
            "PEER_PORT": str(port),
            "PEER_MODEL": str(model),
            "PEER_CFG": str(files.cfg.resolve()),
            "PEER_WEIGHTS": str(files.weights.resolve()),
            "PEER_NAMES": str(files.names.resolve()),
            "PYTHONPATH": str(ROOT) if self.requirements is None else "",
            **self.environment,
        }

    def _environment(self) -> Path:
        """Make its environment at the first use; return the folder of its programs."""
        folder = BUILD / "venvs" / str(self.requirements)
        if not (folder / ".complete").exists():
            file = HERE / "peers" / f"{self.requirements}.txt"
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            pip = [str(folder / "bin" / "pip"), "install", "--quiet", "-r", str(file)]
            subprocess.run(pip, check=True)
            (folder / ".complete").touch()
        return folder / "bin"


PEERS = (
    Peer("classic: gevent, Flask, libdarknet", "classic", None),
    Peer(
        "BentoML, ONNX Runtime",
        "bentoml_onnxruntime",
        "bentoml",
        ("bentoml", "serve", "bentoml_onnxruntime:Service", "--port", "{port}"),
    ),
    Peer("LitServe, ONNX Runtime", "litserve_onnxruntime", "litserve"),
    Peer("FastAPI, ONNX Runtime", "fastapi_onnxruntime", "fastapi_onnxruntime"),
    Peer(
        "FastAPI, OpenVINO fp32",
        "fastapi_openvino",
        "fastapi_openvino",
        environment={"PEER_TYPE": "f32"},
    ),
    Peer(
        "FastAPI, OpenVINO bf16",
        "fastapi_openvino",
        "fastapi_openvino",
        environment={"PEER_TYPE": "bf16"},
    ),
)
