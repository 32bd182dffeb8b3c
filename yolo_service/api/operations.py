"""The handler of every operation of swagger.yaml, by its operationId.

Generated clients name their functions after the operationIds, so these stay when modules change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from flask.typing import ResponseReturnValue

from yolo_service.api import (
    annotate,
    deepstack,
    detect,
    health,
    inference_protocol,
    metrics,
    models,
    obico,
    sagemaker,
)

Handler = Callable[..., ResponseReturnValue]

HANDLERS: Final[Mapping[str, Handler]] = {
    "detect_by_url": detect.by_url,
    "detect_by_upload": detect.by_upload,
    "annotate_by_url": annotate.by_url,
    "annotate_by_upload": annotate.by_upload,
    "list_models": models.catalog,
    "get_model": models.one,
    "get_model_as_onnx": models.onnx,
    "check_liveness": health.alive,
    "check_readiness": health.ready,
    "get_metrics": metrics.scrape,
    "obico_detect": obico.predict,
    "obico_check_readiness": obico.healthy,
    "sagemaker_ping": sagemaker.ping,
    "sagemaker_ping_with_slash": sagemaker.ping_with_slash,
    "sagemaker_invoke": sagemaker.invoke,
    "deepstack_detect": deepstack.detection,
    "deepstack_detect_with_model": deepstack.custom,
    "deepstack_list_models": deepstack.models,
    "deepstack_ping": deepstack.ping,
    "deepstack_get_version": deepstack.version,
    "deepstack_check_update": deepstack.update_available,
    "inference_get_server": inference_protocol.server,
    "inference_check_liveness": inference_protocol.live,
    "inference_check_readiness": inference_protocol.ready,
    "inference_get_model": inference_protocol.model,
    "inference_check_model": inference_protocol.model_ready,
    "inference_infer": inference_protocol.infer,
    "inference_get_model_config": inference_protocol.config,
    "inference_get_version": inference_protocol.model_version,
    "inference_check_version": inference_protocol.version_ready,
    "inference_infer_version": inference_protocol.version_infer,
    "inference_get_version_config": inference_protocol.version_config,
    "inference_list_models": inference_protocol.repository_index,
}
