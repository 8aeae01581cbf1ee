"""What layers put out: the right tensors under the right names, and a model left as it was."""

from typing import Any

import numpy as np
import pytest
import torch
from inspection_nets import Noisy, Parts, Plain, Twice, equal, rows, state
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb
from lumbre.base import DataError, OptionError, RecipeError


def test_tensors_are_those_of_a_forward_pass_by_hand() -> None:
    net, x = Plain(), rows(25, 4)
    found = lb.inspect.activations(net, x, keep=True, batch_size=7, layers=["input", "*", "output"])
    assert list(found.layers) == ["input", "fc1", "relu", "fc2", "output"]
    hidden = net.fc1(x)
    for name, expected in {"input": x, "fc1": hidden, "relu": hidden.relu(), "fc2": net(x), "output": net(x)}.items():
        torch.testing.assert_close(found[name], expected.detach())
    assert (found.rows, found.what) == (25, "activations")
    assert found.layers["fc1"].shape == (6,)
    assert found.layers["relu"].type == "ReLU"


def test_statistics_of_many_batches_are_those_of_the_whole_tensor() -> None:
    net, x = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2), nn.Tanh()), rows(40, 1, 8, 8)
    found = lb.inspect.activations(net, x, keep=True, batch_size=9)
    for name, reported in found.layers.items():
        values = found[name].double().numpy()
        assert reported.count == values.size
        assert reported.mean == pytest.approx(values.mean(), abs=1e-12)
        assert reported.std == pytest.approx(values.std())
        assert (reported.minimum, reported.maximum) == (values.min(), values.max())
        assert reported.zeros == (values == 0).mean()
        for share, value in reported.quantiles.items():
            assert value == pytest.approx(np.quantile(values, share), abs=1e-12)


def test_keeping_changes_no_statistic() -> None:
    net, x = Plain(), rows(25, 4)
    assert lb.inspect.activations(net, x).layers == lb.inspect.activations(net, x, keep=True).layers


def test_statistics_do_not_depend_on_the_batch_size() -> None:
    net, x = Plain(), rows(30, 4)
    one, other = (lb.inspect.activations(net, x, batch_size=size).frame() for size in (30, 7))
    numbers = ["mean", "std", "minimum", "maximum", "q1", "q50", "q99", "zeros"]
    np.testing.assert_allclose(one[numbers], other[numbers], rtol=1e-5, atol=1e-6)


def test_a_layer_called_twice_has_two_names_and_work_in_place_hides_nothing() -> None:
    net, x = Twice(), rows(9, 4)
    found = lb.inspect.activations(net, x, keep=True)
    assert list(found.layers) == ["fc", "act", "fc#2", "act#2", "tied"]
    first = net.fc(x).detach()
    torch.testing.assert_close(found["fc"], first)
    assert (found["fc"] < 0).any(), "the values before ReLU wrote over them"
    torch.testing.assert_close(found["fc#2"], net.fc(first.relu()).detach())


def test_a_layer_is_found_by_either_of_its_names() -> None:
    found = lb.inspect.activations(Twice(), rows(9, 4), layers="again")
    assert list(found.layers) == ["again", "again#2"]


@pytest.mark.parametrize("batch_first", [True, False])
def test_tuples_dicts_and_recurrent_layers(batch_first: bool) -> None:
    net = Parts(batch_first)
    data = {"x": rows(10, 7, 3), "scale": rows(10, 1)}
    found = lb.inspect.activations(net, data, layers=["input", "lstm", "head"], keep=True, batch_size=4)
    states = {"lstm[0]": (10, 7, 5), "lstm[1][0]": (10, 2, 5), "lstm[1][1]": (10, 2, 5)}
    heads = {"head[logits]": (10, 2), "head[scaled]": (10, 2)}
    inputs = {"input[x]": (10, 7, 3), "input[scale]": (10, 1)}
    assert {name: tuple(tensor.shape) for name, tensor in found.tensors.items()} == inputs | states | heads
    expected = net(**data)
    torch.testing.assert_close(found["head[scaled]"], expected["scaled"].detach())
    torch.testing.assert_close(found["lstm[0]"][:, -1], found["lstm[1][0]"][:, -1])
    torch.testing.assert_close(found["input[x]"], data["x"])


def test_several_inputs_as_a_pair_of_tuples() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.fc(a + b)

    found = lb.inspect.activations(Sum(), ((rows(6, 4), rows(6, 4)), None), layers=["input", "fc"])
    assert list(found.layers) == ["input[0]", "input[1]", "fc"]


def test_the_parts_of_attention_are_seen() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    found = lb.inspect.activations(layer, rows(5, 6, 8))
    assert {"linear1", "linear2", "norm1"} <= set(found.layers)
    assert found.layers["linear1"].units == 16


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was(training: bool, fails: bool) -> None:
    net, x, y = Noisy().train(training), rows(20, 4), torch.arange(20) % 2
    net.norm.eval()
    nn.functional.cross_entropy(net(x), y).backward()
    net.fc.weight.requires_grad_(False)
    before = state(net)
    data = (rows(20, 5), y) if fails else (x, y)
    looks: list[Any] = [
        lambda: lb.inspect.activations(net, data),
        lambda: lb.inspect.gradients(net, data, loss=nn.CrossEntropyLoss()),
        lambda: lb.inspect.gradients(net, data, loss=nn.CrossEntropyLoss(), of="parameters"),
    ]
    for look in looks:
        if fails:
            with pytest.raises(DataError, match=r"in Noisy of a tensor of shape \(20, 5\)"):
                look()
        else:
            look()
        assert equal(state(net), before)


def test_chance_in_the_model_is_the_same_in_both_passes() -> None:
    net, x = Noisy(), rows(20, 4)
    found = lb.inspect.activations(net, x, keep=True, batch_size=6)
    assert found.layers["fc"].quantiles[0.5] == pytest.approx(float(found["fc"].double().quantile(0.5)), abs=1e-9)


def test_it_looks_in_evaluation_mode() -> None:
    found = lb.inspect.activations(nn.Sequential(nn.Dropout(0.9), nn.Flatten()).train(), torch.ones(50, 4))
    assert found.layers["0"].zeros == 0


def test_dead_units_and_saturation() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 3), nn.Sigmoid())
    with torch.no_grad():
        net[0].bias[:2] = -1e3  # pyright: ignore[reportIndexIssue]
        net[2].bias[0] = 1e3  # pyright: ignore[reportIndexIssue]
        net[4].weight.zero_(), net[4].bias.zero_()  # pyright: ignore
    found = lb.inspect.activations(net, rows(50, 4), batch_size=8)
    assert (found.layers["1"].units, found.layers["1"].dead) == (5, 2)
    assert found.layers["0"].dead is None
    assert found.layers["3"].saturated >= 1 / 3  # pyright: ignore[reportOptionalOperand]
    assert (found.layers["5"].saturated, found.layers["5"].dead) == (0, 0)
    assert "2 of 5 units dead" in repr(found)


@pytest.mark.parametrize(
    ("net", "shape", "units"),
    [
        (nn.Sequential(nn.Conv1d(3, 7, 2), nn.BatchNorm1d(7), nn.ReLU()), (3, 9), 7),
        (nn.Sequential(nn.Linear(3, 7), nn.LayerNorm(7), nn.ReLU()), (9, 3), 7),
        (nn.Sequential(nn.Conv2d(3, 7, 2), nn.ReLU()), (3, 9, 9), 7),
        (nn.Sequential(nn.Linear(3, 7), nn.ReLU()), (5, 9, 3), 7),
    ],
)
def test_units_are_channels_or_features(net: nn.Module, shape: tuple[int, ...], units: int) -> None:
    found = lb.inspect.activations(net, rows(4, *shape))
    assert {reported.units for reported in found.layers.values()} == {units}


def test_max_rows_cuts_the_last_batch() -> None:
    net, x = Plain(), rows(25, 4)
    found = lb.inspect.activations(net, (x, torch.arange(25)), max_rows=10, batch_size=4, keep=True)
    assert found.rows == 10
    assert found.target is not None
    assert found.target.tolist() == list(range(10))
    torch.testing.assert_close(found["fc1"], net.fc1(x[:10]).detach())


def test_a_loader_and_a_dataset() -> None:
    net, x = Plain(), rows(24, 4)
    whole = lb.inspect.activations(net, x, batch_size=8).layers
    data = TensorDataset(x, torch.zeros(24))
    assert lb.inspect.activations(net, DataLoader(data, batch_size=8)).layers == whole
    assert lb.inspect.activations(net, data, batch_size=8).layers == whole
    shuffled = lb.inspect.activations(net, DataLoader(data, batch_size=8, shuffle=True)).layers
    assert shuffled["fc1"].quantiles == pytest.approx(whole["fc1"].quantiles, abs=1e-6)


def test_a_fitted_model_takes_frames_as_in_training() -> None:
    fitted = lb.setup(nn.LazyLinear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_hparams(out_features=3)
    birds = lb.data.from_frame(lb.datasets.penguins().dropna(), target="species")
    fitted = fitted.fit(birds, epochs=1, verbose=False)
    found = lb.inspect.activations(fitted, birds, keep=True, layers=["input", "output"])
    torch.testing.assert_close(found["output"], fitted.predict(birds))
    assert found.classes == ("Adelie", "Chinstrap", "Gentoo") == fitted.classes


def test_a_generator_can_be_read_only_once() -> None:
    net = Plain()
    with pytest.raises(DataError, match="in a first pass and 0 in a second"):
        lb.inspect.activations(net, (rows(4, 4) for _ in range(3)))


def test_tensors_that_need_too_much_memory_are_refused_after_one_batch() -> None:
    calls: list[int] = []

    class Wide(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x.repeat(1, 1000)

    with pytest.raises(OptionError, match=r"16 MB for 1,000 rows\n  expected: at most 1 MB") as error:
        lb.inspect.activations(Wide(), torch.ones(1000, 4), keep=True, max_bytes=1_000_000, batch_size=10)
    assert calls == [10]
    assert "max_rows" in error.value.fix
    assert lb.inspect.activations(Wide(), torch.ones(1000, 4), max_bytes=1).rows == 1000
    kept = lb.inspect.activations(Wide(), torch.ones(1000, 4), keep=True, max_rows=50, max_bytes=1_000_000)
    assert kept["output"].shape == (50, 4000)
    endless = ([torch.ones(10, 4)] for _ in range(10**9))
    with pytest.raises(OptionError, match="MB after"):
        lb.inspect.activations(Wide(), endless, keep=True, max_bytes=1_000_000)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layers": "fc3"}, r"layers='fc3', which fits no layer.*Did you mean 'fc[12]'"),
        ({"layers": ["fc*", "conv*"]}, r"layers='conv\*'.*among: fc1, relu, fc2, input, output"),
        ({"layers": []}, "names or patterns"),
        ({"max_rows": 0}, "max_rows=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"quantiles": (1.5,)}, "shares from 0 to 1"),
    ],
)
def test_options_that_are_impossible(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError) as error:
        lb.inspect.activations(Plain(), rows(5, 4), **options)
    import re

    assert re.search(says, str(error.value), re.DOTALL)


def test_layers_that_are_never_called() -> None:
    with pytest.raises(OptionError, match="idle, none of which were called"):
        lb.inspect.activations(Twice(), rows(5, 4), layers="idle")


def test_a_name_that_was_not_kept() -> None:
    found = lb.inspect.activations(Plain(), rows(5, 4))
    with pytest.raises(OptionError, match="keep=True"):
        found["fc1"]
    with pytest.raises(OptionError, match="Did you mean 'fc"):
        found["fc"]


def test_what_is_no_model() -> None:
    with pytest.raises(RecipeError, match=r"instead: Plain\(\.\.\.\)"):
        lb.inspect.activations(Plain, rows(5, 4))  # pyright: ignore[reportArgumentType]
    with pytest.raises(RecipeError, match="lazy"):
        lb.inspect.weights(nn.LazyLinear(3))


def test_weights_by_layer_by_name_and_by_pattern() -> None:
    net = Twice()
    assert list(lb.inspect.weights(net).layers) == ["fc.weight", "fc.bias", "tied.bias", "idle.weight", "idle.bias"]
    assert list(lb.inspect.weights(net, layers="fc").layers) == ["fc.weight", "fc.bias"]
    assert list(lb.inspect.weights(net, layers=["*.bias"]).layers) == ["fc.bias", "tied.bias", "idle.bias"]
    deep = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2))
    assert list(lb.inspect.weights(deep, layers="0").layers) == ["0.0.weight", "0.0.bias"]
    found = lb.inspect.weights(net, layers="fc.weight", keep=True)
    assert torch.equal(found["fc.weight"], net.fc.weight)
    assert found["fc.weight"].data_ptr() != net.fc.weight.data_ptr()
    assert found.layers["fc.weight"].l2_norm == pytest.approx(net.fc.weight.norm().item())
    assert found.layers["fc.weight"].shape == (4, 4)
    with pytest.raises(OptionError, match="Did you mean 'tied"):
        lb.inspect.weights(net, layers="tyed")
    with pytest.raises(OptionError, match="which has no parameters"):
        lb.inspect.weights(nn.ReLU())
    with pytest.raises(OptionError, match="for these parameters"):
        lb.inspect.weights(net, keep=True, max_bytes=3)


@pytest.mark.slow
def test_a_compiled_module_is_looked_at_as_it_was() -> None:
    net = Plain()
    assert next(iter(lb.inspect.weights(torch.compile(net, backend="eager")).layers)) == "fc1.weight"  # pyright: ignore[reportArgumentType]
