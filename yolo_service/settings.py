"""The settings of the service, read from the environment by ``load_settings``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic import model_validator as check_model
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from darknet.limits import available_cpus
from darknet.model import EngineName, Precision
from darknet.tiling import MAX_TILES
from yolo_service.errors import ConfigurationError
from yolo_service.input_size import InputSizeOption
from yolo_service.package_data import CATALOG

PREFIX = "YOLO_"

_NOT_OURS = (f"{PREFIX}SERVICE_", f"{PREFIX}TEST_")
"""Prefixes of variables that are made by platforms and read by tests."""

_SECRETS = frozenset({"api_key", "ml_api_token", "ML_API_TOKEN"})

Decode = Literal["exact", "fast", "reduced"]
Words = Annotated[tuple[str, ...], NoDecode]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode]


def _place(value: object) -> object:
    is_address = isinstance(value, str) and re.match(r"(https?|s3)://", value)
    return value if is_address or not isinstance(value, str) else Path(value)


ModelFile = Annotated[Path | str, BeforeValidator(_place)]
"""A path, or a text that is an address."""

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/?#@*\s]+", re.ASCII)


SAGEMAKER = Path("/opt/ml/model")
"""Where SageMaker unpacks the models of an endpoint."""


def default_models_dir() -> Path:
    """Return ``./models`` if that folder exists, else ``models`` in the user's data folder."""
    local = Path("models")
    if local.is_dir():
        return local
    return platformdirs.user_data_path("yolo-service", appauthor=False) / "models"


class Settings(BaseSettings):
    """The settings; ``NAME`` is read from the environment variable ``YOLO_NAME``.

    An empty variable is ignored. ``config_file``, ``weights_file`` and ``meta_file`` have the
    variable names of the classic service, without a prefix.

    Attributes:
        models_dir: folder with one sub-folder per model; by default ``./models`` if it exists, else
            ``models`` in the user's data folder. Models that come with the package need neither.
        model: name of the default model; None: the first one by name that is complete.
        models_mirror: URL, address of S3 or folder with ``NAME/FILE`` of all models; None: the
            models' own sources.
        model_idle_timeout: seconds without a request after which a model is unloaded, the default
            model too; its next use loads it again. None: never.
        model_memory_mb: size of weights that may be in memory, in MB of 1,000,000 bytes; the models
            used least recently are unloaded for others. None: no limit.
        engine: the inference engine; ``auto`` selects the fastest one.
        device: the engine's device; None: its default. A missing device is an error at start.
        precision: ``fp32`` equals Darknet, ``fast`` uses the hardware's native type, ``int8`` the
            version that ``yolo-service quantize`` made of the model, with OpenVINO.
        input_size: (width, height) of the default model's input, such as ``416`` or ``640x480``, a
            multiple of the network's stride; None: that of its model.yaml, else of its .cfg.
        cache_dir: folder for networks compiled by OpenVINO and TensorRT, which are loaded at the
            next start; only trusted users may write to it. None: they are not kept.
        host: address to listen on.
        port: TCP port; 0: any free one. Plain ``PORT`` is read, too.
        api_key: the key that clients have to send; None: no authentication.
        ml_api_token: the key that Obico's clients may send to ``/p/``; from ``ML_API_TOKEN``.
        cors_origins: origins of the web pages that may read answers, such as
            ``https://example.org``, or ``*`` for any; by default none but the service's own.
        max_upload_mb: largest body and largest download, in MB of 1,000,000 bytes.
        max_pixels: largest image, width * height.
        libdarknet: path of the C library; None: the one of the system.
        url_allow_networks: networks of image URLs that are allowed although they are not public.
        url_timeout: seconds that fetching an image URL may take in all.
        queue_size: images that may wait for a worker; requests with more are answered 503.
        queue_seconds: a request that would wait longer for a worker is answered 503 at once.
        batch_size: largest batch of the network; None: up to 6 waiting images, if the network is
            fast.
        batch_wait_ms: longest time that a worker waits for a batch of this size to fill.
        max_tiles: most tiles that a request may cut an image into; each is computed like an image.
        request_timeout: seconds that a request may take in all.
        decode: ``exact``; or ``fast``: a JPEG's subsampled colours are not interpolated; or
            ``reduced``: one that is at least twice as large as the network's input is also decoded
            at 4/8, 3/8, 2/8 or 1/8 of its size. By default ``exact`` where the model computes in
            fp32, else ``fast``.
        workers: native threads that decode and compute; by default the number of CPUs plus one,
            which keeps all CPUs busy. With 1, all CPUs compute one image, for the lowest latency.
        page: whether ``/`` is the page that shows detections.
        public_models: names of models that browsers may load and compute by themselves, besides
            those whose model.yaml says ``public: true``.
        log_format: ``text`` for people, ``json`` for log collectors.
        config_file: .cfg of the classic service; with the two others it is the default model. Each
            is a path or an address (``https://``, ``s3://``), which is pulled at the start.
        weights_file: .weights of the classic service.
        meta_file: .data or .meta file of the classic service, which names the list of class
            names, or that list itself.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
    )

    models_dir: Path = Field(default_factory=default_models_dir)
    model: str | None = None
    models_mirror: str | None = None
    model_idle_timeout: float | None = Field(default=None, gt=0)
    model_memory_mb: int | None = Field(default=None, ge=1)
    engine: EngineName = "auto"
    device: str | None = None
    precision: Precision = "fp32"
    input_size: Annotated[InputSizeOption, NoDecode] | None = None
    cache_dir: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(
        default=8080, ge=0, le=65535, validation_alias=AliasChoices(f"{PREFIX}PORT", "PORT")
    )
    api_key: SecretStr | None = None
    ml_api_token: SecretStr | None = Field(default=None, validation_alias="ML_API_TOKEN")
    cors_origins: Words = ()
    max_upload_mb: int = Field(default=20, ge=1, le=2000)
    max_pixels: int = Field(default=50_000_000, ge=1)
    libdarknet: Path | None = None
    url_allow_networks: Networks = ()
    url_timeout: float = Field(default=10.0, gt=0, le=600)
    queue_size: int = Field(default=64, ge=1)
    queue_seconds: float = Field(default=10.0, gt=0)
    batch_size: int | None = Field(default=None, ge=1, le=256)
    batch_wait_ms: float = Field(default=0.0, ge=0, le=1000)
    max_tiles: int = Field(default=32, ge=1, le=MAX_TILES)
    request_timeout: float = Field(default=60.0, gt=0, le=3600)
    decode: Decode | None = None
    workers: int = Field(default_factory=lambda: available_cpus() + 1, ge=1, le=256)
    page: bool = True
    public_models: Words = ()
    log_format: Literal["text", "json"] = "text"
    config_file: ModelFile | None = Field(default=None, validation_alias="config_file")
    weights_file: ModelFile | None = Field(default=None, validation_alias="weights_file")
    meta_file: ModelFile | None = Field(default=None, validation_alias="meta_file")

    @field_validator("url_allow_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return [ip_network(part.strip()) for part in value.split(",") if part.strip()]
        except ValueError as error:
            raise ValueError(f"{error}; expected networks such as 10.0.0.0/8,fd00::/8") from error

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        origins = [part.strip().lower() for part in value.split(",") if part.strip()]
        if wrong := [origin for origin in origins if not _ORIGIN.fullmatch(origin)]:
            raise ValueError(
                f"{wrong[0][:100]!r} is no origin; expected * or origins such as "
                "https://example.org,http://192.168.1.5:8123 without a path"
            )
        return origins

    @field_validator("public_models", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("api_key", "ml_api_token")
    @classmethod
    def _can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value() if key else "-"
        if not (text.isascii() and text.isprintable() and text == text.strip()):
            raise ValueError("expected printable ASCII without blanks around it, as headers carry")
        return key

    @check_model(mode="after")
    def _three_files_or_none(self) -> Settings:
        files = ("config_file", "weights_file", "meta_file")
        missing = [name for name in files if getattr(self, name) is None]
        if 0 < len(missing) < len(files):
            raise ValueError(f"{', '.join(files)} belong together; missing: {', '.join(missing)}")
        return self

    @property
    def model_roots(self) -> tuple[Path, ...]:
        """Folders of the models: SageMaker's if there is one, ``models_dir``, the package's own.

        The last is left out where ``models_dir`` is set.
        """
        own = () if "models_dir" in self.model_fields_set else (CATALOG,)
        deployed = (SAGEMAKER,) if SAGEMAKER.is_dir() else ()
        return (*deployed, self.models_dir, *own)

    @property
    def model_memory_bytes(self) -> int | None:
        """``model_memory_mb`` in bytes."""
        return None if self.model_memory_mb is None else self.model_memory_mb * 1_000_000

    @property
    def max_upload_bytes(self) -> int:
        """``max_upload_mb`` in bytes."""
        return self.max_upload_mb * 1_000_000


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment.

    Args:
        overrides: values that take precedence over the environment, by attribute name.

    Raises:
        ConfigurationError: with one line per bad setting.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError("\n".join(map(_line, error.errors()))) from error


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Describe each variable that has the prefix and is no setting, as misspelt ones are.

    Kubernetes and compose make variables of a service's name, ``YOLO_SERVICE_PORT`` among them.
    """
    known = [variable for name in Settings.model_fields for variable in _variables(name)]
    unknown = (
        name
        for name in sorted(environment)
        if name.startswith(PREFIX) and not name.startswith(_NOT_OURS) and name.upper() not in known
    )
    return [f"{name} is no setting{_nearest(name, known)}" for name in unknown]


def _nearest(name: str, known: list[str]) -> str:
    words = {variable.removeprefix(PREFIX): variable for variable in known}
    near = get_close_matches(name.removeprefix(PREFIX), words, n=1)
    return f"; did you mean {words[near[0]]}?" if near else "; the README lists those there are"


def _variables(name: str) -> list[str]:
    """Return the names that the variable of a setting may have."""
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [str(alias or f"{PREFIX}{name.upper()}")]


def _line(error: Any) -> str:
    """Describe one wrong variable; secrets are left out."""
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    name = str(error["loc"][0])
    has_alias = name.isupper() or name.endswith("_file")
    variable = name if has_alias else f"{PREFIX}{name.upper()}"
    found = "" if name in _SECRETS else f"; found {error['input']!r}"
    return f"{variable}: {message}{found}"
