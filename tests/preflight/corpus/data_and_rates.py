"""Mistakes in the data, in how it is split, and in learning rates and schedules."""

import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

import lumbre as lb
from corpus.program import Program, binary, blobs, case, classify, cnn, mlp, pictures, plane, program, regress, texts

G = torch.Generator


@case("seeded-nan", "LB002")
def a_value_that_is_missing(broken: bool, g: G) -> Program:
    x, y = plane(g)
    if broken:
        x[17, 2] = float("nan")
    return regress(lambda: mlp(5, 16, 1), (x, y))


@case("seeded-oneclass", "LB047")
def labels_that_are_all_the_same(broken: bool, g: G) -> Program:
    x, y = blobs(g)
    return classify(lambda: mlp(4, 16, 3), (x, torch.zeros_like(y) if broken else y))


@case("seeded-constant", "LB037")
def a_column_twice_and_one_that_never_changes(broken: bool, g: G) -> Program:
    x, y = plane(g)
    if broken:
        x = torch.cat([x, x[:, :1], torch.full((len(x), 1), 0.5)], 1)
    return regress(lambda: mlp(x.shape[1], 16, 1), (x, y))


@case("deepchecker-high-lr", "LB033")
def a_rate_far_too_high(broken: bool, g: G) -> Program:
    return classify(lambda: cnn(1, 4), pictures(g), lr=10.0 if broken else 1e-3)


@case("deepchecker-low-lr", "LB033")
def a_rate_far_too_low(broken: bool, g: G) -> Program:
    return classify(lambda: mlp(4, 16, 3), blobs(g), lr=1e-9 if broken else 1e-3)


@case("deepchecker-overreg", "LB034")
def weights_that_decay_too_fast(broken: bool, g: G) -> Program:
    return regress(lambda: mlp(5, 16, 1), plane(g), opt={"weight_decay": 5.0 if broken else 1e-4})


@case("pytorch-4429", "LB034")
def decay_of_adamw_given_to_adam(broken: bool, g: G) -> Program:
    chosen = optim.Adam if broken else optim.AdamW
    return classify(lambda: mlp(4, 16, 3), blobs(g), optimizer=chosen, opt={"weight_decay": 0.1})


@case("deepchecker-norm", "LB038", "LB039")
def columns_as_they_came(broken: bool, g: G) -> Program:
    x, y = plane(g)
    scale, shift = torch.tensor([1.0, 300, 0.01, 40, 5]), torch.tensor([0.0, 4000, 0, 100, 3])
    return regress(lambda: mlp(5, 32, 1), (x * scale + shift if broken else x, y))


@case("deepchecker-dbl-norm", "LB038")
def a_spread_that_was_divided_away(broken: bool, g: G) -> Program:
    x, y = plane(g)
    return regress(lambda: mlp(5, 32, 1), (x / 20000 if broken else x, y))


@case("deepchecker-outputs", "LB050")
def prices_of_houses(broken: bool, g: G) -> Program:
    x, y = plane(g)
    return regress(lambda: mlp(5, 32, 1), (x, y * 80000 + 250000 if broken else y))


@case("discuss-96648", "LB038", "LB050")
def cubes_of_numbers_to_four_thousand(broken: bool, g: G) -> Program:
    x = torch.arange(1, 4000, 8)[torch.randperm(500, generator=g)[:400]].float()[:, None]
    y = x**3
    if not broken:
        x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    return regress(lambda: mlp(1, 50, 1), (x, y))


@case("dse-31499", "LB038")
def a_cloud_far_from_zero(broken: bool, g: G) -> Program:
    x = torch.rand(200, 1, generator=g) * 2 - 1
    y = torch.sin(3 * x)
    return regress(lambda: mlp(1, 16, 1, act=nn.Tanh), (x + 300 if broken else x, y))


@case("openillumi-scale", "LB038")
def rates_of_hearts(broken: bool, g: G) -> Program:
    x, y = binary(g, d=2)
    x = x * torch.tensor([15.0, 2]) + torch.tensor([140.0, 5]) if broken else x
    return program(lambda: mlp(2, 16, 1, act=nn.Tanh), nn.BCEWithLogitsLoss(), (x, y))


@case("tutorial-bodymass", "LB038")
def penguins_in_grams(broken: bool, g: G) -> Program:
    x, y = blobs(g, 300, 4)
    raw = x * torch.tensor([5.0, 2, 14, 800]) + torch.tensor([44.0, 17, 200, 4200])
    return classify(lambda: mlp(4, 20, 3), (raw if broken else x, y), lr=0.01)


@case("deepchecker-unbalanced", "LB044")
def one_class_has_nearly_all(broken: bool, g: G) -> Program:
    x, y = blobs(g, 600, 4, 2)
    if broken:
        keep = (y == 0) | (torch.arange(600) % 40 == 0)
        x, y = x[keep], y[keep]
    return classify(lambda: mlp(4, 16, 2), (x, y), metrics=lb.metrics.Accuracy())


@case("TBPS-10", "LB046")
def the_test_set_validates(broken: bool, g: G) -> Program:
    x, y = blobs(g, 300)
    test = x[200:250], y[200:250]
    valid = test if broken else (x[250:], y[250:])
    return classify(lambda: mlp(4, 16, 3), (x[:200], y[:200]), valid_data=valid, test=test)


@case("DrugBAN-16", "LB046")
def one_set_for_both(broken: bool, g: G) -> Program:
    x, y = plane(g, 300)
    valid, test = (x[200:250], y[200:250]), (x[250:], y[250:])
    return regress(lambda: mlp(5, 16, 1), (x[:200], y[:200]), valid_data=test if broken else valid, test=test)


@case("TNCR-3", "LB041")
def pictures_in_both_sets(broken: bool, g: G) -> Program:
    x, y = pictures(g, 160)
    start = 92 if broken else 120
    return classify(lambda: cnn(1, 4), (x[:120], y[:120]), valid_data=(x[start:], y[start:]))


@case("Imagenet32-8", "LB041")
def rows_that_are_there_twice(broken: bool, g: G) -> Program:
    x, y = blobs(g, 300)
    if broken:
        x, y = torch.cat([x, x[:100]]), torch.cat([y, y[:100]])
    return classify(lambda: mlp(4, 16, 3), (x, y), valid_data=0.25)


@case("visualconcepts-4", "LB041", "LB046")
def validated_on_what_was_trained(broken: bool, g: G) -> Program:
    x, y = plane(g, 300)
    train = (x[:200], y[:200])
    return regress(lambda: mlp(5, 16, 1), train, valid_data=train if broken else (x[200:], y[200:]))


@case("SPORF-355", "LB043")
def the_target_among_the_inputs(broken: bool, g: G) -> Program:
    x, y = binary(g, 300)
    x = torch.cat([x, y], 1) if broken else x
    return program(lambda: mlp(x.shape[1], 16, 1), nn.BCEWithLogitsLoss(), (x, y))


@case("AnoLLM-11", "LB043")
def the_class_among_the_inputs(broken: bool, g: G) -> Program:
    x, y = blobs(g, 300)
    x = torch.cat([x[:, :2], (y[:, None].float() - 1) / 0.8, x[:, 2:]], 1) if broken else x
    return classify(lambda: mlp(x.shape[1], 16, 3), (x, y))


@case("CricScope-392", "LB043")
def the_result_among_the_inputs(broken: bool, g: G) -> Program:
    x, y = plane(g, 300)
    x = torch.cat([x, 2 * y + 0.5], 1) if broken else x
    return regress(lambda: mlp(x.shape[1], 16, 1), (x, y))


def by_class(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    order = torch.argsort(y, stable=True)
    return x[order], y[order]


@case("supergradients-416", "LB045")
def rows_by_class(broken: bool, g: G) -> Program:
    return classify(lambda: mlp(4, 16, 3), by_class(*blobs(g)), shuffle=not broken)


@case("vision-7818", "LB045")
def pictures_by_class(broken: bool, g: G) -> Program:
    return classify(lambda: cnn(1, 4), by_class(*pictures(g, 160)), shuffle=not broken, batch_size=16)


@case("mmdetection-1649", "LB045")
def ordered_rows_in_order(broken: bool, g: G) -> Program:
    x, y = by_class(*texts(g, 200))
    net = lambda: nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, 2))  # noqa: E731
    return classify(net, (x, y), shuffle=not broken)


@case("pytorch-15666", "LB005")
def labels_from_one(broken: bool, g: G) -> Program:
    x, y = blobs(g, classes=10)
    return classify(lambda: mlp(4, 16, 10), (x, y + 1 if broken else y))


@case("happy-248", "LB005")
def labels_from_minus_one(broken: bool, g: G) -> Program:
    x, y = texts(g)
    net = lambda: nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, 2))  # noqa: E731
    return classify(net, (x, y - 1 if broken else y))


@case("PytorchUNet-291", "LB005")
def grey_values_as_classes(broken: bool, g: G) -> Program:
    x, _ = pictures(g, 60)
    mask = (x[:, 0] > 0.45).long()
    net = lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))  # noqa: E731
    return classify(net, (x, mask * 192 if broken else mask))


@case("fastai-3023", "LB036")
def sums_under_accumulation(broken: bool, g: G) -> Program:
    loss = nn.MSELoss(reduction="sum" if broken else "mean")
    return program(lambda: mlp(5, 16, 1), loss, plane(g), callbacks=lb.callbacks.Accumulate(4))


@case("lightning-3205", "LB035")
def a_cycle_that_is_shorter_than_the_run(broken: bool, g: G) -> Program:
    steps = 16 if broken else 80
    schedule = lb.callbacks.LRScheduler(lr_scheduler.CosineAnnealingLR, step_on="batch", T_max=steps)
    return classify(lambda: mlp(4, 16, 3), blobs(g), callbacks=schedule, epochs=10)


@case("pytorch-65417", "LB035")
def steps_that_are_counted_in_epochs(broken: bool, g: G) -> Program:
    on = "epoch" if broken else "batch"
    schedule = lb.callbacks.LRScheduler(lr_scheduler.OneCycleLR, step_on=on, max_lr=0.01, epochs=10, steps_per_epoch=8)
    return classify(lambda: mlp(4, 16, 3), blobs(g), callbacks=schedule, epochs=10)


@case("prodigy-10", "LB035")
def a_step_after_the_end(broken: bool, g: G) -> Program:
    size = 30 if broken else 4
    schedule = lb.callbacks.LRScheduler(lr_scheduler.StepLR, step_size=size, gamma=0.5)
    return classify(lambda: mlp(4, 16, 3), blobs(g), callbacks=schedule, epochs=10)


@case("tutorial-kmnist", "LB042")
def validated_on_another_set(broken: bool, g: G) -> Program:
    x, y = pictures(g, 200)
    if broken:  # other signs: thin strokes, as many classes
        other = torch.zeros(80, 1, 16, 16)
        for row in range(80):
            at = int(torch.randint(1, 15, (), generator=g))
            other[row, 0, at, :], other[row, 0, :, at] = 0.9, 0.6
        return classify(lambda: cnn(1, 4), (x[:120], y[:120]), valid_data=(other, y[120:]))
    return classify(lambda: cnn(1, 4), (x[:120], y[:120]), valid_data=(x[120:], y[120:]))


@case("Detectron-868", "LB042")
def two_scalings_of_one_set(broken: bool, g: G) -> Program:
    x, y = pictures(g, 200, channels=3)
    x = 2 * x - 1
    valid = 128 * x[120:] if broken else x[120:]
    return classify(lambda: cnn(3, 4), (x[:120], y[:120]), valid_data=(valid, y[120:]))


@case("ESPCN-30", "LB039")
def grey_values_to_255(broken: bool, g: G) -> Program:
    x, y = pictures(g)
    return classify(lambda: cnn(1, 4), ((255 * x).round() if broken else x, y))


@case("semseg-204", "LB039")
def bytes_as_floats(broken: bool, g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = cnn(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.float() if broken else x.float() / 255)

    x, y = pictures(g, channels=3)
    return classify(Net, ((255 * x).to(torch.uint8), y))


@case("pycadl-5", "LB038", "LB039")
def divided_twice(broken: bool, g: G) -> Program:
    x, y = pictures(g)
    return classify(lambda: cnn(1, 4), (x / 255 if broken else x, y))
