"""The service as an application of Ray Serve: ``serve run yolo_service.cluster.serve:app``.

Every replica is the whole application, with its own predictor and models. The settings come from
the environment, as without Ray; how many replicas there are, and of what size, from ``Options``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
import warnings
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from yolo_service.api.service import Service
from yolo_service.cluster import serve_front
from yolo_service.cluster.ray import require_ray
from yolo_service.errors import ConfigurationError
from yolo_service.http.app import create_app
from yolo_service.http.asgi import AsgiApplication, Receive, Scope, Send
from yolo_service.http.serve import (
    CLOSE_SECONDS,
    REQUESTS_SECONDS,
    body_budget,
    open_service,
    prepare_process,
)
from yolo_service.models.opening import ensure_model
from yolo_service.settings import Settings, load_settings

require_ray()

from ray import serve  # noqa: E402 - require_ray() has to run first
from ray.serve.config import AutoscalingConfig, BackpressureConfig  # noqa: E402

log = logging.getLogger(__name__)

NAME = "yolo-service"
"""Of the deployment."""

CLUSTER = {
    serve_front.VARIABLE: serve_front.IMPORT_PATH,
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
}
"""Variables of the processes of a cluster. The application has threads of its own: those of Ray's
proxies and replicas besides would cost 2 ms a request."""

HEALTH_SECONDS = 5.0
"""Between two checks of a replica's readiness, and for one of them."""


METRICS_SECONDS = 1.0
"""How late Ray's autoscaler hears of requests, also where no replica runs; by default 10 s."""


class Options(BaseModel):
    """Arguments of ``serve run yolo_service.cluster.serve:app NAME=VALUE ...``.

    Attributes:
        num_replicas: a number, or ``auto``: as many as the requests need.
        min_replicas: with ``auto``; 0: none while there are no requests.
        max_replicas: with ``auto``.
        num_cpus: CPUs of a replica, whose engine and workers have so many threads.
        num_gpus: GPUs of a replica.
        idle_seconds: with ``auto``; without requests for so long, replicas are stopped.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_replicas: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", union_mode="left_to_right"
    )
    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=10, ge=1)
    num_cpus: float = Field(default=1.0, gt=0)
    num_gpus: float = Field(default=0.0, ge=0)
    idle_seconds: float = Field(default=300.0, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Options:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas is above max_replicas: {self.max_replicas}")
        return self


def app(arguments: dict[str, Any]) -> serve.Application:
    """Make the application; ``serve run`` calls this before it starts Ray.

    If it does start Ray, the cluster gets ``CLUSTER`` by the environment.

    Raises:
        ConfigurationError: an option or a setting is wrong.
    """
    try:
        options = Options.model_validate(arguments)
    except ValidationError as error:
        raise ConfigurationError(str(error)) from error
    for variable, value in CLUSTER.items():
        os.environ.setdefault(variable, value)
    queue_size = load_settings().queue_size
    return deployment.options(**_scale(options, queue_size)).bind()


def _scale(options: Options, queue_size: int) -> dict[str, Any]:
    """Return what Ray Serve has to know of a deployment.

    A replica gets no more requests than its queue takes: where it would be full, Serve tries
    another one. As many again may wait in each proxy; the rest is refused.
    """
    actor = {"num_cpus": options.num_cpus, "num_gpus": options.num_gpus}
    scale: dict[str, Any] = {"ray_actor_options": actor, "max_ongoing_requests": queue_size}
    if options.num_replicas != "auto":
        queued = queue_size * options.num_replicas
        return {**scale, "num_replicas": options.num_replicas, "max_queued_requests": queued}
    queued = queue_size * options.max_replicas
    return {**scale, "autoscaling_config": _autoscaling(options), "max_queued_requests": queued}


def _autoscaling(options: Options) -> AutoscalingConfig:
    with warnings.catch_warnings():
        # The variable that is to replace metrics_interval_s has no effect in Ray 2.60.
        warnings.filterwarnings("ignore", "The `metrics_interval_s`", DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=options.min_replicas,
            max_replicas=options.max_replicas,
            target_ongoing_requests=_busy_requests(options.num_cpus),
            upscale_delay_s=5.0,
            downscale_delay_s=options.idle_seconds,
            metrics_interval_s=METRICS_SECONDS,
        )


def _busy_requests(cpus: float) -> int:
    """Return how many requests keep the workers busy, with one that waits for each of them."""
    return 2 * (math.ceil(cpus) + 1)


class Replica:
    """A replica: the application of one process."""

    _service: Service

    async def __serve_build_asgi_app__(self) -> Any:
        """Open the service, and return the ASGI application; Ray Serve calls this at the start.

        Raises:
            ServiceError: the default model cannot be loaded.
            ConfigurationError: a setting is wrong.
        """
        settings = load_settings()
        prepare_process(settings)
        # gevent waits in the thread that calls it, and must not stop the event loop.
        self._service = await asyncio.to_thread(_open_service, settings)
        # Requests that name the default model may go to every replica.
        await self._announce(self._service.predictor.models.default)
        application = AsgiApplication(
            create_app(self._service).app,
            settings.request_timeout,
            body_budget(settings),
            threads=settings.queue_size,
        )

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            name = serve.get_multiplexed_model_id() if scope["type"] == "http" else ""
            if name and self._service.predictor.models.is_known(name):
                await self._announce(name)  # before it is loaded, so that others do not load it
            await application(scope, receive, send)

        return answer  # uvicorn takes no bound method for an application

    @serve.multiplexed(max_num_models_per_replica=-1)  # type: ignore[untyped-decorator]
    async def _announce(self, name: str) -> str:
        """Tell Ray Serve that this replica has a model; the models are kept by the service."""
        return name

    async def check_health(self) -> None:
        """Check the readiness of the application; Ray Serve replaces a replica that fails.

        Raises:
            Unavailable: requests for the default model fail.
        """
        await asyncio.to_thread(self._service.check_ready)

    async def __del__(self) -> None:
        if service := getattr(self, "_service", None):  # else it could not be opened
            await asyncio.to_thread(service.predictor.close, time.monotonic() + CLOSE_SECONDS)


def _open_service(settings: Settings) -> Service:
    """Open the service and load its default model.

    Raises:
        ConfigurationError: there is no model to serve.
        PullError: it cannot be pulled.
        ModelUnavailable: its files are wrong, or the engine refuses them.
    """
    ensure_model(settings)
    service = open_service(settings)
    log.info("serving %s", service.start().description)
    return service


deployment: serve.Deployment = serve.deployment(
    name=NAME,
    backpressure_config=BackpressureConfig(retry_after_s=serve_front.RETRY_SECONDS),
    graceful_shutdown_timeout_s=REQUESTS_SECONDS + CLOSE_SECONDS,
    health_check_period_s=HEALTH_SECONDS,
    health_check_timeout_s=HEALTH_SECONDS,
    logging_config={"enable_access_log": False},  # the application writes its own lines
)(serve.ingress()(Replica))
