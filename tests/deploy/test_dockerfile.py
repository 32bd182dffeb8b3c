"""The Dockerfile, without building it; scripts/image-test builds it."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
STEPS = re.findall(r"^([A-Z]+) ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
SCRIPTS = [
    ".ci/run",
    "build-local.sh",
    *(f"scripts/{path.name}" for path in (ROOT / "scripts").glob("[!_]*") if not path.suffix),
]


def values(instruction: str) -> list[str]:
    return [value for name, value in STEPS if name == instruction]


def sources() -> list[str]:
    """Return everything that is copied from the build context."""
    copies = [value.split() for value in values("COPY") if "--from" not in value]
    return [source for copy in copies for source in copy[:-1]]


def tool(name: str) -> Path:
    return Path(sys.executable).parent / name


def test_hadolint_finds_nothing() -> None:
    subprocess.run([tool("hadolint"), ROOT / "Dockerfile"], check=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script: str) -> None:
    subprocess.run([tool("shellcheck"), ROOT / script], check=True)


def test_the_scripts_are_found() -> None:
    assert {"build-local.sh", "scripts/build-libdarknet", "scripts/image-test"} <= set(SCRIPTS)


@pytest.mark.parametrize("source", sources())
def test_what_is_copied_exists_and_is_not_ignored(source: str) -> None:
    path = source.replace("${MODEL}", "blood-cells")
    assert (ROOT / path).exists()
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    ]
    tops = [path, *(str(parent) for parent in Path(path).parents)]
    assert any(fnmatch.fnmatch(top, pattern) for top in tops for pattern in allowed)


def test_it_runs_as_a_number_that_is_not_root() -> None:
    """Kubernetes' runAsNonRoot needs a number; group 0 may write the models."""
    assert values("USER") == ["10001:0"]


def test_serve_is_the_command_and_signals_reach_it() -> None:
    assert json.loads(values("ENTRYPOINT")[0]) == ["tini", "--", "yolo-service"]
    assert json.loads(values("CMD")[-1]) == ["serve"]


def test_the_final_stage_has_no_compiler() -> None:
    final = DOCKERFILE[DOCKERFILE.index(" AS runtime") :]
    for package in ("gcc", "g++", "make", "git", "dpkg-dev", "python3-venv", "pip install"):
        assert f" {package} " not in final


def test_variants_that_need_a_gpu_fail_without_one() -> None:
    assert "YOLO_DEVICE=cuda" in DOCKERFILE
    assert "YOLO_PRECISION=fast" in DOCKERFILE


def test_the_model_is_the_last_layer() -> None:
    assert STEPS[-1] == ("COPY", "--from=model --chown=10001:0 /models /models")


def test_cuda_pins_fit_the_pins_of_the_environment() -> None:
    path = ROOT / "requirements-cuda.txt"
    cuda = pins(path)
    assert {"onnxruntime-gpu", "nvidia-cudnn-cu13", "nvidia-cublas"} <= set(cuda)
    assert not set(cuda) & set(pins(ROOT / "requirements.txt"))
    assert len(cuda) <= path.read_text().count("--hash=sha256:")


@pytest.mark.parametrize("document", ["docs/gpu.md", "docs/images.md"])
def test_documents_name_the_cuda_and_cudnn_that_are_pinned(document: str) -> None:
    cuda = pins(ROOT / "requirements-cuda.txt")
    versions = [cuda[name].split(".")[0] for name in ("nvidia-cuda-runtime", "nvidia-cudnn-cu13")]
    text = (ROOT / document).read_text("utf-8")
    assert re.search(rf"CUDA {versions[0]}(,| and) cuDNN {versions[1]}\b", text)


def test_the_build_backend_is_pinned() -> None:
    (required,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    name = required.partition(">=")[0]
    assert f"\n{name}==" in "\n" + (ROOT / "requirements-build.txt").read_text()


def test_the_build_and_the_development_pins_agree() -> None:
    """The Makefile installs both into one environment."""
    files = ("requirements-build.txt", "requirements-dev.txt", "requirements.txt")
    build, dev, service = (pins(ROOT / name) for name in files)
    for name, version in build.items():
        assert dev.get(name, version) == service.get(name, version) == version


@pytest.mark.parametrize(
    ("file", "packages"),
    [
        ("requirements-sources.txt", {"av", "boto3", "pyarrow", "redis"}),
        ("requirements-ray.txt", {"a2wsgi", "boto3", "pyarrow", "ray"}),
    ],
)
def test_pins_of_extras_add_to_those_of_the_service(file: str, packages: set[str]) -> None:
    extras, service = pins(ROOT / file), pins(ROOT / "requirements.txt")
    assert packages <= set(extras)
    assert service.items() <= extras.items()
    assert len(extras) <= (ROOT / file).read_text().count("--hash=sha256:")


def pins(path: Path) -> dict[str, str]:
    lines = (line for line in path.read_text().splitlines() if "==" in line)
    return dict(line.removesuffix(" \\").split("==") for line in lines)
