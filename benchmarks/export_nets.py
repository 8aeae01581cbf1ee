"""The nets of `benchmarks.export`: small ones of every kind that people bring, and what goes into them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

Seq = nn.Sequential


@dataclass
class Net:
    """A net and its rows.

    Attributes:
        name: of the row in the table.
        module: makes it.
        inputs: gives so many rows: a tensor, a tuple for several arguments, or a dict for one.
        options: of `fit()`.
    """

    name: str
    module: Callable[[], nn.Module]
    inputs: Callable[[int], Any]
    options: dict[str, Any] = field(default_factory=dict)


def of(*shape: int) -> Callable[[int], Tensor]:
    return lambda rows: torch.randn(rows, *shape)


def tokens(length: int, words: int = 11, least: int = 0) -> Callable[[int], Tensor]:
    return lambda rows: torch.randint(least, words, (rows, length))


class By(nn.Module):
    """Parts and a function of them, where a class of its own would say no more."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._forward = forward

    def forward(self, *inputs: Tensor) -> Any:
        return self._forward(self, *inputs)


class Residual(nn.Module):
    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.first = Seq(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 3, padding=1))
        self.second = Seq(nn.GroupNorm(2, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        self.head = nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.first(x)
        x = self.second(x).add_(x)
        return self.head(x.mean((2, 3)))


class Squeeze(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.gate = Seq(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return (x * self.gate(x)).flatten(1)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, padding=1)
        self.deep = nn.Conv2d(4, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        top = F.relu(self.down(x))
        low = F.relu(self.deep(F.max_pool2d(top, 2)))
        return self.out(torch.cat([top, self.up(low)], 1))


class Resized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        small = F.interpolate(self.conv(x), scale_factor=0.5, mode="bilinear", align_corners=False)
        return F.interpolate(small, size=x.shape[-2:], mode="nearest")


class Recurrent(nn.Module):
    """The last state of a recurrent net over embedded words."""

    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6, padding_idx=0)
        self.rnn = kind(6, 5, batch_first=True, **options)
        self.head = nn.Linear(5 * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.rnn(self.words(x))
        return self.head(found[:, -1])


class States(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 5, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found, (hidden, _) = self.rnn(x)
        return found, hidden.transpose(0, 1)


class Stepped(nn.Module):
    """A cell in a loop of Python over the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 5)
        for step in x.unbind(1):
            state = self.cell(step, state)
        return state


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8, padding_idx=0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        words = self.words(x)
        found, _ = self.attention(words, words, words, key_padding_mask=x == 0)
        return found.mean(1)


class Causal(nn.Module):
    """Attention by hand, with a mask that is a buffer."""

    mask: Tensor

    def __init__(self, length: int = 7, width: int = 8) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, width), nn.Parameter(torch.randn(length, width) * 0.1)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, 11)
        self.register_buffer("mask", torch.ones(length, length).tril().bool(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.words(x) + self.places
        q, k, v = self.qkv(h).chunk(3, -1)
        scores = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).masked_fill(~self.mask, -math.inf)
        return self.out(h + scores.softmax(-1) @ v)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (one.unflatten(-1, (2, 4)).transpose(1, 2) for one in self.qkv(x).chunk(3, -1))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


class Encoder(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
        self.words, self.encoder = nn.Embedding(11, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(self.words(x)).mean(1)


class Translator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.net(source, target)


class Patches(nn.Module):
    """A small vision transformer with a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.patch(x).flatten(2).transpose(1, 2)
        parts = torch.cat([self.token.expand(x.shape[0], -1, -1), parts], 1) + self.places
        return self.layer(parts)[:, 0]


class Bags(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(11, 5, mode=mode)

    def forward(self, x: Tensor) -> Tensor:
        return self.bag(x)


class ByName(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.words = nn.Linear(3, 4), nn.Embedding(11, 4)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        both = self.left(batch["left"]) + self.words(batch["word"])
        return {"scores": both, "norm": both.norm(dim=1)}


class Pair(NamedTuple):
    mean: Tensor
    scale: Tensor


class Gaussian(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean, self.scale = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Pair:
        h = torch.tanh(self.body(x))
        return Pair(self.mean(h), F.softplus(self.scale(h)))


class Standardised(nn.Module):
    center: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.arange(4.0))
        self.register_buffer("scale", torch.arange(1.0, 5))
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer((x - self.center) / self.scale)


class Counting(nn.Module):
    """A buffer that moves in training alone."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.lerp_(x.detach().mean(0), 0.1)
        return self.layer(x - self.seen)


class ByShape(nn.Module):
    """A branch on a size that is the same for all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x if x.shape[-1] == 6 else x[..., :6])


class BatchBranch(ByShape):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.shape[0] > 1 else -self.layer(x)


class ValueBranch(ByShape):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


class Shuffled(ByShape):
    """Groups of rows: it wants an even number of them."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).view(x.shape[0] // 2, 2, 3).flip(1).view(-1, 3)


class Across(ByShape):
    """What a row gives depends on the others."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x - x.mean(0, keepdim=True))


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.complex64) @ self.weight


class Fourier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.fft.rfft(x).abs())


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 3), nn.ModuleList(nn.Linear(4, 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        shares = self.gate(x).softmax(-1)
        return (shares[:, None] * torch.stack([expert(x) for expert in self.experts], -1)).sum(-1)


class TopExpert(Experts):
    def forward(self, x: Tensor) -> Tensor:
        best = self.gate(x).argmax(-1)
        every = torch.stack([expert(x) for expert in self.experts], 1)
        return every.gather(1, best[:, None, None].expand(-1, 1, 2))[:, 0]


class Probabilities(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def predict(self, x: Tensor) -> Tensor:
        return self(x).softmax(1)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.words(x).mean(1)))


class Quantized(nn.Module):
    """Weights rounded in forward, with gradients straight through."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.layer.weight
        return F.linear(x, weight + ((weight * 16).round() / 16 - weight).detach(), self.layer.bias)


class Sparse(nn.Module):
    graph: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("graph", torch.eye(4).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        return torch.sparse.mm(self.graph, self.layer(x).T).T


def plus(self: Any, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return self.one(a) + self.two(b).mean(1) + self.three(c)


def several(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(rows, 3), torch.randn(rows, 5, 2), torch.randint(0, 11, (rows,))


def bfloat16(module: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: module().bfloat16()


ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.GELU, nn.ELU, nn.SELU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Softsign, nn.LeakyReLU, nn.PReLU, nn.CELU,
    nn.Hardtanh, nn.Tanhshrink, nn.LogSigmoid,
)  # fmt: skip


def mlp() -> nn.Module:
    return Seq(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


NETS = [
    Net("MLP", mlp, of(4)),
    Net("MLP, every activation", lambda: Seq(*(Seq(nn.Linear(4, 4), act()) for act in ACTIVATIONS)), of(4)),
    Net(
        "MLP, BatchNorm, dropout",
        lambda: Seq(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)),
        of(4),
    ),
    Net("LayerNorm, RMSNorm", lambda: Seq(nn.Linear(4, 8), nn.LayerNorm(8), nn.RMSNorm(8), nn.Linear(8, 3)), of(4)),
    Net(
        "InstanceNorm, LocalResponseNorm",
        lambda: Seq(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.LocalResponseNorm(2)),
        of(3, 8, 8),
    ),
    Net(
        "InstanceNorm with statistics",
        lambda: Seq(nn.Conv1d(2, 4, 3), nn.InstanceNorm1d(4, track_running_stats=True)),
        of(2, 8),
    ),
    Net(
        "BatchNorm without statistics",
        lambda: Seq(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False)),
        of(4),
    ),
    Net(
        "Conv1d, dilated",
        lambda: Seq(nn.Conv1d(2, 6, 3, dilation=2), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(6, 3)),
        of(2, 16),
    ),
    Net(
        "Conv2d, pooling",
        lambda: Seq(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(3)),
        of(3, 12, 12),
    ),
    Net(
        "Conv2d by channel, circular padding",
        lambda: Seq(nn.Conv2d(4, 4, 3, groups=4, padding=1, padding_mode="circular"), nn.Conv2d(4, 6, 1)),
        of(4, 6, 6),
    ),
    Net(
        "Conv2d, padding reflected",
        lambda: Seq(nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3, stride=2), nn.PixelShuffle(2)),
        of(3, 6, 6),
    ),
    Net(
        "Conv3d",
        lambda: Seq(nn.Conv3d(1, 3, 2), nn.BatchNorm3d(3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()),
        of(1, 4, 4, 4),
    ),
    Net("ConvTranspose1d", lambda: Seq(nn.ConvTranspose1d(2, 3, 4, stride=2), nn.Tanh()), of(2, 5)),
    Net("residual", Residual, of(3, 8, 8)),
    Net("squeeze and excitation", Squeeze, of(3, 6, 6)),
    Net("U-Net", UNet, of(1, 8, 8)),
    Net("resized", Resized, of(3, 10, 10)),
    Net("RNN", lambda: Recurrent(nn.RNN), tokens(7)),
    Net("GRU", lambda: Recurrent(nn.GRU), tokens(7)),
    Net("LSTM", lambda: Recurrent(nn.LSTM), tokens(7)),
    Net(
        "LSTM, two ways, two layers",
        lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True, dropout=0.2),
        tokens(7),
    ),
    Net("LSTM with its states", States, of(6, 4)),
    Net("GRUCell in a loop", Stepped, of(6, 4)),
    Net("attention, padding masked", Attending, tokens(6, least=1)),
    Net("attention by hand, causal", Causal, tokens(7)),
    Net("scaled_dot_product_attention", Scaled, of(6, 8)),
    Net("transformer encoder", Encoder, tokens(6)),
    Net("transformer encoder, norm first, GELU", lambda: Encoder(norm_first=True, activation="gelu"), tokens(6)),
    Net("transformer, two inputs", Translator, lambda rows: (torch.randn(rows, 5, 8), torch.randn(rows, 4, 8))),
    Net("vision transformer", Patches, of(3, 8, 8)),
    Net("embedding", lambda: Seq(nn.Embedding(11, 4), nn.Flatten(), nn.Linear(20, 3)), tokens(5)),
    Net("embedding with a largest norm", lambda: Seq(nn.Embedding(11, 4, max_norm=1.0), nn.Flatten()), tokens(5)),
    Net("bag of words, mean", lambda: Bags("mean"), tokens(5)),
    Net("bag of words, sum", lambda: Bags("sum"), tokens(5)),
    Net("bag of words, max", lambda: Bags("max"), tokens(5)),
    Net("three inputs", lambda: By(plus, one=nn.Linear(3, 4), two=nn.Linear(2, 4), three=nn.Embedding(11, 4)), several),
    Net(
        "a dict in and out", ByName, lambda rows: {"left": torch.randn(rows, 3), "word": torch.randint(0, 11, (rows,))}
    ),
    Net("named tuple out", Gaussian, of(4)),
    Net("predict() beside forward()", Probabilities, of(4)),
    Net(
        "bilinear",
        lambda: By(lambda self, a, b: self.both(a, b), both=nn.Bilinear(3, 4, 2)),
        lambda rows: (torch.randn(rows, 3), torch.randn(rows, 4)),
    ),
    Net("buffers", Standardised, of(4)),
    Net("a buffer that training moves", Counting, of(4)),
    Net("tied weights", Tied, tokens(5)),
    Net(
        "lazy layers",
        lambda: Seq(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(3)),
        of(3, 6, 6),
    ),
    Net("weight norm", lambda: Seq(parametrizations.weight_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 3)), of(4)),
    Net(
        "spectral norm", lambda: Seq(parametrizations.spectral_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 3)), of(4)
    ),
    Net("orthogonal", lambda: Seq(parametrizations.orthogonal(nn.Linear(4, 4)), nn.Linear(4, 3)), of(4)),
    Net("weights rounded in forward", Quantized, of(4)),
    Net("mixture of experts", Experts, of(4)),
    Net("the best of some experts", TopExpert, of(4)),
    Net("Fourier transform", Fourier, of(16)),
    Net(
        "einsum, cumsum, sort",
        lambda: By(
            lambda self, x: torch.einsum("rsf,tf->rst", x, self.one.weight).cumsum(1).sort(-1).values,
            one=nn.Linear(4, 5),
        ),
        lambda rows: torch.randn(rows, 3, 4),
    ),
    Net(
        "topk, gather, where",
        lambda: By(
            lambda self, x: torch.where((h := self.one(x)) >= h.topk(2).values[:, -1:], h, 0.0), one=nn.Linear(4, 5)
        ),
        of(4),
    ),
    Net(
        "whole numbers out",
        lambda: By(lambda self, x: (self.one(x), self.one(x).argmax(1)), one=nn.Linear(4, 3)),
        of(4),
    ),
    Net("a branch on a fixed size", ByShape, of(6)),
    Net("float64", lambda: mlp().double(), lambda rows: torch.randn(rows, 4, dtype=torch.float64)),
    Net("bfloat16 weights", bfloat16(mlp), lambda rows: torch.randn(rows, 4).bfloat16()),
    Net("trained in bfloat16", mlp, of(4), {"precision": "bfloat16"}),
    Net("float16 weights", lambda: mlp().half(), lambda rows: torch.randn(rows, 4).half()),
    Net(
        "bytes in",
        lambda: By(lambda self, x: self.conv(x.float() / 255).flatten(1), conv=nn.Conv2d(3, 2, 3)),
        lambda rows: torch.randint(0, 256, (rows, 3, 6, 6), dtype=torch.uint8),
    ),
    Net(
        "booleans in",
        lambda: By(lambda self, x: self.one(x.float()), one=nn.Linear(4, 3)),
        lambda rows: torch.rand(rows, 4) > 0.5,
    ),
    Net("complex weights", Complex, of(4)),
    Net("a sparse buffer", Sparse, of(4)),
    Net("rows that see one another", Across, of(6)),
    Net("a branch on the number of rows", BatchBranch, of(6)),
    Net("a branch on values", ValueBranch, of(6)),
    Net("an even number of rows", Shuffled, of(6)),
]
