"""A net learns to write programs from a stream of unknown length.

Python's library comes byte by byte from an `IterableDataset` of unknown length. `Steps` cuts the stream into epochs,
so that the learning rate can go up and down once over the run. A recurrent net replaces the original's GPT-2.
"""

import argparse
import itertools
from pathlib import Path

import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, IterableDataset

import lumbre as lb


class Pieces(IterableDataset):
    """All files, in random order, in pieces of fixed length: bytes, and the next byte for each."""

    def __init__(self, files: list[Path], length: int) -> None:
        self.files, self.length = files, length

    def __iter__(self):
        for number in torch.randperm(len(self.files)):
            for piece in torch.tensor(list(self.files[number].read_bytes())).unfold(0, self.length + 1, self.length):
                yield piece[:-1], piece[1:]


class Steps:
    """Epochs of fixed length: each continues where the last one stopped; an exhausted loader starts again."""

    def __init__(self, loader: DataLoader, steps: int) -> None:
        self.batches, self.steps = itertools.chain.from_iterable(itertools.repeat(loader)), steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self):
        return itertools.islice(self.batches, self.steps)


class Net(nn.Module):
    """A recurrent net over bytes."""

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(256, width), nn.Linear(width, 256)
        self.recurrent = nn.GRU(width, width, batch_first=True)

    def forward(self, read: Tensor) -> Tensor:
        """Scores of the next byte, shape (rows, 256, length), for bytes of shape (rows, length)."""
        return self.head(self.recurrent(self.embedding(read))[0]).transpose(1, 2)


class Writer(lb.Callback):
    """Lets the net write a function after each epoch."""

    def on_epoch_end(self, ctx: lb.Context) -> None:
        """Byte after byte, each drawn from its predicted distribution."""
        text = torch.tensor(list(b"def "), device=ctx.device)
        for _ in range(80):
            text = torch.cat([text, torch.multinomial(ctx.model.eval()(text[None])[0, :, -1].softmax(0), 1)])
        print(bytes(text.tolist()).decode(errors="replace"))


def main() -> None:
    """Train for a number of steps, writing samples in between."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small net and few batches, in seconds")
    steps, width, length = (40, 96, 32) if parser.parse_args().quick else (1000, 512, 256)
    files = sorted(path for path in Path(argparse.__file__).parent.glob("*.py") if path.stat().st_size > length)
    data = Steps(DataLoader(Pieces(files, length), batch_size=32), steps)
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW).set_hparams(width=width)
    one_cycle, clip = lb.callbacks.LearningRate(lb.schedules.one_cycle()), lb.callbacks.GradientClip(1.0)
    recipe.set_opt_hparams(lr=1e-2).fit(data, epochs=4, callbacks=[one_cycle, clip, Writer()])


if __name__ == "__main__":
    main()
