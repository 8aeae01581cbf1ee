"""Callbacks from functions."""

import pytest
from torch import Tensor

import lumbre as lb
from lumbre.callbacks import On


def test_functions_hear_their_events(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    seen: list[str] = []
    on = On(epoch_begin=lambda ctx: seen.append(f"begin {ctx.epoch}"), before_step=lambda ctx: seen.append("step"))
    recipe.fit(data, epochs=1, batch_size=60, callbacks=on, verbose=False)
    assert seen == ["begin 1", "step", "step"]


def test_a_misspelt_event_is_refused_with_the_near_miss() -> None:
    """In luz an unknown `call_on` is accepted and never called."""
    with pytest.raises(TypeError, match=r"'batch_end' is no event.*Did you mean 'on_.*batch_end'"):
        On(batch_end=print)


@pytest.mark.parametrize("handlers", [{}, {"epoch_end": 3}])
def test_what_cannot_be_called_is_refused(handlers: dict) -> None:
    with pytest.raises(lb.OptionError):
        On(**handlers)


def test_a_failure_names_callback_and_event(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(lb.CallbackError, match=r"ZeroDivisionError in On.on_epoch_end at epoch 1"):
        recipe.fit(data, epochs=1, callbacks=On(epoch_end=lambda ctx: 1 / 0), verbose=False)


def test_two_do_not_mix() -> None:
    first, second = On(epoch_end=print), On(epoch_begin=print)
    assert not hasattr(first, "on_epoch_begin")
    assert not hasattr(second, "on_epoch_end")
