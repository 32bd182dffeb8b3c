"""The training loop: training step, optimizer, validation, report.

Lightning runs epochs, checkpoints, mixed precision and several GPUs or machines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from darknet.cfg import Cfg
from darknet.decode import Decoder
from darknet.detections import Detections
from darknet.errors import DataError
from darknet.model import Model, Resize
from darknet.training.dataset import Dataset
from darknet.training.loader import Batch
from darknet.training.loss import detection_loss
from darknet.training.metrics import THRESHOLDS, coco_metrics
from darknet.training.module import DarknetModule
from darknet.training.report import Row, draw_images, plot_results, write_csv
from darknet.training.schedule import learning_rate
from darknet.weights import write_weights

MAX_DRAWN = 6
"""Validation images that are drawn."""


class Trainee(pl.LightningModule):
    """A network in training, as Lightning needs it; ``resize`` applies to the validation images.

    Attributes:
        module: the network; ``module.seen`` counts images over all processes.
        found: detections of the current validation by index of the image.
    """

    def __init__(self, module: DarknetModule, validation: Dataset, resize: Resize) -> None:
        super().__init__()
        self.module, self.cfg = module, module.cfg
        self.found: dict[int, Detections] = {}
        model = Model(self.cfg, module.weights(), validation.names, "alexeyab", resize)
        self._decoder = Decoder(model)
        self._sizes = [(image.height, image.width) for image in validation.images]

    def training_step(self, batch: Batch, _number: int) -> Tensor:
        """Compute the loss of one subdivision of a batch."""
        # uint8[n, 3, h, w] 0..255 -> float[n, 3, h, w] 0..1, channels last
        images = batch.images.to(torch.float32).div(255)
        outputs = self.module(images.contiguous(memory_format=torch.channels_last))
        losses = detection_loss(self.cfg, outputs, batch.truth)
        n = len(images)
        self.module.seen += n * self.trainer.world_size
        self.log_dict(losses._asdict(), on_step=False, on_epoch=True, batch_size=n, sync_dist=True)
        self.log("loss", losses.total, on_epoch=True, prog_bar=True, batch_size=n, sync_dist=True)
        return losses.total

    def validation_step(self, batch: tuple[Tensor, Tensor], _number: int) -> None:
        """Detect objects in float32 with the engines' decoder."""
        numbers, images = batch
        with torch.autocast(images.device.type, enabled=False):
            outputs = [raw.cpu().numpy() for raw in self.module(images)]
        for position, number in enumerate(numbers.tolist()):
            heads = [raw[position] for raw in outputs]
            self.found[number] = self._decoder.decode(heads, self._sizes[number], THRESHOLDS)

    def configure_optimizers(self) -> Any:
        """Return SGD with momentum, weight decay of kernels only, and the .cfg's learning rates."""
        net = self.cfg.net
        kernels = [p for p in self.module.parameters() if p.ndim > 1]
        others = [p for p in self.module.parameters() if p.ndim <= 1]
        groups = [
            {"params": kernels, "weight_decay": net.decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=net.momentum)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: learning_rate(net, n))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the number of images seen, which is no tensor."""
        checkpoint["seen"] = self.module.seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the number of images seen."""
        self.module.seen = checkpoint["seen"]


class Report(Callback):
    """Computes mAP on ``dataset`` after each validation; writes the files of the run folder."""

    def __init__(self, cfg: Cfg, dataset: Dataset, folder: Path) -> None:
        self.rows: list[Row] = []
        self.best = -1.0
        self._cfg, self._dataset, self._folder = cfg, dataset, folder
        self._measured: Row = {}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Validate after the last batch as well, which may be in the middle of an epoch."""
        if trainer.global_step >= trainer.max_steps:
            trainer.check_val_every_n_epoch = 1
            trainer.should_stop = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute mAP and keep the best weights; averaged weights, if any, are in place."""
        assert isinstance(pl_module, Trainee)  # noqa: S101 - for mypy
        found = _gathered(trainer, pl_module.found)
        pl_module.found = {}
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        metrics = coco_metrics(self._dataset, found)
        pl_module.log("mAP", metrics.map50, prog_bar=True, rank_zero_only=True)
        self._measured = {"map50": metrics.map50, "map": metrics.map} | {
            f"ap50 {name}": float(ap) for name, ap in zip(metrics.names, metrics.ap50, strict=True)
        }
        draw_images(
            self._folder / "validation.jpg", self._dataset.images[:MAX_DRAWN], found[:MAX_DRAWN]
        )
        if metrics.map50 > self.best:
            self.best = metrics.map50
            part = self._folder / "best.part"  # a kill while writing must not damage best.weights
            write_weights(part, self._cfg, pl_module.module.weights())
            part.replace(self._folder / "best.weights")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write a row of results.csv."""
        assert isinstance(pl_module, Trainee)  # noqa: S101 - for mypy
        if self.rows and self.rows[-1]["batches"] == trainer.global_step:
            return  # a resumed training repeats the end of its checkpoint's epoch
        values: Mapping[str, Tensor] = trainer.callback_metrics
        row: Row = {
            "epoch": trainer.current_epoch + 1,
            "batches": trainer.global_step,
            "seen": pl_module.module.seen,
            "learning_rate": learning_rate(self._cfg.net, max(0, trainer.global_step - 1)),
            "loss": float(values["loss_epoch"]),
        }
        if not math.isfinite(row["loss"]):
            raise DataError(
                f"the loss became {row['loss']} in epoch {row['epoch']}; lower learning_rate or "
                "increase burn_in, and continue from the last checkpoint with --resume"
            )
        row |= {name: float(values[name]) for name in ("box", "objectness", "classes")}
        measured, self._measured = self._measured, {}
        self.rows.append(row | measured)
        if trainer.is_global_zero:
            write_csv(self._folder / "results.csv", self.rows)
        if measured:
            plot_results(self._folder / "results.png", self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.rows, self.best = state_dict["rows"], state_dict["best"]


def _gathered(trainer: pl.Trainer, found: dict[int, Detections]) -> list[Detections]:
    """Return the detections of all processes in the order of the images."""
    if trainer.world_size > 1:
        parts: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, found)
        found = {number: one for part in parts for number, one in part.items()}
    return [found[number] for number in sorted(found)]
