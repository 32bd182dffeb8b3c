"""Parts ``torch`` and ``card``: the same networks in PyTorch, and the limits of the card.

PyTorch gets what makes it fast: batch normalisation folded into the convolutions, cuDNN's search
for the best algorithm, and data that is on the card. fp32 is without TF32, as in the engine.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmarks.gpu.models import BenchModel
from benchmarks.gpu.plan import Plan, progress
from benchmarks.gpu.results import Row
from benchmarks.gpu.timing import time_calls
from darknet.training.module import DarknetModule, Weighted


class Way(NamedTuple):
    """How PyTorch computes."""

    compiled: bool
    channels_last: bool
    precision: str

    def __str__(self) -> str:
        layout = ", channels last" if self.channels_last else ""
        return f"PyTorch, {'compiled' if self.compiled else 'eager'}{layout}"


WAYS = tuple(
    itertools.starmap(Way, itertools.product((False, True), (False, True), ("fp32", "fp16")))
)
TYPES = {"fp32": torch.float32, "fp16": torch.float16}


def measure_torch(plan: Plan) -> None:
    """Fill in the rows of all models, ways and batch sizes."""
    _prepare()
    device = _device(plan)
    # Without a card fp16 would be emulated for minutes.
    ways = [way for way in WAYS if plan.on_gpu or way.precision == "fp32"]
    tasks = list(itertools.product(plan.models(), ways, plan.batches))
    for model, way, batch in progress(tasks, "torch"):
        plan.results.put(_row(model, way, batch, device, plan.seconds))


def module_of(model: BenchModel) -> DarknetModule:
    """Return a network as a module for inference, its batch normalisation folded."""
    module = DarknetModule(model.cfg)
    module.load(model.load().weights)
    module.eval()
    for block in module.weighted.values():
        assert isinstance(block, Weighted)
        if isinstance(block.linear, nn.Conv2d) and isinstance(block.norm, nn.BatchNorm2d):
            block.linear, block.norm = fuse_conv_bn_eval(block.linear, block.norm), None
    return module


def _row(model: BenchModel, way: Way, batch: int, device: str, seconds: float) -> Row:
    try:
        call = _synchronized(_call(model, way, batch, device), device)
        with torch.inference_mode():
            figures, note = time_calls(call, seconds, batch), ""
    except Exception as error:  # what a compiler refuses is a result, too
        figures, note = {}, f"{type(error).__name__}: {str(error).strip()[:200]}"
    torch._dynamo.reset()
    if device == "cuda":
        torch.cuda.empty_cache()
    return Row("torch", model.name, str(way), way.precision, batch, figures, note)


def _call(model: BenchModel, way: Way, batch: int, device: str) -> Callable[[], object]:
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    module = module_of(model).to(device, TYPES[way.precision])
    module = module.to(memory_format=layout)  # type: ignore[call-overload] # not in its stub
    images = torch.full((batch, *model.cfg.net.input), 0.5)
    images = images.to(device, TYPES[way.precision], memory_format=layout)
    # CUDA graphs, which save the time of launching each kernel.
    network = (
        torch.compile(module, mode="reduce-overhead", dynamic=False) if way.compiled else module
    )
    return lambda: network(images)


def _synchronized(call: Callable[[], object], device: str) -> Callable[[], object]:
    def wait() -> None:
        call()
        if device == "cuda":
            torch.cuda.synchronize()

    return wait


def _prepare() -> None:
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def _device(plan: Plan) -> str:
    """Return PyTorch's device.

    Raises:
        SystemExit: this PyTorch cannot use the GPU.
    """
    if not plan.on_gpu:
        return "cpu"
    if not torch.cuda.is_available():
        raise SystemExit(
            f"bench-gpu: PyTorch {torch.__version__} finds no CUDA device; "
            "install its build for CUDA: pip install torch"
        )
    return "cuda"


def measure_card(plan: Plan) -> None:
    """Measure what the card can do at most: large products of matrices, and copies."""
    _prepare()
    device = _device(plan)
    for way, unit, call, amount in progress(list(_limits(device)), "card"):
        figures = time_calls(_synchronized(call, device), plan.seconds, 1)
        most = amount / (figures["least"] / 1e3)
        plan.results.put(Row("card", unit, way, figures={"most": most}))


def _limits(device: str) -> Iterator[tuple[str, str, Callable[[], object], float]]:
    """Yield name, unit, call, and how many units a call does."""
    side = 8192 if device == "cuda" else 256
    for name, kind in TYPES.items():
        matrix = torch.rand((side, side), device=device, dtype=kind)
        yield name, "FLOP/s", _product(matrix), 2.0 * side**3
    count = 1 << (30 if device == "cuda" else 20)
    here = torch.ones(count, dtype=torch.uint8, device=device)
    yield "memory", "byte/s", _copy(here, torch.empty_like(here)), 2.0 * count  # read and written
    host = torch.ones(count >> 2, dtype=torch.uint8)
    yield "to the card", "byte/s", _copy(host, here[: len(host)]), len(host)
    yield "from the card", "byte/s", _copy(here[: len(host)], host), len(host)
    if device == "cuda":
        pinned = host.pin_memory()
        yield "to the card, pinned", "byte/s", _copy(pinned, here[: len(host)]), len(host)
        yield "from the card, pinned", "byte/s", _copy(here[: len(host)], pinned), len(host)


def _product(matrix: Tensor) -> Callable[[], object]:
    return lambda: matrix @ matrix


def _copy(source: Tensor, target: Tensor) -> Callable[[], object]:
    return lambda: target.copy_(source)
