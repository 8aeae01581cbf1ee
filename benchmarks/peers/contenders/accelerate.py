"""The documented loop with prepare() and accelerator.backward(); loader, Adam and loss.item() as in the raw loop."""

from accelerate import Accelerator
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.contenders import Scores
from benchmarks.peers.works import Job


def train(job: Job) -> Scores:
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if job.precision == "bfloat16" else "no")
    loss_function = nn.CrossEntropyLoss()
    model, optimizer, loader = accelerator.prepare(
        job.model,
        optim.Adam(job.model.parameters(), lr=job.lr),
        DataLoader(TensorDataset(job.x, job.y), batch_size=job.batch, shuffle=True),
    )
    for _ in range(job.epochs):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            total += loss.item()
    return model
