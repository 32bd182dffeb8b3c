"""build-local.sh: which tags there are, and what it runs for each build tool."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib

import pytest
import yaml

from tests.support.paths import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
MODELS = [
    "blood-cells",
    "yolov3_coco",
    "yolov3_openimages",
    "yolo9000",
    "yolov4_coco",
    "yolov4_tiny_coco",
    "yolov7_tiny_coco",
]
VARIANTS = {"cpu": "", "cuda": "_cuda", "cuda_tc": "_cuda_tc"}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "build-local.sh", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_variant_has_a_tag_for_every_model() -> None:
    expected = [f"{VERSION}{suffix}-{model}" for suffix in VARIANTS.values() for model in MODELS]
    assert run("--list").stdout.split() == expected


def test_one_tag_can_be_listed() -> None:
    assert run("--list", "cuda_tc", "yolo9000").stdout == f"{VERSION}_cuda_tc-yolo9000\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpu"], "variant gpu: expected cpu cuda cuda_tc"),
        (["cpu", "none"], "no folder models/none"),
        (["--wrong"], "unknown option --wrong"),
        (["--push"], "./build-local.sh --list"),
        (["cpu", "blood-cells", "more"], "./build-local.sh --list"),
    ],
)
def test_wrong_arguments_are_explained(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("tool", "command"),
    [("docker", "docker buildx build"), ("podman", "podman build"), ("buildah", "buildah bud")],
)
def test_each_tool_builds_with_the_same_arguments(tool: str, command: str) -> None:
    line = run("--dry-run", "cpu", "yolov4_coco", BUILD_TOOL=tool, DARKNET="debian").stdout
    assert line.startswith(f"+ {command} ")
    assert "--build-arg VARIANT=cpu --build-arg MODEL=yolov4_coco" in line
    assert "--build-arg DARKNET=debian" in line
    assert line.endswith(f"--tag yolo-service:{VERSION}-yolov4_coco .\n")


def test_cuda_variants_compile_in_a_cuda_image() -> None:
    assert "LIBDARKNET_BASE=" not in run("--dry-run", "cpu", BUILD_TOOL="docker").stdout
    assert "LIBDARKNET_BASE=nvidia/cuda" in run("--dry-run", "cuda", BUILD_TOOL="docker").stdout


def test_docker_pushes_with_a_bill_of_materials_and_provenance() -> None:
    platforms = "linux/amd64,linux/arm64"
    push = ["--dry-run", "--push", "example.org/yolo", "cpu", "blood-cells"]
    line = run(*push, BUILD_TOOL="docker", BUILD_PLATFORMS=platforms).stdout
    assert f"--push --sbom=true --provenance=mode=max --platform {platforms}" in line
    assert line.endswith(f"--tag example.org/yolo:{VERSION}-blood-cells .\n")


def test_other_tools_push_afterwards() -> None:
    push = ["--dry-run", "--push", "example.org/yolo", "cpu", "blood-cells"]
    lines = run(*push, BUILD_TOOL="podman").stdout.splitlines()
    assert lines[1] == f"+ podman push example.org/yolo:{VERSION}-blood-cells"


def test_the_workflow_builds_the_same_tags() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/images.yml").read_text())
    matrix = workflow["jobs"]["image"]["strategy"]["matrix"]
    pull_request, everything = (json.loads(x) for x in re.findall(r"'(\[.*?\])'", matrix["model"]))
    assert (matrix["variant"], everything) == (list(VARIANTS), MODELS)
    assert pull_request == ["blood-cells"]
