"""Read a Darknet .cfg; sizes are checked before anything of that size is allocated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from darknet.cfg import layers as L  # noqa: N812 - layer classes read best with a prefix
from darknet.cfg.builders import COMMON, LAYERS, Context
from darknet.cfg.heads import HEADS
from darknet.cfg.input_size import InputSize, resized, stride
from darknet.cfg.net import Net, build_net
from darknet.cfg.sections import Section, parse_sections
from darknet.errors import CfgError
from darknet.limits import memory_bytes
from darknet.text_files import read_bytes

BUILDERS = {**LAYERS, **HEADS}
"""The function that builds the layer of each section, by the section's name."""
MIN_ELEMENTS = 1 << 30
"""Number of elements, of all feature maps of an image or of all weights, that is never refused."""
_BYTES_PER_ELEMENT = 4
MAX_LAYERS = 4096
"""Largest number of layers; the largest published networks have about 300."""


@dataclass(frozen=True, eq=False)
class Cfg:
    """A network: its input, its layers and warnings.

    Attributes:
        source: name of the file, for messages.
        text: text of the .cfg.
        net: the ``[net]`` section.
        layers: the layers in order; ``layers[i].index == i``.
        warnings: unknown options, as ``file:line: option: ...``.
        input_size: (width, height) that replaced those of ``[net]``; None: the .cfg's own.
    """

    source: str
    text: str
    net: Net
    layers: tuple[L.Layer, ...]
    warnings: tuple[str, ...]
    input_size: InputSize | None = None

    @property
    def stride(self) -> InputSize:
        """Pixels of the input per cell of the coarsest feature map, in x and in y."""
        return stride(self.layers)

    @property
    def heads(self) -> tuple[L.Head, ...]:
        """The ``[yolo]`` and ``[region]`` layers, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, L.Head))

    @property
    def classes(self) -> int:
        """Number of classes of the heads.

        Raises:
            CfgError: there is no head, or the heads have different numbers of classes.
        """
        counts = {head.classes for head in self.heads}
        if len(counts) != 1:
            found = f"{sorted(counts)}" if counts else "no [yolo] or [region] section"
            raise CfgError(
                f"a detector needs heads with one number of classes, found {found}",
                source=self.source,
            )
        return counts.pop()


def read_cfg(path: str | Path, *, input_size: InputSize | None = None) -> Cfg:
    """Read a .cfg file.

    Args:
        path: the file; its class tree and map are searched for beside it.
        input_size: see ``parse_cfg``.

    Raises:
        CfgError: the file cannot be read, or is not a valid network.
        NamesError: its class tree or map is missing or wrong.
    """
    path = Path(path)
    try:
        text = read_bytes(path).decode("utf-8", errors="replace")
    except OSError as error:
        reason = error.strerror or str(error)
        raise CfgError(f"cannot be read: {reason}", source=str(path)) from error
    return parse_cfg(text, source=str(path), folder=path.parent, input_size=input_size)


def parse_cfg(
    text: str,
    *,
    source: str = "<string>",
    folder: Path | None = None,
    input_size: InputSize | None = None,
) -> Cfg:
    """Parse the text of a .cfg into layers with shapes.

    Args:
        text: the .cfg.
        source: name of the file, for messages.
        folder: where its class tree and map are searched for first.
        input_size: (width, height) of the network's input in pixels, multiples of its stride,
            instead of those of the .cfg; None: those.

    Raises:
        CfgError: it is not a valid network, or cannot be computed at ``input_size``.
        NamesError: its class tree or map is missing or wrong.
    """
    sections = parse_sections(text, source)
    if not sections or sections[0].name not in ("net", "network"):
        raise CfgError("the first section must be [net]", source=source, line=1)
    if not 2 <= len(sections) <= MAX_LAYERS:
        raise CfgError(
            f"expected 1 to {MAX_LAYERS - 1} layers, found {len(sections) - 1}", source=source
        )
    net = build_net(sections[0])
    layers = _layers(sections[1:], net, folder)
    if input_size == (net.input.width, net.input.height):
        input_size = None
    if input_size:
        net, layers = resized(
            net, layers, input_size, lambda net: _layers(sections[1:], net, folder), source
        )
    warnings = itertools.chain.from_iterable(_warnings(source, each) for each in sections)
    return Cfg(source, text, net, layers, tuple(warnings), input_size)


def _warnings(source: str, section: Section) -> Iterator[str]:
    yield from section.warnings
    for name, option in section.unused():
        yield f"{source}:{option.line}: {name}: unknown option of [{section.name}], ignored"


def _layers(sections: list[Section], net: Net, folder: Path | None) -> tuple[L.Layer, ...]:
    built: tuple[L.Layer, ...] = ()
    elements = weights = 0
    for section in sections:
        section.known(COMMON)
        section.refuse("dontload", "dontloadscales", "numload")
        builder = BUILDERS.get(section.name)
        if builder is None:
            raise section.error(f"unknown section; known are {', '.join(sorted(BUILDERS))}")
        shape = built[-1].output if built else net.input
        layer = builder(Context(section, built, shape, folder))
        elements += layer.output.size
        weights += layer.parameters
        _check_size(section, layer, elements, weights)
        built = (*built, layer)
    return built


def _check_size(section: Section, layer: L.Layer, elements: int, weights: int) -> None:
    if min(layer.output) < 1:
        raise section.error(f"its output would be empty: {tuple(layer.output)} of {layer.input}")
    for what, count in (("feature maps", elements), ("weights", weights)):
        if count > MIN_ELEMENTS and count > (limit := memory_bytes() // _BYTES_PER_ELEMENT):
            raise section.error(
                f"the {what} up to here have {count} elements; the memory of this machine holds "
                f"{limit}"
            )
