"""Every error that the library raises.

::

    DarknetError
    ├── ModelError              the model's files are wrong
    │   ├── CfgError            the .cfg (has source, line, option)
    │   ├── WeightsError        the .weights
    │   ├── NamesError          the names list, the .data file, the class tree or the map
    │   ├── QuantizationError   the int8 version is missing, damaged or of other files
    │   └── UnsupportedError    the files are fine, but this engine cannot run them exactly
    ├── EngineError             the runtime is wrong
    │   ├── EngineUnavailableError   the library or Python package is missing or does not fit
    │   ├── DeviceUnavailableError   the requested device is not on this machine
    │   └── InferenceError      the runtime failed on an image
    ├── ImageError              an array that is not an RGB uint8 image, or a bad threshold
    └── DataError               labelled images that nothing can be trained or measured with

An error of a third party never leaves this package: it is wrapped here and chained.
"""

from __future__ import annotations


class DarknetError(Exception):
    """Base of everything this library raises on purpose."""


class ModelError(DarknetError):
    """The files of a model are wrong; retrying will not help, mending the files will."""


class CfgError(ModelError):
    """A .cfg that cannot be a network.

    Attributes:
        source: name of the file, or ``<string>``.
        line: line number from 1, or None when the file as a whole is meant.
        option: the option's name, or None when the section as a whole is meant.
    """

    def __init__(
        self, message: str, *, source: str, line: int | None = None, option: str | None = None
    ) -> None:
        self.source, self.line, self.option = source, line, option
        place = source if line is None else f"{source}:{line}"
        super().__init__(f"{place}: {f'{option}: ' if option else ''}{message}")


class WeightsError(ModelError):
    """A .weights file whose bytes do not fit its .cfg."""


class NamesError(ModelError):
    """A list of names, .data file, class tree or class map that does not fit its model."""


class QuantizationError(ModelError):
    """An int8 version that is missing, damaged, of other files, or that could not be made."""


class UnsupportedError(ModelError):
    """A valid model that this engine cannot compute exactly; the message names one that can."""


class EngineError(DarknetError):
    """A runtime is missing, does not fit this machine, or failed."""


class EngineUnavailableError(EngineError):
    """The shared library or Python package of an engine is missing or has an unknown layout."""


class DeviceUnavailableError(EngineError):
    """The requested device or precision does not exist on this machine."""


class InferenceError(EngineError):
    """The runtime failed while it computed."""


class ImageError(DarknetError, ValueError):
    """An array that is not an RGB uint8 image, or a threshold outside its range."""


class DataError(DarknetError):
    """Labelled images, or options of a training, that nothing can be learned or measured with."""
