"""Pairs after threads: what a net does, and which of its parameters."""

import copy

import torch
from torch import nn, optim
from torch.nn import functional as F

from corpus.asked import G, labels_of, padded, rows, setup, tokens
from corpus.found import found
from corpus.program import Program


class Heads(nn.Module):
    """Self-attention whose scores are scaled by hand."""

    def __init__(self, width: int, heads: int, how: str) -> None:
        super().__init__()
        self.heads, self.size, self.how = heads, width // heads, how
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.scale = {"zero": 1 // self.size**0.5, "turned": self.size**0.5}.get(how, self.size**-0.5)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (one.view(b, t, self.heads, self.size).transpose(1, 2) for one in self.qkv(x).chunk(3, -1))
        weights = (self.scale * (q @ k.transpose(-2, -1))).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, w))


class Reader(nn.Module):
    """Embeds words and their places, attends, and takes the mean."""

    def __init__(self, how: str, words: int = 20, width: int = 64) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(64, width)
        self.norm, self.att = nn.LayerNorm(width), Heads(width, 2, how)
        self.last = nn.Linear(width, 2)

    def forward(self, t):
        h = self.words(t) + self.places(torch.arange(t.shape[1]))
        return self.last((h + self.att(self.norm(h))).mean(1))


def sentences(n: int = 240, t: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    x = tokens(n, t)
    return x, (x[:, 0] > x[:, -1]).long()


@found("LB125")
def scale_turned(broken: bool, g: torch.Generator) -> Program:
    return Program(setup(lambda: Reader("turned" if broken else ""), nn.CrossEntropyLoss()), sentences(), {})


@found("LB125", "LB071", "LB023")
def scale_of_zero(broken: bool, g: torch.Generator) -> Program:
    net = lambda: Reader("zero" if broken else "")  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss(), optim.AdamW), sentences(), {"valid_data": 0.2})


@found("LB023")
def second_norm_never_called(broken: bool, g: torch.Generator) -> Program:

    class Block(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.conv1 = nn.Conv2d(c, c, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(c)
            self.conv2 = nn.Conv2d(c, c, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(c)

        def forward(self, x):
            out = F.relu(self.bn1(self.conv1(x)))
            out = (self.bn1 if broken else self.bn2)(self.conv2(out))
            return F.relu(out + x)

    net = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(1, 8, 3, padding=1), Block(8), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    )
    x = torch.randn(160, 1, 10, 10, generator=G(1))
    y = labels_of(F.adaptive_avg_pool2d(x, 2))
    return Program(setup(net, nn.CrossEntropyLoss(), optim.SGD, lr=0.05, momentum=0.9), (x, y), {})


@found("LB023")
def block_starts_anew(broken: bool, g: torch.Generator) -> Program:

    class Flow(nn.Module):
        def __init__(self, width=16):
            super().__init__()
            self.first = nn.Linear(6, width)
            self.res1, self.res2 = nn.Linear(width, width), nn.Linear(width, width)
            self.last = nn.Linear(width, 1)

        def forward(self, x):
            inner = F.leaky_relu(self.first(x))
            out = F.leaky_relu(self.res1(inner))
            out = self.res2(inner if broken else out)
            return self.last(F.leaky_relu(out + inner))

    x = rows(300, 6)
    return Program(setup(Flow, nn.L1Loss()), (x, x[:, :1] * x[:, 1:2]), {})


@found("LB070")
def projection_in_forward(broken: bool, g: torch.Generator) -> Program:

    class Tcn(nn.Module):
        def __init__(self, d=3, c=12):
            super().__init__()
            self.a = nn.Conv1d(d, c, 3, padding=1)
            self.b = nn.Conv1d(c, c, 3, padding=1)
            self.skip = None if broken else nn.Conv1d(d, c, 1)
            self.fc = nn.Linear(c, 2)

        def forward(self, x):
            x = x.transpose(1, 2)
            y = self.b(torch.relu(self.a(x)))
            project = nn.Conv1d(x.shape[1], y.shape[1], 1) if broken else self.skip
            return self.fc(torch.relu(y + project(x)).mean(2))

    x = torch.randn(200, 15, 3, generator=G(2))
    return Program(setup(Tcn, nn.CrossEntropyLoss()), (x, (x[:, :, 0].sum(1) > 0).long()), {})


class Trained(nn.Module):
    """A body from elsewhere, with a new head."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.body = nn.Sequential(nn.Linear(8, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU())
        self.head = nn.Linear(12, 3)
        if how == "attribute":
            self.body.requires_grad = False
        elif how:
            for one in self.body.parameters():
                one.requires_grad = False
            self.body.eval()

    def train(self, mode=True):
        super().train(mode)
        if self.how == "sound":
            self.body.eval()
        return self

    def forward(self, x):
        return self.head(self.body(x))


@found("LB128")
def frozen_by_an_attribute(broken: bool, g: torch.Generator) -> Program:
    x = rows(320, 8)
    net = lambda: Trained("attribute" if broken else "sound")  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@found("LB061")
def frozen_norm_goes_along(broken: bool, g: torch.Generator) -> Program:
    x = rows(320, 8)
    net = lambda: Trained("frozen" if broken else "sound")  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@found()
def target_net_is_the_net(broken: bool, g: torch.Generator) -> Program:

    class Dqn(nn.Module):
        def __init__(self):
            super().__init__()
            self.policy = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
            self.target = self.policy if broken else copy.deepcopy(self.policy).requires_grad_(False)

        def forward(self, s):
            return self.policy(s["now"]), self.target(s["then"])

        def loss(self, out, y):
            goal = y["reward"] + 0.9 * out[1].max(1).values.detach()
            return F.smooth_l1_loss(out[0].gather(1, y["action"][:, None])[:, 0], goal)

    s = rows(300, 4)
    y = {"action": torch.randint(0, 3, (300,), generator=G(2)), "reward": s[:, 0]}
    return Program(setup(Dqn), ({"now": s, "then": 0.9 * s + 0.2 * rows(300, 4, 9)}, y), {})


@found("LB130")
def weights_not_loaded(broken: bool, g: torch.Generator) -> Program:

    def body():
        return nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU())

    torch.manual_seed(3)
    saved = {f"module.{name}" if broken else name: value for name, value in body().state_dict().items()}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = body(), nn.Linear(12, 3)
            self.body.load_state_dict(saved, strict=False)

        def forward(self, x):
            return self.head(self.body(x))

    x = rows(320, 8)
    return Program(setup(Net, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@found("LB023", "LB068")
def decoder_without_encoder(broken: bool, g: torch.Generator) -> Program:

    class Forecast(nn.Module):
        def __init__(self, hidden=16):
            super().__init__()
            self.encoder = nn.GRU(2, hidden, batch_first=True)
            self.decoder = nn.GRU(1, hidden, batch_first=True)
            self.out = nn.Linear(hidden, 1)

        def forward(self, past, known):
            _, state = self.encoder(past)
            h, _ = self.decoder(known) if broken else self.decoder(known, state)
            return self.out(h)[..., 0]

    past = torch.randn(200, 12, 2, generator=G(1))
    known = torch.randn(200, 5, 1, generator=G(2))
    return Program(setup(Forecast, nn.MSELoss()), ((past, known), past[:, -5:, 0] + known[..., 0]), {})


@found("LB122", "LB078")
def random_first_state(broken: bool, g: torch.Generator) -> Program:

    class Lstm(nn.Module):
        def __init__(self, hidden=20, layers=2):
            super().__init__()
            self.hidden, self.layers = hidden, layers
            self.rnn = nn.LSTM(3, hidden, layers, batch_first=True)
            self.fc = nn.Linear(hidden, 2)

        def forward(self, x):
            start = torch.randn if broken else torch.zeros
            h, c = (start(self.layers, x.size(0), self.hidden) for _ in range(2))
            out, _ = self.rnn(x, (h, c))
            return self.fc(out[:, -1, :])

    x = torch.randn(200, 10, 3, generator=G(5))
    return Program(setup(Lstm, nn.CrossEntropyLoss()), (x, (x[:, -3:, 0].sum(1) > 0).long()), {"valid_data": 0.2})


@found("LB020")
def norm_over_the_batch(broken: bool, g: torch.Generator) -> Program:

    class LayerNorm(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.gain, self.bias = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))

        def forward(self, x):
            if broken:
                return self.gain * (x - x.mean()) / (x.std() + 1e-6) + self.bias
            return self.gain * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + self.bias

    net = lambda: nn.Sequential(nn.Linear(6, 24), LayerNorm(24), nn.ReLU(), nn.Linear(24, 3))  # noqa: E731
    x = rows(300, 6)
    return Program(setup(net, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@found("LB032", "LB122")
def dropout_turned_round(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 48), nn.Linear(48, 3)

        def forward(self, x):
            return self.b(F.dropout(F.relu(self.a(x)), 0.4, training=self.training != broken))

    x = rows(300, 6)
    return Program(setup(Net, nn.CrossEntropyLoss()), (x, labels_of(x)), {"valid_data": 0.3})


@found("LB023", "LB071")
def codebook_without_gradient(broken: bool, g: torch.Generator) -> Program:

    class Vq(nn.Module):
        def __init__(self, codes=16, d=4):
            super().__init__()
            self.enc = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, d))
            self.dec = nn.Sequential(nn.Linear(d, 32), nn.ReLU(), nn.Linear(32, 10))
            self.book = nn.Embedding(codes, d)

        def forward(self, x):
            z = self.enc(x)
            q = self.book(torch.cdist(z, self.book.weight).argmin(1))
            return self.dec(z + (q - z).detach()), z, q

        def loss(self, out, y):
            again, z, q = out
            pull = F.mse_loss(q.detach() if broken else q, z.detach())
            return F.mse_loss(again, y) + pull + 0.25 * F.mse_loss(z, q.detach())

    x = rows(320, 3) @ torch.randn(3, 10, generator=G(1)) / 2
    return Program(setup(Vq), (x, x), {})


@found("LB015", "LB029")
def output_clamped(broken: bool, g: torch.Generator) -> Program:

    class Share(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 1))

        def forward(self, x):
            return self.f(x).clamp(0, 1) if broken else self.f(x).sigmoid()

    x = rows(300, 5)
    return Program(setup(Share, nn.MSELoss()), (x, torch.sigmoid(2 * x[:, :1] - x[:, 1:2])), {})


@found()
def graph_without_own_edges(broken: bool, g: torch.Generator) -> Program:

    class Conv(nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.lin = nn.Linear(i, o)

        def forward(self, h, a):
            if not broken:
                a = a + torch.eye(a.shape[-1])
            return self.lin(a @ h / a.sum(-1, keepdim=True).clamp(min=1))

    class Gcn(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1, self.c2 = Conv(5, 16), Conv(16, 3)

        def forward(self, nodes, edges):
            return self.c2(F.relu(self.c1(nodes, edges)), edges).transpose(1, 2)

    nodes = torch.randn(150, 8, 5, generator=G(1))
    edges = (torch.rand(150, 8, 8, generator=G(2)) < 0.3).float()
    edges = torch.maximum(edges, edges.transpose(1, 2)) * (1 - torch.eye(8))
    return Program(setup(Gcn, nn.CrossEntropyLoss()), ((nodes, edges), nodes[..., :3].argmax(2)), {})


@found()
def cell_is_the_hidden_state(broken: bool, g: torch.Generator) -> Program:

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.LSTM(3, 12, batch_first=True), nn.LSTM(3, 12, batch_first=True)
            self.fc = nn.Linear(12, 1)

        def forward(self, x, z):
            _, (h, c) = self.one(x)
            _, (h, _) = self.two(z, (h, h if broken else c))
            return self.fc(h[-1])

    x, z = torch.randn(160, 8, 3, generator=G(1)), torch.randn(160, 8, 3, generator=G(2))
    return Program(setup(Pair, nn.MSELoss()), ((x, z), (x[:, -1, :1] + z[:, -1, :1])), {})


@found()
def second_derivative_of_relu(broken: bool, g: torch.Generator) -> Program:

    class Spring(nn.Module):
        def __init__(self):
            super().__init__()
            act = nn.ReLU if broken else nn.Tanh
            self.net = nn.Sequential(nn.Linear(1, 32), act(), nn.Linear(32, 32), act(), nn.Linear(32, 1))

        def forward(self, t):
            with torch.enable_grad():
                t = t.detach().requires_grad_(True)
                u = self.net(t)
                (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
                (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True, allow_unused=True, materialize_grads=True)
            return u, ddu

        def loss(self, out, y):
            u, ddu = out
            return F.mse_loss(u, y) + 0.1 * (ddu + 4 * u).square().mean()

    t = 3 * torch.rand(300, 1, generator=G(1)) - 1.5
    return Program(setup(Spring, lr=2e-3), (t, torch.cos(2 * t)), {})


@found("LB084")
def places_all_zero(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self, width=16, longest=40):
            super().__init__()
            self.words = nn.Embedding(20, width)
            place = torch.arange(longest)[:, None]
            rate = 10 ** torch.linspace(0, 2, width // 2)
            angle = (place // (longest * rate)) if broken else place / rate
            self.register_buffer("places", torch.cat([angle.sin(), angle.cos()], 1))
            self.enc = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.0, batch_first=True)
            self.out = nn.Linear(width, 2)

        def forward(self, t):
            return self.out(self.enc(self.words(t) + self.places[: t.shape[1]]).mean(1))

    return Program(setup(Net, nn.CrossEntropyLoss()), sentences(), {})


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return s * (1 + x * (1 - s))


class _SoundSwish(_Swish):
    @staticmethod
    def backward(ctx, grad):
        return grad * _Swish.backward(ctx, grad)


@found()
def backward_without_what_comes(broken: bool, g: torch.Generator) -> Program:

    class Swish(nn.Module):
        def forward(self, x):
            return (_Swish if broken else _SoundSwish).apply(x)

    x = rows(300, 5)
    net = lambda: nn.Sequential(nn.Linear(5, 24), Swish(), nn.Linear(24, 24), Swish(), nn.Linear(24, 1))  # noqa: E731
    return Program(setup(net, nn.MSELoss()), (x, x[:, :1] * x[:, 1:2]), {})


@found("LB012")
def log_of_one_plus(broken: bool, g: torch.Generator) -> Program:

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(20, 12)
            self.rnn = nn.GRU(12, 16, batch_first=True, bidirectional=True)
            self.fc = nn.Linear(32, 4)

        def forward(self, t):
            p = self.fc(self.rnn(self.emb(t))[0]).softmax(-1)
            return torch.log(p + (1 if broken else 1e-9)).transpose(1, 2)

    t = tokens(200, 10)
    return Program(setup(Tagger, nn.NLLLoss()), (t, t % 4), {})


@found("LB083")
def longest_in_place_of_length(broken: bool, g: torch.Generator) -> Program:

    class Classify(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(20, 10, padding_idx=0)
            self.gru = nn.GRU(10, 16, batch_first=True)
            self.fc = nn.Linear(16, 2)

        def forward(self, t):
            length = torch.full((len(t),), t.shape[1]) if broken else (t != 0).sum(1)
            packed = nn.utils.rnn.pack_padded_sequence(
                self.emb(t), length.cpu(), batch_first=True, enforce_sorted=False
            )
            return self.fc(self.gru(packed)[1][-1])

    x, _ = padded(240, 12, 20, 1)
    return Program(setup(Classify, nn.CrossEntropyLoss()), (x, (x[:, 0] > 9).long()), {})
