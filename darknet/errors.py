"""The exceptions of the library.

::

    DarknetError
    ├── ModelError              the files of a model are wrong
    │   ├── CfgError            the .cfg (has source, line, option)
    │   ├── WeightsError        the .weights
    │   ├── NamesError          the names list, the .data file, the class tree or the map
    │   ├── QuantizationError   the int8 version is missing, damaged or of other files
    │   └── UnsupportedError    the files are valid, but the engine cannot compute them exactly
    ├── EngineError             a runtime is missing or failed
    │   ├── EngineUnavailableError   the library or Python package is missing or incompatible
    │   ├── DeviceUnavailableError   the requested device is not on this machine
    │   └── InferenceError      the runtime failed while it computed
    │       └── DeviceMemoryError   the device has too little memory for the network
    ├── ImageError              an array is not an RGB uint8 image, or a threshold is out of range
    └── DataError               labelled images or training options are wrong

Exceptions of third-party packages are wrapped in one of these and chained.
"""

from __future__ import annotations


class DarknetError(Exception):
    """Base class of all exceptions of the library."""


class ModelError(DarknetError):
    """The files of a model are wrong; fix the files, a retry fails again."""


class CfgError(ModelError):
    """A .cfg is not a valid network.

    Attributes:
        source: name of the file, or ``<string>``.
        line: line number from 1, or None for the file as a whole.
        option: name of the option, or None for the section as a whole.
    """

    def __init__(
        self, message: str, *, source: str, line: int | None = None, option: str | None = None
    ) -> None:
        self.source, self.line, self.option = source, line, option
        place = source if line is None else f"{source}:{line}"
        super().__init__(f"{place}: {f'{option}: ' if option else ''}{message}")


class WeightsError(ModelError):
    """A .weights file cannot be read, or does not match its .cfg."""


class NamesError(ModelError):
    """A names list, .data file, class tree or class map is wrong or does not match its model."""


class QuantizationError(ModelError):
    """An int8 version is missing, damaged, made from other files, or cannot be created."""


class UnsupportedError(ModelError):
    """A valid model that the engine cannot compute exactly; the message names one that can."""


class EngineError(DarknetError):
    """A runtime is missing, is incompatible with this machine, or failed."""


class EngineUnavailableError(EngineError):
    """The shared library or Python package of an engine is missing or incompatible."""


class DeviceUnavailableError(EngineError):
    """This machine does not have the requested device, or the device not the precision."""


class InferenceError(EngineError):
    """The runtime failed while it computed."""


class DeviceMemoryError(InferenceError):
    """The device has too little memory for the network; the message names a smaller input size."""


class ImageError(DarknetError, ValueError):
    """An array is not an RGB uint8 image, or a threshold is out of range."""


class DataError(DarknetError):
    """Labelled images or training options are wrong."""
