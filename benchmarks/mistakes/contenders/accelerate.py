"""Its documented loop: `prepare()`, `accumulate()`, `backward()`."""

import torch
from accelerate import Accelerator

from benchmarks.mistakes.plain import Program, called, plain


def train(program: Program) -> None:
    given = plain(program)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=given.accumulate)
    train, valid = given.loaders()
    scheduler = None if given.scheduler is None else given.scheduler(given.optimizer)
    model, optimizer, train = accelerator.prepare(given.model, given.optimizer, train)
    for _ in range(given.epochs):
        model.train()
        for x, y in train:
            with accelerator.accumulate(model):
                accelerator.backward(given.loss(called(model, x), y))
                optimizer.step()
                optimizer.zero_grad()
                if scheduler is not None and given.step_on == "batch":
                    scheduler.step()
        if scheduler is not None and given.step_on == "epoch":
            scheduler.step()
        model.eval()
        with torch.no_grad():
            for x, y in valid or ():
                given.loss(called(model, x), y)
