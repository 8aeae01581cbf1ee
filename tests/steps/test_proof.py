"""What is asked of a graph before its steps count: what rounding explains passes, and nothing else."""

import re

import pytest
import torch
from benchmarks.peers.works import pictures, residual
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs
from lumbre.graphs import obstacle
from lumbre.graphs._proof import distance, nudge

compiles = [
    pytest.mark.skipif(obstacle(torch.device("cpu")) is not None, reason=str(obstacle(torch.device("cpu")))),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.*"),
]


class Strays(Net):
    """Whose gradients stray in a graph, and nowhere else."""

    share = 0.01

    def __init__(self) -> None:
        super().__init__(4)

    def forward(self, x: Tensor) -> Tensor:
        h = super().forward(x)
        if torch.compiler.is_compiling():
            h = h + self.astray(x) * (h - h.detach())
        return h

    def astray(self, x: Tensor) -> Tensor | float:
        return self.share


class StraysFar(Strays):
    share = 0.5


class StraysAtTimes(Strays):
    """As a graph does whose rounding tips a maximum in some batches."""

    def astray(self, x: Tensor) -> Tensor | float:
        return self.share * (x[0, 0] > x[1, 0])


class Differs(Strays):
    """Whose loss is another in a graph."""

    def forward(self, x: Tensor) -> Tensor:
        return super(Strays, self).forward(x) * (1.01 if torch.compiler.is_compiling() else 1.0)


def run(net: type[Net], engine: str, accumulate: int = 1, seed: int = 0) -> lb.Fitted:
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=[lb.metrics.Accuracy()])
    recipe = recipe.set_opt_hparams(lr=0.1, momentum=0.9)
    callbacks = [lb.callbacks.Accumulate(accumulate)] if accumulate > 1 else []
    return recipe.fit(blobs(300), epochs=2, batch_size=10, engine=engine, callbacks=callbacks, seed=seed, verbose=False)


def weights(fitted: lb.Fitted) -> Tensor:
    return torch.cat([value.detach().flatten() for value in fitted.model.parameters()])


class TestCompiled:
    pytestmark = compiles

    @pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
    @pytest.mark.parametrize(
        ("net", "why"),
        [
            (Differs, "the loss differs from the eager one by 0.0"),
            pytest.param(StraysFar, "gradients differ from eager ones by 0.5", marks=pytest.mark.slow),
            (Strays, "gradients differ from eager ones by 0.01, rounding of weights by [0-9.]+e-0[78], the last of 10"),
        ],
    )
    def test_a_wrong_graph_is_left_and_leaves_no_trace(self, net: type[Net], why: str, accumulate: int) -> None:
        fitted = run(net, "compiled", accumulate)
        assert re.search(f"not compiled: {why}", fitted.engine), fitted.engine
        eager = run(net, "eager", accumulate)
        assert torch.equal(weights(fitted), weights(eager))
        assert fitted.history.equals(eager.history)

    def test_gradients_may_lie_some_times_as_far_apart_as_a_nudge_moves_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lumbre.graphs._compiled.ROUNDINGS", 1e6)
        assert run(Strays, "compiled").engine.startswith("compiled")

    @pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
    def test_a_batch_that_rounding_has_tipped_is_passed_over(self, accumulate: int) -> None:
        fitted, eager = (run(StraysAtTimes, engine, accumulate, seed=4) for engine in ("compiled", "eager"))
        # Batches before the graph: two updates, and those that were passed over.
        steps = int(re.search(r"(\d+) steps of it", fitted.engine)[1])
        assert 60 - 2 * accumulate - 9 * accumulate <= steps < 60 - 2 * accumulate
        assert fitted.history["value"].tolist() == pytest.approx(eager.history["value"].tolist(), rel=0.01)
        torch.testing.assert_close(weights(fitted), weights(eager), rtol=0.1, atol=0.01)

    @pytest.mark.slow
    @pytest.mark.parametrize("steps", [3, 5, 7, 9, 11, 13, 15])
    def test_a_run_goes_on_by_its_graph_whatever_batch_comes_first(self, steps: int) -> None:
        recipe = lb.setup(
            StraysAtTimes, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=[lb.metrics.Perplexity()]
        )
        proof = recipe.verify_resume(blobs(300), steps=steps, epochs=1, batch_size=10, engine="compiled", seed=2)
        assert proof, str(proof)

    def test_a_run_goes_on_to_try_its_graph_on_batches_that_it_is_made_for(self) -> None:
        """Stopped after the first try, before the short batch of the epoch."""
        recipe = lb.setup(Strays, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
        proof = recipe.verify_resume(blobs(35), steps=7, epochs=3, batch_size=10, engine="compiled", seed=2)
        assert proof, str(proof)

    def test_a_step_that_rounding_explains_counts_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The graph, which has made it once to be looked at, makes it again."""
        counts: list[float] = []

        def look(ctx: lb.Context) -> None:
            counts.extend(state["step"].item() for state in ctx.optimizer.state.values())

        def far(values: list[Tensor], dtype: torch.dtype) -> None:
            with torch.no_grad():
                for value in values:
                    value.mul_(1.1)

        monkeypatch.setattr("lumbre.graphs._compiled.nudge", far)
        recipe = lb.setup(Strays, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
        fitted = recipe.fit(
            blobs(100), epochs=1, batch_size=10, engine="compiled", callbacks=lb.callbacks.On(train_end=look),
            verbose=False,
        )  # fmt: skip
        assert " 8 steps of it" in fitted.engine
        assert set(counts) == {10.0}

    def test_ctrl_c_while_a_graph_is_tried_leaves_the_last_whole_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before: list[Tensor] = []

        def stop(values: list[Tensor], dtype: torch.dtype) -> None:
            before.extend(value.detach().clone() for value in values)
            nudge(values, dtype)
            raise KeyboardInterrupt

        monkeypatch.setattr("lumbre.graphs._compiled.nudge", stop)
        fitted = run(Strays, "compiled")
        assert before
        assert torch.equal(weights(fitted), torch.cat([value.flatten() for value in before]))

    @pytest.mark.slow
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_a_net_whose_gradients_rounding_tips_is_compiled(self, precision: str) -> None:
        """bfloat16 and BatchNorm: gradients move by a tenth where weights move by a last digit."""
        recipe = lb.setup(residual, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
        fitted = recipe.fit(
            pictures(640, None), epochs=1, batch_size=32, engine="compiled", precision=precision, verbose=False
        )
        assert fitted.engine.startswith("compiled"), fitted.engine


@pytest.mark.parametrize(("dtype", "digit"), [(torch.float32, 2**-23), (torch.bfloat16, 2**-7)])
def test_a_nudge_moves_numbers_by_their_last_digit(dtype: torch.dtype, digit: float) -> None:
    values = [torch.randn(1000), torch.randn(10, 10, dtype=torch.float64)]
    before = [value.clone() for value in values]
    state = torch.get_rng_state()
    nudge(values, dtype)
    assert torch.equal(torch.get_rng_state(), state)
    moved = ((values[0].double() - before[0].double()) / before[0].double()).abs()
    assert 0.3 * digit < moved.mean() < 0.8 * digit
    assert moved.max() < 2 * digit
    assert distance(values[1:], before[1:]) < max(2**-52, 0 if dtype == torch.float32 else digit)
    assert distance(values[1:], before[1:]) > 0


def test_lists_of_tensors_lie_as_far_apart_as_vectors() -> None:
    assert distance([torch.tensor([3.0]), None, torch.tensor(4.0)], [torch.zeros(1), None, torch.tensor(2.0)]) == (
        pytest.approx(13**0.5 / 2)
    )
