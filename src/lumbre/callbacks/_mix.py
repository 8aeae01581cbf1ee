"""Mixup and cutmix: train on blends of rows, with the loss of both their targets by their shares."""

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from lumbre.base import Batch, DataError, Nested, describe, leaves, map_leaves, only_numbers, row_count
from lumbre.core import Callback, Context


class _Mix(Callback):
    """Pairs the rows of each training batch by a permutation, with one share drawn for the batch."""

    def __init__(self, alpha: float, p: float) -> None:
        only_numbers("a number above 0", 0.4, lambda value: value > 0, alpha=alpha)
        only_numbers("a probability between 0 and 1", 0.5, lambda value: 0 <= value <= 1, p=p)
        self.alpha = alpha
        self.p = p

    def on_train_batch_begin(self, ctx: Context) -> None:
        """Mix the batch, drawing from the chance of its step."""
        assert ctx.batch is not None
        # A process without rows of a batch computes on one that does not count: `size` is 0 then, its tensors are not.
        size = ctx.batch.size or row_count(ctx.batch.input)
        if self.p < 1 and torch.rand(()).item() >= self.p:
            return
        # The larger share is the row's own, so that metrics against its target mean something.
        # As torch.distributions.Beta draws it, to the same bits, without making one for each batch.
        alphas = torch.tensor([float(self.alpha)] * 2)
        share = torch._sample_dirichlet(alphas)[0].item()  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        share = max(share, 1 - share)
        partner = torch.randperm(size).to(ctx.device, non_blocking=True)
        ctx.batch = self.mixed(ctx.batch, partner, share)

    @abstractmethod
    def mixed(self, batch: Batch, partner: Tensor, share: float) -> Batch:
        """The batch with each row mixed with its partner."""


class Mixup(_Mix):
    """Train on blends of two rows: the input is their weighted mean, the loss the same mean of both targets' losses.

    Holds for any loss: `share * loss(pred, target) + (1 - share) * loss(pred, partner's target)`. The share is drawn
    from Beta(alpha, alpha) once for a batch and is at least 0.5 for a row's own target, with which training metrics
    compare; so they come out lower than on unmixed rows. Validation is not mixed. Where rows have weights, the loss of
    each target counts by the weight of the row that it comes from. Of processes that share a batch each mixes its own
    rows, with a share of its own.

    Args:
        alpha: strength, above 0: small values leave most batches nearly unmixed, 1 mixes evenly.
        p: chance that a batch is mixed at all.

    Raises:
        OptionError: an argument is out of its range.

    References:
        Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization, ICLR 2018.

    Example:
        >>> import lumbre as lb
        >>> mix = lb.callbacks.Mixup(alpha=0.4)
    """

    def __init__(self, alpha: float = 0.4, *, p: float = 1.0) -> None:
        super().__init__(alpha, p)

    def mixed(self, batch: Batch, partner: Tensor, share: float) -> Batch:
        """Blend the rows of every float tensor in the input."""

        def blend(leaf: Nested) -> Nested:
            if not isinstance(leaf, Tensor):
                return leaf
            if not leaf.is_floating_point():
                raise DataError(
                    f"Mixup of an input that is a {describe(leaf)}",
                    "float tensors, of which a weighted mean can be taken",
                    "scale images to floats in the data set; mix embeddings inside the module",
                )
            return torch.lerp(leaf.index_select(0, partner), leaf, share)

        mixed = (_partners(batch, partner), share)
        return replace(batch, input=map_leaves(blend, batch.input), mixed=mixed)


class CutMix(_Mix):
    """Train on images with a rectangle from another image; the loss counts both targets by the areas they show.

    Args:
        alpha: the share is drawn from Beta(alpha, alpha), once for a batch; 1 is uniform, as in the paper.
        p: chance that a batch is mixed at all.

    Raises:
        OptionError: an argument is out of its range.

    References:
        Yun et al.: CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features, ICCV 2019.

    Example:
        >>> import lumbre as lb
        >>> mix = lb.callbacks.CutMix(p=0.5)
    """

    def __init__(self, alpha: float = 1.0, *, p: float = 1.0) -> None:
        super().__init__(alpha, p)

    def mixed(self, batch: Batch, partner: Tensor, share: float) -> Batch:
        """Paste a rectangle of the partner's image into each image."""
        images = batch.input
        if not isinstance(images, Tensor) or images.ndim != 4:
            raise DataError(
                f"CutMix of an input that is a {describe(images)}",
                "images of shape (batch, channels, height, width)",
                "Mixup, which blends any float input",
            )
        height, width = images.shape[-2:]
        cut_height, cut_width = round(height * (1 - share) ** 0.5), round(width * (1 - share) ** 0.5)
        top = int(torch.randint(height - cut_height + 1, ()))
        left = int(torch.randint(width - cut_width + 1, ()))
        window = (..., slice(top, top + cut_height), slice(left, left + cut_width))
        pasted = images.clone()
        pasted[window] = images[partner][window]
        shown = 1 - cut_height * cut_width / (height * width)
        return replace(batch, input=pasted, mixed=(_partners(batch, partner), shown))


def _partners(batch: Batch, partner: Tensor) -> Nested:
    if not any(isinstance(leaf, Tensor) for leaf in leaves(batch.target)):
        raise DataError(
            "data without a target for Mixup or CutMix",
            "pairs of input and target",
            "leave the callback out: a loss without a target has nothing to share",
        )
    target = batch.weighted_target
    return map_leaves(lambda leaf: leaf.index_select(0, partner) if isinstance(leaf, Tensor) else leaf, target)
