"""Whether Ray is there (extra ``ray``)."""

from __future__ import annotations

from importlib.util import find_spec

from yolo_service.errors import ConfigurationError


def require_ray() -> None:
    """Check that Ray is installed; does not import it, which takes a second.

    Raises:
        ConfigurationError: it is not.
    """
    if find_spec("ray") is None:
        raise ConfigurationError("Ray is not installed; pip install 'yolo-service[ray]'")
