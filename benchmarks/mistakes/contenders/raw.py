"""A loop of torch as most write it, over a DataLoader, with a pass over the validation rows after each epoch."""

import torch

from benchmarks.mistakes.plain import Plain, Program, called, plain


def train(program: Program) -> None:
    run(plain(program))


def run(given: Plain) -> None:
    train, valid = given.loaders()
    scheduler = None if given.scheduler is None else given.scheduler(given.optimizer)
    for _ in range(given.epochs):
        given.model.train()
        for at, (x, y) in enumerate(train):
            (given.loss(called(given.model, x), y) / given.accumulate).backward()
            if (at + 1) % given.accumulate == 0:
                given.optimizer.step()
                given.optimizer.zero_grad()
                if scheduler is not None and given.step_on == "batch":
                    scheduler.step()
        if scheduler is not None and given.step_on == "epoch":
            scheduler.step()
        given.model.eval()
        with torch.no_grad():
            for x, y in valid or ():
                given.loss(called(given.model, x), y)
