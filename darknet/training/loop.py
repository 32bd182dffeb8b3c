"""The training loop: a .cfg and labelled images in, a .weights file out.

Lightning owns epochs, checkpoints, mixed precision and several GPUs or machines; what stands
here is what Darknet's cfg asks of a step, and how a network is measured.
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
from darknet.model import Model, Resize, Thresholds
from darknet.training.dataset import Dataset
from darknet.training.loader import Batch
from darknet.training.loss import detection_loss
from darknet.training.metrics import coco_metrics
from darknet.training.module import DarknetModule
from darknet.training.report import Row, draw_images, plot_results, write_csv
from darknet.training.schedule import learning_rate
from darknet.weights import write_weights

MEASURED = Thresholds(threshold=0.005, nms=0.45)
"""What Darknet's own measurement of mAP uses."""
DRAWN = 6
"""Validation images that are drawn."""


class Trainee(pl.LightningModule):
    """A network in training.

    Args:
        module: the network.
        measured: the images that ``validation_step`` is given.
        resize: how they reach the network's size.

    Attributes:
        module: the network; ``module.seen`` counts images over all processes.
        found: what the last validation found, by the number of the image.
    """

    def __init__(self, module: DarknetModule, measured: Dataset, resize: Resize) -> None:
        super().__init__()
        self.module, self.cfg = module, module.cfg
        self.found: dict[int, Detections] = {}
        model = Model(self.cfg, module.weights(), measured.names, "alexeyab", resize)
        self._decoder = Decoder(model)
        self._sizes = [(image.height, image.width) for image in measured.images]

    def training_step(self, batch: Batch, _number: int) -> Tensor:
        """Compute the loss of one part of a batch."""
        # uint8[n, 3, h, w] 0..255 -> float[n, 3, h, w] 0..1, channels last
        images = batch.images.to(torch.float32).div(255)
        outputs = self.module(images.contiguous(memory_format=torch.channels_last))
        losses = detection_loss(self.cfg, outputs, batch.truth)
        n = len(images)
        self.module.seen += n * self.trainer.world_size
        values = {"box": losses.box, "objectness": losses.objectness, "classes": losses.classes}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=n, sync_dist=True)
        self.log("loss", losses.total, on_epoch=True, prog_bar=True, batch_size=n, sync_dist=True)
        return losses.total

    def validation_step(self, batch: tuple[Tensor, Tensor], _number: int) -> None:
        """Find objects as they will be served: in float32, with the engines' own decoding."""
        numbers, images = batch
        with torch.autocast(images.device.type, enabled=False):
            outputs = [raw.cpu().numpy() for raw in self.module(images)]
        for place, number in enumerate(numbers.tolist()):
            heads = [raw[place] for raw in outputs]
            self.found[number] = self._decoder.decode(heads, self._sizes[number], MEASURED)

    def configure_optimizers(self) -> Any:
        """Darknet's stochastic gradient descent: momentum, and decay of kernels only."""
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
        """Keep what is no tensor."""
        checkpoint["seen"] = self.module.seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        self.module.seen = checkpoint["seen"]


class Report(Callback):
    """Measures after each validation and writes results.csv, plot, images and weights.

    Args:
        cfg: the network.
        dataset: the validation images.
        folder: where everything is written.
    """

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
        """Compute average precision; called while averaged weights, if any, are in place."""
        assert isinstance(pl_module, Trainee)  # noqa: S101 - tells mypy
        found = _gathered(trainer, pl_module.found)
        pl_module.found = {}
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        metrics = coco_metrics(self._dataset, found)
        pl_module.log("mAP", metrics.map50, prog_bar=True, rank_zero_only=True)
        self._measured = {"map50": metrics.map50, "map": metrics.map} | {
            f"ap50 {name}": float(ap) for name, ap in zip(metrics.names, metrics.ap50, strict=True)
        }
        draw_images(self._folder / "validation.jpg", self._dataset.images[:DRAWN], found[:DRAWN])
        if metrics.map50 > self.best:
            self.best = metrics.map50
            part = self._folder / "best.part"  # a kill while writing must not cost the best
            write_weights(part, self._cfg, pl_module.module.weights())
            part.replace(self._folder / "best.weights")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write a row of results.csv."""
        assert isinstance(pl_module, Trainee)  # noqa: S101 - tells mypy
        if self.rows and self.rows[-1]["batches"] == trainer.global_step:
            return  # a resumed training ends the epoch of its checkpoint a second time
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
                "lengthen burn_in, and go on from the last checkpoint with --resume"
            )
        row |= {name: float(values[name]) for name in ("box", "objectness", "classes")}
        measured, self._measured = self._measured, {}
        self.rows.append(row | measured)
        if trainer.is_global_zero:
            write_csv(self._folder / "results.csv", self.rows)
        if measured:
            plot_results(self._folder / "results.png", self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training has to know."""
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.rows, self.best = state_dict["rows"], state_dict["best"]


def _gathered(trainer: pl.Trainer, found: dict[int, Detections]) -> list[Detections]:
    """Collect what all processes found, in the order of the images."""
    if trainer.world_size > 1:
        parts: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, found)
        found = {number: one for part in parts for number, one in part.items()}
    return [found[number] for number in sorted(found)]
