"""States as JSON and tensors: what goes in comes out, to the type and the bit."""

import json
import math
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbre.base import ResumeError
from lumbre.storage import pack, unpack

CPU = torch.device("cpu")


def there_and_back(value: Any) -> Any:
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(pack(value, tensors), allow_nan=False)
    return unpack(json.loads(text), tensors, CPU)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.booleans() | st.none(), inner)
    ),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(map(repr, left)) == list(map(repr, right)) and all(
            same(a, b) for a, b in zip(left.values(), right.values(), strict=True)
        )
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right)  # -0.0 differs from 0.0


@settings(max_examples=40)
@given(plain)
def test_plain_values_come_back(value: Any) -> None:
    assert same(there_and_back(value), value)


def test_values_json_has_no_word_for() -> None:
    assert math.isnan(there_and_back(math.nan))
    assert there_and_back([math.inf, -math.inf]) == [math.inf, -math.inf]
    assert there_and_back({"~": "tensor", "is": 1}) == {"~": "tensor", "is": 1}
    counter = there_and_back(Counter({3: 2}))
    assert type(counter) is Counter
    assert counter == {3: 2}
    assert type(there_and_back(OrderedDict(a=1))) is OrderedDict
    assert there_and_back({1, 2}) == {1, 2}
    assert there_and_back(torch.float16) is torch.float16
    assert there_and_back(np.float32(0.1)) == np.float32(0.1)
    assert (there_and_back(np.arange(3)) == np.arange(3)).all()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.0),
        torch.tensor([math.nan, -0.0, 1e-45]),
        torch.zeros(0, 3),
        torch.arange(6, dtype=torch.float64).reshape(2, 3).t(),
        torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.tensor([1.5], dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.zeros(1).expand(4),
    ],
    ids=lambda tensor: f"{tensor.dtype}{list(tensor.shape)}",
)
def test_tensors_come_back_with_dtype_and_strides(tensor: torch.Tensor) -> None:
    back = there_and_back({"a": [tensor]})["a"][0]
    assert back.dtype == tensor.dtype
    assert back.shape == tensor.shape
    assert torch.equal(back.nan_to_num(7), tensor.nan_to_num(7))
    if 0 not in tensor.stride():
        assert back.stride() == tensor.stride()
    assert back.data_ptr() != tensor.data_ptr() or not tensor.numel()


@pytest.mark.parametrize("value", [object(), lambda: None, torch.nn.Linear(1, 1)])
def test_what_cannot_be_told_is_named_by_its_place(value: Any) -> None:
    with pytest.raises(ResumeError, match="at callbacks/Mine/1 in the state"):
        pack({"callbacks": {"Mine": [0, value]}}, {})


@pytest.mark.parametrize(
    "packed",
    [
        {"~": "tensor", "is": "missing", "on": "cpu"},
        {"~": "tensor", "is": "w"},
        {"~": "tensor", "is": "w", "on": "cpu", "stride": [1 << 40, 1]},
        {"~": "tensor", "is": "w", "on": "cpu", "stride": [-3, 1]},
        {"~": "tensor", "is": "w", "on": "cpu", "stride": [1]},
        {"~": "tensor", "is": "w", "on": "cpu", "stride": "12"},
        {"~": "tensor", "is": [], "on": "cpu"},
        {"~": "numpy", "is": 3, "dtype": "V1000000000"},
        {"~": "numpy", "is": 3, "dtype": "O"},
        {"~": "dtype", "is": "torch.load"},
        {"~": "dict", "is": [[{"~": "dict", "is": []}, 1]]},
        {"~": "set", "is": 3},
        {"~": []},
        {"~": "float", "is": "many"},
    ],
)
def test_what_was_never_packed_is_refused(packed: Any) -> None:
    with pytest.raises(ResumeError) as caught:
        unpack([packed], {"w": torch.ones(2, 3)}, CPU)
    assert caught.value.fix


def test_a_tensor_with_many_gaps_comes_back_without_them() -> None:
    wide = torch.arange(4000.0).reshape(4, 1000)[:, 7]
    back = there_and_back(wide)
    assert torch.equal(back, wide)
    assert back.is_contiguous()
