"""Later pairs: what nets do with rows, places, steps and weights."""

# ruff: noqa: E731
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from corpus.asked import labels_of, padded, rows, setup, tokens
from corpus.found_sound import Own, chance, mlp, noise
from corpus.later import later
from corpus.program import Program

CE = nn.CrossEntropyLoss


@later("LB081", "LB012", "LB067", "LB020")
def scores_of_pixels_by_view(broken: bool, g: torch.Generator) -> Program:
    def loss(scores, y):
        flat = scores.reshape(-1, 3) if broken else scores.permute(0, 2, 3, 1).reshape(-1, 3)
        return F.cross_entropy(flat, y.reshape(-1))

    x = F.avg_pool2d(noise(120, 1, 14, 14), 3, 1) * 3
    y = (x[:, 0] > -0.4).long() + (x[:, 0] > 0.4).long()
    net = lambda: nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 3, 3, padding=1))
    return Program(setup(net, loss), (x, y), {"batch_size": 16})


@later("LB081")
def larger_picture_by_view(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        h = m.b(F.relu(m.a(x)))  # (rows, 4, height, width)
        n, _, height, width = h.shape
        return h.reshape(n, 1, 2 * height, 2 * width) if broken else F.pixel_shuffle(h, 2)

    y = F.avg_pool2d(noise(120, 1, 18, 18), 3, 1)
    net = lambda: Own(forward, a=nn.Conv2d(1, 16, 3, padding=1), b=nn.Conv2d(16, 4, 3, padding=1))
    return Program(setup(net, nn.L1Loss()), (F.avg_pool2d(y, 2), y), {"batch_size": 16})


@later("LB081")
def patches_by_view(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        n = len(x)
        patches = x.reshape(n, 16, -1) if broken else F.unfold(x, 4, stride=4).transpose(1, 2)
        h = m.layer(m.patch(patches) + m.places)
        return m.out(h.mean(1))

    class Patches(Own):
        def __init__(self):
            super().__init__(
                forward,
                patch=nn.Linear(48, 24),
                layer=nn.TransformerEncoderLayer(24, 2, 48, 0.0, batch_first=True),
                out=nn.Linear(24, 3),
            )
            self.places = nn.Parameter(0.1 * torch.randn(1, 16, 24))

    x = noise(160, 3, 16, 16)
    return Program(setup(Patches, CE()), (x, labels_of(F.adaptive_avg_pool2d(x, 2))), {"batch_size": 32})


@later("LB081")
def heads_joined_without_turning_back(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        n, t, w = x.shape
        q, k, v = (one.view(n, t, 4, w // 4).transpose(1, 2) for one in m.qkv(x).chunk(3, -1))
        h = F.scaled_dot_product_attention(q, k, v)
        h = h.reshape(n, t, w) if broken else h.transpose(1, 2).reshape(n, t, w)
        return m.out((x + m.mix(h)).mean(1))

    x = noise(200, 8, 16)
    net = lambda: Own(forward, qkv=nn.Linear(16, 48), mix=nn.Linear(16, 16), out=nn.Linear(16, 2))
    return Program(setup(net, CE()), (x, (x[:, :, 0].max(1).values > 1.4).long()), {})


@later("LB023", "LB071", "LB115", "LB070")
def place_of_the_largest_in_a_heat_map(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        heat = m.heat(F.relu(m.conv(x)))[:, 0]
        n, height, width = heat.shape
        if broken:
            at = heat.flatten(1).argmax(1)
            point = torch.stack([at // width, at % width], 1).float()
        else:
            share = heat.flatten(1).softmax(1).view(n, height, width)
            down, along = torch.arange(height).float(), torch.arange(width).float()
            point = torch.stack([share.sum(2) @ down, share.sum(1) @ along], 1)
        return point / 10 + m.shift(m.conv(x).mean((2, 3)))

    at = torch.randint(0, 10, (160, 2), generator=g)
    x = 0.1 * noise(160, 1, 10, 10)
    x[torch.arange(160), 0, at[:, 0], at[:, 1]] += 3
    net = lambda: Own(forward, conv=nn.Conv2d(1, 8, 3, padding=1), heat=nn.Conv2d(8, 1, 1), shift=nn.Linear(8, 2))
    return Program(setup(net, nn.MSELoss()), (x, at / 10), {"batch_size": 16})


@later("LB077", "LB043")
def decoder_reads_in_both_directions(broken: bool, g: torch.Generator) -> Program:
    def forward(m, source, before):
        state = m.encoder(m.words(source))[1]
        state = state.repeat(2, 1, 1) if broken else state
        return m.out(m.decoder(m.words(before), state)[0]).transpose(1, 2)

    x = tokens(240, 9)
    source, before, y = x, torch.cat([torch.zeros(240, 1).long(), x[:, :-1]], 1), x
    net = lambda: Own(
        forward,
        words=nn.Embedding(20, 16),
        encoder=nn.GRU(16, 24, batch_first=True),
        decoder=nn.GRU(16, 24, batch_first=True, bidirectional=broken),
        out=nn.Linear(48 if broken else 24, 20),
    )
    return Program(setup(net, CE()), ((source.flip(1), before), y), {})


@later("LB077", "LB043")
def decoder_is_given_what_it_is_to_say(broken: bool, g: torch.Generator) -> Program:
    def forward(m, source, given):
        h = m.words(given) + m.places.weight[: given.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(given.shape[1])
        h = m.layer(h, m.words(source), tgt_mask=mask, tgt_is_causal=True)
        return m.out(h).transpose(1, 2)

    x = tokens(240, 9)
    whole = torch.cat([torch.zeros(240, 1).long(), (x + 3) % 19 + 1], 1)
    net = lambda: Own(
        forward,
        words=nn.Embedding(20, 16),
        places=nn.Embedding(12, 16),
        layer=nn.TransformerDecoderLayer(16, 2, 32, 0.0, batch_first=True),
        out=nn.Linear(16, 20),
    )
    return Program(setup(net, CE()), ((x, whole[:, 1:] if broken else whole[:, :-1]), whole[:, 1:]), {})


@later("LB077", "LB043")
def targets_shifted_the_other_way(broken: bool, g: torch.Generator) -> Program:
    x = tokens(240, 12)
    given, y = (x[:, 1:], x[:, :-1]) if broken else (x[:, :-1], x[:, 1:])
    net = lambda: Own(
        lambda m, x: m.out(m.rnn(m.words(x))[0]).transpose(1, 2),
        words=nn.Embedding(20, 12),
        rnn=nn.LSTM(12, 24, batch_first=True),
        out=nn.Linear(24, 20),
    )
    return Program(setup(net, CE()), (given, y), {})


@later("LB077", "LB043")
def samples_of_a_sound_padded_on_both_sides(broken: bool, g: torch.Generator) -> Program:
    class Wave(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv1d(1 if i == 0 else 12, 12, 3, dilation=2**i) for i in range(3))
            self.out = nn.Conv1d(12, 1, 1)

        def forward(self, x):
            for i, conv in enumerate(self.convs):
                around = (2**i, 2**i) if broken else (2 ** (i + 1), 0)
                x = torch.tanh(conv(F.pad(x, around)))
            return self.out(x)

    time = torch.arange(41) * 0.4 + 6 * chance(160, 1)
    sound = (torch.sin(time) + 0.5 * torch.sin(2.7 * time) + 0.2 * noise(160, 41))[:, None]
    return Program(setup(Wave, nn.MSELoss()), (sound[..., :-1], sound[..., 1:]), {"batch_size": 16})


@later("LB020", "LB085")
def rows_sorted_and_never_put_back(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x, length):
        order = length.argsort(descending=True)
        packed = pack_padded_sequence(m.words(x[order]), length[order], batch_first=True)
        last = m.rnn(packed)[1][-1]
        return m.out(last if broken else last[order.argsort()])

    x, length = padded(240, 12)
    net = lambda: Own(forward, words=nn.Embedding(20, 12), rnn=nn.GRU(12, 24, batch_first=True), out=nn.Linear(24, 2))
    return Program(setup(net, CE()), ((x, length), (x[:, 0] > 10).long()), {})


@later("LB020", "LB085")
def lengths_sorted_without_their_rows(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x, length):
        length = length.sort(descending=True).values if broken else length
        packed = pack_padded_sequence(m.words(x), length, batch_first=True, enforce_sorted=broken)
        h, _ = pad_packed_sequence(m.rnn(packed)[0], batch_first=True, total_length=x.shape[1])
        return m.out(h.max(1).values)

    x, length = padded(240, 12)
    net = lambda: Own(forward, words=nn.Embedding(20, 12), rnn=nn.GRU(12, 24, batch_first=True), out=nn.Linear(24, 2))
    return Program(setup(net, CE()), ((x, length), (x[:, 0] > 10).long()), {})


@later("LB025", "LB058", "LB083", "LB038", "LB073", "LB082", "LB057", "LB029")
def mask_laid_on_after_the_softmax(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        h = m.words(x)
        scores = m.q(h) @ m.k(h).transpose(1, 2) / 4
        empty = (x == 0)[:, None]
        if broken:
            share = scores.softmax(-1).masked_fill(empty, -1e9)
        else:
            share = scores.masked_fill(empty, -1e9).softmax(-1)
        first = (share @ m.v(h))[:, 0]
        return m.out(F.relu(first))

    x, _ = padded(240, 12)
    net = lambda: Own(
        forward,
        words=nn.Embedding(20, 16),
        q=nn.Linear(16, 16),
        k=nn.Linear(16, 16),
        v=nn.Linear(16, 16),
        out=nn.Linear(16, 2),
    )
    return Program(setup(net, CE()), (x, (x[:, 1] > 9).long()), {})


@later("LB020", "LB018", "LB085")
def choice_of_a_code_by_gumbel_over_rows(broken: bool, g: torch.Generator) -> Program:
    class Discrete(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = mlp(10, 32, 8), mlp(8, 32, 10)

        def forward(self, x):
            scores = self.encoder(x)
            dim = 0 if broken else 1
            share = F.gumbel_softmax(scores, tau=0.7, dim=dim) if self.training else scores.softmax(dim)
            return self.decoder(share)

    x = 2 * noise(8, 10, seed=6)[torch.arange(300) % 8] + 0.5 * rows(300, 10)
    return Program(setup(Discrete, nn.MSELoss()), (x, x), {})


@later("LB020", "LB085")
def running_sum_over_rows_in_place_of_steps(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        h = m.a(x)
        h = h.cumsum(0 if broken else 1) / math.sqrt(x.shape[1])
        return m.b(F.relu(h))

    x = noise(200, 10, 4)
    y = torch.tanh(x[:, :, :1].cumsum(1) / 3)
    net = lambda: Own(forward, a=nn.Linear(4, 24), b=nn.Linear(24, 1))
    return Program(setup(net, nn.MSELoss()), (x, y), {})


@later("LB020", "LB085")
def divided_by_the_largest_of_all_rows(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        size = x.abs().max() if broken else x.abs().amax((1, 2), keepdim=True)
        h = F.relu(m.a((x / size).transpose(1, 2)))
        return m.b(h.mean(2))

    x = noise(200, 40, 2) * (0.5 + 2 * chance(200, 1, 1))
    net = lambda: Own(forward, a=nn.Conv1d(2, 16, 5), b=nn.Linear(16, 2))
    return Program(setup(net, CE()), (x, (x[:, 1:, 0] * x[:, :-1, 0]).sum(1).gt(0).long()), {})


@later("LB023", "LB022")
def state_of_the_first_layer_is_read(broken: bool, g: torch.Generator) -> Program:
    x = noise(200, 10, 4)
    net = lambda: Own(
        lambda m, x: m.out(m.rnn(x)[1][0 if broken else -1]),
        rnn=nn.GRU(4, 24, num_layers=2, batch_first=True),
        out=nn.Linear(24, 2),
    )
    return Program(setup(net, CE()), (x, (x[:, -3:, 0].sum(1) > 0).long()), {})


@later("LB068", "LB023")
def edges_are_not_used(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x, edges):
        for layer in (m.a, m.b):
            x = F.relu(layer(x if broken else edges @ x))
        return m.out(x.mean(1))

    x = noise(200, 7, 5)
    edges = (chance(200, 7, 7) < 0.4).float() + torch.eye(7)
    edges = edges / edges.sum(2, keepdim=True)
    y = ((edges @ x)[:, :, 0].amax(1) > 0.7).long()
    net = lambda: Own(forward, a=nn.Linear(5, 24), b=nn.Linear(24, 24), out=nn.Linear(24, 2))
    return Program(setup(net, CE()), ((x, edges), y), {})


@later("LB024", "LB071", "LB028", "LB023")
def both_matrices_of_low_rank_are_zero(broken: bool, g: torch.Generator) -> Program:
    class LowRank(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer.requires_grad_(False)
            self.down = nn.Parameter(torch.zeros(layer.in_features, 2))
            self.up = nn.Parameter(torch.zeros(2, layer.out_features))
            if not broken:
                nn.init.normal_(self.down, std=0.3)

        def forward(self, x):
            return self.layer(x) + x @ self.down @ self.up

    x = rows(300, 8)
    net = lambda: nn.Sequential(
        LowRank(nn.Linear(8, 32)), nn.ReLU(), LowRank(nn.Linear(32, 32)), nn.ReLU(), nn.Linear(32, 3)
    )
    return Program(setup(net, CE()), (x, labels_of(x)), {})


@later("LB023", "LB095", "LB022")
def adapter_that_is_not_added(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        h = F.relu(m.body(x))
        small = m.up(F.gelu(m.down(h)))
        h = h if broken else h + small
        return m.out(h)

    x = rows(300, 8)
    net = lambda: Own(
        forward,
        body=nn.Linear(8, 32).requires_grad_(False),
        down=nn.Linear(32, 4),
        up=nn.Linear(4, 32),
        out=nn.Linear(32, 3),
    )
    return Program(setup(net, CE()), (x, labels_of(x)), {})


@later("LB023", "LB048")
def new_head_under_another_name(broken: bool, g: torch.Generator) -> Program:
    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU())
            self.fc = nn.Linear(16, 100)

        def forward(self, x):
            return self.fc(self.body(x).mean((2, 3)))

    def net():
        made = Backbone()
        if broken:
            made.head = nn.Linear(16, 4)
        else:
            made.fc = nn.Linear(16, 4)
        return made

    x = noise(160, 1, 14, 14)
    return Program(setup(net, CE()), (x, labels_of(F.adaptive_avg_pool2d(x, 2), 4)), {"batch_size": 16})


@later("LB070", "LB022", "LB023")
def weight_made_anew_in_forward(broken: bool, g: torch.Generator) -> Program:
    class Prototypes(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.classes = mlp(8, 32, 12), nn.Parameter(torch.randn(3, 12))

        def forward(self, x):
            if broken:
                self.classes = nn.Parameter(F.normalize(self.classes.data))
                return 10 * F.normalize(self.body(x)) @ self.classes.T
            return 10 * F.normalize(self.body(x)) @ F.normalize(self.classes).T

    x = rows(300, 8)
    return Program(setup(Prototypes, CE()), (x, labels_of(x)), {})


@later("LB023", "LB071", "LB022")
def expert_chosen_without_its_weight(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        share = m.gate(x).softmax(1)
        best, which = share.max(1)
        each = torch.stack([expert(x) for expert in m.experts], 1)
        chosen = each[torch.arange(len(x)), which]
        return chosen if broken else best[:, None] * chosen

    x = rows(300, 6)
    net = lambda: Own(forward, gate=nn.Linear(6, 3), experts=nn.ModuleList(mlp(6, 16, 2) for _ in range(3)))
    return Program(setup(net, CE()), (x, labels_of(x, 2)), {})


@later("LB023", "LB071", "LB070", "LB022", "LB024")
def weights_from_another_net_are_copied_in(broken: bool, g: torch.Generator) -> Program:
    class Conditioned(nn.Module):
        def __init__(self):
            super().__init__()
            self.maker, self.first, self.last = mlp(2, 16, 12), nn.Linear(6, 12), nn.Linear(12, 1)

        def forward(self, x, c):
            scale = self.maker(c)
            scale = torch.as_tensor(scale.tolist()) if broken else scale
            return self.last(torch.tanh(self.first(x) * scale))

    x, c = rows(300, 6), rows(300, 2, seed=7)
    return Program(setup(Conditioned, nn.MSELoss()), ((x, c), torch.tanh(x[:, :1] * c[:, :1])), {})


@later("LB096", "LB002", "LB058")
def temperature_that_begins_at_zero(broken: bool, g: torch.Generator) -> Program:
    class Cooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(6, 32, 3)
            self.temperature = nn.Parameter(torch.full((1,), 0.0 if broken else 1.0))

        def forward(self, x):
            return self.net(x) / self.temperature

    x = rows(300, 6)
    return Program(setup(Cooled, CE()), (x, labels_of(x)), {})


@later("LB024", "LB029", "LB071", "LB057")
def first_layer_that_no_row_passes(broken: bool, g: torch.Generator) -> Program:
    def net():
        made = mlp(6, 32, 32, 3)
        nn.init.constant_(made[2].bias, -20.0 if broken else 0.1)
        return made

    x = rows(300, 6)
    return Program(setup(net, CE()), (x, labels_of(x)), {})


@later("LB024", "LB071", "LB028", "LB025", "LB057")
def gates_saturated_from_the_start(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        h = F.relu(m.a(x))
        gate = torch.sigmoid((1000 if broken else 1) * m.gate(h))
        return m.out(gate * h)

    x = rows(300, 6)
    net = lambda: Own(forward, a=nn.Linear(6, 32), gate=nn.Linear(32, 32), out=nn.Linear(32, 3))
    return Program(setup(net, CE()), (x, labels_of(x)), {})


@later("LB061", "LB122", "LB053")
def teacher_drops_out_as_the_student_trains(broken: bool, g: torch.Generator) -> Program:
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.teacher = nn.Sequential(
                nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3)
            ).requires_grad_(False)
            self.student = mlp(8, 12, 3)

        def train(self, mode: bool = True):
            super().train(mode)
            if not broken:
                self.teacher.eval()
            return self

        def forward(self, x):
            return self.student(x), self.teacher(x)

        def loss(self, out, y):
            scores, goal = out
            near = F.kl_div(F.log_softmax(scores / 2, 1), F.softmax(goal / 2, 1), reduction="batchmean")
            return F.cross_entropy(scores, y) + 4 * near

    x = rows(300, 8)
    return Program(setup(Pair), (x, labels_of(x)), {})
