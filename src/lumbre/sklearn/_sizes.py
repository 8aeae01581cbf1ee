"""Sizes that are known once there is data."""

from enum import Enum


class Size(Enum):
    """A hyper-parameter that an estimator of `lumbre.sklearn` takes from the data of `fit(X, y)`.

    `recipe.set_hparams(d_in=Size.FEATURES, d_out=Size.OUTPUTS)`: columns of X; and classes of y, or its columns where
    it has numbers. With `nn.BCEWithLogitsLoss` the two classes of y have one output.
    """

    FEATURES = "features"
    OUTPUTS = "outputs"
