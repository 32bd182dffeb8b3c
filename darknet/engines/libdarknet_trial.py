"""The first load and the first detection of a model with libdarknet, in a process of their own.

The C code ends its process for what it does not like: ``exit()``, ``abort()``, a division by zero.
A list of models to refuse is never complete, so each model is tried where a death costs nothing;
here it becomes an error with what the C code printed. A model that survived is not tried again by
this process, nor by later ones that share its cache.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from darknet.cfg.layers import Region
from darknet.child_process import Ended, run_module
from darknet.engines.cache import GraphCache
from darknet.engines.libdarknet_output import inherit_c_output
from darknet.errors import DarknetError, EngineUnavailableError, UnsupportedError
from darknet.model import Model, Thresholds

SECONDS = 600.0
"""Timeout: loading a large model from a slow disk, and its first image on a slow CPU."""
_FORMAT = "1"
"""Part of the cache's keys; to be changed when the C code is given other files than before."""
_DONE = "done"
_REFUSED = "refused"
_STAGES = {
    "": "was opened in a process of its own, which",
    "opened": "was given this network in a process of its own, which",
    "loaded": "computed a first image with this network in a process of its own, which",
}

_survivors: set[str] = set()


def require_survival(
    model: Model, library: str, device: str | None, cache: GraphCache | None
) -> None:
    """Load a model and detect in an image in another process, unless that is known to go well.

    Args:
        model: the network.
        library: path of libdarknet, or a name for the dynamic loader.
        device: see ``libdarknet.load``.
        cache: keeps the names of models that survived; None: this process keeps them.

    Raises:
        EngineUnavailableError: the library ends its process before a model is loaded, or no process
            can be started.
        UnsupportedError: it ends its process while it loads or computes this model.
    """
    key = _key(model, library, device)
    if key in _survivors:
        return
    is_known = cache is not None and cache.read(key) is not None
    if not is_known:
        if not _survives(model, library, device):
            return
        if cache is not None:
            cache.write(key, b"")
    _survivors.add(key)


def _survives(model: Model, library: str, device: str | None) -> bool:
    """Load a model and detect in an image in another process; see ``require_survival``.

    Returns False if that process raised an error of ours before, as when memory is short: this
    process will get the same, or a later one may not.
    """
    with tempfile.TemporaryDirectory(prefix="libdarknet-") as folder:
        try:
            ended = run_module(
                __name__,
                folder,
                library,
                device or "",
                seconds=SECONDS,
                send=lambda stream: _send(model, stream),
            )
        except OSError as error:
            raise EngineUnavailableError(f"no process to try libdarknet in: {error}") from error
        stage = _stage(Path(folder))
    if stage not in (_DONE, _REFUSED):
        raise _death(model, library, stage, ended)
    return stage == _DONE


def _stage(folder: Path) -> str:
    """Return the last stage that the process noted."""
    try:
        return (folder / "stage").read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def _send(model: Model, stream: IO[bytes]) -> None:
    pickle.dump(model, stream, protocol=5)


def _death(model: Model, library: str, stage: str, ended: Ended) -> DarknetError:
    how = ended.how or "ended with exit code 0"
    tried = f"libdarknet ({library}) {_STAGES[stage]} {how}: {ended.last_lines}"
    advice = "use engine openvino or onnxruntime"
    if not stage:
        advice += ", or another build of libdarknet"
        return EngineUnavailableError(f"{tried}; {advice}")
    source = model.cfg.source
    return UnsupportedError(f"{source}: {tried}; {advice}")


def _key(model: Model, library: str, device: str | None) -> str:
    """Return a digest of everything that the outcome depends on."""
    digest = hashlib.sha256()
    facts = (_FORMAT, library, device, model.dialect, model.resize, model.use_map, _cpu())
    digest.update(repr((*facts, model.cfg.text)).encode())
    with suppress(OSError):  # a name for the dynamic loader
        digest.update(Path(library).read_bytes())
    for layer in model.cfg.layers:
        if isinstance(layer, Region) and layer.tree is not None:
            digest.update(layer.tree.parent.tobytes())
    for arrays in model.weights.layers:
        for array in arrays.values():
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _cpu() -> str:
    """Return the instruction sets of this machine, because a cache may be shared by several."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return ""


def main(folder: str, library: str, device: str) -> None:
    """Try the pickled model on standard input, and note each stage that was survived."""
    from darknet.engines.libdarknet import load_here
    from darknet.engines.libdarknet_abi import open_library

    stage, path = Path(folder, "stage"), Path(library) if "/" in library else None
    _forbid_core_dumps()
    inherit_c_output()
    model: Model = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this
    try:
        open_library(path)
        stage.write_text("opened", encoding="ascii")
        engine = load_here(model, library=path, device=device or None)
        del model
        stage.write_text("loaded", encoding="ascii")
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        engine.detect([noise], Thresholds())
    except DarknetError:
        stage.write_text(_REFUSED, encoding="ascii")
    else:
        stage.write_text(_DONE, encoding="ascii")


def _forbid_core_dumps() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
