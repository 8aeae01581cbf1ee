"""Mean and standard deviation of columns: what frames and Parquet files are standardised with."""

import numpy as np

_ROUNDING = 1e-10  # relative to the mean: what float64 sums leave of a constant


class Moments:
    """Mean and variance of columns, taken in block by block.

    Blocks are joined by the pairwise rule of Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for
    Computing Sample Variances" (1979).

    Attributes:
        rows: taken in so far.
        mean: of each column.
        variance: of each column, over all rows.
    """

    def __init__(self, columns: int) -> None:
        self.rows = 0
        self.mean = np.zeros(columns)
        self.variance = np.zeros(columns)

    def add(self, columns: "list[np.ndarray]") -> None:
        """Take in more rows: one float64 array of shape (rows,) for each column."""
        more = len(columns[0])
        mean = np.array([column.mean() for column in columns])
        variance = np.array([column.var() for column in columns])
        if self.rows == 0:  # to the last bit what NumPy gives for a single block
            self.rows, self.mean, self.variance = more, mean, variance
            return
        before, self.rows = self.rows, self.rows + more
        between = (mean - self.mean) ** 2 * (before * more / self.rows)
        self.variance = (self.variance * before + variance * more + between) / self.rows
        self.mean = self.mean + (mean - self.mean) * (more / self.rows)

    @property
    def center(self) -> tuple[float, ...]:
        """The means."""
        return tuple(self.mean.tolist())

    @property
    def scale(self) -> tuple[float, ...]:
        """The standard deviations; 1 for a constant column, of which rounding alone would be left to divide by."""
        spread = np.sqrt(self.variance)
        return tuple(np.where(spread > _ROUNDING * abs(self.mean), spread, 1.0).tolist())
