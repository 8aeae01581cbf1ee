"""`Trainer.fit()` with its sanity check of validation on, as it is by default, and `detect_anomaly=True`; no logger, no
checkpoints, no bar."""

import logging
from typing import Any

import lightning
from torch import Tensor, nn

from benchmarks.mistakes.plain import Plain, Program, called, plain


class Module(lightning.LightningModule):
    def __init__(self, given: Plain) -> None:
        super().__init__()
        self.model: nn.Module = given.model
        self.given = given

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.given.loss(called(self.model, x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = self.given.optimizer, self.given.scheduler
        if scheduler is None:
            return optimizer
        interval = "step" if self.given.step_on == "batch" else "epoch"
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler(optimizer), "interval": interval}}


class Validated(Module):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("valid_loss", self.given.loss(called(self.model, x), y))


def train(program: Program) -> None:
    given = plain(program)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = lightning.Trainer(
        max_epochs=given.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=given.accumulate,
        detect_anomaly=True,
    )
    train, valid = given.loaders()
    if valid is None:
        trainer.fit(Module(given), train)
    else:
        trainer.fit(Validated(given), train, valid)
