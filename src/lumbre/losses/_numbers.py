"""Distributions of numbers and counts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

from lumbre.base import DataError, OptionError, Scale, describe, import_extra
from lumbre.losses._distribution import (
    DistributionLoss,
    as_column,
    by_bisection,
    check_counts,
    checked_level,
    count_interval,
    is_share,
    normal_quantile,
    seen_values,
    single,
    two_columns,
    whole_from,
)


class GaussianNLL(DistributionLoss):
    """Normal distribution around the prediction, with one standard deviation that is learned.

    Predictions and targets have the shape (rows,) or (rows, 1).

    Attributes:
        log_sigma: logarithm of the standard deviation, a parameter.

    Example:
        >>> import torch, lumbre as lb
        >>> loss = lb.losses.GaussianNLL()
        >>> low, high = loss.interval(torch.tensor([0.0, 5.0]), level=0.95)
        >>> [round(value, 2) for value in low.tolist() + high.tolist()]
        [-1.96, 3.04, 1.96, 6.96]
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        mean, log_sigma = single(pred, target), self.log_sigma.to(pred)
        error = (target.reshape(-1) - mean) * (-log_sigma).exp()
        return 0.5 * error**2 + log_sigma + 0.9189385332046727

    def response(self, pred: Tensor) -> Tensor:
        return pred

    def interval(self, pred: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Lower and upper bound of the middle `level`, of the shape of the prediction."""
        half = normal_quantile(level) * self.log_sigma.detach().to(pred).exp()
        return pred - half, pred + half

    def simulate(self, pred: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A target drawn for each row, of the shape of the prediction."""
        noise = torch.randn(pred.shape, generator=generator, device=pred.device, dtype=pred.dtype)
        return pred + self.log_sigma.detach().to(pred).exp() * noise


class StudentNLL(DistributionLoss):
    """Student's t around the prediction: like `GaussianNLL`, with tails as heavy as the data have them.

    Attributes:
        log_scale: logarithm of the scale, a parameter.
        log_df: logarithm of the degrees of freedom, a parameter; 5 at first.
    """

    estimates = "median"

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.log_df = nn.Parameter(torch.tensor(5.0).log())

    def _around(self, pred: Tensor) -> torch.distributions.StudentT:
        return torch.distributions.StudentT(self.log_df.to(pred).exp(), pred, self.log_scale.to(pred).exp())

    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        mean = single(pred, target)
        return -self._around(mean).log_prob(target.reshape(-1))

    def response(self, pred: Tensor) -> Tensor:
        return pred

    def interval(self, pred: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Lower and upper bound of the middle `level`, of the shape of the prediction. Needs scipy."""
        special: Any = import_extra("scipy.special", "sklearn", "find the quantiles of Student's t")
        reach = float(special.stdtrit(self.log_df.double().exp().item(), 0.5 + checked_level(level) / 2))
        half = reach * self.log_scale.detach().to(pred).exp()
        return pred - half, pred + half

    def simulate(self, pred: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A target drawn for each row, of the shape of the prediction."""
        df = self.log_df.detach().double().exp()
        normal = torch.randn(pred.shape, generator=generator, device=pred.device, dtype=torch.float64)
        # A normal number over the root of a gamma number is Student's t.
        squares = torch._standard_gamma(torch.full(pred.shape, df.item() / 2, dtype=torch.float64), generator=generator)  # pyright: ignore
        drawn = normal * (df.to(pred.device) / 2 / squares.to(pred.device)).sqrt()
        return pred + (self.log_scale.detach().double().exp().to(pred.device) * drawn).to(pred)


class Poisson(DistributionLoss):
    """Counts, of which the module predicts the logarithm of the rate.

    Targets are counts, shape (rows,) or (rows, 1); or counts beside the exposure (time, area, people) in which they
    were counted, shape (rows, 2). The response is the rate for an exposure of 1.
    Counts are not negative, exposures positive.

    Example:
        >>> import torch, lumbre as lb
        >>> loss = lb.losses.Poisson(reduction="none")
        >>> counts, hours = torch.tensor([4.0, 8.0]), torch.tensor([2.0, 4.0])
        >>> loss(torch.tensor([0.7, 0.7]), torch.stack([counts, hours], 1)).argmin().item()
        0
    """

    scale = Scale("numbers", "exp")
    least = 0.0
    instead_of_comparing = "fitted.predict_response(x), the rate for an exposure of 1, times the exposure of each row"

    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        log_rate = single(pred)
        if target.numel() == len(log_rate):
            count = target.reshape(-1)
        else:
            count, exposure = two_columns(target, "counts and exposure")
            if seen_values(exposure) and not bool((exposure > 0).all()):
                raise DataError(
                    f"exposures that are a {describe(exposure)}, down to {float(exposure.min()):.4g}",
                    "counts in the first column, and positive exposures in the second",
                    "torch.stack([counts, exposure], 1), without rows in which nothing could be counted",
                )
            log_rate = log_rate + exposure.log()
        check_counts(count)
        count = count.to(log_rate)
        return log_rate.exp() - count * log_rate + (count + 1).lgamma()

    def response(self, pred: Tensor) -> Tensor:
        return pred.exp()

    def interval(self, pred: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Counts between which the middle `level` lies, for an exposure of 1, of the shape of the prediction.

        Counts are whole: an interval holds more than `level` where no two of them hold just that.
        """
        rate = pred.detach().cpu().double().exp()
        low, high = count_interval(lambda count: torch.special.gammaincc(count + 1, rate), rate, rate, level)
        return low.to(pred), high.to(pred)

    def simulate(self, pred: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A count drawn for each row, for an exposure of 1."""
        return torch.poisson(pred.exp(), generator=generator)


class NegativeBinomial(DistributionLoss):
    """Counts that spread more than Poisson's: variance = mean + alpha mean^2 (NB2). The module predicts log(mean).

    Attributes:
        log_alpha: logarithm of alpha, a parameter.
    """

    scale = Scale("numbers", "exp")
    least = 0.0

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.log_alpha = nn.Parameter(torch.zeros(()))

    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        log_mean, log_alpha = single(pred, target), self.log_alpha.to(pred)
        count, size = target.reshape(-1).to(pred), (-log_alpha).exp()
        check_counts(count)
        spread = torch.nn.functional.softplus(log_mean + log_alpha)  # log(1 + alpha mean)
        combinations = (count + size).lgamma() - size.lgamma() - (count + 1).lgamma()
        return (count + size) * spread - count * (log_mean + log_alpha) - combinations

    def response(self, pred: Tensor) -> Tensor:
        return pred.exp()

    def interval(self, pred: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Counts between which the middle `level` lies, as `Poisson` gives them. Needs scipy."""
        special: Any = import_extra("scipy.special", "sklearn", "find the quantiles of counts")
        mean = pred.detach().cpu().double().exp()
        size = (-self.log_alpha.detach().cpu().double()).exp()

        def below(count: Tensor) -> Tensor:
            # Above the count, so that a size near infinity (which is Poisson's) loses no digits.
            above = special.betainc((count + 1).numpy(), size.item(), (mean / (size + mean)).numpy())
            return 1 - torch.from_numpy(above)

        low, high = count_interval(below, mean, mean + mean**2 / size, level)
        return low.to(pred), high.to(pred)

    def simulate(self, pred: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A count drawn for each row: Poisson's, with a rate that is gamma distributed."""
        size = (-self.log_alpha.detach().to(pred)).exp()
        rate = torch._standard_gamma(size.expand(pred.shape).contiguous(), generator=generator)  # pyright: ignore
        return torch.poisson(rate * pred.exp() / size, generator=generator)


class Quantiles(DistributionLoss):
    """Quantiles of the target, an output for each: the pinball loss (Koenker & Bassett, 1978), added over them.

    Predictions have the shape (rows, levels). The response is the quantile nearest to the median. `interval` takes the
    lowest and the highest; `fitted.conformal()` moves them so that they cover what they should.

    Args:
        levels: increasing, between 0 and 1.
        reduction: "mean", "sum" or "none".

    Example:
        >>> import torch, lumbre as lb
        >>> loss = lb.losses.Quantiles((0.1, 0.5, 0.9))
        >>> loss.response(torch.tensor([[1.0, 2.0, 4.0]]))
        tensor([2.])
    """

    def __init__(self, levels: Sequence[float] = (0.05, 0.5, 0.95), *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        given: Any = levels
        known = isinstance(given, (Sequence, np.ndarray, Tensor)) and all(map(is_share, np.asarray(given).tolist()))
        self.levels = tuple(map(float, levels)) if known else ()
        if not self.levels or list(self.levels) != sorted(set(self.levels)):
            raise OptionError(f"levels={levels!r}", "increasing shares between 0 and 1", "levels=(0.05, 0.5, 0.95)")
        self.estimates = "median" if 0.5 in self.levels else None

    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        self._check(pred)
        error = as_column(target, len(pred))[:, None] - pred
        levels = torch.tensor(self.levels, dtype=pred.dtype, device=pred.device)
        return torch.maximum(levels * error, (levels - 1) * error).sum(1)

    def response(self, pred: Tensor) -> Tensor:
        self._check(pred)
        return pred[:, min(range(len(self.levels)), key=lambda place: abs(self.levels[place] - 0.5))]

    def interval(self, pred: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """The lowest and the highest quantile, each of shape (rows,), whatever the level."""
        self._check(pred)
        ordered = pred.sort(1).values
        return ordered[:, 0], ordered[:, -1]

    def _check(self, pred: Any) -> None:
        if pred.ndim != 2 or pred.shape[1] != len(self.levels):
            raise DataError(
                f"predictions that are a {describe(pred)}",
                f"a column for each of {len(self.levels)} quantiles",
                f"a last layer with {len(self.levels)} outputs",
            )


class MixtureDensity(DistributionLoss):
    """A mixture of normal distributions (Bishop, 1994), for targets with several likely values.

    Predictions have the shape (rows, 3 x parts): scores of the parts, their means, and the logarithms of their standard
    deviations. The response is the mean.

    Args:
        parts: of the mixture.
        reduction: "mean", "sum" or "none".
    """

    estimates = None

    def __init__(self, parts: int = 3, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        whole_from(1, "parts", parts)
        self.parts = parts

    def distribution(self, pred: Tensor) -> MixtureSameFamily:
        """The distribution of each row."""
        if pred.ndim != 2 or pred.shape[1] != 3 * self.parts:
            raise DataError(
                f"predictions that are a {describe(pred)}",
                f"scores, means and log deviations of {self.parts} parts: shape (rows, {3 * self.parts})",
                f"a last layer with {3 * self.parts} outputs",
            )
        scores, means, log_sigmas = pred.chunk(3, 1)
        return MixtureSameFamily(Categorical(logits=scores), Normal(means, log_sigmas.exp()))

    def of_rows(self, pred: Tensor, target: Tensor) -> Tensor:
        return -self.distribution(pred).log_prob(as_column(target, len(pred)))

    def response(self, pred: Tensor) -> Tensor:
        return self.distribution(pred).mean

    def interval(self, pred: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Lower and upper bound of the middle `level`, each of shape (rows,)."""
        outside = (1 - checked_level(level)) / 2
        _, means, log_sigmas = pred.chunk(3, 1)
        reach = 10 * log_sigmas.exp()
        ends = (means - reach).min(1).values, (means + reach).max(1).values
        found = self.distribution(pred)
        return by_bisection(found, outside, *ends), by_bisection(found, 1 - outside, *ends)

    def simulate(self, pred: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A target drawn for each row, shape (rows,)."""
        scores, means, log_sigmas = pred.chunk(3, 1)
        part = torch.multinomial(scores.softmax(1), 1, generator=generator)
        noise = torch.randn(part.shape, generator=generator, device=pred.device, dtype=pred.dtype)
        return (means.gather(1, part) + log_sigmas.exp().gather(1, part) * noise)[:, 0]
