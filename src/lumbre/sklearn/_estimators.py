"""`Classifier` and `Regressor`: a recipe with the options of its fit, as scikit-learn knows estimators."""

import inspect
import tempfile
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from lumbre._recipe import Recipe
from lumbre.base import DataError, OptionError, RecipeError, describe, did_you_mean, scale_of
from lumbre.fitted import Fitted, load
from lumbre.run import Options, options_from
from lumbre.sklearn._sizes import Size

_PARTS = ("hparams", "opt_hparams")
_OPTIONS = {one.name: one.default for one in fields(Options) if one.default is not MISSING}
_CALLED = {"hparams": Recipe.set_hparams, "opt_hparams": Recipe.set_opt_hparams}


def _with_options(init: Callable[..., None]) -> Callable[..., None]:
    """`init` with the options of `fit` in its signature, from which scikit-learn takes the names of parameters."""
    shown = inspect.signature(init)
    kind = inspect.Parameter.KEYWORD_ONLY
    own = [one for one in shown.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [inspect.Parameter(name, kind, default=default) for name, default in _OPTIONS.items()]
    init.__signature__ = shown.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return init


class _Estimator(BaseEstimator):
    """What both share. Parameters are the recipe, each option of `fit`, and parts of the recipe: `hparams__width`."""

    recipe: Recipe

    @_with_options
    def __init__(self, recipe: Recipe, **fit_options: Any) -> None:
        for name in fit_options:
            if name not in _OPTIONS:
                raise OptionError(
                    f"{type(self).__name__}(recipe, {name}=...)",
                    f"an option of fit(): {', '.join(_OPTIONS)}",
                    f"{did_you_mean(name, _OPTIONS)}Correct or remove it",
                )
        self.recipe = recipe
        for name, default in _OPTIONS.items():
            setattr(self, name, fit_options.get(name, default))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; with `deep` those of the recipe, too, such as "opt_hparams__lr"."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep and isinstance(self.recipe, Recipe):
            for part in _PARTS:
                params |= {f"{part}__{name}": value for name, value in getattr(self.recipe, part).items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, such as `epochs=5` or `opt_hparams__lr=0.1`."""
        inside = {name: value for name, value in params.items() if name.partition("__")[0] in _PARTS}
        super().set_params(**{name: value for name, value in params.items() if name not in inside})
        for name, value in inside.items():
            part, _, inner = name.partition("__")
            self.recipe = _CALLED[part](self.recipe, **{inner: value})
        return self

    def _fitted(self, X: Any, y: "np.ndarray[Any, Any]", outputs: int, weights: Any, *, columns: bool) -> Fitted:
        """The trained model for an encoded target, of shape (rows,) or (rows, outputs)."""
        if not isinstance(self.recipe, Recipe):
            raise OptionError(f"recipe={self.recipe!r}"[:200], "a recipe", f"{type(self).__name__}(lumbre.setup(...))")
        sizes = {Size.FEATURES: X.shape[1], Size.OUTPUTS: outputs}
        hparams = {name: sizes[value] for name, value in self.recipe.hparams.items() if isinstance(value, Size)}
        options = {name: getattr(self, name) for name in _OPTIONS}
        if weights is not None and options["weights"] is not None:
            raise OptionError("sample_weight beside weights=...", "one of both", "fit(X, y, sample_weight=...) alone")
        if weights is not None:
            options["weights"] = _weights(weights, len(X))
        options_from(options)
        if options["verbose"] is None:
            options["verbose"] = False
        target = torch.from_numpy(y)
        if columns and target.ndim == 1:
            target = target[:, None]
        return self.recipe.set_hparams(**hparams).fit((_rows(X), target), **options)

    def _checked(self, X: Any) -> Tensor:
        check_is_fitted(self)
        rows: Any = validate_data(self, X, reset=False, dtype=np.float32, allow_nd=True)
        return _rows(rows)

    def __sklearn_is_fitted__(self) -> bool:
        return "fitted_" in vars(self)

    def __getstate__(self) -> dict[str, Any]:
        kept: Any = super().__getstate__()
        state: dict[str, Any] = dict(kept)
        if (fitted := state.pop("fitted_", None)) is not None:
            with tempfile.TemporaryDirectory(prefix="lumbre-sklearn-") as folder:
                fitted.save(Path(folder) / "model.lumbre")
                state["_file"] = (Path(folder) / "model.lumbre").read_bytes()
            state["_hparams"] = dict(fitted.hparams)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        data, hparams = state.pop("_file", None), state.pop("_hparams", {})
        super().__setstate__(state)
        if data is not None:
            with tempfile.TemporaryDirectory(prefix="lumbre-sklearn-") as folder:
                path = Path(folder) / "model.lumbre"
                path.write_bytes(data)
                self.fitted_ = load(path, self.recipe.set_hparams(**hparams), device=self.device)  # type: ignore[attr-defined]


class Classifier(ClassifierMixin, _Estimator):
    """A recipe as a classifier of scikit-learn, for pipelines, searches, ensembles and everything that takes one.

    X is taken as float32 of shape (rows, features, ...), y as classes of any kind. With a loss that takes one score for
    two classes (`nn.BCEWithLogitsLoss`) y becomes 0 and 1 of shape (rows, 1).

    Args:
        recipe: what to fit; hyper-parameters may be `Size.FEATURES` and `Size.OUTPUTS`. Each `fit` trains a new module;
            one that is passed ready-made goes on from where it is.
        **fit_options: of `Recipe.fit`, each a parameter by its name: `epochs`, `valid_data`, `callbacks`, ... Nothing
            is printed where `verbose` is not given.

    Attributes:
        fitted_: the `Fitted` model, with its history and all else.
        classes_: the classes in the order of the probabilities.
        n_features_in_: columns of X.

    Raises:
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> import lumbre as lb
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.model_selection import cross_val_score
        >>> from torch import nn, optim
        >>> recipe = lb.setup(
        ...     nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam
        ... ).set_opt_hparams(lr=0.05)
        >>> recipe = recipe.set_hparams(
        ...     in_features=lb.sklearn.Size.FEATURES, out_features=lb.sklearn.Size.OUTPUTS
        ... )
        >>> classifier = lb.sklearn.Classifier(recipe, epochs=20, preflight=False)
        >>> bool(cross_val_score(classifier, *load_iris(return_X_y=True), cv=3).mean() > 0.9)
        True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a model: X of shape (rows, features, ...), y of shape (rows,), weights of rows of shape (rows,)."""
        checked: Any = validate_data(self, X, y, dtype=np.float32, allow_nd=True)
        rows, y = checked
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y with 1 class, {self.classes_[0]!r}", "two classes or more", "rows of another class")
        single = self._takes_one_score()
        if single and len(self.classes_) > 2:
            raise DataError(
                f"Only binary classification is supported by this loss; y has {len(self.classes_)} classes",
                "two classes",
                "nn.CrossEntropyLoss(), and an output for each class",
            )
        target = codes.astype(np.float32) if single else codes.astype(np.int64)
        outputs = 1 if single else len(self.classes_)
        self.fitted_ = self._fitted(rows, target, outputs, sample_weight, columns=single)
        return self

    def _takes_one_score(self) -> bool:
        recipe: Any = self.recipe
        loss = getattr(recipe, "loss", None)
        scale = scale_of(loss)
        return scale.name == "sigmoid" or (scale.kind == "probabilities" and scale.name is None)

    def predict_proba(self, X: Any) -> "np.ndarray[Any, Any]":
        """The probability of each class, float64 of shape (rows, classes)."""
        rows = self._checked(X)
        found = self.fitted_.predict_probabilities(rows).double().numpy()
        if found.shape[1] != len(self.classes_):
            raise RecipeError(
                f"a module with {found.shape[1]} outputs for {len(self.classes_)} classes",
                "an output for each class",
                "set_hparams(d_out=lumbre.sklearn.Size.OUTPUTS), by the module's own name for it",
            )
        return found / found.sum(1, keepdims=True)

    def predict(self, X: Any) -> "np.ndarray[Any, Any]":
        """The most probable class of each row."""
        numbers = self.predict_proba(X).argmax(1)
        return self.classes_[numbers]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = not self._takes_one_score()
        return tags


class Regressor(RegressorMixin, _Estimator):
    """A recipe as a regressor of scikit-learn, for pipelines, searches, ensembles and everything that takes one.

    X is taken as float32 of shape (rows, features, ...), y as float32 of shape (rows, outputs); a y of shape (rows,)
    has one output. Predictions are on the scale of the target, as those of `Fitted.predict_response`.

    Args:
        recipe: as for `Classifier`.
        **fit_options: as for `Classifier`.

    Attributes:
        fitted_: the `Fitted` model, with its history and all else.
        n_features_in_: columns of X.

    Raises:
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> import lumbre as lb, numpy as np
        >>> from torch import nn, optim
        >>> recipe = lb.setup(
        ...     nn.LazyLinear, loss=nn.MSELoss(), optimizer=optim.Adam
        ... ).set_opt_hparams(lr=0.1)
        >>> recipe = recipe.set_hparams(out_features=1)
        >>> x = np.linspace(-1, 1, 60)[:, None]
        >>> lb.sklearn.Regressor(recipe, epochs=50).fit(x, 3 * x[:, 0] + 1).score(
        ...     x, 3 * x[:, 0] + 1
        ... ) > 0.99
        True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a model: X of shape (rows, features, ...), y of shape (rows,) or (rows, outputs).

        Rows may have weights, of shape (rows,).
        """
        checked: Any = validate_data(self, X, y, dtype=np.float32, allow_nd=True, multi_output=True, y_numeric=True)
        rows, y = checked
        self._one = y.ndim == 1
        outputs = 1 if self._one else y.shape[1]
        self.fitted_ = self._fitted(rows, np.asarray(y, dtype=np.float32), outputs, sample_weight, columns=True)
        return self

    def predict(self, X: Any) -> "np.ndarray[Any, Any]":
        """Predictions, float64 of shape (rows,) or (rows, outputs), as y was."""
        rows = self._checked(X)
        found = self.fitted_.predict_response(rows)
        if not isinstance(found, Tensor):
            raise RecipeError(
                f"a module whose predictions are a {describe(found)}",
                "a tensor of shape (rows, outputs)",
                "define predict(self, x) in the module, or a response in the recipe",
            )
        found = found.double().numpy()
        return found[:, 0] if self._one and found.ndim == 2 else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _weights(given: Any, rows: int) -> "np.ndarray[Any, Any]":
    """Weights of rows, shape (rows,); one number counts for each."""
    weights = np.full(rows, given) if isinstance(given, (int, float)) else np.asarray(given)
    if weights.dtype.kind in "biuf" and not weights.any():  # in the words that scikit-learn's checks look for
        raise DataError(
            "Sample weights must contain at least one non-zero number; all are 0",
            "weights above 0 for the rows that are to count",
            "sample_weight=None, for rows that count alike",
        )
    return weights


def _rows(X: "np.ndarray[Any, Any]") -> Tensor:
    # A copy where it cannot be written to: torch knows no such tensors.
    return torch.from_numpy(X if X.flags.writeable and X.flags.c_contiguous else np.array(X, order="C"))
