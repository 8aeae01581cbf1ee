"""Files that R itself wrote (R 4.2.2, torch 0.17.0.9000, luz 0.5.0.9000), and what R printed of them.

`real_r/truth.json` holds the values as R showed them; bytes only, no code of R's.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lumbre as lb

FILES = Path(__file__).parent / "real_r"
TRUTH = json.loads((FILES / "truth.json").read_text(encoding="utf-8"))
NETS = json.loads((FILES / "rnn_truth.json").read_text(encoding="utf-8"))
DTYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Bool": torch.bool,
    "Byte": torch.uint8,
    "Char": torch.int8,
    "Short": torch.int16,
    "Int": torch.int32,
    "Long": torch.int64,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Float8_e4m3fn": torch.float8_e4m3fn,
    "Float8_e5m2": torch.float8_e5m2,
}


STORED: dict[str, Callable[[Tensor], Tensor]] = {
    "t_view.pt": lambda _: torch.arange(1.0, 7.0, dtype=torch.float64),
    "t_noncontig.pt": lambda _: torch.arange(1.0, 7.0, dtype=torch.float64),
    "t_4d.pt": lambda values: values.reshape(2, 3, 2, 2).permute(0, 2, 3, 1).reshape(-1),
}


def same(found: Any, truth: Any, place: str) -> None:
    """Compare what was read with what R printed."""
    if isinstance(truth, dict) and truth.get(".tensor"):
        same_tensor(found, truth, place)
    elif isinstance(truth, dict) and ".num" in truth:
        numbers = truth[".num"]
        if isinstance(numbers, dict):
            assert list(found) == list(numbers), place
            found, numbers = list(found.values()), list(numbers.values())
        same_values(found, [None if one == "NA" else float(one) for one in numbers], place)
    elif isinstance(truth, dict) and ".chr" in truth:
        texts = truth[".chr"]
        assert not isinstance(texts, dict) or list(found) == list(texts), place
        if isinstance(texts, dict):
            found, texts = list(found.values()), list(texts.values())
        same_values(found, [None if one == "NA" else one for one in texts], place)
    elif isinstance(truth, dict) and ".lgl" in truth:
        same_values(found, [None if one == "NA" else one for one in truth[".lgl"]], place)
    elif isinstance(truth, dict) and ".other" in truth:
        assert found is not ..., place
    elif isinstance(truth, dict):
        assert list(found) == list(truth), place
        for name in truth:
            same(found[name], truth[name], f"{place}/{name}")
    elif isinstance(truth, list):
        assert len(found) == len(truth), place
        for number, part in enumerate(truth):
            same(found[number], part, f"{place}/{number}")
    else:
        assert found == truth, place


def same_values(found: Any, expected: list[Any], place: str) -> None:
    if isinstance(found, list) and found and isinstance(found[0], list):  # a matrix; R printed it by columns
        found = [row[column] for column in range(len(found[0])) for row in found]
    found = found if isinstance(found, list) else [found]
    if place == "l_df.pt/i64":  # R printed the second one by way of a double, which has not this number
        expected = [1, 2**53 + 1]
    assert found == expected, place


def same_tensor(found: Any, truth: Any, place: str) -> None:
    assert isinstance(found, Tensor), place
    assert found.dtype == DTYPES[truth["dtype"]], place
    assert list(found.shape) == truth["shape"], place
    values = torch.tensor([float(one.replace("Inf", "inf")) for one in truth["values"]], dtype=torch.float64)
    if place in STORED:  # R writes the bytes as they lie, and forgets strides and offsets: no reader can know better
        values = STORED[place](values)
    flat = found.reshape(-1)
    if found.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    assert torch.equal(flat.double().nan_to_num(7.5), values.nan_to_num(7.5)), place


@pytest.mark.parametrize("name", TRUTH)
def test_a_file_of_r_is_read_as_r_reads_it(name: str) -> None:
    truth = TRUTH[name]["truth"]
    found = lb.r.load(FILES / name)
    same(found.get("model", found) if name.startswith("z_") else found, truth, name)


TEXTS = {
    "chr_deferred_na": ["1", None, "3"],
    "chr_deferred_dna": ["1.5", None, "NaN", "Inf", "-Inf"],
    "chr_deferred_dbl": ["0.1", "1e+05", "123456", "1e+15", "1e-04", "1e-05", "0.333333333333333", "1e+05", "1e+22"],
    "latin1": "caf\u00e9",
    "latin1_listnames": {"caf\u00e9": 1.0, "b": 2.0},
    "int64": [1, 2],
    "matrix": [[1, 3, 5], [2, 4, 6]],
    "na_real1": None,
    "names_partial": {"a": 1.0, "2": 2.0, "3": 3.0},
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_and_numbers_are_those_that_r_shows(name: str) -> None:
    assert lb.r.load(FILES / f"{name}.rds") == {"x": TEXTS[name]}


@pytest.mark.parametrize("name", NETS)
def test_a_recurrent_net_of_r_computes_the_same(name: str) -> None:
    truth = NETS[name]
    weights = lb.r.load_weights(FILES / f"{name}.pt")
    first = weights["weight_ih_l0"]
    hidden = weights["weight_hh_l0"].shape[1]
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN, "lstm2": nn.LSTM}[name]
    layers = 1 + max(int(one.split("_l")[1][0]) for one in weights)
    both = any(one.endswith("_reverse") for one in weights)
    net = kind(first.shape[1], hidden, num_layers=layers, bidirectional=both)
    assert net.load_state_dict(weights).missing_keys == []
    x = torch.tensor(truth["x"]).reshape(truth["xs"])
    with torch.no_grad():
        output, _ = net(x)
    torch.testing.assert_close(output.reshape(-1), torch.tensor(truth["y"]), rtol=1e-5, atol=1e-6)


def test_layers_of_recurrent_nets_are_renumbered_both_ways(tmp_path: Path) -> None:
    net = nn.ModuleDict(
        {"a": nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2), "b": nn.GRU(2, 3), "c": nn.Linear(2, 1)}
    )
    lb.r.save_weights(tmp_path / "net.pt", net.state_dict())
    in_r = list(lb.r.load(tmp_path / "net.pt"))
    assert "a.weight_hr_l2_reverse" in in_r
    assert "b.bias_hh_l1" in in_r
    assert not any("_l0" in name for name in in_r)
    again = lb.r.load_weights(tmp_path / "net.pt")
    assert list(again) == list(net.state_dict())
    assert all(torch.equal(again[name], tensor) for name, tensor in net.state_dict().items())
    other = {"weight_ih_l1": torch.ones(2), "bias_ih_l3": torch.ones(1)}  # of no recurrent net
    lb.r.save_weights(tmp_path / "other.pt", other)
    assert list(lb.r.load_weights(tmp_path / "other.pt")) == list(other)
    assert "weight_ih_l0" in lb.r.load_weights(FILES / "lstm_two.pt")


def test_plain_safetensors_and_short_floats(tmp_path: Path) -> None:
    assert lb.r.load_weights(FILES / "s_plain.safetensors")["w"].shape == (2, 3)
    short = {"a": torch.tensor([1.5, 2.0]).to(torch.float8_e4m3fn), "b": torch.tensor([0.5]).to(torch.float8_e5m2)}
    lb.r.save_weights(tmp_path / "short.pt", short)
    again = lb.r.load_weights(tmp_path / "short.pt")
    assert {name: (one.dtype, one.float().tolist()) for name, one in again.items()} == {
        name: (one.dtype, one.float().tolist()) for name, one in short.items()
    }


def test_a_file_of_lumbre_is_pointed_elsewhere(tmp_path: Path) -> None:
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=torch.optim.SGD)
    fitted = recipe.set_hparams(in_features=1, out_features=1).fit((torch.ones(2, 1), torch.ones(2, 1)), verbose=False)
    fitted.save(tmp_path / "a.lumbre")
    with pytest.raises(lb.ArchiveError, match=r"lumbre\.load"):
        lb.r.load_weights(tmp_path / "a.lumbre")


def test_names_come_in_the_order_of_the_file() -> None:
    file = str(FILES / "sd_m_te.pt")
    code = f"import lumbre as lb; print(list(lb.r.load_weights({file!r})))"
    # Another process orders sets in another way.
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen == f"{list(lb.r.load_weights(file))}\n" == f"{list(TRUTH['sd_m_te.pt']['truth'])}\n"
