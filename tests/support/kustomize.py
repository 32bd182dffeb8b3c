"""The manifests that kubectl makes of the folders in deploy/kubernetes."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import ROOT
from tests.support.real_parts import installed, missing

Document = dict[str, Any]

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir() if path.is_dir())
COMPONENTS = sorted(path.name for path in (FOLDER / "components").iterdir() if path.is_dir())
PODS = {"apps/v1", "serving.knative.dev/v1"}
"""The versions of the kinds that have a template of pods."""


@functools.cache
def kubectl() -> str:
    """Return the path of a kubectl whose kustomize knows components, as those since 1.21 do."""
    program = installed("kubectl", "kubectl, of Debian 13")
    answer = subprocess.check_output([program, "version", "--client", "-o", "json"])
    if "kustomizeVersion" not in json.loads(answer):
        missing(f"{program} is older than 1.25; apt-get install kubectl, of Debian 13")
    return program


def render(folder: Path) -> list[Document]:
    """Return the manifests of a folder; kubectl must not warn, as of deprecated fields."""
    command = [kubectl(), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


@functools.cache
def _overlay(name: str) -> list[Document]:
    return render(FOLDER / "overlays" / name)


def overlay(name: str) -> list[Document]:
    """Return the manifests of an overlay."""
    return _overlay(name)


def composed(folder: Path, base: str, components: Sequence[str], **more: Any) -> list[Document]:
    """Return the manifests of an overlay of one's own.

    Args:
        folder: an empty one, for its kustomization.
        base: name of an overlay.
        components: names of the components to add.
        more: other fields of the kustomization.
    """
    root = os.path.relpath(FOLDER, folder.resolve())
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{root}/overlays/{base}"],
        "components": [f"{root}/components/{name}" for name in components],
        **more,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(folder)


def of_kind(documents: Sequence[Document], kind: str) -> list[Document]:
    """Return the manifests of a kind."""
    return [document for document in documents if document["kind"] == kind]


def workload(documents: Sequence[Document]) -> Document:
    """Return the one manifest that has a template of pods."""
    (found,) = (document for document in documents if document["apiVersion"] in PODS)
    return found


def pod(documents: Sequence[Document]) -> Document:
    """Return the specification of the pods."""
    found: Document = workload(documents)["spec"]["template"]["spec"]
    return found


def container(documents: Sequence[Document]) -> Document:
    """Return the container of the pods."""
    (found,) = pod(documents)["containers"]
    return dict(found)


def settings(documents: Sequence[Document]) -> Mapping[str, str]:
    """Return the variables that the pods get from the ConfigMap."""
    (found,) = of_kind(documents, "ConfigMap")
    variables: dict[str, str] = found["data"]
    return variables
