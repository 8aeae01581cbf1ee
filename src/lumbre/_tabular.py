"""`tabular()`: from a data frame to a trained net, in one call."""

import inspect
from collections.abc import Hashable, Mapping
from typing import Any, Literal

from lumbre._setup import setup
from lumbre.base import OptionError, one_of
from lumbre.callbacks import EarlyStopping
from lumbre.data import FrameData, from_frame
from lumbre.fitted import Fitted
from lumbre.nets import tabular as net_for
from lumbre.run import callback_list

_AS_IT_COMES: dict[str, Any] = {
    "categories": "codes",
    "standardize": "robust",
    "missing": "indicate",
    "dates": "parts",
    "unknown": "ignore",
}


def tabular(
    frame: Any,
    target: Hashable | list[Any] | None = None,
    *,
    valid_data: Any = 0.2,
    epochs: int = 200,
    patience: int = 16,
    batch_size: int | None = None,
    seed: int = 0,
    verbose: bool | int | Literal["plot"] | None = None,
    net: Mapping[str, Any] | None = None,
    **options: Any,
) -> Fitted:
    """Train a net on a table as it comes, without writing one.

    Gaps get a column that says so, dates their parts, categories codes, and numbers are scaled robustly. A share of the
    rows is held out; training ends when their loss no longer falls, and the model of the best epoch is kept.

    Args:
        frame: a data frame (pandas, polars, pyarrow, ...); or frame data, whose encoding is kept.
        target: its target column, or several of numbers; text and booleans are classes. Not given with frame data.
        valid_data: the share of rows to hold out; or a frame of other rows.
        epochs: how many passes over the data at most.
        patience: epochs without a better loss on the held-out rows, after which training ends.
        batch_size: rows in a batch; None takes 32 up to 1,000 rows, 256 up to 50,000, and 1024 beyond.
        seed: of everything left to chance.
        verbose: as in `Recipe.fit`.
        net: options of `lumbre.nets.tabular`.
        **options: of `Recipe.fit`.

    Returns:
        A fitted model like all others. `lumbre.load(path, lumbre.nets.Tabular)` reads its file.

    Raises:
        DataError: the table cannot be used.
        OptionError: an option is none that there is.
        MissingExtraError: tabm is not installed.

    Example:
        >>> import lumbre as lb
        >>> fitted = lb.tabular(
        ...     lb.datasets.penguins(), target="species", epochs=10, verbose=False
        ... )
        >>> fitted.predict_classes(lb.datasets.penguins().head(2)).tolist()
        ['Adelie', 'Adelie']
    """
    if not isinstance(net, (Mapping, type(None))):
        raise OptionError(f"net={net!r}", "options of the net by their names", 'net={"width": 256}')
    for name in net or ():
        one_of("net", name, list(inspect.signature(net_for).parameters)[1:], fix='net={"width": 256}')
    data = frame
    if not isinstance(frame, FrameData):
        data = from_frame(frame, target=target, **_AS_IT_COMES)
        if data.classes is None and target is not None:
            data = from_frame(frame, target=target, scale_target=True, **_AS_IT_COMES)
    rows = len(data)
    stop = EarlyStopping(patience=patience, restore_best=True)
    return setup(net_for(data, **(net or {}))).fit(
        data,
        epochs=epochs,
        valid_data=valid_data,
        callbacks=[*callback_list(options.pop("callbacks", ())), stop],
        batch_size=batch_size or (32 if rows <= 1_000 else 256 if rows <= 50_000 else 1024),
        seed=seed,
        verbose=verbose,
        **options,
    )
