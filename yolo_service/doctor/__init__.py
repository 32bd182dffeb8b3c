"""Checks of the machine and the settings: ``yolo-service doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from yolo_service.doctor import engines, machine, serving
from yolo_service.doctor.finding import Finding
from yolo_service.settings import Settings

Check = Callable[[Settings], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    machine.system,
    machine.cpu,
    machine.memory,
    machine.gpu,
    engines.openvino,
    engines.onnxruntime,
    engines.libdarknet,
    serving.models,
    serving.default_model,
    serving.models_folder,
    serving.port,
    serving.access,
)


def examine(settings: Settings) -> Iterator[Finding]:
    """Run all checks in order; a check comes after those whose results explain its own.

    Args:
        settings: the settings that the service would start with.
    """
    for check in CHECKS:
        yield from check(settings)
