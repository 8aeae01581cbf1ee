"""What type checkers say to users: `make check` runs pyright over this file, a slow test mypy; it is never run.

Each line that is marked is wrong, and both must say so: a mark that is not needed is an error itself.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from typing import assert_type

import torch
from torch import nn, optim

import lumbre as lb

x, y = torch.zeros(8, 3), torch.zeros(8, 1)
recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.Adam, metrics=[lb.metrics.MAE()])
recipe = recipe.set_hparams(in_features=3, out_features=1).set_opt_hparams(lr=0.1)

fitted: lb.Fitted = recipe.fit((x, y), epochs=(1, 5), valid_data=0.25, verbose=10, callbacks=lb.callbacks.SWA())
loss: float = fitted.evaluate((x, y)).metrics["loss"]
train, test = lb.split((x, y), 0.75, 0.25)
rows: int = len(train)
probabilities: torch.Tensor = fitted.predict_probabilities(x)

birds = lb.data.from_frame(lb.datasets.penguins(), target="species")
assert_type(lb.split(birds, 0.75, 0.25, stratify=True), tuple[lb.data.FrameData, ...])
classes: tuple[str, ...] | None = lb.split(birds, 0.75, 0.25)[0].classes

fitted.plot().save("loss.png", dpi=150)
lb.plots.confusion(fitted, test).save("confusion.png")
lb.plots.predictions_grid(fitted, test, n=4).save("grid.png", dpi=200)
recipe.lr_finder((x, y)).plot().save("rates.png")

recipe.fit((x, y), epoch=3)  # pyright: ignore[reportArgumentType]
recipe.fit((x, y), epochs="3")  # pyright: ignore[reportArgumentType]
recipe.fit((x, y), verbose="loud")  # pyright: ignore[reportArgumentType]
recipe.fit((x, y), callbacks=print)  # pyright: ignore[reportArgumentType]
fitted.evaluate((x, y), batchsize=3)  # pyright: ignore[reportCallIssue]
fitted.predict()  # pyright: ignore[reportCallIssue]
lb.plots.predictions_grid(fitted, test, n="4")  # pyright: ignore[reportArgumentType]
