"""Mistakes in a net: what is registered, what has a gradient, what mixes rows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from corpus.program import (
    Program,
    binary,
    blobs,
    case,
    classify,
    cnn,
    mlp,
    pictures,
    plane,
    program,
    regress,
    sequences,
    texts,
)

G = torch.Generator


class Listed(nn.Module):
    """Hidden layers in a list."""

    def __init__(self, plain: bool, d: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(d, 16)
        layers = [nn.Linear(16, 16) for _ in range(2)]
        self.hidden = layers if plain else nn.ModuleList(layers)
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        for layer in self.hidden:
            x = layer(x).relu()
        return self.head(x)


@case("pytorch-666", "LB026")
def layers_in_a_plain_list(broken: bool, g: G) -> Program:
    return classify(lambda: Listed(broken), blobs(g))


class Nested(nn.Module):
    def __init__(self, plain: bool) -> None:
        super().__init__()
        pairs = [[nn.Linear(6, 6), nn.Tanh()] for _ in range(3)]
        self.hids = pairs if plain else nn.ModuleList(nn.ModuleList(pair) for pair in pairs)
        self.classifier = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for linear, act in self.hids:
            x = act(linear(x))
        return self.classifier(x)


@case("pytorch-715", "LB026")
def layers_in_a_list_of_lists(broken: bool, g: G) -> Program:
    return classify(lambda: Nested(broken), blobs(g, d=6))


class Widths(nn.Module):
    """Convolutions of several widths over words."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        convs = {str(k): nn.Conv1d(8, 4, k) for k in (2, 3, 4)}
        self.convs = convs if plain else nn.ModuleDict(convs)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x).transpose(1, 2)
        return self.head(torch.cat([conv(x).relu().amax(2) for conv in self.convs.values()], 1))


@case("pytorch-1053", "LB026")
def convolutions_in_a_plain_dict(broken: bool, g: G) -> Program:
    return classify(lambda: Widths(broken), texts(g))


class Filters(nn.Module):
    def __init__(self, plain: bool) -> None:
        super().__init__()
        filters = tuple(nn.Conv1d(3, 4, 3, padding=1) for _ in range(2))
        self.filters = filters if plain else nn.ModuleList(filters)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        return self.head(torch.cat([layer(x).relu().mean(2) for layer in self.filters], 1))


@case("murenn-42", "LB026")
def filters_in_a_plain_tuple(broken: bool, g: G) -> Program:
    return classify(lambda: Filters(broken), sequences(g))


class Encoded(nn.Module):
    """An encoder and a head, with something between."""

    def __init__(self, cut: str = "") -> None:
        super().__init__()
        self.encoder, self.head, self.cut = mlp(5, 16, 8), nn.Linear(8, 1), cut

    def forward(self, x: Tensor) -> Tensor:
        z = self.encoder(x).relu()
        if self.cut == "detach":
            z = z.detach()
        if self.cut == "data":
            z = z.data
        if self.cut == "clone":
            z = torch.tensor(z.tolist())
        return self.head(z)


@case("speechbrain-1396", "LB023")
def detached_features(broken: bool, g: G) -> Program:
    return regress(lambda: Encoded("detach" if broken else ""), plane(g))


@case("IntroVAE-3", "LB023")
def data_in_the_middle(broken: bool, g: G) -> Program:
    return regress(lambda: Encoded("data" if broken else ""), plane(g), optimizer=optim.SGD, lr=0.05)


@case("CoCa-6", "LB023")
def an_extractor_under_no_grad(broken: bool, g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.extractor, self.head = cnn(1, 16), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not broken):
                z = self.extractor(x)
            return self.head(z.relu())

    return classify(Net, pictures(g))


@case("ReLeaSE-39", "LB023")
def a_loss_without_a_graph(broken: bool, g: G) -> Program:
    def loss(pred: Tensor, target: Tensor) -> Tensor:
        if broken:
            return torch.tensor(F.mse_loss(pred, target).item())
        return F.mse_loss(pred, target)

    return program(Encoded, loss, plane(g))


class Partly(nn.Module):
    """Gives its optimizer some of its parameters."""

    def __init__(self, names: tuple[str, ...] = ("body", "head")) -> None:
        super().__init__()
        self.names = names
        self.body, self.head = mlp(4, 16, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu())

    def configure_optimizers(self, lr: float = 1e-3) -> optim.Optimizer:
        return optim.AdamW([{"params": getattr(self, name).parameters()} for name in self.names], lr=lr)


@case("HVPNeT-5", "LB022")
def head_left_out_of_the_optimizer(broken: bool, g: G) -> Program:
    return classify(lambda: Partly(("body",) if broken else ("body", "head")), blobs(g), optimizer=None)


@case("mace-1529", "LB022")
def body_left_out_of_the_optimizer(broken: bool, g: G) -> Program:
    return classify(lambda: Partly(("head",) if broken else ("body", "head")), blobs(g), optimizer=None)


class Replaced(Partly):
    """Makes the optimizer, and then puts new layers in."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.late = late

    def configure_optimizers(self, lr: float = 1e-3) -> optim.Optimizer:
        if not self.late:
            self.head = nn.Linear(8, 3)
        made = optim.AdamW(self.parameters(), lr=lr)
        if self.late:
            self.head = nn.Linear(8, 3)
        return made


@case("opacus-432", "LB022")
def layers_replaced_after_the_optimizer_was_made(broken: bool, g: G) -> Program:
    return classify(lambda: Replaced(broken), blobs(g), optimizer=None)


class Positions(nn.Module):
    """Words and their places, the places in no group of the optimizer."""

    def __init__(self, left_out: bool) -> None:
        super().__init__()
        self.left_out = left_out
        self.words, self.head = nn.Embedding(20, 8), nn.Linear(8, 2)
        self.pos_emb = nn.Parameter(0.02 * torch.randn(1, 10, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.words(x) + self.pos_emb).relu().mean(1))

    def configure_optimizers(self, lr: float = 1e-2) -> optim.Optimizer:
        chosen = [p for name, p in self.named_parameters() if not (self.left_out and name == "pos_emb")]
        return optim.Adam(chosen, lr=lr)


@case("multispectral-77", "LB022")
def positions_left_out_of_the_optimizer(broken: bool, g: G) -> Program:
    return classify(lambda: Positions(broken), texts(g), optimizer=None)


class Attending(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return self.head((x + self.attention(x, x, x)[0]).mean(1))


@case("OmDet-19", "LB020")
def attention_over_the_rows(broken: bool, g: G) -> Program:
    return classify(lambda: Attending(not broken), sequences(g))


class Encoder(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=batch_first)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.words(x)).mean(1))


@case("moviegen-8", "LB020")
def transformer_over_the_rows(broken: bool, g: G) -> Program:
    return classify(lambda: Encoder(not broken), texts(g))


class Windows(nn.Module):
    """Attention in windows of a picture: the windows of all pictures in one dimension."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.inner = nn.Conv2d(1, 8, 1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        rows, channels, height, width = x.shape
        z = x.permute(0, 2, 3, 1).reshape(rows * height, width, channels)
        z = self.attention(z, z, z)[0].reshape(rows, height * width, channels)
        return self.head(z.relu().amax(1))


@case("AEMatter-3", "LB020")
def attention_over_all_windows(broken: bool, g: G) -> Program:
    return classify(lambda: Windows(not broken), pictures(g, 60))


class Recurrent(nn.Module):
    """Both directions of a GRU, brought together wrongly or rightly."""

    def __init__(self, reshaped: bool) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 8, batch_first=True, bidirectional=True)
        self.head, self.reshaped = nn.Linear(16, 2), reshaped

    def forward(self, x: Tensor) -> Tensor:
        state = self.gru(x)[1]
        both = state.reshape(-1, 16) if self.reshaped else torch.cat([state[0], state[1]], 1)
        return self.head(both)


@case("reshaping", "LB020")
def a_state_that_is_reshaped(broken: bool, g: G) -> Program:
    return classify(lambda: Recurrent(broken), sequences(g))


class Plain(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(3, 12, batch_first=batch_first), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@case("taourl-rnn", "LB020")
def a_recurrent_net_over_the_rows(broken: bool, g: G) -> Program:
    return classify(lambda: Plain(not broken), sequences(g))


@case("geo-113", "LB008")
def normalization_of_one_picture(broken: bool, g: G) -> Program:
    layers = lambda: (nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(784, 4))  # noqa: E731
    return classify(lambda: nn.Sequential(*layers()), pictures(g, 65 if broken else 64), batch_size=16)


@case("pytorch-7716", "LB008")
def normalization_of_one_row(broken: bool, g: G) -> Program:
    net = lambda: nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))  # noqa: E731
    return classify(net, blobs(g, 201), batch_size=10, drop_last=not broken)


@case("widedeep-96", "LB008")
def normalization_of_a_table(broken: bool, g: G) -> Program:
    net = lambda: nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))  # noqa: E731
    return regress(net, plane(g, 129), batch_size=64 if broken else 43)


class Squeezed(nn.Module):
    def __init__(self, net: nn.Module, everything: bool, dim: int = 1) -> None:
        super().__init__()
        self.net, self.everything, self.dim = net, everything, dim

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        return z.squeeze() if self.everything else z.squeeze(self.dim)


@case("sentiment-17", "LB021")
def squeeze_and_a_last_batch_of_one(broken: bool, g: G) -> Program:
    x, y = binary(g, 129)
    return program(lambda: Squeezed(mlp(4, 8, 1), broken), nn.BCEWithLogitsLoss(), (x, y[:, 0]), batch_size=32)


@case("reid-77", "LB021")
def squeeze_of_pooled_features(broken: bool, g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            z = F.adaptive_avg_pool2d(self.conv(x).relu(), 1)
            return self.head(torch.squeeze(z) if broken else z.flatten(1))

    return classify(Net, pictures(g, 121), batch_size=40)


@case("tacotron-303", "LB021")
def squeeze_of_a_sequence(broken: bool, g: G) -> Program:
    x, _ = sequences(g, 101, d=1)
    return regress(lambda: Squeezed(nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1)), broken, 2),
                   (x, (x[:, :, 0] ** 2) - 0.5), batch_size=25)  # fmt: skip


@case("anomalib-2883", "LB021")
def squeeze_of_the_prediction(broken: bool, g: G) -> Program:
    x, y = plane(g, 97)
    return regress(lambda: Squeezed(mlp(5, 8, 1), broken), (x, y[:, 0]), batch_size=32)


@case("NLPBook-28", "LB032")
def dropout_in_evaluation(broken: bool, g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(4, 32), nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            z = self.first(x).relu()
            return self.head(F.dropout(z, p=0.5) if broken else F.dropout(z, 0.5, self.training))

    return classify(Net, blobs(g))


@case("nuscenes-728", "LB027")
def two_linear_layers_in_a_row(broken: bool, g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.fc1, self.fc2 = mlp(5, 16, 8), nn.Linear(8, 64), nn.Linear(64, 1)

        def forward(self, x: Tensor) -> Tensor:
            z = self.fc1(self.body(x).relu())
            return self.fc2(z if broken else z.relu())

    return regress(Net, plane(g))


@case("netspresso-320", "LB027")
def a_head_without_activation(broken: bool, g: G) -> Program:
    act = nn.Identity if broken else nn.ReLU
    return classify(lambda: nn.Sequential(nn.Flatten(), mlp(256, 64, 32, 4, act=act)), pictures(g))


@case("neuralint-missing-relus", "LB027")
def convolutions_without_relu(broken: bool, g: G) -> Program:
    act = nn.Identity if broken else nn.ReLU
    net = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(1, 6, 3), act(), nn.Conv2d(6, 8, 3), act(), nn.Flatten(), nn.Linear(8 * 144, 4)
    )
    return classify(net, pictures(g))


def started(net: nn.Sequential, value: float, parts: tuple[int, ...] | None = None) -> nn.Sequential:
    with torch.no_grad():
        for at, part in enumerate(net):
            if isinstance(part, (nn.Linear, nn.Conv2d)) and (parts is None or at in parts):
                part.weight.fill_(value)
                assert part.bias is not None
                part.bias.zero_()
    return net


@case("LAVT-25", "LB024", "LB028", "LB019")
def two_layers_that_begin_at_zero(broken: bool, g: G) -> Program:
    return regress(lambda: started(mlp(5, 10, 10, 1), 0.0, (2, 4) if broken else ()), plane(g))


@case("NaNmnist-2", "LB024", "LB028", "LB019")
def all_weights_begin_at_zero(broken: bool, g: G) -> Program:
    return classify(lambda: started(cnn(1, 4), 0.0, None if broken else (7,)), pictures(g))


@case("deepchecker-init", "LB028")
def all_weights_begin_the_same(broken: bool, g: G) -> Program:
    return regress(lambda: started(mlp(5, 16, 16, 1, act=nn.Tanh), 0.1, None if broken else ()), plane(g))


@case("deepchecker-random", "LB025")
def first_weights_far_too_wide(broken: bool, g: G) -> Program:
    def net() -> nn.Module:
        made = mlp(8, 64, 64, 3)
        if broken:
            for part in made:
                if isinstance(part, nn.Linear):
                    nn.init.normal_(part.weight, std=5.0)
        return made

    return classify(net, blobs(g, d=8))


@case("datarekha-relu", "LB029", "LB019")
def biases_that_kill_a_layer(broken: bool, g: G) -> Program:
    def net() -> nn.Module:
        made = mlp(4, 32, 16, 3)
        if broken:
            nn.init.constant_(made[2].bias, -50.0)
        return made

    return classify(net, blobs(g))


@case("pytorch-69801", "LB030")
def dropout2d_of_three_dimensions(broken: bool, g: G) -> Program:
    drop = nn.Dropout2d if broken else nn.Dropout1d
    net = lambda: nn.Sequential(nn.Conv1d(12, 8, 1), nn.ReLU(), drop(0.2), nn.Flatten(), nn.Linear(24, 2))  # noqa: E731
    return classify(net, sequences(g))


@case("BENDR-16", "LB030")
def dropout2d_of_sequences(broken: bool, g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv1d(3, 8, 3), nn.Linear(8, 2)
            self.drop = nn.Dropout2d(0.3) if broken else nn.Dropout1d(0.3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.drop(self.conv(x.transpose(1, 2)).relu()).mean(2))

    return classify(Net, sequences(g))


@case("tutorial-dropout2d", "LB030")
def dropout2d_after_a_linear_layer(broken: bool, g: G) -> Program:
    drop = nn.Dropout2d if broken else nn.Dropout
    net = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 196, 32), nn.ReLU(), drop(0.25), nn.Linear(32, 4)
    )
    return classify(net, pictures(g))


@case("seeded-frozen", "LB001")
def nothing_to_train(broken: bool, g: G) -> Program:
    def net() -> nn.Module:
        made = mlp(4, 16, 3)
        for parameter in made[0].parameters():
            parameter.requires_grad_(False)
        if broken:
            made.requires_grad_(False)
        return made

    return classify(net, blobs(g))


@case("headpose-4", "LB040", "LB003")
def pictures_with_channels_last(broken: bool, g: G) -> Program:
    x, y = pictures(g, channels=3)
    return classify(lambda: cnn(3, 4), (x.permute(0, 2, 3, 1).contiguous() if broken else x, y))


@case("contrastive-3", "LB040")
def channels_last_and_flattened(broken: bool, g: G) -> Program:
    x, y = pictures(g, channels=3)
    x = x.permute(0, 2, 3, 1).contiguous() if broken else x
    net = lambda: nn.Sequential(nn.LazyConv2d(8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))  # noqa: E731
    return classify(net, (x, y))
