"""The exceptions of the service, each with its HTTP status.

::

    ServiceError
    ├── BadRequest 400              a parameter, a form or a body is wrong
    │   ├── FetchForbidden 400      the image URL is not allowed: scheme, host, network
    │   └── ClientGone 400          the client has closed its connection
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

    ConfigurationError              the service cannot start with these settings
    ├── PullError                   a model could not be downloaded
    └── StoreError                  an object store is missing, unreachable or refuses

    PipelineError                   ``yolo-service detect`` cannot go on, or not with this item
    ├── ItemError                   one item of an input cannot be read; the others go on
    ├── InputError                  the input as a whole cannot be read; the run ends
    └── OutputError                 the output cannot be written; the run ends

The message is sent to the client: what was wrong, what was expected and what to do, without
secrets, paths of temporary files and tracebacks. ``yolo_service.api.problems`` turns each into an
``application/problem+json`` response (RFC 9457).
"""

# ruff: noqa: N818 - the names are those of HTTP's statuses and of what failed, without a suffix

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Base of the errors that are sent to the client.

    Attributes:
        status: the HTTP status.
        title: a few words that are the same for every error of this class.
        type: a name for programs, stable between versions.
        retry_after: seconds after which the client should try again, or None.
        default_detail: the detail if none is given.
        detail: what was wrong, what was expected and what to do.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    type: ClassVar[str] = "internal-error"
    retry_after: int | None = None
    default_detail: ClassVar[str] = ""

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or self.default_detail
        super().__init__(self.detail)

    def drop_traceback(self) -> None:
        """Forget where it was raised, for when it is answered or handed to another thread.

        The frames of a traceback hold the image, and the exception is in them: a cycle that stays
        in memory until the garbage collector looks at it.
        """
        self.__traceback__ = self.__cause__ = self.__context__ = None


class BadRequest(ServiceError):
    """A parameter, a form or a body is wrong; the client has to change it.

    Attributes:
        name: the parameter, field or member that is wrong, prefixed to the detail; or None.
    """

    status, title, type = 400, "Bad request", "bad-request"

    def __init__(self, detail: str = "", *, name: str | None = None) -> None:
        super().__init__(detail if name is None else f"{name}: {detail}")
        self.name = name


class FetchForbidden(BadRequest):
    """The scheme, host or network of the image URL is not allowed."""

    title, type = "URL not allowed", "url-not-allowed"


class ClientGone(BadRequest):
    """The client closed its connection; the error is only logged."""

    title, type = "Client gone", "client-gone"
    default_detail = "the client closed the connection before it was served"


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
    """An image of a known format is damaged or incomplete."""

    status, title, type = 422, "Image cannot be decoded", "undecodable-image"


class FetchFailed(ServiceError):
    """The image URL did not answer, or not with an image."""

    status, title, type = 424, "URL could not be fetched", "fetch-failed"


class Unavailable(ServiceError):
    """The service cannot answer now, but may later."""

    status, title, type = 503, "Unavailable", "unavailable"
    retry_after: int | None = 1


class Overloaded(Unavailable):
    """The queue before the networks is full, or the memory for requests is used."""

    title, type = "Overloaded", "overloaded"

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ShuttingDown(Unavailable):
    """The service finishes the requests that it has accepted and accepts no more."""

    title, type = "Shutting down", "shutting-down"
    default_detail = "the service is stopping; try another instance"


class ModelUnavailable(Unavailable):
    """The files of the model or its engine are broken; the detail names the fault."""

    title, type = "Model unavailable", "model-unavailable"
    retry_after = None


class DeadlineExceeded(ServiceError):
    """The request was not served in time."""

    status, title, type = 504, "Deadline exceeded", "deadline-exceeded"
    default_detail = "the request could not be served within YOLO_REQUEST_TIMEOUT"


class ConfigurationError(Exception):
    """The settings or the models folder do not allow a start; one line for each fault."""


class PullError(ConfigurationError):
    """A model could not be pulled, or the files are not those of the model."""


class StoreError(ConfigurationError):
    """An object in a store such as S3 cannot be read or written.

    Attributes:
        may_pass: whether a later try may succeed.
        is_changed: whether the object is not, or no longer, the expected one.
    """

    def __init__(self, detail: str, *, may_pass: bool = False, is_changed: bool = False) -> None:
        super().__init__(detail)
        self.may_pass, self.is_changed = may_pass, is_changed


class PipelineError(Exception):
    """Something between an input and an output; the message names what, and what to do."""


class ItemError(PipelineError):
    """One item of an input cannot be read or answered; it has failed, and the others go on."""


class InputError(PipelineError):
    """An input as a whole cannot be read: the folder is gone, the server refuses the password."""


class OutputError(PipelineError):
    """An output cannot be written: the disk is full, the server is gone.

    What was not written is not acknowledged.
    """
