"""create_supervised_trainer as it comes (it returns loss.item()); bfloat16 by an update function of one's own."""

import torch
from ignite.engine import Engine, create_supervised_trainer
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.contenders import Scores
from benchmarks.peers.works import Job


def train(job: Job) -> Scores:
    model, loss_function = job.model, nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=job.lr)

    def update(engine: Engine, batch: tuple[Tensor, Tensor]) -> float:
        x, y = batch
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    plain = job.precision == "float32"
    trainer = create_supervised_trainer(model, optimizer, loss_function) if plain else Engine(update)
    loader = DataLoader(TensorDataset(job.x, job.y), batch_size=job.batch, shuffle=True)
    trainer.run(loader, max_epochs=job.epochs)
    return model
