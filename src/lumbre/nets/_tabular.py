"""A strong net for tables: TabM, several nets in one that share most of their weights, and the plain MLP and ResNet."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from lumbre.base import DataError, Scale, import_extra, one_of
from lumbre.data import FrameData
from lumbre.metrics import R2, RMSE, Accuracy, Sets
from lumbre.nets._prepared import Prepared


def tabular(
    data: FrameData,
    *,
    kind: str = "tabm",
    embeddings: str | None = "periodic",
    members: int = 16,
    width: int | None = None,
    blocks: int = 2,
    dropout: float = 0.1,
) -> Prepared:
    """A net for a table, with loss, optimizer and metrics by its target: `lumbre.setup(lumbre.nets.tabular(data))`.

    Classes get cross entropy and accuracy, numbers the squared error (in standard deviations of the target, with
    `from_frame(..., scale_target=True)`), RMSE and R2.

    Args:
        data: made by `lumbre.data.from_frame`, categories one-hot or as codes; has a target. Only its columns are
            read here, no row.
        kind: "tabm" (Gorishniy, Kotelnikov and Babenko, "TabM", 2025: `members` nets that share most of their weights
            and predict together), or the plain "mlp" and "resnet" of Gorishniy et al., "Revisiting Deep Learning
            Models for Tabular Data", 2021.
        embeddings: how a number enters: "periodic" (Gorishniy, Rubachev and Babenko, "On Embeddings for Numerical
            Features", 2022), "linear" with a ReLU, or None for the number itself.
        members: nets in one, of "tabm".
        width: of a layer; None takes 128 up to 5,000 rows, 256 up to 50,000, and 512 beyond.
        blocks: layers, or residual blocks.
        dropout: share of units left out in training.

    Raises:
        DataError: the data are no frame data, or have no target.
        OptionError: an option is none of the values above.
        MissingExtraError: tabm is not installed.

    Example:
        >>> import lumbre as lb
        >>> data = lb.data.from_frame(
        ...     lb.datasets.penguins(), target="species", missing="indicate"
        ... )
        >>> recipe = lb.setup(lb.nets.tabular(data))
        >>> recipe.fit(data, epochs=5, valid_data=0.2, verbose=False).evaluate(data).metrics[
        ...     "acc"
        ... ] > 0.9
        True
    """
    one_of("kind", kind, ("tabm", "mlp", "resnet"))
    if embeddings is not None:
        one_of("embeddings", embeddings, ("periodic", "linear"))
    if not isinstance(data, FrameData) or data.encoding.target is None:
        raise DataError(
            "frame data without a target" if isinstance(data, FrameData) else f"a {type(data).__name__}",
            "frame data with a target, of which it is known what each column is",
            'lumbre.data.from_frame(df, target="...")',
        )
    encoding = data.encoding
    codes = [] if encoding.one_hot else [column.codes for column in encoding.features if not column.measured]
    classes = data.classes
    rows = len(data)
    hparams = {
        "numbers": len(encoding.encoded),
        "codes": codes,
        "outputs": len(encoding.targets) if classes is None else len(classes),
        "classes": classes is not None,
        "single": not encoding.matrix,
        "kind": kind,
        "embeddings": embeddings,
        "members": members,
        "width": width or (128 if rows <= 5_000 else 256 if rows <= 50_000 else 512),
        "blocks": blocks,
        "dropout": dropout,
    }
    return Prepared(
        Tabular,
        hparams,
        loss=MembersMSE() if classes is None else MembersCrossEntropy(),
        optimizer=optim.AdamW,
        opt_hparams={"lr": 2e-3, "weight_decay": 3e-4},
        # While it trains, "tabm" gives the scores of every member, which no metric takes.
        metrics=Sets(valid=(Accuracy() if classes is not None else [RMSE(), *([R2()] if not encoding.matrix else [])])),
    )


class Tabular(nn.Module):
    """The module that `tabular` describes; `lumbre.load(path, lumbre.nets.Tabular)` reads a file of it.

    Its input is that of frame data: numbers (rows, `numbers`) float, and where there are `codes`, int64
    (rows, categories) with -1 for a category that was not seen. It returns (rows, classes) logarithms of
    probabilities, (rows, targets) or (rows,) numbers; of "tabm" in training those of every member, with a dimension of
    members after the rows.

    Args:
        numbers: columns of numbers of the input.
        codes: how many codes each category has.
        outputs: classes, or targets.
        classes: whether outputs are classes.
        single: whether a target of numbers is one column, so that predictions have the shape (rows,).
        kind: "tabm", "mlp" or "resnet".
        embeddings: "periodic", "linear" or None.
        members: nets in one, of "tabm".
        width: of a layer.
        blocks: layers, or residual blocks.
        dropout: share of units left out in training.
    """

    def __init__(
        self,
        *,
        numbers: int,
        codes: list[int],
        outputs: int,
        classes: bool,
        single: bool = True,
        kind: str = "tabm",
        embeddings: str | None = "periodic",
        members: int = 16,
        width: int = 128,
        blocks: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.codes, self.classes, self.single = list(codes), classes, single and not classes
        self.embed = _embedded(numbers, embeddings) if numbers else None
        size = _EMBEDDED * numbers if self.embed is not None else numbers
        inner = {"d_in": size + sum(self.codes), "d_out": outputs, "n_blocks": blocks, "dropout": dropout}
        self.members = members if kind == "tabm" else 0
        if kind == "tabm":
            tabm = import_extra("tabm", "tabular", "build a net of several members")
            scales = {"start_scaling_init": "normal" if embeddings else "random-signs"}
            self.net = tabm.TabM.make(n_num_features=inner.pop("d_in"), k=members, d_block=width, **scales, **inner)
        else:
            models = import_extra("rtdl_revisiting_models", "tabular", "build an MLP or a ResNet")
            if kind == "mlp":
                self.net = models.MLP(d_block=width, **inner)
            else:
                inner |= {"dropout1": inner.pop("dropout"), "dropout2": 0.0}
                self.net = models.ResNet(d_block=width, d_hidden=None, d_hidden_multiplier=2.0, **inner)

    def forward(self, numbers: Tensor, codes: Tensor | None = None) -> Tensor:
        parts = [numbers if self.embed is None else self.embed(numbers).flatten(1)]
        for at, count in enumerate(self.codes):
            assert codes is not None
            # A code of -1, of a category that was not seen, is none of them.
            parts.append((codes[:, at, None] == torch.arange(count, device=codes.device)).to(numbers.dtype))
        scores: Tensor = self.net(torch.cat(parts, dim=1))
        if self.single:
            scores = scores[..., 0]
        if not self.members or self.training:
            return scores
        if not self.classes:
            return scores.mean(1)
        return scores.log_softmax(-1).logsumexp(1) - torch.tensor(float(self.members)).log()


_EMBEDDED = 16  # numbers that stand for one


def _embedded(numbers: int, kind: str | None) -> nn.Module | None:
    if kind is None:
        return None
    made = import_extra("rtdl_num_embeddings", "tabular", "embed numbers")
    if kind == "linear":
        return made.LinearReLUEmbeddings(numbers, _EMBEDDED)
    return made.PeriodicEmbeddings(numbers, _EMBEDDED, n_frequencies=32, frequency_init_scale=0.05, lite=True)


class MembersLoss(nn.Module, ABC):
    """A loss whose prediction may have a dimension of members after that of rows, over which it is averaged.

    Attributes:
        reduction: "mean" over the rows, or "none" for the loss of each.
        scale: what its predictions are.
    """

    scale: ClassVar[Scale]

    def __init__(self) -> None:
        super().__init__()
        self.reduction = "mean"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        values = self.of_rows(pred, target)
        return values if self.reduction == "none" else values.mean()

    @abstractmethod
    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of each row, shape (rows,)."""


class MembersCrossEntropy(MembersLoss):
    """Cross entropy of scores (rows, classes) or (rows, members, classes) with class numbers (rows,)."""

    scale = Scale("logits", "softmax")

    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        if pred.ndim == 2:
            return F.cross_entropy(pred, target, reduction="none")
        every = target[:, None].expand(-1, pred.shape[1])
        return F.cross_entropy(pred.transpose(1, 2), every, reduction="none").mean(1)


class MembersMSE(MembersLoss):
    """Squared error of predictions with the shape of the target, or with members after the rows."""

    scale = Scale("numbers")

    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        aim = target if pred.ndim == target.ndim else target[:, None]
        return (pred - aim).square().reshape(len(pred), -1).mean(1)
