"""The direction of imports between packages (docs/architecture.md), and imports without effects."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SOURCES = sorted(
    path for package in ("darknet", "yolo_service") for path in (ROOT / package).rglob("*.py")
)

ONLY_IN = {
    "torch": ("darknet/training/",),
    "lightning": ("darknet/training/",),
    "onnx": ("darknet/onnx/graph.py",),
    "openvino": ("darknet/engines/openvino.py", "darknet/quantization.py"),
    "nncf": ("darknet/quantization.py",),
    "onnxruntime": ("darknet/engines/onnxruntime.py",),
    "av": ("yolo_service/videos/",),
    "ctypes": ("darknet/engines/libdarknet", "yolo_service/process.py"),
    "boto3": ("yolo_service/s3.py",),
    "botocore": ("yolo_service/s3.py",),
    "connexion": ("yolo_service/http/",),
    "flask": ("yolo_service/http/", "yolo_service/api/"),
    "werkzeug": ("yolo_service/http/", "yolo_service/api/", "yolo_service/cluster/serve"),
    "gevent": ("yolo_service/http/", "yolo_service/api/"),
    "redis": (
        "yolo_service/redis.py",
        "yolo_service/redis_subscriber.py",
        "yolo_service/inputs/redis",
    ),
    "pyarrow": ("yolo_service/outputs/parquet.py", "yolo_service/cluster/"),
    "pydantic": ("yolo_service/",),
    "prometheus_client": ("yolo_service/",),
    "click": ("yolo_service/cli/",),
    "ray": ("yolo_service/cluster/",),
    "starlette": ("yolo_service/cluster/",),
    "a2wsgi": ("yolo_service/http/asgi.py",),
    "yolo_service": ("yolo_service/",),
    "yolo_service.cli": ("yolo_service/cli/",),
    "yolo_service.cluster": ("yolo_service/cluster/", "yolo_service/cli/"),
    "yolo_service.http": (
        "yolo_service/http/",
        "yolo_service/cli/",
        "yolo_service/cluster/serve",
        "yolo_service/doctor/",
    ),
    "yolo_service.api": ("yolo_service/api/", "yolo_service/http/", "yolo_service/cluster/serve"),
    "darknet.training": ("darknet/training/", "yolo_service/cli/"),
}
"""Packages, and the only places that may import them."""

NEVER = {
    "darknet/cfg/": (
        "darknet.weights",
        "darknet.onnx",
        "darknet.decode",
        "darknet.engines",
        "darknet.network",
    ),
    "darknet/weights.py": ("darknet.onnx", "darknet.engines", "darknet.network"),
    "darknet/onnx/": ("darknet.resize", "darknet.decode", "darknet.network"),
    "darknet/resize.py": ("darknet.weights", "darknet.onnx", "darknet.network"),
    "darknet/decode/": ("darknet.onnx", "darknet.network", "darknet.engines"),
    "darknet/engines/": ("darknet.network",),
    "yolo_service/images/": ("yolo_service.predictor", "yolo_service.models"),
    "yolo_service/formats/": ("yolo_service.models", "yolo_service.images"),
    "yolo_service/models/": ("yolo_service.predictor", "yolo_service.formats"),
    "yolo_service/predictor/": ("yolo_service.inputs", "yolo_service.outputs"),
    "yolo_service/inputs/": ("yolo_service.outputs", "yolo_service.pipeline"),
    "yolo_service/videos/": ("yolo_service.inputs", "yolo_service.outputs"),
    "yolo_service/outputs/": ("yolo_service.pipeline",),
}
"""Files, and what they must not import because it imports them."""


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of everything that a file imports, lazily or not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_in_one_direction(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    for name in imports(path):
        for package, allowed in ONLY_IN.items():
            if within(name, package):
                assert place.startswith(allowed), f"{place} imports {name}"
        for start, forbidden in NEVER.items():
            if place.startswith(start):
                assert not any(within(name, package) for package in forbidden), name


def test_no_test_module_imports_another_one() -> None:
    """What tests share is in tests/support."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        shared = [name for name in imports(path) if re.match(r"tests\.(.*\.)?test_", name)]
        assert not shared, f"{path.relative_to(ROOT)} imports {shared}"


def test_importing_the_library_loads_no_runtime_and_reads_no_file() -> None:
    """An audit hook sees every file opened and library loaded after the interpreter is up."""
    code = (
        "import sys, numpy, cv2\n"
        "seen = []\n"
        "def hook(event, args):\n"
        "    if event in ('ctypes.dlopen', 'socket.connect', 'subprocess.Popen'):\n"
        "        seen.append((event, args))\n"
        "    if event == 'open' and not str(args[0]).endswith(('.py', '.pyc', '.so')):\n"
        "        seen.append((event, args))\n"
        "sys.addaudithook(hook)\n"
        "import darknet\n"
        "heavy = {'torch', 'onnx', 'openvino', 'nncf', 'onnxruntime', 'connexion', 'gevent'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert not seen, seen\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


CORE = """
predictor images.decode images.draw formats inputs.opening outputs.opening pipeline cluster.run
""".split()


@pytest.mark.parametrize("package", CORE)
def test_the_core_needs_no_web_framework(package: str) -> None:
    code = (
        f"import sys, yolo_service.{package}\n"
        "found = {'gevent', 'flask', 'connexion', 'werkzeug'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_no_source_file_is_longer_than_400_lines() -> None:
    others = [path for name in ("tests", "benchmarks") for path in (ROOT / name).rglob("*.py")]
    for path in (*SOURCES, *others, *(ROOT / "yolo_service" / "web").glob("*.*")):
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines"
