"""The summary of a model: what it counts, what it shows, and that it leaves no trace."""

import copy

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net


class Odd(nn.Module):
    """A body with running statistics, a layer used twice, a tied weight, and a layer never called."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
        self.twice = nn.Linear(6, 6)
        self.tied = nn.Linear(6, 6, bias=False)
        self.tied.weight = self.twice.weight
        self.alias = self.body[0]
        self.unused = nn.Linear(6, 2)
        self.register_buffer("calls", torch.zeros(3).expand(2, 3))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        return self.tied(self.twice(self.twice(self.body(x))))


def layer(found: lb.Summary, name: str):
    return next(layer for layer in found.layers if layer.name == name)


def test_a_linear_layer() -> None:
    found = lb.summary(nn.Linear(5, 16), torch.zeros(1, 5))
    assert "96 parameters" in str(found)
    assert (found.parameters, found.trainable, found.flops) == (96, 96, 2 * 5 * 16)
    assert (found.parameter_bytes, found.input_bytes, found.output_bytes) == (384, 20, 64)
    assert repr(found) == str(found)


def test_layers_are_a_tree_with_shapes_and_operations() -> None:
    found = lb.summary(Net(4), torch.zeros(7, 4))
    names = ["", "layers", "layers.0", "layers.1", "layers.2", "layers.3"]
    assert [layer.name for layer in found.layers] == names
    assert [layer.depth for layer in found.layers] == [0, 1, 2, 2, 2, 2]
    assert [layer.output for layer in found.layers] == ["(7, 3)", "(7, 3)", "(7, 16)", "(7, 16)", "(7, 16)", "(7, 3)"]
    assert [layer.parameters for layer in found.layers] == [131, 131, 80, 0, 0, 51]
    assert [layer.flops for layer in found.layers] == [7 * 2 * 112, 7 * 2 * 112, 7 * 128, 0, 0, 7 * 96]
    assert "    0: Linear         (7, 16)          80    896" in str(found)
    frame = found.frame()
    assert len(frame) == 6
    assert frame.loc[frame["depth"] == 2, "parameters"].sum() == found.parameters
    assert "<td>\u2003layers: Sequential</td>" in found._repr_html_()


def test_convolutions() -> None:
    found = lb.summary(nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.zeros(2, 3, 10, 10))
    assert found.flops == 2 * (2 * 8 * 10 * 10) * (3 * 3 * 3)


def test_what_is_shared_counts_once() -> None:
    net = Odd()
    found = lb.summary(net, torch.zeros(2, 6))
    assert found.parameters == sum(parameter.numel() for parameter in net.parameters()) == 42 + 12 + 42 + 14
    assert sum(part.parameters for part in found.layers if part.depth == 1) == found.parameters
    assert layer(found, "tied").parameters == 0
    assert layer(found, "tied").note == "shares twice.weight"
    assert layer(found, "twice").note == "called 2 times"
    assert layer(found, "twice").flops == 2 * (2 * 2 * 36)
    assert layer(found, "body.0").note == "also alias"
    assert layer(found, "unused").note == "not called"
    assert [part.name for part in found.layers].count("alias") == 0


def test_frozen_parameters_are_shown() -> None:
    net = lb.freeze(Net(4), "layers.0")
    found = lb.summary(net, torch.zeros(1, 4))
    assert (found.parameters, found.trainable) == (131, 51)
    assert layer(found, "layers.0").note == "frozen"
    assert layer(found, "layers").note == "partly frozen"
    assert "131 parameters (51 trainable, 80 frozen)" in str(found)


def state(net: nn.Module) -> tuple[object, ...]:
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in net.modules()]
    return [part.training for part in net.modules()], hooks, copy.deepcopy(net.state_dict()), torch.get_rng_state()


@pytest.mark.parametrize("fails", [False, True])
def test_a_summary_leaves_no_trace(fails: bool) -> None:
    net = Odd().train()
    net.body.eval()
    running, count = net.body[1].running_mean, net.count
    before = state(net)
    if fails:
        with pytest.raises(lb.DataError, match=r"RuntimeError in Odd of a tensor of shape \(2, 5\)"):
            lb.summary(net, torch.ones(2, 5))
    else:
        lb.summary(net, torch.ones(2, 6))
    after = state(net)
    assert before[:2] == after[:2]
    assert all(torch.equal(after[2][name], value) for name, value in before[2].items())
    assert torch.equal(before[3], after[3])
    assert net.body[1].running_mean is running
    assert net.count is count
    assert all(parameter.grad is None for parameter in net.parameters())


def test_statistics_that_a_module_moves_in_evaluation_mode_too_are_put_back() -> None:
    norm = nn.BatchNorm1d(3)
    norm.train = lambda mode=True: norm  # stays in training mode whatever is asked
    lb.summary(norm, torch.randn(5, 3))
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert norm.num_batches_tracked == 0


def test_a_lazy_module_stays_lazy() -> None:
    net = nn.Sequential(nn.LazyLinear(3))
    found = lb.summary(net, torch.zeros(1, 5))
    assert found.parameters == 18
    assert isinstance(net[0], nn.LazyLinear)


class Several(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, a: Tensor, b: Tensor) -> dict[str, object]:
        return {"sum": self.linear(a) + self.linear(b), "parts": [a, b]}


@pytest.mark.parametrize("form", [tuple, list, lambda pair: dict(zip("ab", pair, strict=True))])
def test_several_inputs_and_outputs(form) -> None:
    found = lb.summary(Several(), form([torch.zeros(4, 3), torch.ones(4, 3)]))
    assert found.layers[0].output == "{sum: (4, 2), parts: [(4, 3), (4, 3)]}"


def test_an_input_that_is_one_list() -> None:
    class Total(nn.Module):
        def forward(self, parts: list[Tensor]) -> Tensor:
            return torch.stack(parts).sum(0)

    assert lb.summary(Total(), [torch.zeros(2, 3)] * 4).layers[0].output == "(2, 3)"


def test_attention_is_seen_layer_by_layer() -> None:
    # In evaluation mode torch has a fused path that calls no part of the layer.
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False)
    found = lb.summary(net, torch.zeros(3, 5, 8))
    assert layer(found, "layers.1.linear1").output == "(3, 5, 16)"
    assert found.flops == sum(part.flops for part in found.layers if part.depth == 2)
    products = 4 * 64 + 2 * 8 * 16  # per word: query, key, value and output; the two layers after attention
    attention = 2 * 5 * 8  # per word: scores of 5 words in 8 dimensions, and the mean of their values
    assert layer(found, "layers.0").flops == 2 * 15 * (products + attention)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_count_as_matrix_products(kind, gates: int) -> None:
    # The kernels of MKL-DNN and cuDNN are one operation, for which torch's counter has no formula.
    found = lb.summary(kind(4, 8, batch_first=True), torch.zeros(2, 3, 4))
    assert found.flops == 2 * (2 * 3) * gates * (4 * 8 + 8 * 8)


def test_torch_s_own_switches_are_put_back() -> None:
    switches = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled, torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(lb.DataError):
        lb.summary(nn.Linear(2, 2), torch.zeros(1, 3))
    assert switches == (
        torch.backends.mkldnn.enabled,
        torch.backends.cudnn.enabled,
        torch.backends.mha.get_fastpath_enabled(),
    )


def test_what_was_fitted_has_a_summary(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    fitted = recipe.fit(data, epochs=1, verbose=False)
    assert lb.summary(fitted, data[0][:1]).parameters == 131


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(lb.RecipeError, match=r"Linear\(\.\.\.\)"):
        lb.summary(nn.Linear, torch.zeros(1, 5))
    with pytest.raises(lb.RecipeError, match="a module, or what fit"):
        lb.summary(optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), torch.zeros(1, 5))
