"""A small GPT learns to write, one character after the other, and writes a sample after each epoch.

It reads pieces of a text and learns the next character at each position. The original never returned to training mode
after its first sample, and never read its first character; both are fixed here. `--text` takes your own book; the
default is six of Shakespeare's sonnets.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn, optim

import lumbre as lb


class GPT(nn.Module):
    """Layers of causal attention."""

    def __init__(self, characters: int, length: int = 128, width: int = 192, layers: int = 6, heads: int = 6) -> None:
        super().__init__()
        self.length = length
        self.character, self.place = nn.Embedding(characters, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, characters)

    def forward(self, read: Tensor) -> Tensor:
        """Scores of the next character, (rows, characters, length) as the loss needs them, for (rows, length)."""
        x = self.character(read) + self.place.weight[: read.shape[1]]
        later = nn.Transformer.generate_square_subsequent_mask(read.shape[1], device=read.device)
        return self.head(self.layers(x, later, is_causal=True)).transpose(1, 2)

    def generate(self, text: Tensor, count: int) -> Tensor:
        """The characters of `text`, and `count` more, each drawn from its predicted distribution."""
        for _ in range(count):
            chances = self(text[None, -self.length :])[0, :, -1].softmax(0)
            text = torch.cat([text, torch.multinomial(chances, 1)])
        return text


class Writer(lb.Callback):
    """Lets the net write a sample after each epoch."""

    def __init__(self, alphabet: list[str]) -> None:
        self.alphabet = alphabet

    def on_epoch_end(self, ctx: lb.Context) -> None:
        """Begin a line; the next epoch switches back to training mode."""
        begin = torch.tensor([self.alphabet.index("\n")], device=ctx.device)
        written = ctx.model.eval().generate(begin, 100)
        print("".join(self.alphabet[number] for number in written))


def main() -> None:
    """Number the characters, train, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--text", type=Path, default=Path(__file__).with_name("sonnets.txt"))
    parser.add_argument("--quick", action="store_true", help="a very small net, in seconds")
    given = parser.parse_args()
    text = given.text.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    sizes = {"length": 32, "width": 48, "layers": 2, "heads": 4} if given.quick else {"length": 128}
    recipe = lb.setup(GPT, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW)
    recipe = recipe.set_hparams(characters=len(alphabet), **sizes).set_opt_hparams(lr=5e-3 if given.quick else 1e-3)
    pieces = torch.tensor([alphabet.index(character) for character in text]).unfold(0, sizes["length"] + 1, 3)
    callbacks = [lb.callbacks.GradientClip(1.0), Writer(alphabet)]
    recipe.fit((pieces[:, :-1], pieces[:, 1:]), epochs=given.epochs, batch_size=32, callbacks=callbacks)


if __name__ == "__main__":
    main()
