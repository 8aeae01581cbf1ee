"""Is a film review positive or negative? Words become vectors, and a convolution sees three of them at a time.

This is enough to separate "not good" from "good", which the mean of the vectors cannot do. `--quick` makes up reviews
of such phrases; otherwise the 50,000 reviews of IMDb are downloaded. Unlike the original, whole words are numbered, not
parts of them, and a sixth of the training reviews is held out for validation, so that the test set is seen once.
"""

import argparse
import random

import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.metrics import BinaryAccuracyWithLogits


class Net(nn.Module):
    """Embedding, convolution over time, and the maximum of each channel."""

    def __init__(self, words: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=lb.datasets.Vocabulary.PAD)
        self.convolution = nn.Conv1d(width, width, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(width, 1)

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits of a positive review, shape (rows,), for word numbers of shape (rows, length)."""
        vectors = self.embedding(numbers).transpose(1, 2)
        signs = self.convolution(vectors).relu().amax(dim=2)
        return self.head(self.dropout(signs)).squeeze(1)


def made_up(rows: int) -> tuple[list[str], Tensor]:
    """Reviews of one meaningful phrase among neutral words; class 1 is positive, 0 negative."""
    neutral = "the film story actor music scene camera and of with very is"
    texts, praises = [], []
    for _ in range(rows):
        good, denied = random.random() < 0.5, random.random() < 0.5
        word = random.choice(["good", "great", "fine"] if good else ["bad", "dull", "awful"])
        rest = random.choices(neutral.split(), k=12)
        rest.insert(random.randrange(12), f"not {word}" if denied else word)
        texts.append(" ".join(rest))
        praises.append(float(good != denied))
    return texts, torch.tensor(praises)


def main() -> None:
    """Number the words, train, and classify new reviews."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--root", help="folder that holds (or will hold) imdb/")
    parser.add_argument("--quick", action="store_true", help="learn made-up reviews, in seconds")
    given = parser.parse_args()
    random.seed(0)
    if given.quick:
        (texts, labels), (new_texts, new_labels) = made_up(1800), made_up(500)
    else:
        both = [lb.datasets.imdb(train=train, root=given.root) for train in (True, False)]
        (texts, labels), (new_texts, new_labels) = (
            (list(frame["text"]), torch.tensor(frame["label"].to_numpy()).float()) for frame in both
        )
    vocabulary, length = lb.datasets.Vocabulary(texts, num_words=20_000), 16 if given.quick else 256
    print(len(vocabulary), "numbers:", vocabulary.encode(["Not a good film."]).tolist())

    recipe = lb.setup(Net, loss=nn.BCEWithLogitsLoss(), optimizer=optim.Adam, metrics=BinaryAccuracyWithLogits())
    recipe = recipe.set_hparams(words=len(vocabulary)).set_opt_hparams(lr=2e-3)
    data = vocabulary.encode(texts, maxlen=length), labels
    fitted = recipe.fit(data, epochs=given.epochs, valid_data=1 / 6, batch_size=64)
    print(fitted.evaluate((vocabulary.encode(new_texts, maxlen=length), new_labels)))


if __name__ == "__main__":
    main()
