"""Train a network: options in, a run folder with weights, figures and images out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning as pl
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from torch import Tensor
from torch.utils.data import DataLoader

from darknet.cfg import Cfg, read_cfg
from darknet.errors import DataError, DeviceUnavailableError
from darknet.model import Resize
from darknet.names import check_names
from darknet.training.dataset import Dataset
from darknet.training.loader import TrainingImages, ValidationImages, collate, one_thread
from darknet.training.loop import Report, Trainee
from darknet.training.loss import trainable_heads
from darknet.training.module import DarknetModule
from darknet.training.readers import read_dataset
from darknet.training.report import Row
from darknet.training.schedule import learning_rate
from darknet.training.synthetic import NAMES, render_dataset
from darknet.weights import read_weights, write_weights

log = logging.getLogger(__name__)

CHECKPOINT = "last.ckpt"
VALIDATION_SEED = 1_000_000
"""First seed of rendered validation images: none of the training ones is among them."""
_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


_ADVICE = (
    "does not have many workers",
    "exists and is not empty",
    "LeafSpec",  # PyTorch deprecates what Lightning uses
    "'mAP', ..., sync_dist=True",  # one process measures for all
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to train, on what, and how.

    Attributes:
        cfg: the network's .cfg.
        names: its classes.
        output: the run folder.
        data: labelled images to learn from; see ``read_dataset``.
        val: labelled images to measure on; needed with ``data``.
        synthetic: how many rendered blood smears to learn from, with or without ``data``; alone,
            a fifth as many others are measured on.
        strict: refuse data with any problem.
        weights: a .weights file to start from.
        cutoff: take only the layers before this one from ``weights``.
        resume: go on with the run in ``output``.
        max_batches: train for so many batches, not for what the .cfg says.
        precision: type of the network's arithmetic; the weights stay float32.
        ema: decay of a running average of the weights, which is what is measured and written; 0:
            none.
        flip_vertical: also mirror top to bottom; for images that have no up.
        validate_every: epochs from one measurement to the next.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        devices: how many processors of that kind.
        nodes: how many machines.
        workers: processes that prepare images; 0: the training process itself.
        seed: of all random numbers.
        progress: show a bar.
    """

    cfg: Path
    names: tuple[str, ...]
    output: Path
    data: Path | None = None
    val: Path | None = None
    synthetic: int = 0
    strict: bool = False
    weights: Path | None = None
    cutoff: int | None = None
    resume: bool = False
    max_batches: int | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema: float = 0.0
    flip_vertical: bool = False
    validate_every: int = 4
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = 0
    seed: int = 0
    progress: bool = True


@dataclass(frozen=True)
class TrainResult:
    """What a training left.

    Attributes:
        last: weights after the last batch.
        best: weights with the highest mAP@0.5 measured, or ``last`` if nothing was.
        map50: that mAP@0.5, or -1.
        rows: the rows of results.csv.
    """

    last: Path
    best: Path
    map50: float
    rows: tuple[Row, ...]


def train(options: TrainOptions) -> TrainResult:
    """Train a network.

    Raises:
        DeviceUnavailableError: there are fewer GPUs than were asked for, or none for fp16.
        ModelError: the .cfg, the names or the start weights are wrong, or cannot be trained.
        DataError: so are the data or the options, or the loss became infinite.
    """
    pl.seed_everything(options.seed, workers=True, verbose=False)
    cfg, checkpoint = _cfg(options), _checkpoint(options)
    options.output.mkdir(parents=True, exist_ok=True)
    learn, measure = _datasets(options)
    log.info("training: %s", learn.summary())
    log.info("validation: %s", measure.summary())
    trainee = Trainee(_module(cfg, options), measure, _resize(cfg))
    report = Report(cfg, measure, options.output)
    images = TrainingImages(learn, cfg, flip_vertical=options.flip_vertical)
    epochs = max(1, cfg.net.max_batches * cfg.net.batch // len(images))
    with _quiet():
        trainer = _trainer(cfg, options, report, epochs)
        trainer.fit(
            trainee,
            _loader(images, options, cfg),
            _loader(ValidationImages(measure, cfg, _resize(cfg)), options),
            ckpt_path=checkpoint,
            weights_only=False,  # our own file; it holds the rows of results.csv as well
        )
    last, best = options.output / "last.weights", options.output / "best.weights"
    if trainer.is_global_zero:
        write_weights(last, cfg, trainee.module.weights())
    return TrainResult(last, best if report.best >= 0 else last, report.best, tuple(report.rows))


def _cfg(options: TrainOptions) -> Cfg:
    cfg = read_cfg(options.cfg)
    trainable_heads(cfg)
    check_names(options.names, cfg.classes, cfg.source)
    if options.max_batches is not None:
        cfg = replace(cfg, net=replace(cfg.net, max_batches=options.max_batches))
    if cfg.net.max_batches < 1:
        raise DataError(f"{cfg.source}: [net] has no max_batches; say how long to train")
    if cfg.net.batch % (parts := _parts(cfg, options)):
        raise DataError(
            f"{cfg.source}: batch={cfg.net.batch} does not divide into {parts} parts "
            "(subdivisions * devices * nodes)"
        )
    learning_rate(cfg.net, cfg.net.burn_in)  # an unknown policy should fail before the data
    return cfg


def _parts(cfg: Cfg, options: TrainOptions) -> int:
    """Into how many parts a batch is cut: one after the other, and side by side."""
    return cfg.net.subdivisions * options.devices * options.nodes


def _checkpoint(options: TrainOptions) -> Path | None:
    """Return where to go on from; a run is never overwritten by accident."""
    path = options.output / CHECKPOINT
    if path.exists() and not options.resume:
        raise DataError(f"{options.output} holds a run; go on with --resume or name another folder")
    return path if path.exists() else None


def _resize(cfg: Cfg) -> Resize:
    return "letterbox" if cfg.net.letter_box else "stretch"


def _module(cfg: Cfg, options: TrainOptions) -> DarknetModule:
    module = DarknetModule(cfg)
    if options.weights is not None:
        module.load(read_weights(options.weights, cfg, upto=options.cutoff))
        module.seen = 0  # a new training, whatever the weights have seen before
    return module


def _datasets(options: TrainOptions) -> tuple[Dataset, Dataset]:
    """Read or render what to learn from and what to measure on."""
    read = partial(read_dataset, names=options.names, strict=options.strict)
    if options.data is not None and options.val is None:
        raise DataError("name labelled images to measure on as well (--val)")
    if options.data is None and not options.synthetic:
        raise DataError("name labelled images (--data) or a number of rendered ones (--synthetic)")
    learn = [read(options.data)] if options.data else []
    if options.synthetic:
        if set(NAMES) - set(options.names):
            raise DataError(f"rendered smears hold {', '.join(NAMES)}; the model has other classes")
        learn.append(read(_rendered(options, "train", options.synthetic, options.seed)))
    if options.val is None:
        count = max(20, options.synthetic // 5)
        measure = read(_rendered(options, "val", count, VALIDATION_SEED))
    else:
        measure = read(options.val)
    images = tuple(image for part in learn for image in part.images)
    problems = tuple(problem for part in learn for problem in part.problems)
    return Dataset(options.names, images, problems), measure


def _rendered(options: TrainOptions, name: str, count: int, seed: int) -> Path:
    folder = options.output / f"rendered-{name}-{seed}-{count}"
    labels = folder / "annotations.json"  # written last: if it is there, so is everything
    return labels if labels.exists() else render_dataset(folder, count, seed)


def _loader(images: Any, options: TrainOptions, cfg: Cfg | None = None) -> DataLoader[Any]:
    """Batches to learn from if ``cfg`` is given, else to measure on."""
    size = cfg.net.batch // _parts(cfg, options) if cfg else 8
    return DataLoader(
        images,
        size,
        shuffle=cfg is not None,
        collate_fn=collate if cfg else None,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        worker_init_fn=one_thread,
        # OpenCV's threads do not survive a fork: a forked worker would wait for them forever.
        multiprocessing_context="spawn" if options.workers else None,
    )


def _trainer(cfg: Cfg, options: TrainOptions, report: Report, epochs: int) -> pl.Trainer:
    """Set Lightning up; even a training of few epochs is measured once."""
    accelerator = _accelerator(options)
    # The report comes first: it has to measure while the averaged weights are in place.
    callbacks: list[Callback] = [report]
    if options.ema:
        callbacks.append(WeightAveraging(avg_fn=partial(_average, options.ema)))
    callbacks.append(
        ModelCheckpoint(
            options.output,
            Path(CHECKPOINT).stem,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    )
    if options.precision == "fp16" and accelerator == "cpu":
        raise DeviceUnavailableError("fp16 needs a GPU; train in bf16 or fp32 on a CPU")
    return pl.Trainer(
        accelerator=accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        precision=_PRECISION[options.precision],
        callbacks=callbacks,
        max_steps=cfg.net.max_batches,
        accumulate_grad_batches=cfg.net.subdivisions,
        check_val_every_n_epoch=min(options.validate_every, epochs),
        num_sanity_val_steps=0,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=options.progress,
        default_root_dir=options.output,
    )


def _accelerator(options: TrainOptions) -> str:
    """Return ``cuda`` or ``cpu``; what was asked for and is missing is an error."""
    there = CUDAAccelerator.auto_device_count()
    if options.accelerator == "cpu" or (options.accelerator == "auto" and not there):
        return "cpu"
    if there < options.devices:
        raise DeviceUnavailableError(
            f"{options.devices} CUDA devices were asked for, {there} found"
        )
    return "cuda"


def _average(decay: float, average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    """Running average that forgets the first, random weights sooner than ``decay`` would."""
    weight = min(decay, (1 + float(count)) / (10 + float(count)))
    return average + (1 - weight) * (current - average)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence advice of Lightning's that does not fit here, and its advertisements."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for text in _ADVICE:
                warnings.filterwarnings("ignore", f".*{text}")
            yield
    finally:
        logger.setLevel(level)
