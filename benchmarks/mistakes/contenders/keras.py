"""Torch backend; the module in a `TorchModuleWrapper`, Keras' own losses and optimizers where they have a counterpart,
`fit()` with everything at its default. Accumulation by its optimizers' switch; schedules of torch are left out."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from typing import Any

import keras
import torch
from torch import nn, optim

from benchmarks.mistakes.plain import Plain, Program, Unsupported, as_arrays, plain

LOSSES: dict[type, Any] = {
    nn.CrossEntropyLoss: lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    nn.BCEWithLogitsLoss: lambda: keras.losses.BinaryCrossentropy(from_logits=True),
    nn.BCELoss: lambda: keras.losses.BinaryCrossentropy(),
    nn.MSELoss: lambda: keras.losses.MeanSquaredError(),
    nn.L1Loss: lambda: keras.losses.MeanAbsoluteError(),
    nn.SmoothL1Loss: lambda: keras.losses.Huber(),
}
OPTIMIZERS: dict[type, Any] = {
    optim.Adam: keras.optimizers.Adam,
    optim.AdamW: keras.optimizers.AdamW,
    optim.SGD: keras.optimizers.SGD,
}


def loss_of(given: Plain, dtype: torch.dtype) -> Any:
    whole = given.loss_module
    if type(whole) in LOSSES and not isinstance(whole, type):
        reduction = getattr(whole, "reduction", "mean")
        made = LOSSES[type(whole)]()
        if reduction == "sum":
            made.reduction = "sum"
        return made
    if given.loss is getattr(given.model, "loss", None) or whole is None:
        raise Unsupported("a loss of the module's own")
    return lambda target, pred: given.loss(pred, target.to(dtype))  # Keras makes floats of all targets


def train(program: Program) -> None:
    given = plain(program)
    groups = given.optimizer.param_groups
    held = {id(one) for group in groups for one in group["params"]}
    if given.scheduler is not None or len(groups) > 1 or type(given.optimizer) not in OPTIMIZERS:
        raise Unsupported("this optimizer or schedule")
    if {id(one) for one in given.model.parameters()} != held:
        raise Unsupported("an optimizer over some of the parameters")
    options = {"learning_rate": groups[0]["lr"]}
    if groups[0].get("weight_decay"):
        options["weight_decay"] = groups[0]["weight_decay"]
    if given.accumulate > 1:
        options["gradient_accumulation_steps"] = given.accumulate
    x, y = as_arrays(given.train)
    model = keras.Sequential([keras.layers.TorchModuleWrapper(given.model)])
    model.compile(optimizer=OPTIMIZERS[type(given.optimizer)](**options), loss=loss_of(given, y.dtype))
    valid = None if given.valid is None else tuple(part.numpy() for part in as_arrays(given.valid))
    torch.manual_seed(0)
    model.fit(
        x.numpy(), y.numpy(), batch_size=given.batch_size, epochs=given.epochs, shuffle=given.shuffle, verbose=0,
        validation_data=valid,
    )  # fmt: skip
