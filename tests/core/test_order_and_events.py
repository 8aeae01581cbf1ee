"""Callbacks run in an order that follows from what they need; evaluate and predict have events of their own."""

import pytest
from torch import nn

import lumbre as lb
from conftest import blobs
from lumbre.core import EVALUATE, PREDICT, Listeners


class First(lb.Callback):
    pass


class Second(lb.Callback):
    runs_after = (First,)


class Circle(lb.Callback):
    pass


Circle.runs_after = (Second,)


def names(*callbacks: lb.Callback) -> list[str]:
    from lumbre.core._events import in_order

    return [type(one).__name__ for one in in_order(callbacks)]


def test_a_callback_runs_after_those_it_needs_and_others_keep_their_order() -> None:
    assert names(Second(), Circle(), First()) == ["First", "Second", "Circle"]
    assert names(Circle(), First()) == ["Circle", "First"]
    assert names(Second(), Second()) == ["Second", "Second"]


def test_an_impossible_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(First, "runs_after", (Circle,))
    with pytest.raises(lb.OptionError, match="First, Second, Circle"):
        Listeners([First(), Second(), Circle()])


def recorder(events: tuple[str, ...], into: list[str]) -> lb.Callback:
    handlers = {f"on_{event}": lambda self, ctx, event=event: into.append(event) for event in events}
    return type("Recorder", (lb.Callback,), handlers)()


def test_evaluate_and_predict_tell_their_callbacks(recipe: lb.Recipe) -> None:
    x, y = blobs(64)
    fitted = recipe.fit((x, y), epochs=1, verbose=False)
    seen: list[str] = []
    fitted.evaluate((x, y), callbacks=recorder(EVALUATE + PREDICT, seen))
    assert seen == ["evaluate_begin", *["evaluate_batch_begin", "evaluate_batch_end"] * 2, "evaluate_end"]
    seen.clear()
    fitted.predict(x, callbacks=[recorder(EVALUATE + PREDICT, seen)])
    assert seen == ["predict_begin", *["predict_batch_begin", "predict_batch_end"] * 2, "predict_end"]


def test_a_callback_of_evaluate_sees_the_values(recipe: lb.Recipe) -> None:
    fitted = recipe.fit(blobs(), epochs=1, verbose=False)
    values: list[dict] = []

    class Look(lb.Callback):
        def on_evaluate_end(self, ctx: lb.Context) -> None:
            values.append(ctx.history.last("evaluate"))

    evaluation = fitted.evaluate(blobs(), callbacks=Look())
    assert values == [evaluation.metrics]
    assert "evaluate" not in set(fitted.history["set"]), "the history of the fit stays as it was"


def test_several_optimizers_have_names(recipe: lb.Recipe) -> None:
    import torch

    class Two(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 3)

        def configure_optimizers(self) -> dict:
            return {"a": torch.optim.SGD([self.weight]), "b": torch.optim.SGD([self.bias])}

    class Ask(lb.Callback):
        def on_fit_begin(self, ctx: lb.Context) -> None:
            assert set(ctx.optimizers) == {"a", "b"}
            _ = ctx.optimizer

    with pytest.raises(lb.RecipeError, match="by its name: a, b"):
        lb.setup(Two, loss=nn.CrossEntropyLoss()).fit(blobs(), epochs=1, callbacks=Ask(), verbose=False)


def test_a_failure_is_told_before_it_is_raised(recipe: lb.Recipe) -> None:
    seen: list[str] = []

    class Break(lb.Callback):
        def on_train_batch_end(self, ctx: lb.Context) -> None:
            raise ValueError("broken")

        def on_failure(self, ctx: lb.Context) -> None:
            seen.append("failure")

        def on_fit_end(self, ctx: lb.Context) -> None:
            seen.append("fit_end")

    with pytest.raises(lb.CallbackError, match="broken"):
        recipe.fit(blobs(), epochs=1, callbacks=Break(), verbose=False)
    assert seen == ["failure"]
