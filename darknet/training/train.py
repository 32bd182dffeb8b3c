"""Train a network on labelled images and write a run folder: weights, metrics, plots."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
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
from darknet.training.dataset import Dataset, merge
from darknet.training.loader import TrainingImages, ValidationImages, collate, limit_opencv_threads
from darknet.training.loop import Report, Trainee
from darknet.training.loss import trainable_heads
from darknet.training.module import DarknetModule
from darknet.training.readers import read_dataset
from darknet.training.report import Row
from darknet.training.schedule import learning_rate
from darknet.weights import read_weights, write_weights

log = logging.getLogger(__name__)

CHECKPOINT = "last.ckpt"
_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}
_IGNORED_WARNINGS = (
    "does not have many workers",
    "exists and is not empty",
    "LeafSpec",  # Lightning uses what PyTorch has deprecated
    "'mAP', ..., sync_dist=True",  # mAP is computed by one process for all
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to train, on what, and how.

    Attributes:
        cfg: the network's .cfg.
        names: the class names.
        output: the run folder.
        data: labelled images to train on, one or more sets; see ``read_dataset``.
        val: labelled images to validate on.
        strict: refuse data with any problem.
        weights: a .weights file to start from.
        cutoff: load only the layers before this one from ``weights``.
        resume: continue the run in ``output``.
        max_batches: number of batches, instead of the .cfg's ``max_batches``.
        precision: number type of the computation; the weights stay float32.
        ema: decay of a moving average of the weights, which is then validated and written; 0:
            off.
        flip_vertical: also flip images vertically at random; for images without an upright.
        validate_every: epochs between validations; the last batch is always followed by one.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        devices: number of devices of that kind on each node.
        nodes: number of machines.
        workers: processes that load images; 0: the training process loads them.
        seed: of all random numbers.
        progress: show a progress bar.
    """

    cfg: Path
    names: tuple[str, ...]
    output: Path
    data: Sequence[Path] = ()
    val: Path | None = None
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
    """Files and metrics of a finished training.

    Attributes:
        last: path of the weights after the last batch.
        best: path of the weights with the highest mAP@0.5 of all validations; in processes of
            rank above 0, which do not compute it, ``last``.
        map50: that mAP@0.5, 0..1; -1 in processes of rank above 0.
        rows: the rows of results.csv.
    """

    last: Path
    best: Path
    map50: float
    rows: tuple[Row, ...]


def train(options: TrainOptions) -> TrainResult:
    """Train a network.

    Raises:
        DeviceUnavailableError: there are fewer GPUs than requested, or none for fp16.
        ModelError: the .cfg, the names or the start weights are wrong, or cannot be trained.
        DataError: the data or the options are wrong, or the loss became infinite or NaN.
    """
    pl.seed_everything(options.seed, workers=True, verbose=False)
    cfg, checkpoint = _cfg(options), _checkpoint(options)
    options.output.mkdir(parents=True, exist_ok=True)
    training, validation = _datasets(options)
    log.info("training: %s", training.summary())
    log.info("validation: %s", validation.summary())
    trainee = Trainee(_module(cfg, options), validation, _resize(cfg))
    report = Report(cfg, validation, options.output)
    images = TrainingImages(training, cfg, flip_vertical=options.flip_vertical)
    with _lightning_warnings_ignored():
        trainer = _trainer(cfg, options, report)
        trainer.fit(
            trainee,
            _loader(images, options, cfg),
            _loader(ValidationImages(validation, cfg, _resize(cfg)), options),
            ckpt_path=checkpoint,
            weights_only=False,  # the file is our own; it also holds the rows of results.csv
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
        raise DataError(f"{cfg.source}: [net] has no max_batches; add it, or use --max-batches")
    if cfg.net.batch % (parts := _parts(cfg, options)):
        raise DataError(
            f"{cfg.source}: batch={cfg.net.batch} does not divide into {parts} parts "
            "(subdivisions * devices * nodes)"
        )
    learning_rate(cfg.net, cfg.net.burn_in)  # reject an unknown policy before reading data
    return cfg


def _parts(cfg: Cfg, options: TrainOptions) -> int:
    """Return into how many parts a batch is divided: subdivisions, on every device and node."""
    return cfg.net.subdivisions * options.devices * options.nodes


def _checkpoint(options: TrainOptions) -> Path | None:
    """Return the checkpoint to resume from, None for a new run."""
    path = options.output / CHECKPOINT
    if path.exists() and not options.resume:
        raise DataError(
            f"{options.output} holds a run; continue it with --resume or choose another folder"
        )
    return path if path.exists() else None


def _resize(cfg: Cfg) -> Resize:
    return "letterbox" if cfg.net.letter_box else "stretch"


def _module(cfg: Cfg, options: TrainOptions) -> DarknetModule:
    module = DarknetModule(cfg)
    if options.weights is not None:
        module.load(read_weights(options.weights, cfg, upto=options.cutoff))
        module.seen = 0  # a new training counts its own images
    return module


def _datasets(options: TrainOptions) -> tuple[Dataset, Dataset]:
    """Read what to train on and what to validate on."""
    if not options.data or options.val is None:
        raise DataError("training needs labelled images (--data) and others to validate on (--val)")
    read = partial(read_dataset, names=options.names, strict=options.strict)
    return merge([read(path) for path in options.data]), read(options.val)


def _loader(images: Any, options: TrainOptions, cfg: Cfg | None = None) -> DataLoader[Any]:
    """Return batches for training if ``cfg`` is given, else for validation."""
    size = cfg.net.batch // _parts(cfg, options) if cfg else 8
    return DataLoader(
        images,
        size,
        shuffle=cfg is not None,
        collate_fn=collate if cfg else None,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        worker_init_fn=limit_opencv_threads,
        # OpenCV's threads do not exist after a fork; a forked worker would wait for them forever.
        multiprocessing_context="spawn" if options.workers else None,
    )


def _trainer(cfg: Cfg, options: TrainOptions, report: Report) -> pl.Trainer:
    """Create the Lightning trainer; ``report`` makes it validate after the last batch as well."""
    accelerator = _accelerator(options)
    # The report is first: its validation hook needs the averaged weights still in place.
    callbacks: list[Callback] = [report]
    if options.ema:
        callbacks.append(WeightAveraging(avg_fn=partial(_average, options.ema)))
    name = Path(CHECKPOINT).stem
    callbacks.append(
        ModelCheckpoint(
            options.output, name, save_on_train_epoch_end=True, enable_version_counter=False
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
        check_val_every_n_epoch=options.validate_every,
        num_sanity_val_steps=0,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=options.progress,
        default_root_dir=options.output,
    )


def _accelerator(options: TrainOptions) -> str:
    """Return ``cuda`` or ``cpu``."""
    available = CUDAAccelerator.auto_device_count()
    if options.accelerator == "cpu" or (options.accelerator == "auto" and not available):
        return "cpu"
    if available < options.devices:
        raise DeviceUnavailableError(
            f"{options.devices} CUDA devices were requested, {available} found"
        )
    return "cuda"


def _average(decay: float, average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    """Exponential moving average with a smaller decay for the first updates."""
    weight = min(decay, (1 + float(count)) / (10 + float(count)))
    return average + (1 - weight) * (current - average)


@contextmanager
def _lightning_warnings_ignored() -> Iterator[None]:
    """Ignore warnings and hints of Lightning that do not apply here."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for text in _IGNORED_WARNINGS:
                warnings.filterwarnings("ignore", f".*{text}")
            yield
    finally:
        logger.setLevel(level)
