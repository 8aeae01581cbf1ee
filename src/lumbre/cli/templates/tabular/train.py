# %% [markdown]
# # Which penguin is it?
# A table in `data/table.csv`, a column to predict, and a net. Put your own file there and name its columns below.

# %%
from pathlib import Path

import pandas as pd
from torch import Tensor, nn, optim

import lumbre as lb

DATA = Path("data") / "table.csv"
TARGET = "species"
EPOCHS = 20

# %% [markdown]
# ## The data
# Gaps are filled with the median of the training rows, and a column of 0 and 1 says where they were.

# %%
table = pd.read_csv(DATA)
data = lb.data.from_frame(table, target=TARGET, missing="indicate")
train, test = lb.split(data, 0.8, 0.2, stratify=True)
print(train)


# %% [markdown]
# ## The net


# %%
class Net(nn.Module):
    """Two layers of numbers."""

    def __init__(self, d_in: int, d_hidden: int, n_class: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, n_class))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, n_class)."""
        return self.layers(x)


# %%
recipe = (
    lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW, metrics=lb.metrics.Accuracy())
    .set_hparams(d_in=data.width, d_hidden=32, n_class=len(data.classes or ()))
    .set_opt_hparams(lr=1e-2)
)
fitted = recipe.fit(train, epochs=EPOCHS, valid_data=0.2)

# %% [markdown]
# ## How good is it on rows that it has never seen?

# %%
evaluation = fitted.evaluate(test)
print(evaluation)

# %%
fitted.save("model.lumbre")
