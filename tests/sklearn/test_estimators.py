"""Recipes as estimators of scikit-learn: its own checks, and what it does with estimators."""

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import StackingClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.sklearn import Size

IRIS = load_iris(return_X_y=True)
EXPECTED: dict[str, str] = {
    "check_sample_weight_equivalence_on_dense_data": "float32: repeated rows are added in another order",
    "check_methods_subset_invariance": "float32: some processors multiply one row by another kernel than many",
}
"""Checks of scikit-learn that may fail, each with the reason."""


class Net(nn.Module):
    def __init__(self, d_in: int, d_out: int, d_hidden: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, d_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def recipe(loss: Any) -> lb.Recipe:
    made = lb.setup(Net, loss=loss, optimizer=optim.Adam, metrics=())
    return made.set_hparams(d_in=Size.FEATURES, d_out=Size.OUTPUTS).set_opt_hparams(lr=0.02)


def classifier(**options: Any) -> Any:
    return lb.sklearn.Classifier(recipe(nn.CrossEntropyLoss()), **{"epochs": 30, "preflight": False, **options})


def regressor(**options: Any) -> Any:
    return lb.sklearn.Regressor(recipe(nn.MSELoss()), **{"epochs": 30, "preflight": False, **options})


def copied(estimator: Any) -> Any:
    return pickle.loads(pickle.dumps(estimator))  # noqa: S301


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [
        classifier(),
        classifier(preflight=True),
        regressor(),
        lb.sklearn.Classifier(recipe(nn.BCEWithLogitsLoss()), epochs=30, preflight=False),
    ],
    expected_failed_checks=lambda _: EXPECTED,
)
def test_the_checks_of_scikit_learn_pass(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_fit_is_that_of_the_recipe() -> None:
    x, y = IRIS
    found = classifier(epochs=3, seed=4).fit(x, y)
    made = recipe(nn.CrossEntropyLoss()).set_hparams(d_in=4, d_out=3)
    fitted = made.fit((x, y), epochs=3, seed=4, verbose=False, preflight=False)
    probabilities = fitted.predict_probabilities(x).double().numpy()
    assert np.allclose(found.predict_proba(x), probabilities, rtol=0, atol=1e-6)
    assert found.score(x, y) == (probabilities.argmax(1) == y).mean()
    assert found.fitted_.history["value"].tolist() == fitted.history["value"].tolist()
    assert found.n_features_in_ == 4


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()], ids=["two scores", "one score"])
def test_classes_keep_their_names(loss: Any) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    names = np.array(["bad", "good"])[y]
    pipe = make_pipeline(StandardScaler(), lb.sklearn.Classifier(recipe(loss), epochs=3, preflight=False))
    pipe.fit(x, names)
    assert pipe.classes_.tolist() == ["bad", "good"]
    assert set(pipe.predict(x)) == {"bad", "good"}
    assert pipe.score(x, names) > 0.9
    assert np.allclose(pipe.predict_proba(x).sum(1), 1)


def test_several_targets() -> None:
    x, y = load_diabetes(return_X_y=True)
    both = np.stack([y, -y], 1) / 100
    assert regressor(epochs=2).fit(x, both).predict(x).shape == (442, 2)
    assert regressor(epochs=2).fit(x, y / 100).predict(x).shape == (442,)
    assert regressor(epochs=2).fit(x, both[:, :1]).predict(x).shape == (442, 1)


def test_counts_are_predicted_on_their_own_scale() -> None:
    x = np.random.default_rng(0).normal(size=(300, 1))
    y = np.random.default_rng(1).poisson(np.exp(1 + 0.5 * x[:, 0]))
    made = lb.setup(nn.LazyLinear, loss=nn.PoissonNLLLoss(), optimizer=optim.Adam)
    found = lb.sklearn.Regressor(made.set_hparams(out_features=1).set_opt_hparams(lr=0.05), epochs=30).fit(x, y)
    assert found.predict(x).min() > 0
    assert found.predict(x).mean() == pytest.approx(y.mean(), rel=0.1)


def test_parameters_are_the_recipe_its_parts_and_the_options_of_fit() -> None:
    found = classifier(batch_size=8)
    params = found.get_params()
    assert params["epochs"] == 30
    assert params["batch_size"] == 8
    assert params["opt_hparams__lr"] == 0.02
    assert params["hparams__d_in"] is Size.FEATURES
    found.set_params(opt_hparams__lr=0.5, hparams__d_hidden=3, epochs=2)
    assert found.recipe.opt_hparams["lr"] == 0.5
    assert found.recipe.hparams["d_hidden"] == 3
    again = clone(found)
    assert again.get_params()["opt_hparams__lr"] == 0.5
    assert again.epochs == 2
    assert "epochs=2" in repr(again)
    with pytest.raises(lb.OptionError, match="'epochs'"):
        classifier(epoch=3)
    with pytest.raises(ValueError, match="epoch"):
        found.set_params(epoch=3)


def test_searches_try_parts_of_the_recipe() -> None:
    grid = {"opt_hparams__lr": [1e-6, 0.05], "hparams__d_hidden": [8], "epochs": [5]}
    search = GridSearchCV(classifier(), grid, cv=2).fit(*IRIS)
    assert search.best_params_["opt_hparams__lr"] == 0.05
    assert search.best_estimator_.recipe.hparams["d_hidden"] == 8


def test_lazy_layers_take_the_width_that_a_pipeline_makes() -> None:
    made = lb.setup(nn.LazyLinear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_hparams(out_features=3)
    made = made.set_opt_hparams(lr=0.05)
    table = np.array([["a", "x"], ["b", "y"], ["c", "x"]] * 20)
    pipe = make_pipeline(OneHotEncoder(sparse_output=False), lb.sklearn.Classifier(made, epochs=20, preflight=False))
    assert cross_val_score(pipe, table, table[:, 0], cv=3).mean() == 1
    again = copied(pipe.fit(table, table[:, 0]))
    assert np.array_equal(again.predict_proba(table), pipe.predict_proba(table))


def test_ensembles_calibration_and_importance_take_it() -> None:
    x, y = IRIS
    calibrated = CalibratedClassifierCV(classifier(epochs=10), cv=2).fit(x, y)
    assert calibrated.predict_proba(x).shape == (150, 3)
    stacked = StackingClassifier(
        [("net", classifier(epochs=10)), ("line", LogisticRegression(max_iter=1000))], cv=2
    ).fit(x, y)
    assert stacked.score(x, y) > 0.9
    importance = permutation_importance(classifier().fit(x, y), x, y, n_repeats=3, random_state=0)
    assert importance.importances_mean.argmax() in (2, 3)  # the petals


def test_a_pickle_holds_the_model_as_a_file_of_lumbre() -> None:
    x, y = IRIS
    for found in (classifier(epochs=2).fit(x, y), regressor(epochs=2).fit(x, y.astype(float))):
        assert b'"format":"lumbre"' in pickle.dumps(found)
        again = copied(found)
        assert np.array_equal(again.predict(x), found.predict(x))
        assert again.fitted_.history.equals(found.fitted_.history)
        assert again.fitted_.hparams == found.fitted_.hparams
        assert copied(clone(found)).get_params()["epochs"] == 2


def test_callbacks_and_validation_go_through() -> None:
    stop = lb.callbacks.EarlyStopping(patience=1, restore_best=True)
    found = classifier(valid_data=0.2, callbacks=[stop]).fit(*IRIS)
    assert "valid" in set(found.fitted_.history["set"])
    assert clone(found).callbacks[0].patience == 1


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (
            lambda: lb.sklearn.Classifier(recipe(nn.CrossEntropyLoss()).set_hparams(d_out=5), preflight=False),
            "5 outputs",
        ),
        (lambda: lb.sklearn.Classifier(recipe(nn.BCEWithLogitsLoss())), "Only binary"),
        (lambda: lb.sklearn.Classifier("recipe"), "a recipe"),
        (lambda: classifier(batch_size=0), "batch_size=0"),
    ],
)
def test_what_cannot_be_is_refused(estimator: Any, said: str) -> None:
    with pytest.raises(lb.LumbreError, match=said):
        estimator().fit(*IRIS).predict(IRIS[0])
    with pytest.raises(lb.DataError, match="1 class"):
        classifier().fit(IRIS[0], np.zeros(150))


def test_it_is_imported_on_use_and_its_absence_names_the_command() -> None:
    code = (
        "import sys; import lumbre as lb; assert not any(name.startswith('sklearn') for name in sys.modules); "
        "sys.modules['sklearn'] = None\n"
        "try: lb.sklearn.Classifier\n"
        "except lb.MissingExtraError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "lumbre[sklearn]"' in found.stdout
    with pytest.raises(AttributeError, match="Clasifier"):
        lb.sklearn.Clasifier  # noqa: B018


def test_images_go_through_as_they_are() -> None:
    made = lb.setup(
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.LazyLinear(2)),
        loss=nn.CrossEntropyLoss(),
        optimizer=optim.Adam,
    )
    x = np.random.default_rng(0).normal(size=(20, 1, 6, 6))
    found = lb.sklearn.Classifier(made, epochs=1, preflight=False).fit(x, np.arange(20) % 2)
    assert found.predict_proba(x).shape == (20, 2)
    assert torch.equal(found.fitted_.predict(x), found.fitted_.predict(x.astype(np.float32)))


@pytest.mark.parametrize("kind", [lb.sklearn.Classifier, lb.sklearn.Regressor])
def test_sample_weight_is_the_weight_of_rows(kind: Any) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    weight = np.arange(40) % 3
    classes = kind is lb.sklearn.Classifier
    linear = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss() if classes else nn.MSELoss(), optimizer=optim.Adam)
    linear = linear.set_hparams(in_features=3, out_features=2 if classes else 1)
    options: dict[str, Any] = {"epochs": 2, "batch_size": 7, "preflight": False}
    found = kind(linear, **options).fit(x, y, sample_weight=weight).fitted_
    target = torch.from_numpy(y) if classes else torch.from_numpy(y).float()[:, None]
    plain = linear.fit((torch.from_numpy(x), target), weights=weight, verbose=False, **options)
    assert found.history["value"].equals(plain.history["value"])
    with pytest.raises(lb.OptionError, match="sample_weight beside weights"):
        kind(linear, weights=weight, **options).fit(x, y, sample_weight=weight)
