"""What the command line says about inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event


@dataclass(frozen=True)
class InputOptions:
    """Options of inputs; each uses what fits it.

    Attributes:
        watch: whether to wait for new items for ever.
        stop_file: ends ``watch`` when it exists.
        poll: seconds between two looks at a source that cannot tell what is new.
        delete: whether the source of a done item is deleted.
        move_to: folder that the source of a done item is moved to, in its relative place.
        move_to_store: prefix that objects of a store are moved below, as an address.
        failed_to: folder that the source of a failed item is moved to, with its error beside it.
        drawn_to: folder of annotated images, which have the names of the images.
        ignored: folders that are no source although they may be within one: those of results.
        ignored_addresses: likewise, as addresses of a store.
        drawn_to_store: prefix of annotated images, as an address of a store.
        max_bytes: largest image of a source that does not belong to the user.
        timeout: seconds that such an image may take to arrive.
        is_alone: whether there is no other source; else the names of objects have their bucket and
            whole key, so that they differ.
        reads: whether items may be read before they are taken; without it only their ``address``
            is needed, because other machines read them.
        is_stopping: set when the run is to end: then a source that is gone is not waited for.
    """

    watch: bool = False
    stop_file: Path | None = None
    poll: float = 1.0
    delete: bool = False
    move_to: Path | None = None
    move_to_store: str | None = None
    failed_to: Path | None = None
    drawn_to: Path | None = None
    ignored: tuple[Path, ...] = ()
    ignored_addresses: tuple[str, ...] = ()
    drawn_to_store: str | None = None
    max_bytes: int = 20_000_000
    timeout: float = 10.0
    is_alone: bool = True
    reads: bool = True
    is_stopping: Event = field(default_factory=Event)

    def is_over(self, stopped: Event) -> bool:
        """Return whether an endless input ends: it was stopped, or ``stop_file`` exists."""
        return stopped.is_set() or bool(self.stop_file and self.stop_file.exists())

    @property
    def takes_away(self) -> bool:
        """Whether the source of a done item does not stay where it is."""
        return self.delete or self.move_to is not None
