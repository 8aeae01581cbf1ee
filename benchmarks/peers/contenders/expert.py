"""Tensors permuted once an epoch, fused Adam, the loss added up without waiting for it."""

import torch
from torch import nn, optim

from benchmarks.peers.contenders import Scores, forward
from benchmarks.peers.works import Job


def train(job: Job) -> Scores:
    model, loss_function = forward(job), nn.CrossEntropyLoss()
    optimizer = optim.Adam(job.model.parameters(), lr=job.lr, fused=True)
    for _ in range(job.epochs):
        order = torch.randperm(len(job.x))
        total = torch.zeros(())
        for x, y in zip(job.x[order].split(job.batch), job.y[order].split(job.batch), strict=True):
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        total.item()
    return job.model
