"""What a trained model has learned, how sure it is, and whether something simple would do: the calls."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from lumbre.core import History
from lumbre.data import LoaderFeed, RowFeed
from lumbre.fitted._attribution import Attribution, attribute
from lumbre.fitted._baselines import Baselines, baselines
from lumbre.fitted._effects import Effects, effects
from lumbre.fitted._features import numbered_rows
from lumbre.fitted._given import given_batches
from lumbre.fitted._importance import Importance, importance
from lumbre.fitted._intervals import Calibration, Conformal, calibrate, conformal, stored
from lumbre.fitted._review import review
from lumbre.metrics import Metric
from lumbre.preflight import Findings
from lumbre.run import Session


class Understood:
    """The part of `Fitted` that asks what was learned. What was computed stands in the report."""

    _session: Session
    _history: History
    _computed: dict[str, Any]

    def importance(
        self,
        data: Any,
        metric: str | Metric | None = None,
        *,
        repeats: int = 5,
        groups: Mapping[str, Sequence[str | int]] | str | None = None,
        patches: int | None = None,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> Importance:
        """Permutation importance: how much worse loss or metric get when a feature's values change rows.

        Features are the columns of a frame (those of a category together), column numbers of arrays, steps of
        sequences (rows, steps, ...), patches of images. It takes 1 + features x repeats passes over the data.

        Args:
            data: with targets, and rows that can be asked for by number; new to the model.
            metric: a metric, or the name of one of the recipe's; the loss where not given.
            repeats: permutations of each feature.
            groups: features that are shuffled together, `{"bill": ["bill_length_mm", "bill_depth_mm"]}`, or
                "correlated": those connected by correlations above 0.7.
            patches: cut height and width of images into so many parts; 4 where not given.
            seed: of the permutations.
            batch_size: rows in a batch; where not given as many as 4 MiB hold.

        Raises:
            DataError: the data cannot be used as it is, or come from a loader.
            OptionError: an option is impossible.
        """
        rows = numbered_rows(self._feed(data, batch_size, need_target=True, counted=True), "importance")
        found = importance(self._session, rows, metric, repeats, groups, patches, seed, batch_size)
        self._compute(f"importance, {found.metric}", found)
        return found

    def effects(
        self,
        data: Any,
        *features: str | int,
        points: int = 20,
        curves: int = 50,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> Effects:
        """What features do to the prediction, in the units of the data and on the scale of the target.

        `.frame()` has the average slope of each feature, by autograd. With one feature `.plot()` draws partial
        dependence, single rows and accumulated local effects; with two a surface.

        Args:
            data: an input, or input and target, with rows that can be asked for by number.
            *features: the names or column numbers of one or two; slopes of all of them where not given.
            points: of a curve.
            curves: rows that are drawn singly.
            seed: of the choice of these rows.
            batch_size: rows in a batch; where not given as many as 4 MiB hold.

        Raises:
            DataError: the data cannot be used as it is, or the module gives no numbers, or no gradient.
            OptionError: a feature is not there, or is no number or category.
        """
        rows = numbered_rows(self._feed(data, batch_size, need_target=False, counted=True), "effects")
        found = effects(self._session, rows, features, points, curves, seed, batch_size)
        self._compute(f"effects of {', '.join(map(str, features)) or 'all features'}", found)
        return found

    def attribute(
        self,
        rows: Any,
        of: str | int | None = None,
        *,
        method: str = "integrated gradients",
        baseline: Any = 0.0,
        steps: int = 50,
        patches: int | None = None,
        batch_size: int | None = None,
    ) -> Attribution:
        """What each column, pixel or step of a row adds to its prediction. Needs captum (`lumbre[explain]`).

        Args:
            rows: an input, or input and target.
            of: a class by name or number, or the number of an output; the predicted class where not given.
            method: "integrated gradients", or "occlusion", which takes whole numbers and codes, too.
            baseline: what to compare with: data, for their mean (whole numbers are 0), or a value for all numbers of
                the encoded input: 0 is black, no category, and the mean of standardized columns.
            steps: of the gradients; more are taken for rows whose values do not add up within 1 %.
            patches: hide height and width of images in so many parts, for occlusion; 8 where not given.
            batch_size: rows in a pass; that of the training where not given.

        Returns:
            An `Attribution`: float32 `.values`, (rows, features) of tables, (rows, height, width) of images.

        Raises:
            MissingExtraError: captum is not installed.
            DataError: the data cannot be used as it is, or has no gradient.
            OptionError: an option is impossible.
        """
        number = isinstance(baseline, (int, float))
        against = baseline if number else self._feed(baseline, need_target=False, counted=True)
        given = self._feed(rows, batch_size, need_target=False)
        return attribute(self._session, given, of, method, against, steps, patches, batch_size)

    def conformal(self, calibration: Any, level: float = 0.9, *, batch_size: int | None = None) -> Conformal:
        """Learn from rows that were not trained on how wide intervals must be to cover a share `level` of new rows.

        `predict(..., interval=True)`, `compare()`, plots and the saved file have them, or sets of classes, from then
        on. Which scores are used says `Conformal`.

        Raises:
            DataError: truth and prediction cannot be compared.
            OptionError: the level is impossible, or the rows are too few for it.
        """
        found = conformal(self._session, self._feed(calibration, batch_size, need_target=True, counted=True), level)
        self._remember(intervals=stored(self._session, found))
        return found

    def calibrate(self, valid: Any, *, batch_size: int | None = None) -> Calibration:
        """Make probabilities mean what they say, by a temperature learned from rows that were not trained on.

        `predict_probabilities()`, `compare()`, plots and the saved file have it from then on; classes stay as they are.

        Raises:
            DataError: the module does not give scores of classes, or `valid` has no targets.
        """
        found = calibrate(self._session, self._feed(valid, batch_size, need_target=True, counted=True))
        self._remember(temperature=found.temperature, calibration=asdict(found))
        return found

    def baselines(
        self, train: Any, test: Any, metric: str | Metric | None = None, *, seed: int = 0, batch_size: int | None = None
    ) -> Baselines:
        """Constant, linear and boosted models on the same rows and columns: is the net better than something simple?

        The report begins with the answer from then on. Needs scikit-learn.

        Args:
            train: what the net was trained on.
            test: with targets, new to all of them.
            metric: a metric, or the name of one of the recipe's; where not given its first one, or the loss.
            seed: of the trees and the bootstrap.
            batch_size: rows in a batch; that of the training where not given.

        Raises:
            MissingExtraError: scikit-learn is not installed.
            DataError: the target is neither classes nor numbers, or the loss takes something else.
        """
        old, new = (self._feed(data, batch_size, need_target=True, counted=True) for data in (train, test))
        found = baselines(self._session, old, new, metric, seed)
        self._remember(baselines=found.verdict)
        self._compute("baselines", found)
        return found

    def review(self, data: Any, *, batch_size: int | None = None) -> Findings:
        """What should not be in a trained model, from one pass over rows that it was not trained on.

        Over-fitting (LB131, from the history), no better than the best constant (LB132), a feature that is too good
        alone (LB134), useless features (LB135, where `importance()` was called before), classes that are never
        predicted (LB137), probabilities that are not what they say (LB138). The report and the saved file have it from
        then on. A cross-validation and a search have a `review` of their own.

        Args:
            data: with targets, held out from training.
            batch_size: rows in a batch; that of the training where not given.

        Returns:
            Findings, as `recipe.check()` gives them; empty where all is well.

        Raises:
            DataError: the data cannot be used as it is, or has no targets.
        """
        given = self._feed(data, batch_size, need_target=True)
        importances = [one for one in self._computed.values() if isinstance(one, Importance)]
        found = review(self._session, self._history, given, importances)
        self._remember(review={"findings": [asdict(one) for one in found], "left_out": list(found.left_out)})
        return found

    def _compute(self, name: str, found: Any) -> None:
        """Keep what the report draws, the newest last."""
        self._computed.pop(name, None)
        self._computed[name] = found

    def _remember(self, **found: Any) -> None:
        """Keep what was found out after training, for predictions, the file and the report."""
        self._session = replace(self._session, after={**self._session.after, **found})

    def _feed(self, data: Any, *options: int | None, **wanted: Any) -> RowFeed | LoaderFeed:
        return given_batches(self._session, data, *options, **wanted)  # pyright: ignore[reportArgumentType]
