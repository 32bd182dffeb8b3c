"""Checks of the machine and the settings: ``yolo-service doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from yolo_service.doctor import engines, machine, serving
from yolo_service.doctor.finding import Finding
from yolo_service.settings import Settings

Check = Callable[[Settings], Iterable[Finding]]

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
    """Run all checks with the settings of the service, causes before their consequences."""
    for check in CHECKS:
        yield from check(settings)
