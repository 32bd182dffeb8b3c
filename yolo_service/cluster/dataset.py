"""Items through Ray Data: their addresses to actors, the answers back."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from yolo_service.cluster.actor import ActorPredictor, limits_of
from yolo_service.cluster.ray_cluster import Actor, Pool
from yolo_service.inputs.address import read_address
from yolo_service.models.bundle import ModelBundle
from yolo_service.predictor import Answer, Image, Options
from yolo_service.settings import Settings

BLOCK = 128
"""Images of a task. What an actor that is lost has not ended is computed again by another one."""
BLOCK_WITH_PIXELS = 8
"""The same where decoded images come back, to be drawn on."""
CALLS = 2
"""Tasks that an actor has at once: the images of one are computed while another one ends."""


class Result(NamedTuple):
    """What became of an item.

    Attributes:
        number: of the item.
        outcome: its answer, or what is wrong with it.
        sha256: of the file in hexadecimal digits, if it was asked for.
    """

    number: int
    outcome: Answer | Exception
    sha256: str | None


@dataclass(frozen=True)
class Job:
    """What actors need.

    Attributes:
        settings: of the predictor.
        options: of the detection.
        bundle: the model.
        needs_sha256: whether ``Result.sha256`` is used.
        environment: variables such as ``AWS_ACCESS_KEY_ID``, for reading from object stores.
    """

    settings: Settings
    options: Options
    bundle: ModelBundle = field(repr=False)
    needs_sha256: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class AddressDetector:
    """A callable class for ``map_batches``: addresses in, pickled results out.

    Rows in: ``number`` int64 and ``address``, the bytes of a path or URL. One row out for all:
    ``results``, the pickle of a list of ``Result``, which has each name of a class only once.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._limits = job, limits_of(job.settings)
        os.environ.update(job.environment)
        self._predictor = ActorPredictor(job.settings, job.options, job.bundle)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Detect in the images at some addresses."""
        numbers, addresses = batch["number"].to_pylist(), batch["address"].to_pylist()
        digests: dict[int, str] = {}
        reads = [
            functools.partial(self._read, address.decode(errors="surrogateescape"), number, digests)
            for number, address in zip(numbers, addresses, strict=True)
        ]
        outcomes = self._predictor.answers(reads)
        results = list(map(Result, numbers, outcomes, map(digests.get, numbers)))
        return pa.table({"results": pa.array([pickle.dumps(results)], pa.large_binary())})

    def _read(self, address: str, number: int, digests: dict[int, str]) -> Image:
        image = read_address(address, self._limits)
        if self._job.needs_sha256 and isinstance(image, bytes):
            digests[number] = hashlib.sha256(image).hexdigest()
        return image


def detect(
    ray: Any, items: Sequence[tuple[int, str]], job: Job, actor: Actor, pool: Pool
) -> Iterator[list[Result]]:
    """Yield the results of items in their order, those of a task each, while others are computed.

    Args:
        ray: the module, connected.
        items: numbers and addresses.
        job: what actors need.
        actor: what each reserves.
        pool: how many there are.
    """
    blocks = _blocks if not ray.util.client.ray.is_connected() else _blocks_through_client
    for pickled in blocks(ray, items, job, actor, pool):
        yield pickle.loads(pickled)  # noqa: S301 - made by our own actors


def _blocks_through_client(ray: Any, *work: Any) -> Iterator[bytes]:
    """Yield pickled results through an actor: Ray Data does not run on a client of a cluster."""
    coordinator = ray.remote(Coordinator).options(num_cpus=0).remote(*work)
    waiting = deque(coordinator.next.remote() for _ in range(CALLS))
    while (pickled := ray.get(waiting.popleft())) is not None:
        waiting.append(coordinator.next.remote())
        yield pickled


class Coordinator:
    """An actor that runs the dataset within the cluster. Its arguments are those of ``detect``."""

    def __init__(self, *work: Any) -> None:
        import ray

        self._blocks = _blocks(ray, *work)

    def next(self) -> bytes | None:
        """Return the next pickled results, in order; None: there are no more."""
        return next(self._blocks, None)


def _blocks(
    ray: Any, items: Sequence[tuple[int, str]], job: Job, actor: Actor, pool: Pool
) -> Iterator[bytes]:
    """Yield the pickled results of a task each."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    block = BLOCK_WITH_PIXELS if job.options.keep_image else BLOCK
    tables = [_table(items[i : i + block]) for i in range(0, len(items), block)]
    strategy = ray.data.ActorPoolStrategy(
        min_size=pool.least,
        max_size=pool.most,
        max_concurrent_calls_per_actor=CALLS,
        enable_true_multi_threading=True,
    )
    results = ray.data.from_arrow(tables).map_batches(
        AddressDetector,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="pyarrow",
        compute=strategy,
        num_cpus=actor.cpus,
        num_gpus=actor.gpus,
    )
    for batch in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from batch["results"].to_pylist()


def _table(items: Sequence[tuple[int, str]]) -> pa.Table:
    numbers, addresses = zip(*items, strict=True)
    encoded = [address.encode(errors="surrogateescape") for address in addresses]
    return pa.table(
        {"number": pa.array(numbers, pa.int64()), "address": pa.array(encoded, pa.binary())}
    )
