# %% [markdown]
# # Which shape is it?
# Pictures in `data`, a folder for each class. Put your own folders there.

# %%
from pathlib import Path

from torch import Tensor, nn, optim

import lumbre as lb

DATA = Path("data")
SIZE = 24
EPOCHS = 15

# %% [markdown]
# ## The data

# %%
data = lb.datasets.image_folder(DATA, size=SIZE)
train, test = lb.split(data, 0.8, 0.2, stratify=data.targets)
print(train)


# %% [markdown]
# ## The net
# Two convolutions, and the most of what they found, wherever it was.


# %%
class Net(nn.Module):
    """A small convolutional net."""

    def __init__(self, n_class: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(32, n_class),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, n_class) for pictures of shape (rows, 3, height, width)."""
        return self.layers(x)


# %%
recipe = (
    lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW, metrics=lb.metrics.Accuracy())
    .set_hparams(n_class=len(data.classes or ()))
    .set_opt_hparams(lr=5e-3)
)
turned = lb.vision.RandomHorizontalFlip()
fitted = recipe.fit(train, epochs=EPOCHS, valid_data=0.2, batch_size=16, augment=turned)

# %% [markdown]
# ## How good is it on pictures that it has never seen?

# %%
evaluation = fitted.evaluate(test)
print(evaluation)

# %%
fitted.save("model.lumbre")
