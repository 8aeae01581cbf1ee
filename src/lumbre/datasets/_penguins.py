"""The Palmer penguins, which ship with lumbre.

Source: K. B. Gorman, T. D. Williams and W. R. Fraser, "Ecological sexual dimorphism and environmental variability
within a community of Antarctic penguins (genus Pygoscelis)", PLoS ONE 9(3), 2014; as prepared by A. M. Horst,
A. P. Hill and K. B. Gorman in the package palmerpenguins (2020). Licence CC0 1.0.
"""

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def penguins(*, drop_missing: bool = False) -> "pd.DataFrame":
    """The Palmer penguins: three species measured on three Antarctic islands from 2007 to 2009.

    Args:
        drop_missing: leave out the eleven rows with a missing value.

    Returns:
        A DataFrame of 344 rows (333 without missing values) with the columns species, island, bill_length_mm,
        bill_depth_mm, flipper_length_mm, body_mass_g, sex and year.

    Example:
        >>> import lumbre as lb
        >>> lb.datasets.penguins().shape, lb.datasets.penguins(drop_missing=True).shape
        ((344, 8), (333, 8))
    """
    import pandas as pd

    with files("lumbre.datasets").joinpath("files", "penguins.csv").open("rb") as file:
        frame = pd.read_csv(file)
    return frame.dropna(ignore_index=True) if drop_missing else frame
