"""Every error that the service answers on purpose, with its HTTP status.

::

    ServiceError
    ├── BadRequest 400              a parameter, a form or a body is wrong
    │   ├── FetchForbidden 400      the image URL is one that this service does not fetch
    │   └── ClientGone 400          nobody waits for the answer any more
    ├── Unauthorized 401            the API key is missing or wrong
    ├── ModelNotFound 404           no model of this name
    ├── PayloadTooLarge 413         more bytes than YOLO_MAX_UPLOAD_MB
    │   └── ImageTooLarge 413       more pixels than YOLO_MAX_PIXELS
    ├── UnsupportedImageType 415    the bytes are no image of a known format
    ├── UndecodableImage 422        an image of a known format that is damaged
    ├── FetchFailed 424             the image URL did not answer with an image
    ├── Unavailable 503             try again later
    │   ├── Overloaded 503          the queue is full
    │   ├── ShuttingDown 503        the service is stopping
    │   └── ModelUnavailable 503    the model's files or its engine are broken
    └── DeadlineExceeded 504        the request waited longer than YOLO_REQUEST_TIMEOUT

    ConfigurationError              no request is at fault: the service cannot start like this
    └── PullError                   a model could not be brought from where it is published

The message is shown to the client, so it says what was wrong, what was expected and what to do,
and holds no secret, path of a temporary file or traceback. ``yolo_service.api.problems`` turns each
of them into an ``application/problem+json`` answer (RFC 9457).
"""

# ruff: noqa: N818 - the names are those of HTTP's statuses and of what failed, without a suffix

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Base of everything that the service answers with an error on purpose.

    Attributes:
        status: the HTTP status.
        title: a few words that are the same for every error of this class.
        type: a name for programs, stable between versions.
        retry_after: seconds after which trying again makes sense, or None.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    type: ClassVar[str] = "internal-error"

    def __init__(self, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def detail(self) -> str:
        """What was wrong this time, what was expected and what to do."""
        return str(self.args[0])


class BadRequest(ServiceError):
    """A parameter, a form or a body is wrong; the client has to change it.

    Attributes:
        name: the parameter, field or member at fault, told before the detail; None: none alone.
    """

    status, title, type = 400, "Bad request", "bad-request"

    def __init__(self, detail: str, *, name: str | None = None) -> None:
        super().__init__(detail if name is None else f"{name}: {detail}")
        self.name = name


class FetchForbidden(BadRequest):
    """The image URL is one that this service does not fetch: its scheme, host or network."""

    title, type = "URL not allowed", "url-not-allowed"


class ClientGone(BadRequest):
    """The client closed its connection; the answer tells the log only."""

    title, type = "Client gone", "client-gone"

    def __init__(
        self, detail: str = "the client closed the connection before it was served"
    ) -> None:
        super().__init__(detail)


class Unauthorized(ServiceError):
    """The API key is missing or wrong."""

    status, title, type = 401, "Unauthorized", "unauthorized"


class ModelNotFound(ServiceError):
    """The models folder has no model of this name."""

    status, title, type = 404, "Model not found", "model-not-found"


class PayloadTooLarge(ServiceError):
    """A body, a form or a downloaded file has more bytes than the service takes."""

    status, title, type = 413, "Payload too large", "payload-too-large"


class ImageTooLarge(PayloadTooLarge):
    """An image has more pixels than the service decodes."""

    title, type = "Image too large", "image-too-large"


class UnsupportedImageType(ServiceError):
    """The bytes are not an image of a format that the service reads."""

    status, title, type = 415, "Unsupported image type", "unsupported-image-type"


class UndecodableImage(ServiceError):
    """An image of a known format that is damaged or incomplete."""

    status, title, type = 422, "Image cannot be decoded", "undecodable-image"


class FetchFailed(ServiceError):
    """The image URL did not answer, or not with an image."""

    status, title, type = 424, "URL could not be fetched", "fetch-failed"


class Unavailable(ServiceError):
    """The service cannot answer now, but may later."""

    status, title, type = 503, "Unavailable", "unavailable"

    def __init__(self, detail: str, *, retry_after: int | None = 1) -> None:
        super().__init__(detail, retry_after=retry_after)


class Overloaded(Unavailable):
    """The queue before the networks is full."""

    title, type = "Overloaded", "overloaded"


class ShuttingDown(Unavailable):
    """The service finishes what it has accepted and takes nothing new."""

    title, type = "Shutting down", "shutting-down"

    def __init__(self, detail: str = "the service is stopping; try another instance") -> None:
        super().__init__(detail)


class ModelUnavailable(Unavailable):
    """The model is there, but its files or its engine are broken; the detail says what."""

    title, type = "Model unavailable", "model-unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after=None)


class DeadlineExceeded(ServiceError):
    """The request was not served within its time, or not before it could be."""

    status, title, type = 504, "Deadline exceeded", "deadline-exceeded"

    def __init__(
        self, detail: str = "the request could not be served within YOLO_REQUEST_TIMEOUT"
    ) -> None:
        super().__init__(detail)


class ConfigurationError(Exception):
    """The settings or the models folder do not allow a start; one line per thing to mend."""


class PullError(ConfigurationError):
    """A model could not be pulled, or what came is not that model; says what was wrong where."""
