"""NeuralNetClassifier with verbose=0, without its validation split (the others have none); bfloat16 by its
AccelerateMixin."""

from accelerate import Accelerator
from skorch import NeuralNetClassifier
from skorch.hf import AccelerateMixin
from torch import nn, optim

from benchmarks.peers.contenders import Scores
from benchmarks.peers.works import Job


class Accelerated(AccelerateMixin, NeuralNetClassifier):
    pass


def train(job: Job) -> Scores:
    options = {
        "criterion": nn.CrossEntropyLoss,
        "optimizer": optim.Adam,
        "lr": job.lr,
        "max_epochs": job.epochs,
        "batch_size": job.batch,
        "iterator_train__shuffle": True,
        "train_split": None,
        "verbose": 0,
    }
    if job.precision == "bfloat16":
        accelerator = Accelerator(cpu=True, mixed_precision="bf16")
        net = Accelerated(job.model, accelerator=accelerator, **options)
    else:
        net = NeuralNetClassifier(job.model, **options)
    net.fit(job.x.numpy(), job.y.numpy())
    return net.module_
