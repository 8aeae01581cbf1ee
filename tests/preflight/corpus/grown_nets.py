"""Later pairs: what is wrong in a net, its optimizer or its loss. Own programs, after questions that come again."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

import lumbre as lb
from corpus.program import (
    Program,
    binary,
    blobs,
    classify,
    cnn,
    grown,
    mlp,
    pictures,
    plane,
    program,
    regress,
    sequences,
    texts,
)

G = torch.Generator


class Of(nn.Module):
    """Parts by name, and a function of them and the input."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *x: Tensor) -> Any:
        return self.run(self, *x)


@grown("LB007")
def softmax_behind_a_recurrent_net(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        scores = net.head(net.rnn(x)[0][:, -1])
        return scores.softmax(-1) if broken else scores

    return classify(lambda: Of(run, rnn=nn.GRU(3, 12, batch_first=True), head=nn.Linear(12, 2)), sequences(g))


@grown("LB011")
def sigmoid_in_a_segmenter_before_its_loss(broken: bool, g: G) -> Program:
    x, _ = pictures(g)
    y = (x > 0.5).float()

    def net() -> nn.Module:
        last = nn.Sigmoid() if broken else nn.Identity()
        return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1), last)

    return program(net, nn.BCEWithLogitsLoss(), (x, y))


@grown("LB012")
def probabilities_for_nll_loss(broken: bool, g: G) -> Program:
    return program(lambda: mlp(4, 16, 3, last=nn.Softmax(1) if broken else nn.LogSoftmax(1)), nn.NLLLoss(), blobs(g))


@grown("LB018", "LB007")
def log_softmax_over_dimension_0(broken: bool, g: G) -> Program:
    return program(lambda: mlp(4, 16, 3, last=nn.LogSoftmax(0 if broken else 1)), nn.NLLLoss(), blobs(g))


@grown("LB006")
def predictions_of_two_dimensions_for_targets_of_one(broken: bool, g: G) -> Program:
    x, y = plane(g)

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        return ((pred - target) ** 2).mean()

    return program(lambda: mlp(5, 16, 1), loss, (x, y[:, 0] if broken else y))


@grown("LB006")
def a_smooth_loss_of_stretched_targets(broken: bool, g: G) -> Program:
    x, y = plane(g)
    return program(lambda: mlp(5, 16, 1), nn.SmoothL1Loss(), (x, y[:, 0] if broken else y))


@grown("LB023")
def features_without_a_graph(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(not broken and torch.is_grad_enabled()):
            h = net.body(x)
        return net.head(h)

    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
    return classify(lambda: Of(run, body=body, head=nn.Linear(4 * 14 * 14, 4)), pictures(g))


@grown("LB023")
def a_detour_over_numpy(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        h = net.one(x).tanh()
        return net.two(torch.from_numpy(h.detach().numpy()) if broken else h)

    return regress(lambda: Of(run, one=nn.Linear(5, 16), two=nn.Linear(16, 1)), plane(g))


@grown("LB071", "LB023")
def an_argmax_in_the_middle(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        scores = net.choose(x)
        picked = F.one_hot(scores.argmax(1), 6).float() if broken else scores.softmax(1)
        return net.head(picked)

    return classify(lambda: Of(run, choose=nn.Linear(4, 6), head=nn.Linear(6, 3)), blobs(g))


@grown("LB071")
def rounded_hidden_numbers(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        h = net.one(x).tanh() * 4
        return net.two(h.round() if broken else h)

    return regress(lambda: Of(run, one=nn.Linear(5, 32), two=nn.Linear(32, 1)), plane(g))


@grown("LB071")
def attention_whose_softmax_is_over_one_score(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        h = net.rnn(x)[0]
        weights = torch.softmax(net.score(h), -1 if broken else 1)
        return net.head((weights * h).sum(1))

    parts = {"rnn": nn.GRU(3, 8, batch_first=True), "score": nn.Linear(8, 1), "head": nn.Linear(8, 2)}
    return classify(lambda: Of(run, **parts), sequences(g))


@grown("LB071", "LB057")
def a_norm_over_a_single_number(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        return net.head(torch.cat([x, net.norm(net.squeeze(x)).expand(-1, 4)], 1))

    width = 1 if broken else 4
    return classify(
        lambda: Of(run, squeeze=nn.Linear(4, width), norm=nn.LayerNorm(width), head=nn.Linear(8, 3)), blobs(g)
    )


@grown("LB071", "LB024", "LB029")
def a_hard_sigmoid_that_is_saturated(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        gate = F.hardsigmoid(net.gate(x) + (20 if broken else 0))
        return net.head(net.body(x).relu() * gate)

    return classify(lambda: Of(run, gate=nn.Linear(4, 16), body=nn.Linear(4, 16), head=nn.Linear(16, 3)), blobs(g))


@grown("LB070")
def a_plain_tensor_as_a_weight(broken: bool, g: G) -> Program:
    def net() -> nn.Module:
        scale = torch.ones(16)
        kept = scale.requires_grad_() if broken else nn.Parameter(scale)
        return Of(
            lambda net, x: net.two((net.one(x) * net.scale).relu()),
            one=nn.Linear(4, 16),
            two=nn.Linear(16, 3),
            scale=kept,
        )

    return classify(net, blobs(g))


@grown("LB070")
def a_layer_made_in_every_forward_pass(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        h = net.conv(x).relu().flatten(1)
        head = nn.Linear(h.shape[1], 4) if broken else net.head
        return head(h)

    def net() -> nn.Module:
        more = {} if broken else {"head": nn.Linear(4 * 14 * 14, 4)}
        return Of(run, conv=nn.Conv2d(1, 4, 3), **more)

    return classify(net, pictures(g))


class Bag:
    """Holds what it is given; no module."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


@grown("LB070", "LB026")
def layers_in_a_config_object(broken: bool, g: G) -> Program:
    def net() -> nn.Module:
        layer = nn.Linear(8, 8)
        held = Bag(mix=layer) if broken else nn.ModuleDict({"mix": layer})
        return Of(
            lambda net, x: net.head((net.held.mix if broken else net.held["mix"])(net.words(x)).relu().mean(1)),
            words=nn.Embedding(20, 8), held=held, head=nn.Linear(8, 2),
        )  # fmt: skip

    return classify(net, texts(g))


@grown("LB026")
def heads_in_a_dict(broken: bool, g: G) -> Program:
    def net() -> nn.Module:
        heads = {"a": nn.Linear(16, 3), "b": nn.Linear(16, 3)}
        return Of(
            lambda net, x: (h := net.body(x).relu(), net.heads["a"](h) + net.heads["b"](h))[1],
            body=nn.Linear(4, 16), heads=heads if broken else nn.ModuleDict(heads),
        )  # fmt: skip

    return classify(net, blobs(g))


@grown("LB022")
def an_optimizer_of_the_head_alone(broken: bool, g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(5, 16), nn.Linear(16, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).relu())

        def configure_optimizers(self, lr: float) -> optim.Optimizer:
            return optim.Adam((self.head if broken else self).parameters(), lr=lr)

    return Program(lb.setup(Net, loss=nn.MSELoss()).set_opt_hparams(lr=1e-3), plane(g))


@grown("LB022")
def a_layer_replaced_after_the_optimizer_was_made(broken: bool, g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).relu())

        def configure_optimizers(self, lr: float) -> optim.Optimizer:
            new = nn.Linear(16, 3)
            if not broken:
                self.head = new
            made = optim.SGD(self.parameters(), lr=lr)
            self.head = new
            return made

    return Program(lb.setup(Net, loss=nn.CrossEntropyLoss()).set_opt_hparams(lr=0.1), blobs(g))


@grown("LB069")
def a_projection_inside_a_loss_function(broken: bool, g: G) -> Program:
    side = nn.Linear(1, 1)
    if not broken:
        side.requires_grad_(False)
    return program(lambda: mlp(5, 16, 1), lambda pred, y: F.mse_loss(side(pred), y), plane(g))


@grown("LB020")
def recurrent_net_with_steps_first(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        return net.head(net.rnn(x)[0][:, -1])

    return classify(lambda: Of(run, rnn=nn.LSTM(3, 12, batch_first=not broken), head=nn.Linear(12, 2)), sequences(g))


@grown("LB020")
def mean_and_spread_of_the_batch_by_hand(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        h = net.one(x)
        at = 0 if broken else 1
        return net.two(((h - h.mean(at, keepdim=True)) / (h.std(at, keepdim=True) + 1e-5)).relu())

    return classify(lambda: Of(run, one=nn.Linear(4, 16), two=nn.Linear(16, 3)), blobs(g))


@grown("LB020")
def view_where_permute_was_meant(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        rows, steps, d = x.shape
        by_step = x.transpose(0, 1)
        back = by_step.reshape(rows, steps, d) if broken else by_step.transpose(0, 1)
        return net.head(net.rnn(back)[0][:, -1])

    return classify(lambda: Of(run, rnn=nn.GRU(3, 12, batch_first=True), head=nn.Linear(12, 2)), sequences(g))


@grown("LB020")
def contrast_to_the_other_rows_in_a_net(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        h = net.one(x).relu()
        return net.two(torch.softmax(h @ h.T, 1) @ h if broken else h)

    return classify(lambda: Of(run, one=nn.Linear(4, 16), two=nn.Linear(16, 3)), blobs(g))


def words_ahead(g: G, steps: int = 8) -> Tensor:
    return torch.randint(0, 15, (200, steps + 1), generator=g)


def by_step(pred: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(pred.flatten(0, 1), target.flatten())


@grown("LB077")
def a_language_model_without_a_mask(broken: bool, g: G) -> Program:
    words = words_ahead(g)

    def run(net: Any, x: Tensor) -> Tensor:
        mask = None if broken else nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        h = net.words(x) + net.places.weight
        return net.head(net.attend(h, h, h, attn_mask=mask, need_weights=False)[0])

    parts = {"words": nn.Embedding(15, 8), "places": nn.Embedding(8, 8), "head": nn.Linear(8, 15)}
    return program(
        lambda: Of(run, attend=nn.MultiheadAttention(8, 2, batch_first=True), **parts),
        by_step,
        (words[:, :-1], words[:, 1:]),
    )


@grown("LB077")
def a_tagger_in_both_directions_for_the_next_word(broken: bool, g: G) -> Program:
    words = words_ahead(g)
    rnn = nn.LSTM(8, 8, batch_first=True, bidirectional=broken)
    head = nn.Linear(16 if broken else 8, 15)
    return program(
        lambda: Of(lambda net, x: net.head(net.rnn(net.words(x))[0]), words=nn.Embedding(15, 8), rnn=rnn, head=head),
        by_step, (words[:, :-1], words[:, 1:]),
    )  # fmt: skip


@grown("LB077")
def a_language_model_whose_targets_are_not_shifted(broken: bool, g: G) -> Program:
    words = words_ahead(g)
    target = words[:, :-1] if broken else words[:, 1:]
    return program(
        lambda: Of(lambda net, x: net.head(net.rnn(net.words(x))[0]), words=nn.Embedding(15, 8),
                   rnn=nn.GRU(8, 8, batch_first=True), head=nn.Linear(8, 15)),
        by_step, (words[:, :-1], target),
    )  # fmt: skip


@grown("LB078", "LB079")
def a_hidden_state_from_batch_to_batch(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        kept = net.state if broken and net.state is not None and net.state.shape[1] == len(x) else None
        out, state = net.rnn(x, kept)
        net.state = state.detach()
        return net.head(out[:, -1])

    return classify(
        lambda: Of(run, rnn=nn.GRU(3, 12, batch_first=True), head=nn.Linear(12, 2), state=None), sequences(g)
    )


@grown("LB079", "LB078")
def a_memory_that_keeps_its_graph(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        h = net.one(x).relu()
        seen = h.mean(0)
        if broken and net.memory is not None:
            h = h + 0.1 * net.memory
        net.memory = seen
        return net.two(h)

    return classify(lambda: Of(run, one=nn.Linear(4, 16), two=nn.Linear(16, 3), memory=None), blobs(g))


@grown("LB032")
def functional_dropout_that_never_ends(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        return net.two(F.dropout(net.one(x).relu(), 0.5, training=True if broken else net.training))

    return classify(lambda: Of(run, one=nn.Linear(4, 16), two=nn.Linear(16, 3)), blobs(g))


@grown("LB053")
def a_net_that_goes_to_evaluation_by_itself(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        if broken:
            net.body.eval()
        return net.body(x)

    return classify(
        lambda: Of(run, body=nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))), blobs(g)
    )


@grown("LB076")
def the_share_to_keep_as_dropout(broken: bool, g: G) -> Program:
    share = 0.9 if broken else 0.1
    return classify(lambda: nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Dropout(share), nn.Linear(32, 3)), blobs(g))


@grown("LB075")
def momentum_as_other_libraries_mean_it(broken: bool, g: G) -> Program:
    norm = nn.BatchNorm2d(8, momentum=0.99 if broken else 0.01)
    return classify(
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 196, 4)),
        pictures(g), epochs=30,
    )  # fmt: skip


@grown("LB008")
def a_last_batch_of_one_row(broken: bool, g: G) -> Program:
    x, y = blobs(g, rows=129 if broken else 128)
    return classify(
        lambda: nn.Sequential(nn.Linear(4, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)),
        (x, y), batch_size=32,
    )  # fmt: skip


@grown("LB028")
def weights_that_begin_alike(broken: bool, g: G) -> Program:
    def net() -> nn.Module:
        made = mlp(4, 16, 3)
        if broken:
            nn.init.constant_(made[0].weight, 0.05)
            nn.init.zeros_(made[0].bias)
        return made

    return classify(net, blobs(g))


@grown("LB024")
def weights_that_begin_at_zero(broken: bool, g: G) -> Program:
    def net() -> nn.Module:
        made = mlp(5, 16, 16, 1)
        for one in made.parameters() if broken else ():
            nn.init.zeros_(one)
        return made

    return regress(net, plane(g))


@grown("LB027")
def a_decoder_without_activations(broken: bool, g: G) -> Program:
    between: Any = nn.Identity if broken else nn.GELU
    return regress(lambda: mlp(5, 32, 32, 1, act=between), plane(g))


@grown("LB015")
def tanh_before_targets_beyond_one(broken: bool, g: G) -> Program:
    x, y = plane(g)
    return regress(lambda: mlp(5, 16, 1, last=nn.Tanh() if broken else None), (x, 1.5 * y))


@grown("LB015", "LB029")
def a_relu_on_the_last_scores(broken: bool, g: G) -> Program:
    return classify(lambda: cnn(1, 4, last=nn.ReLU() if broken else None), pictures(g))


@grown("LB054", "LB067")
def a_likelihood_with_its_sign_turned(broken: bool, g: G) -> Program:
    def loss(pred: Tensor, y: Tensor) -> Tensor:
        picked = pred.log_softmax(1).gather(1, y[:, None]).mean()
        return picked if broken else -picked

    return program(lambda: mlp(4, 16, 3), loss, blobs(g))


@grown("LB054")
def an_optimizer_that_climbs(broken: bool, g: G) -> Program:
    return regress(lambda: mlp(5, 16, 1), plane(g), optimizer=optim.SGD, lr=0.05, opt={"maximize": broken})


@grown("LB073", "LB058")
def a_sum_over_the_batch_with_the_rate_of_a_mean(broken: bool, g: G) -> Program:
    how = "sum" if broken else "mean"
    return program(lambda: mlp(5, 32, 1, act=nn.Tanh), nn.MSELoss(reduction=how), plane(g), optimizer=optim.SGD, lr=0.3)


@grown("LB074")
def gradients_cut_to_next_to_nothing(broken: bool, g: G) -> Program:
    clip = lb.callbacks.GradientClip(1e-5 if broken else 1.0)
    return classify(lambda: mlp(4, 16, 3), blobs(g), optimizer=optim.SGD, lr=0.1, callbacks=clip)


@grown("LB035")
def decay_of_the_rate_by_the_batch_meant_by_the_epoch(broken: bool, g: G) -> Program:
    every = "batch" if broken else "epoch"
    steps = lb.callbacks.LRScheduler(lambda one: lr_scheduler.ExponentialLR(one, 0.9), step_on=every)
    return classify(lambda: mlp(4, 16, 3), blobs(g), epochs=20, batch_size=24, callbacks=steps)


@grown("LB072")
def a_group_with_a_forgotten_rate(broken: bool, g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).relu())

        def configure_optimizers(self, lr: float) -> optim.Optimizer:
            slow = 1e-7 if broken else lr / 10
            return optim.SGD(
                [{"params": self.body.parameters(), "lr": slow}, {"params": self.head.parameters()}], lr=lr
            )

    return Program(lb.setup(Net, loss=nn.CrossEntropyLoss()).set_opt_hparams(lr=0.1), blobs(g))


@grown("LB068")
def a_second_input_that_is_never_read(broken: bool, g: G) -> Program:
    x, y = blobs(g)

    def run(net: Any, a: Tensor, b: Tensor) -> Tensor:
        return net.head(torch.cat([net.one(a), net.two(a if broken else b)], 1).relu())

    parts = {"one": nn.Linear(2, 8), "two": nn.Linear(2, 8), "head": nn.Linear(16, 3)}
    return classify(lambda: Of(run, **parts), ((x[:, :2], x[:, 2:]), y))


@grown("LB059")
def a_mask_written_in_place(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        h = torch.exp(net.one(x))
        if broken:
            h[:, 0] = 0
        else:
            h = torch.cat([torch.zeros_like(h[:, :1]), h[:, 1:]], 1)
        return net.two(h)

    return regress(lambda: Of(run, one=nn.Linear(5, 8), two=nn.Linear(8, 1)), plane(g))


@grown("LB052")
def blocks_multiplied_as_a_list(broken: bool, g: G) -> Program:
    def net() -> nn.Module:
        blocks = (
            [nn.Sequential(nn.Linear(16, 16), nn.ReLU())] * 3
            if broken
            else [mlp(16, 16, last=nn.ReLU()) for _ in range(3)]
        )
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), *blocks, nn.ReLU(), nn.Linear(16, 3))

    return classify(net, blobs(g))


@grown("LB014")
def accuracy_of_raw_scores(broken: bool, g: G) -> Program:
    metric = lb.metrics.BinaryAccuracy() if broken else lb.metrics.BinaryAccuracyWithLogits()
    return program(lambda: mlp(4, 16, 1), nn.BCEWithLogitsLoss(), binary(g), metrics=metric)


@grown("LB034")
def a_decay_that_outweighs_the_gradient(broken: bool, g: G) -> Program:
    def run(net: Any, x: Tensor) -> Tensor:
        return 0.01 * net.body(x)

    decay = 0.5 if broken else 1e-4
    return regress(
        lambda: Of(run, body=mlp(5, 64, 64, 1)), plane(g), optimizer=optim.SGD, lr=0.1, opt={"weight_decay": decay}
    )
