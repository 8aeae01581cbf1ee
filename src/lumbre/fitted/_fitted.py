"""What `fit()` gives back: the trained model, what happened, and what can be done with it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import numpy as np
from torch import Tensor, nn

from lumbre.base import Nested, no_more
from lumbre.callbacks import Remarks
from lumbre.core import Callback, History
from lumbre.fitted._compare import Examples, compared, examples_of, most_likely, probabilities, responses
from lumbre.fitted._evaluation import Evaluation, ledger_frame, reported, timings_of
from lumbre.fitted._export import example_input, export
from lumbre.fitted._further import joined_history, train_further
from lumbre.fitted._passes import Wanted, evaluated, predicted
from lumbre.fitted._shown import fitted_html, fitted_text
from lumbre.fitted._understood import Understood
from lumbre.run import Session

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot


class Fitted(Understood):
    """A trained model with its history. `fit()` makes it, `lumbre.load` reads it back.

    Attributes:
        model: the module, in evaluation mode, on the device it was trained on.
        engine: how its steps were executed, in a sentence.

    Example:
        >>> import lumbre as lb, torch
        >>> x, y = torch.randn(60, 4), torch.arange(60) % 3
        >>> loss, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD
        >>> recipe = lb.setup(lambda: torch.nn.Linear(4, 3), loss=loss, optimizer=optimizer)
        >>> fitted = recipe.fit((x, y), epochs=2, verbose=False)
        >>> fitted.predict_probabilities(x).shape
        torch.Size([60, 3])
    """

    def __init__(self, session: Session, history: History, engine: str, remarks: Remarks | None = None) -> None:
        self._remarks = remarks
        self._session = session
        self._history = history
        self._computed = {}  # what the report draws of what was found out after training
        self.model: nn.Module = session.model
        self.engine = engine

    @property
    def hparams(self) -> dict[str, Any]:
        """What the module was built with."""
        return dict(self._session.recipe.hparams)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes by class number, where the data had any."""
        return self._session.classes

    @property
    def loss(self) -> Any:
        """The loss as the run used it, with what its parameters have learned; None for a model without its recipe."""
        return self._session.loss

    @property
    def history(self) -> "pd.DataFrame":
        """A DataFrame with the columns set ("train", "valid"), metric, epoch (from 1) and value.

        The values of a metric with several stand in rows of their own, "f1_setosa" for example.
        """
        return self._history.frame()

    @property
    def history_wide(self) -> "pd.DataFrame":
        """A DataFrame with a row for each epoch and a column for each value, such as "valid_loss"."""
        return self._history.wide()

    @property
    def remarks(self) -> list[str]:
        """What was noticed while the model was trained, each in a line with its code; empty after loading."""
        return [] if self._remarks is None else list(self._remarks.lines)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run; false after loading."""
        return self._history.interrupted

    @property
    def ledger(self) -> "pd.DataFrame":
        """What the run did to each parameter: a DataFrame with a row for each.

        Columns: parameter, numbers, trainable, gradient (its norm in the last step; NaN where there was none, or a
        compiled step kept none), changed, start (its norm before the run), change (norm of what was added), ratio (of
        both). Models of more than 20 million numbers have no change and no ratio.

        Raises:
            DataError: the model was loaded, or trained with `preflight=False`.
        """
        return ledger_frame(self._remarks)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds: of the whole fit, of an epoch's training and validation on average, and where the time went.

        The last come by name: waiting for data, step (on a GPU where the host waits), metrics, callbacks, validation.
        """
        return timings_of(self._history)

    def fit(self, data: Any, *, epochs: int | tuple[int, int] = 10, **options: Any) -> "Fitted":
        """Train further, from these weights on, and give back a new model; this one stays as it is.

        The optimizer is new: momentum at zero, schedules and `ctx.epoch` at their start. The history goes on from this
        one, frames go through the encoding that is there; what was learned after training is to be learned anew.

        Args:
            data: what `Recipe.fit` takes; where a frame was trained on, a frame with its columns and classes.
            epochs: how many more.
            **options: of `Recipe.fit`. Batch size, device, precision and seed are those of before where not given: so
                `valid_data=0.2` of the same rows holds out the same ones.

        Raises:
            RecipeError, DataError: the model was loaded without its recipe; columns or classes are others.
        """
        made: Fitted = train_further(self._session, data, {**options, "epochs": epochs})
        made._session = replace(made._session, recipe=self._session.recipe)
        made._history = joined_history(self._history, made._history)
        return made

    def evaluate(
        self,
        data: Any,
        *more: Never,
        batch_size: int | None = None,
        weights: Any = None,
        num_workers: int | None = None,
        callbacks: Callback | Iterable[Callback] = (),
    ) -> Evaluation:
        """Loss and metrics on `data`, without training.

        Args:
            data: with targets; whatever `fit()` takes, or a frame with the columns of the training frame.
            batch_size: rows in a batch; where not given as many as are fast, if no number depends on it.
            weights: of the rows, as for `fit()`; frame data made with `weights=` have theirs in a column.
            num_workers: processes that fetch batches; none where not given.
            callbacks: hear the `evaluate_...` events; the values are in `ctx.history.last("evaluate")` at the end.

        Raises:
            DataError: the data cannot be used as it is.
            OptionError: an option cannot apply to this data.
            RecipeError: the model was loaded without a loss.
        """
        no_more(more, "evaluate(data)", "data as one argument; options have names", "evaluate((x, y))")
        rows = self._feed(data, batch_size, num_workers, need_target=True, weights=weights, counted=True, shared=True)
        return evaluated(self._session, rows, callbacks, self.save)

    def predict(
        self,
        data: Any,
        *more: Never,
        batch_size: int | None = None,
        num_workers: int | None = None,
        callbacks: Callback | Iterable[Callback] = (),
        interval: bool = False,
        augment: Callable[..., Any] | None = None,
        times: int = 1,
        to: str | Path | None = None,
    ) -> Nested:
        """The model's output for each row of `data`, in order.

        Every part of the output is joined along its rows, whichever dimension they are in: tensors, structures and
        objects that hold them, lists with an entry for each row. What belongs to all rows stays as it is.

        Args:
            data: an input, or a pair (input, target) whose target is left aside; whatever `fit()` takes, or a frame
                with the feature columns of the training frame, or `lumbre.data.InMemoryDataset(x)` for numbers that
                are encoded already. A module with several inputs takes ((a, b), None); a list may be one of rows.
            batch_size: rows in a batch; as for `evaluate()` where not given.
            num_workers: processes that fetch batches; none where not given.
            callbacks: hear the `predict_...` events.
            interval: give a DataFrame with the columns prediction, lower and upper, on the scale of the target; of
                classes prediction, set and size. `conformal()` comes before.
            augment: transforms as for `fit()`; the output is the mean over `times` draws of them. Not with `interval`.
            times: how many draws.
            to: write to this Parquet file, in pieces, and give its path: columns prediction, or
                prediction_<class or number>; or those of `interval`. Needs pyarrow.

        Returns:
            A float32 tensor of shape (rows, ...) on the CPU, or tensors in the structure that the module returns; of no
            rows, such as of a query that found nothing, the same with 0 rows.

        Raises:
            DataError: the data cannot be used as it is, or the output has not a row for each of its rows.
            OptionError: an option cannot apply to this data.
        """
        no_more(
            more,
            "predict(data)",
            "data as one argument; options have names",
            "predict(x), or predict(((a, b), None)) of two inputs",
        )
        wanted = Wanted(interval=interval, augment=augment, times=times, to=to)
        rows = self._feed(data, batch_size, num_workers, need_target=False, shared=True, in_order=True, empty=True)
        return predicted(self._session, rows, callbacks, self.save, wanted)

    def predict_classes(
        self, data: Any, *more: Never, batch_size: int | None = None, num_workers: int | None = None
    ) -> "np.ndarray[Any, Any]":
        """The most likely class of each row. The arguments are those of `predict()`.

        Returns:
            An array of shape (rows,): names, where the training data had names, or int64 class numbers; 0 and 1 for a
            module with one score a row and a loss of two classes, such as `nn.BCEWithLogitsLoss`.

        Raises:
            DataError: as `predict()` does, or the model does not give a score for each class.
        """
        no_more(more, "predict_classes(data)", "data as one argument; options have names", "predict_classes((x, y))")
        scores = self.predict(data, batch_size=batch_size, num_workers=num_workers)
        return most_likely(self._session, scores)

    def predict_probabilities(
        self, data: Any, *, batch_size: int | None = None, num_workers: int | None = None
    ) -> Tensor:
        """The probability of each class for each row.

        Scores become probabilities by softmax, or by the logistic function where there is one score a row, with the
        temperature of `calibrate()`. They are taken as they are where the loss (`nn.BCELoss`) says that they are
        probabilities already; of a loss that lumbre does not know, where those of a row sum to 1, or a single one lies
        between 0 and 1. The arguments are those of `predict()`.

        Returns:
            A float32 tensor of shape (rows, classes) on the CPU; two classes for a module with one output.

        Raises:
            DataError: as `predict()` does, or the model does not give scores of classes.
        """
        return probabilities(self._session, self.predict(data, batch_size=batch_size, num_workers=num_workers))

    def predict_response(self, data: Any, *, batch_size: int | None = None, num_workers: int | None = None) -> Nested:
        """What `predict()` gives, on the scale of the target: the scale of `compare()`, plots and reports.

        Counts for a loss of their logarithms, probabilities for one of scores. The loss says it, or `response` of the
        recipe, the module or the loss does; where nobody does, it is what `predict()` gives. The arguments are those of
        `predict()`.
        """
        return responses(self._session, self.predict(data, batch_size=batch_size, num_workers=num_workers))

    def compare(
        self,
        data: Any,
        *more: Never,
        batch_size: int | None = None,
        weights: Any = None,
        num_workers: int | None = None,
    ) -> "pd.DataFrame":
        """Truth and prediction of each row, from one pass over `data`, so that a loader may shuffle.

        The arguments are those of `evaluate()`; weights stand in a column weight, the rest is as without them.

        Returns:
            A DataFrame. With classes, one line a row of data: row (its number, from 0, as it came), truth and predicted
            (categorical: names of the classes, else numbers), correct, probability (of the predicted class), loss, and
            probability_<class> of each class. With numbers, on the scale of the target (see `predict_response()`): row,
            truth, predicted, residual (truth minus prediction), loss, and lower and upper after `conformal()`; a line
            for each of several outputs, numbered in a column output.
            The column loss is there where the loss can be had by row: those of `torch.nn` and functions that take
            `reduction="none"`. One output and targets of 0 and 1 are two classes, unless the loss is one for numbers.

        Raises:
            DataError: the data cannot be used as it is, has no targets, or truth and prediction cannot be compared.
            OptionError: an option cannot apply to this data.
        """
        no_more(more, "compare(data)", "data as one argument; options have names", "compare((x, y))")
        return compared(self._session, self._feed(data, batch_size, num_workers, need_target=True, weights=weights))

    def examples(self, data: Any, n: int = 16, *, choose: str = "random", batch_size: int | None = None) -> Examples:
        """Some rows of `data` with what the model makes of them.

        Args:
            data: with targets; whatever `evaluate()` takes.
            n: how many rows; all of them where there are fewer.
            choose: "first", "random" (the same rows every time), or "worst": those with the largest loss, largest
                first. Where the loss cannot be had by row, the least probable truth or the largest mean error counts.
            batch_size: as for `evaluate()`.

        Returns:
            A named tuple of `input`, as the module gets it, tensors of shape (n, ...) on the CPU, and `frame`, with
            the columns of `compare()`.

        Raises:
            DataError: as `compare()` does.
            OptionError: an option is impossible or cannot apply to this data.
        """
        return examples_of(self._session, self._feed(data, batch_size, None, need_target=True), n, choose)

    def plot(self) -> "ggplot":
        """Loss and metrics by epoch, training and validation; a plotnine object, which needs plotnine."""
        from lumbre.plots import plot_history

        return plot_history(self._history, self._session.record.constant)

    def report(self, path: str | Path, data: Any = None, *, title: str | None = None) -> None:
        """Write one HTML file that tells what was trained, on what, how well it does, and how to use it again.

        It needs no network and no other file, and runs no script. In it: recipe, options, shapes and fingerprints of
        the data, loss and metrics by epoch, layers, findings of the checks, what was computed after training, times,
        versions, and code that loads the model. With data also their evaluation, the confusion matrix or true and
        predicted numbers with residuals, and the rows with the largest loss, shown where they are images.

        Args:
            path: where to, such as "report.html"; a file that is there is replaced once the new one is complete.
            data: with targets, held out from training; whatever `evaluate()` takes. It is read several times.
            title: the heading; the name of the module where not given.

        Raises:
            MissingExtraError: plotnine is not installed.
            OptionError: nothing can be written at `path`, or `data` can be read only once.
            DataError: the data cannot be used as it is.
        """
        from lumbre.report import write_report

        write_report(path, self, reported(self._session, self._history, self._computed, data), data, title)

    def save(self, path: str | Path) -> None:
        """Write the model to one file: weights, hyper-parameters, encoding, class names, history.

        The file holds tensors and JSON, and runs nothing; `lumbre.load(path, Net)` reads it. Its receipt, for
        `lumbre.replay`, holds options, versions, fingerprints of the data, and the source text of your own classes.

        Args:
            path: where to; a file that is there is replaced once the new one is complete.

        Raises:
            ArchiveError: it cannot be written there.
        """
        world = self._session.world
        if world.leads:
            self._session.save(path, self._history, self.engine)
        world.gather(None)  # no process reads the file before it is there

    def export(self, path: str | Path, data: Any = None) -> None:
        """Write what `predict()` computes, for programs without lumbre: ".onnx" or ".pt2" says in which format.

        The file takes the module's input, for any number of rows. It is tried with one, two and more rows before it is
        there, and refused where its numbers differ from the model's by more than 1e-4 of the largest. Inputs of ".onnx"
        are called input, or input_0, input_1. ".pt2" is read by `torch.export.load`: only files that you trust, it may
        run what it reads. Where the module branches on the number of rows, the most that ".pt2" takes is printed.

        Of a model trained on a frame of numbers, the file takes these columns as they were measured, shape (rows,
        features), and encodes them itself; with categories among them it takes encoded columns. That is printed, and
        written as JSON with each feature's name, centre, scale and categories: "lumbre.json" in the metadata of
        ".onnx" and the `extra_files` of ".pt2".

        Args:
            path: where to; a file that is there is replaced once the new one is complete.
            data: rows that show what goes in, as for `predict()`; where not given, random numbers in the shape of the
                training data, whole ones from 1 to the size of the smallest embedding.

        Raises:
            OptionError: the name ends in something else.
            MissingExtraError: the packages for ONNX are not installed.
            ArchiveError: the module cannot be followed, or the file not be written, or it gives other numbers.
        """
        session = self._session
        rows = None if data is None else self._feed(data, None, None, need_target=False).first().input
        export(session, Path(path), example_input(session) if data is None else rows, print)

    def __repr__(self) -> str:
        return fitted_text(self.model, self._history, self.engine)

    def _repr_html_(self) -> str:
        return fitted_html(self.model, self._history, self.engine)
