"""What is written can be read: sparse tensors, expanded ones, and numbers of every type."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.storage._archive import read_archive, write_archive

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state:UserWarning"),
    pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
]

MATRIX = torch.tensor([[0.0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 4, 0], [0, 5, 0, 0]])
TYPES = (
    "complex128",
    "complex64",
    "complex32",
    "float8_e8m0fnu",
    "float8_e4m3fn",
    "bfloat16",
    "uint16",
    "uint32",
    "uint64",
)
FORMS: dict[str, Callable[[], Tensor]] = {
    "coo": lambda: MATRIX.to_sparse(),
    "coo with places twice": lambda: torch.sparse_coo_tensor(
        [[0, 0], [1, 1]], [1.0, 2.0], (4, 4), check_invariants=True
    ),
    "coo of rows": lambda: MATRIX.to_sparse(1),
    "coo of complex128": lambda: MATRIX.to(torch.complex128).to_sparse(),
    "csr": lambda: MATRIX.to_sparse_csr(),
    "csc": lambda: MATRIX.to_sparse_csc(),
    "bsr": lambda: MATRIX.to_sparse_bsr((2, 2)),
    "bsc": lambda: MATRIX.to_sparse_bsc((2, 2)),
    "empty coo": lambda: torch.zeros(4, 4).to_sparse(),
    "expanded": lambda: torch.arange(4.0).expand(4, 4),
    "a number": lambda: torch.tensor(1 + 2j, dtype=torch.complex128),
    **{name: (lambda name=name: torch.ones(4, 4).to(getattr(torch, name))) for name in TYPES},
}
X, Y = torch.randn(24, 4, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3


class Net(nn.Module):
    """Scores, beside a buffer of any form, which the scores use where they can."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.layer = nn.Linear(4, 3)
        self.register_buffer("table", FORMS[form]())
        self.register_buffer("same", self.table)

    def forward(self, x: Tensor) -> Tensor:
        if self.form in ("coo", "coo with places twice", "csr"):
            x = x + torch.sparse.mm(self.table, x.t()).t()
        return self.layer(x)


def content(tensor: Tensor) -> list[Tensor]:
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), *content(tensor._values())]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout != torch.strided:
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor.contiguous().reshape(-1).view(torch.uint8)]


def same(one: Tensor, other: Tensor) -> bool:
    alike = (one.layout, one.dtype, one.shape) == (other.layout, other.dtype, other.shape)
    return alike and all(map(torch.equal, content(one), content(other)))


@pytest.mark.parametrize("form", FORMS)
def test_a_module_with_such_a_buffer_lives(form: str, tmp_path: Path) -> None:
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_hparams(form=form)
    best = lb.callbacks.KeepBestModel("train_loss")
    fitted = recipe.fit((X, Y), epochs=1, callbacks=best, verbose=False)
    fitted.save(tmp_path / "net.lumbre")
    again = lb.load(tmp_path / "net.lumbre", Net)
    assert same(again.model.table, FORMS[form]())
    assert same(again.model.same, FORMS[form]())
    assert torch.equal(again.predict(X), fitted.predict(X))
    whole = recipe.fit((X, Y), epochs=2, verbose=False)
    for epochs in (1, 2):
        resumed = recipe.fit((X, Y), epochs=epochs, resume=tmp_path / "run", verbose=False)
    assert torch.equal(resumed.predict(X), whole.predict(X))
    assert same(resumed.model.table, FORMS[form]())
    assert same(lb.load_weights(tmp_path / "net.lumbre")["table"], FORMS[form]())
    assert "table" in lb.inspect_file(tmp_path / "net.lumbre").tensors


@given(
    places=st.sets(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=12),
    layout=st.sampled_from([torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.strided]),
    dtype=st.sampled_from([torch.float64, torch.complex128, torch.bool, torch.int32]),
)
def test_any_matrix_comes_back(
    places: set[tuple[int, int]], layout: torch.layout, dtype: torch.dtype, tmp_path_factory: pytest.TempPathFactory
) -> None:
    matrix = torch.zeros(5, 7, dtype=dtype)
    for row, column in places:
        matrix[row, column] = 1
    given = matrix if layout == torch.strided else matrix.to_sparse(layout=layout)
    path = tmp_path_factory.mktemp("any") / "a.lumbre"
    write_archive(path, {"a": given, "b": torch.ones(2), "c": given}, {})
    found = read_archive(path).tensors
    assert found.keys() == {"a", "b", "c"}
    assert same(found["a"], given)
    assert same(found["c"], given)


def test_what_no_file_can_hold_is_refused_in_words(tmp_path: Path) -> None:
    whole = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    with pytest.raises(lb.ArchiveError, match="qint8"):
        write_archive(tmp_path / "a.lumbre", {"a": whole}, {})
    assert not list(tmp_path.iterdir())
