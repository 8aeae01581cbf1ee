"""As many predictions as rows, in their order, whatever the module returns; or an error."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributions, nn, optim
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb


@dataclasses.dataclass(frozen=True)
class Scores:
    values: Tensor
    others: dict[str, Tensor]
    rows: int


class Cache:
    """Keys and values, as language models return them."""

    def __init__(self, keys: Tensor) -> None:
        self.layers = [keys, 2 * keys]
        self.seen = 7


class Pair(NamedTuple):
    mean: Tensor
    table: Tensor


Output = Callable[[nn.Linear, Tensor], Any]


class Body(nn.Module):
    """Two numbers a row, and what `output` makes of them."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.output = output

    def forward(self, x: Tensor) -> Any:
        return self.output(self.linear, x)


def trained(output: Output) -> lb.Fitted:
    torch.manual_seed(0)
    net = Body(output)
    recipe = lb.setup(net, loss=lambda _, target: net.linear.weight.sum() + 0 * target.sum(), optimizer=optim.SGD)
    data = torch.randn(8, 2), torch.randn(8, 2)
    return recipe.fit(data, epochs=1, batch_size=8, preflight=False, verbose=False)


JOINED: dict[str, Output] = {
    "tensor": lambda f, x: f(x),
    "tuple": lambda f, x: (f(x), f(x)[:, 0]),
    "named tuple with the table of weights": lambda f, x: Pair(f(x), f.weight),
    "dict": lambda f, x: {"scores": f(x), "none": None, "text": "a"},
    "states of layers": lambda f, x: (f(x), torch.stack([f(x), -f(x)]), torch.stack([f(x)] * 4)),
    "rows in the last dimension": lambda f, x: {"a": f(x).T, "b": f(x)},
    "normal": lambda f, x: distributions.Normal(f(x)[:, :1], f(x)[:, 1:].exp()),
    "independent": lambda f, x: distributions.Independent(distributions.Normal(f(x), 1.0), 1),
    "categorical": lambda f, x: distributions.Categorical(logits=f(x)),
    "mixture": lambda f, x: distributions.MixtureSameFamily(
        distributions.Categorical(logits=f(x)), distributions.Normal(f(x), f(x).exp())
    ),
    "multivariate": lambda f, x: distributions.MultivariateNormal(f(x), torch.eye(2)),
    "transformed": lambda f, x: distributions.TransformedDistribution(
        distributions.Normal(f(x), 1.0), [distributions.AffineTransform(f(x), 2.0), distributions.ExpTransform()]
    ),
    "data class": lambda f, x: Scores(f(x), {"twice": 2 * f(x)}, len(x)),
    "cache": lambda f, x: (f(x), Cache(f(x))),
    "a list of rows": lambda f, x: list(f(x)),
    "boxes": lambda f, x: [{"boxes": row.expand(i % 3, 2)} for i, row in enumerate(f(x))],
    "texts": lambda f, x: {"scores": f(x), "texts": [f"{row[0]:.3f}" for row in x]},
    "array": lambda f, x: f(x).detach().numpy(),
    "squeezed": lambda f, x: f(x)[:, :1].squeeze(),
}


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, Tensor):
        return torch.equal(torch.as_tensor(found), expected) or torch.allclose(found, expected, atol=1e-6)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], value) for key, value in expected.items())
    if isinstance(expected, (tuple, list)):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, distributions.Distribution):
        value = expected.sample()
        shapes = (found.batch_shape, found.event_shape) == (expected.batch_shape, expected.event_shape)
        return shapes and same(found.log_prob(value), expected.log_prob(value))
    if isinstance(expected, (Scores, Cache)):
        return type(found) is type(expected) and same(vars(found), vars(expected))
    return bool(found == expected)


@pytest.mark.parametrize("name", JOINED)
@given(rows=st.integers(2, 40), batch_size=st.integers(1, 41))
def test_an_output_of_rows_is_that_of_one_batch(name: str, rows: int, batch_size: int) -> None:
    fitted = _fitted(name)
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(rows))
    with torch.no_grad():
        expected = fitted.model(x)
    if name == "array":
        expected = torch.as_tensor(expected)
    if name == "boxes":
        expected = [{"boxes": row.expand(i % batch_size % 3, 2)} for i, row in enumerate(fitted.model.linear(x))]
    assert same(fitted.predict(x, batch_size=batch_size), expected)


@functools.cache
def _fitted(name: str) -> lb.Fitted:
    return trained(JOINED[name])


def test_states_of_a_recurrent_net_are_joined_along_their_rows() -> None:
    torch.manual_seed(0)
    net = nn.LSTM(2, 5, num_layers=4, batch_first=True)
    recipe = lb.setup(net, loss=lambda pred, target: pred[0].mean() + 0 * target.mean(), optimizer=optim.SGD)
    x = torch.randn(96, 3, 2)
    fitted = recipe.fit((x, x), epochs=1, preflight=False, verbose=False)
    for batch_size in (4, 32, 48, 96):  # four layers: which of two equal dimensions is that of the rows?
        output, (hidden, cell) = fitted.predict(x, batch_size=batch_size)
        expected, (hiddens, cells) = fitted.model(x)
        for one, other in ((output, expected), (hidden, hiddens), (cell, cells)):
            torch.testing.assert_close(one, other.detach())


REFUSED: dict[str, tuple[Output, str]] = {
    "rows of other widths": (lambda f, x: f(x).repeat(1, 1 + int(10 * x.sum().abs()) % 7), "rows of one length"),
    "a mean over the batch": (lambda f, x: (f(x), f(x).mean()), "mixes the rows"),
    "a method of a tensor": (lambda f, x: (f(x), x.sum), "builtin_function"),
    "a partial function": (lambda f, x: functools.partial(torch.add, f(x)), "partial"),
    "a generator": (lambda f, x: (row for row in f(x)), "generator"),
    "all numbers in a line": (lambda f, x: f(x).reshape(-1), "a row for each row"),
    "a nested tensor": (lambda f, x: torch.nested.as_nested_tensor(list(f(x))), "nested"),
    "rows against rows": (lambda f, x: {"similar": f(x) @ f(x).T}, "a row for each row"),
    "half of the rows": (lambda f, x: f(x)[::2], "a row for each row"),
    "a set": (lambda f, x: {"scores": f(x), "set": {1}}, "set"),
    "packed rows": (
        lambda f, x: nn.utils.rnn.pack_sequence([row[: 1 + i % 2] for i, row in enumerate(f(x))], False),
        "PackedSequence",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_an_output_without_a_row_for_each_row_is_refused_at_once(name: str) -> None:
    output, words = REFUSED[name]
    calls: list[int] = []

    def counted(linear: nn.Linear, x: Tensor) -> Any:
        calls.append(len(x))
        return output(linear, x)

    fitted, x = trained(counted), torch.randn(300, 2, generator=torch.Generator().manual_seed(1))
    calls.clear()
    with pytest.raises(lb.DataError, match=words):
        fitted.predict(x, batch_size=10)
    assert len(calls) < 10
    with pytest.raises(lb.DataError):
        fitted.compare((x, x), batch_size=10)


def test_a_loss_beside_predictions_is_no_prediction() -> None:
    class Answer(dict[str, Any]):
        """As modules of others give it: a dict of their own class."""

    def output(linear: nn.Linear, x: Tensor) -> Any:
        scores = linear(x)
        return Answer(loss=scores.mean(), logits=scores)

    fitted, x = trained(output), torch.randn(23, 2, generator=torch.Generator().manual_seed(1))
    found = fitted.predict(x, batch_size=10)
    assert list(found) == ["logits"]
    torch.testing.assert_close(found["logits"], fitted.model(x)["logits"].detach())


def test_a_frame_may_hold_its_target_in_any_state() -> None:
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0], "label": ["no", "no", "yes", "yes"]})
    recipe = lb.setup(nn.Linear(2, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    fitted = recipe.fit(lb.data.from_frame(frame, target="label"), epochs=1, preflight=False, verbose=False)
    expected = fitted.predict(frame[["a", "b"]])
    for label in (None, "?", float("nan"), 3, ["yes", None, "no", "?"], pd.Timestamp("2020-01-01")):
        unlike = frame.assign(label=label)
        assert torch.equal(fitted.predict(unlike), expected)
        assert len(fitted.predict_classes(unlike)) == 4
        assert lb.inspect.activations(fitted, unlike).rows == 4
    with pytest.raises(lb.DataError, match="label"):
        fitted.evaluate(frame.assign(label="?"))
    with pytest.raises(lb.DataError, match="missing"):
        fitted.evaluate(frame.assign(label=None))


@pytest.fixture(scope="module")
def line() -> lb.Fitted:
    torch.manual_seed(0)
    x = torch.randn(40, 4)
    recipe = lb.setup(nn.Linear(4, 1), loss=nn.MSELoss(), optimizer=optim.SGD)
    return recipe.fit((x, x.sum(1, keepdim=True)), epochs=1, verbose=False)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_list_of_rows_is_no_pair(line: lb.Fitted, count: int) -> None:
    x = torch.randn(count, 4)
    expected = line.predict(x)
    for rows in (list(x), x.tolist(), list(x.numpy()), list(map(tuple, x.tolist()))):
        assert same(line.predict(rows), expected)
        with pytest.raises(lb.DataError):
            line.evaluate(rows)
    assert torch.equal(line.predict([x]), expected)
    assert torch.equal(line.predict([x, torch.zeros(count, 1)]), expected)
    assert torch.equal(line.predict((x, None)), expected)


def test_a_single_row_and_rows_of_other_forms_are_named(line: lb.Fitted) -> None:
    y = torch.zeros(6, 1)
    with pytest.raises(lb.DataError, match="single row"):
        line.predict(torch.zeros(4))
    for wrong in (torch.zeros(6, 5), torch.zeros(6, 4, dtype=torch.int64), torch.zeros(6)):
        with pytest.raises(lb.DataError, match=r"float32 \(rows, 4\), as in training"):
            line.predict(wrong)
        with pytest.raises(lb.DataError, match="as in training"):
            line.evaluate((wrong, y))
        with pytest.raises(lb.DataError, match="as in training"):
            line.compare((wrong, y))
        with pytest.raises(lb.DataError, match="that the module takes"):
            lb.inspect.activations(line, wrong)
    with pytest.raises(lb.DataError, match="do not fit together"):
        line.predict([torch.zeros(4), torch.zeros(5)])


def test_a_form_that_the_module_takes_is_no_mistake() -> None:
    net = nn.Sequential(nn.Embedding(9, 3), nn.Linear(3, 2))
    recipe = lb.setup(net, loss=lambda pred, target: pred.mean() + 0 * target.float().mean(), optimizer=optim.SGD)
    fitted = recipe.fit((torch.ones(8, 5, dtype=torch.int64), torch.zeros(8)), epochs=1, preflight=False, verbose=False)
    assert fitted.predict(torch.ones(7, 11, dtype=torch.int64)).shape == (7, 11, 2)


def test_a_loader_that_shuffles_or_leaves_rows_out_is_named(line: lb.Fitted) -> None:
    rows = TensorDataset(torch.randn(10, 4), torch.zeros(10, 1))
    with pytest.warns(lb.DataWarning, match="shuffles"):
        assert len(line.predict(DataLoader(rows, batch_size=4, shuffle=True))) == 10
    short = DataLoader(rows, batch_size=4, drop_last=True)
    for look in (line.predict, line.evaluate, line.compare):
        with pytest.warns(lb.DataWarning, match="leaves out 2 of 10 rows"):
            look(short)
    line.predict(DataLoader(rows, batch_size=5, drop_last=True))
    line.evaluate(DataLoader(rows, batch_size=4, shuffle=True))
    line.compare(DataLoader(rows, batch_size=4, shuffle=True))


class TwoInputs(nn.Module):
    """Its second input may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, a: Tensor, b: Tensor | None = None) -> Tensor:
        return self.first(a) if b is None else self.first(a) + self.second(b)


@pytest.mark.parametrize("form", ["tuple", "TensorDataset", "loader", "rows", "pair", "with target"])
def test_two_inputs_of_the_training_are_two_inputs(form: str) -> None:
    a, b, y = torch.randn(20, 3), torch.randn(20, 3), torch.randn(20, 1)
    fitted = lb.setup(TwoInputs, loss=nn.MSELoss(), optimizer=optim.SGD).fit(((a, b), y), epochs=1, verbose=False)
    rows = list(zip(a, b, strict=True))
    forms: dict[str, Any] = {
        "tuple": (a, b),
        "TensorDataset": TensorDataset(a, b),
        "loader": DataLoader(TensorDataset(a, b), batch_size=8),
        "rows": rows,
        "pair": ((a, b), None),
        "with target": ((a, b), y),
    }
    with torch.no_grad():
        expected = fitted.model(a, b)
    assert torch.allclose(fitted.predict(forms[form], batch_size=None if form == "loader" else 8), expected)


def test_an_input_and_a_target_stay_a_pair() -> None:
    a, y = torch.randn(20, 3), torch.randn(20, 1)
    recipe = lb.setup(TwoInputs, loss=nn.MSELoss(), optimizer=optim.SGD)
    fitted = recipe.fit((a, y), epochs=1, verbose=False, preflight=False)
    with torch.no_grad():
        assert torch.allclose(fitted.predict((a, y)), fitted.model(a))


class Places(nn.Module):
    """Its inputs have the names that stand for input and target elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layer(torch.stack([x, torch.zeros_like(x) if y is None else y], 1))


def test_inputs_called_x_and_y_are_two_inputs() -> None:
    x, y, target = torch.randn(20), torch.randn(20), torch.randn(20, 1)
    recipe = lb.setup(Places, loss=nn.MSELoss(), optimizer=optim.SGD)
    fitted = recipe.fit(({"x": x, "y": y}, target), epochs=1, verbose=False, preflight=False)
    with torch.no_grad():
        expected = fitted.model(x, y)
    both = {"x": x, "y": y}
    for data in (both, {"y": y, "x": x}, (both, target), iter([both])):
        assert torch.allclose(fitted.predict(data), expected)
    whole = recipe.fit((x, target), epochs=1, verbose=False, preflight=False)
    with torch.no_grad():
        assert torch.allclose(whole.predict({"x": x, "y": target}), whole.model(x))


def test_rows_one_after_the_other_are_no_batches() -> None:
    x = torch.randn(12, 4)
    recipe = lb.setup(nn.Linear(4, 4), loss=nn.MSELoss(), optimizer=optim.SGD)
    fitted = recipe.fit((x, x), epochs=1, verbose=False, preflight=False)
    rows = DataLoader(TensorDataset(x, x), batch_size=None)
    for wrong in (rows, iter(x), iter([(row, row) for row in x])):
        with pytest.raises(lb.DataError, match="shape of a single row"):
            fitted.predict(wrong)
    for judge in (fitted.compare, fitted.evaluate):
        with pytest.raises(lb.DataError, match="shape of a single row"):
            judge(rows)
    assert len(fitted.predict(iter(x.split(5)))) == len(fitted.predict(list(x))) == 12


def test_batches_in_a_list_are_no_rows_and_no_pair(line: lb.Fitted) -> None:
    x, y = torch.randn(12, 4), torch.randn(12, 1)
    parts = list(zip(x.split(6), y.split(6), strict=True))
    for wrong in (parts, parts[:1], [list(pair) for pair in parts]):
        for look in (line.predict, line.evaluate, line.compare):
            with pytest.raises(lb.DataError, match="batches"):
                look(wrong)
    assert torch.equal(line.predict(iter(parts)), line.predict(x, batch_size=6))
    for two in (list(x.split(6)), x.split(6)):
        with pytest.raises(lb.DataError, match="two inputs"):
            line.predict(two)
    assert len(line.predict((x, y))) == len(line.predict((x, None))) == 12
