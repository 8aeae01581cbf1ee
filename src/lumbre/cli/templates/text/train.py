# %% [markdown]
# # Does a review praise or blame?
# Texts and labels in `data/texts.csv`. Put your own file there: a column `text`, and a column `label` of 0 and 1.

# %%
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn, optim

import lumbre as lb

DATA = Path("data") / "texts.csv"
LENGTH = 16
EPOCHS = 6

# %% [markdown]
# ## The data
# Words become numbers. The vocabulary comes from the training texts alone, so that the test stays unseen.

# %%
table = pd.read_csv(DATA)
rows = torch.randperm(len(table), generator=torch.Generator().manual_seed(0)).tolist()
held_out = len(table) // 5
old, new = table.iloc[rows[held_out:]], table.iloc[rows[:held_out]]
vocabulary = lb.datasets.Vocabulary(old["text"], num_words=20_000)


def numbers(texts: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """Word numbers of shape (rows, LENGTH) and labels of shape (rows,)."""
    encoded = vocabulary.encode(texts["text"], maxlen=LENGTH)
    return encoded, torch.tensor(texts["label"].to_numpy(), dtype=torch.float32)


# %% [markdown]
# ## The net
# A convolution sees three words at a time, which is enough to tell "not good" from "good".


# %%
class Net(nn.Module):
    """Embedding, convolution over the words, and the maximum of each channel."""

    def __init__(self, words: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=lb.datasets.Vocabulary.PAD)
        self.convolution = nn.Conv1d(width, width, kernel_size=3, padding=1)
        self.head = nn.Linear(width, 1)

    def forward(self, words: Tensor) -> Tensor:
        """Logits of praise, shape (rows,)."""
        vectors = self.embedding(words).transpose(1, 2)
        return self.head(self.convolution(vectors).relu().amax(dim=2)).squeeze(1)


# %%
accuracy = lb.metrics.BinaryAccuracyWithLogits()
recipe = (
    lb.setup(Net, loss=nn.BCEWithLogitsLoss(), optimizer=optim.AdamW, metrics=accuracy)
    .set_hparams(words=len(vocabulary))
    .set_opt_hparams(lr=5e-3)
)
fitted = recipe.fit(numbers(old), epochs=EPOCHS, valid_data=0.2)

# %% [markdown]
# ## How good is it on texts that it has never seen?

# %%
evaluation = fitted.evaluate(numbers(new))
print(evaluation)

# %%
fitted.save("model.lumbre")
