"""Trainer with loggers, checkpoints, progress bar and model summary off (`fit()` has none of them unless asked)."""

import logging
import warnings

import lightning
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.contenders import Scores
from benchmarks.peers.works import Job

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")


class Module(lightning.LightningModule):
    def __init__(self, model: nn.Module, lr: float) -> None:
        super().__init__()
        self.model, self.lr = model, lr

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.cross_entropy(self.model(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> optim.Optimizer:
        return optim.Adam(self.parameters(), lr=self.lr)


def train(job: Job) -> Scores:
    trainer = lightning.Trainer(
        max_epochs=job.epochs,
        accelerator="cpu",
        precision="bf16-mixed" if job.precision == "bfloat16" else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(job.x, job.y), batch_size=job.batch, shuffle=True)
    trainer.fit(Module(job.model, job.lr), loader)
    return job.model
