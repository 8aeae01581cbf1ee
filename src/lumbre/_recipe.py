"""`setup()` declares a run, a `Recipe` holds it, and `fit()` carries it out."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim

from lumbre.base import Loss, RecipeError, Response, at_least, own_method, preserved_randomness
from lumbre.callbacks import Progress, Remarks
from lumbre.core import Callback, train
from lumbre.devices import kept_memory, resolve_device
from lumbre.fitted import Fitted
from lumbre.metrics import as_sets
from lumbre.preflight import Findings
from lumbre.processes import join_world
from lumbre.resume import kept_run
from lumbre.run import (
    Checkpoints,
    Spec,
    build,
    has_loss,
    left_alone,
    no_loss,
    no_optimizer,
    options_from,
    rates_ahead,
)
from lumbre.trials import (
    BatchSizes,
    LearningRates,
    OneBatch,
    ResumeProof,
    find_batch_size,
    find_learning_rate,
    overfit_one_batch,
    verify_resume,
)


class PreflightWarning(UserWarning):
    """A check before training found something that looks like a mistake."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Recipe(Spec):
    """A run that is declared and not yet started: the parts of a `Spec`, and what can be done with them.

    It never changes: every `set_*` gives a new one.

    Attributes:
        module: a module class, a callable that returns a module, or a module.
        loss: a function of prediction and target; None where the module defines its own.
        optimizer: an optimizer class; None where the module configures its own.
        metrics: computed beside the loss, in training and in validation.
        hparams: what the module is built with.
        opt_hparams: what the optimizer is made with.
        response: brings predictions to the scale of the target; None where the module or the loss says it.
    """

    def fit(
        self,
        data: Any,
        *,
        epochs: int | tuple[int, int] = 10,
        valid_data: Any = None,
        callbacks: Callback | Iterable[Callback] = (),
        batch_size: int | None = None,
        shuffle: bool | None = None,
        sampler: Any = None,
        weights: Any = None,
        drop_last: bool | None = None,
        num_workers: int | None = None,
        augment: Callable[..., Any] | None = None,
        seed: int | None = 0,
        device: str | torch.device = "auto",
        precision: str = "float32",
        engine: str = "auto",
        strategy: str | None = None,
        resume: str | Path | Checkpoints | None = None,
        preflight: bool = True,
        ignore: Iterable[str] = (),
        verbose: bool | None = None,
        **unknown: Any,
    ) -> Fitted:
        """Build the module and train it.

        A module class is built afresh; a module that is passed ready-made is trained itself. The same seed on the
        same machine gives the same bits, whatever `num_workers` or `verbose` are. The caller's random generators
        are left as they were.

        Args:
            data: what to train on: a pair (input, target) of tensors, arrays or numeric frames, with tuples or
                dicts of them for several inputs; frame data (`lumbre.data.from_frame`); a torch Dataset; or a
                DataLoader. The first dimension counts the rows.
            epochs: how many passes over the data; or (fewest, most), between which callbacks may stop the run.
            valid_data: data to validate on after each epoch, or a fraction in (0, 1) of the rows to hold out for it.
            callbacks: one or several `Callback` objects, called in their order.
            batch_size: rows in a batch; 32 where not given.
            shuffle: draw a new order in each epoch; on where not given.
            sampler: draw rows with replacement instead, as many an epoch as there are: "balanced" gives every class
                of the target the same share, weights of shape (rows,) each row its own. Validation is not touched.
            weights: of the training rows, shape (rows,), numbers of 0 or more: loss, gradients and metrics count a row
                of weight 2 like the row twice, and one of weight 0 is left out. Frame data may have them in a column
                instead, `from_frame(..., weights="column")`, and validation data in `lumbre.data.weighted(data, w)`.
                For losses of torch, and functions that give a value for each row.
            drop_last: leave out a last batch that is short; off where not given.
            num_workers: processes that fetch batches; 0, this process, where not given. Tensors in memory and
                Parquet are always fetched by this process, which is faster; the batches are the same in any case.
            augment: transforms of `lumbre.vision` for the training batches, not for validation; or a function
                (input, row_seeds) that gives the new input, where `row_seeds` is an int64 tensor of shape (rows,).
            seed: of everything left to chance: first weights, order, dropout, split. None takes one of chance.
            device: "auto" (CUDA, else MPS, else CPU), or a device by name.
            precision: "float32", or "bfloat16" or "float16" for autocast forward passes.
            engine: how steps are executed: "eager", one torch operation after the other; "compiled", the whole step as
                one graph, which takes seconds to make (torch 2.13 and a C++ compiler); "cuda_graph", the step recorded
                on a CUDA device and replayed (SGD, Adam and AdamW in their fused form); or "auto", which compiles
                long runs of small nets and transformers on a processor. All but "eager" keep the weights of
                convolutions with their channels last while they train, where that is faster and the module runs so
                (dropout of images then draws another mask), and have oneDNN multiply large matrices on processors of
                AMD, in float32 as well and up to twice as fast. `Fitted.engine` says what was done and why.
            strategy: how several processes share the run: "ddp", where not given, keeps the model in each; "fsdp" keeps
                a part of its parameters, gradients and optimizer state in each (`fully_shard` of torch; the page "Many
                devices" says what cannot be had then). The trained model is whole in every process. One process does
                the same without either.
            resume: a folder, or `lumbre.Checkpoints(folder, ...)`: checkpoints of the run go there, and a run that is
                found there goes on, to the same bits as if it had never been stopped. SIGTERM then writes one at the
                next step and ends the process with status 143; Ctrl-C writes one and returns what was trained so far.
            preflight: look for mistakes before the first epoch, for about a second (`check()` takes its time), and
                remark on what looks wrong at the ends of epochs.
            ignore: codes of checks to leave out, such as ("LB038",).
            verbose: print progress; on where not given.
            **unknown: refused, with the name that was probably meant.

        Returns:
            The trained model with its history.

        Raises:
            OptionError: an option is unknown, impossible, or cannot apply to this data.
            RecipeError: module, loss or optimizer do not fit together.
            DataError: the data cannot be used as it is.
            PreflightError: a check before training found a mistake.
            NonFiniteLossError: the loss became NaN or infinite.
            OutOfMemoryError: a step found no memory.
            CallbackError: a callback or a metric failed.
            ResumeError: the folder of `resume` holds another run, is in use, or cannot be written to.
            PeerError: another process of a shared run is gone or does not answer.

        Example:
            >>> import torch, lumbre as lb
            >>> from torch import nn, optim
            >>> x = torch.linspace(-1, 1, 64).reshape(64, 1)
            >>> recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD)
            >>> recipe = recipe.set_hparams(in_features=1, out_features=1).set_opt_hparams(lr=0.1)
            >>> fitted = recipe.fit((x, 3 * x + 1), epochs=20, verbose=False)
            >>> bool(fitted.history["value"].iloc[-1] < 0.01)
            True
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "data", "unknown")}
        options = options_from({**given, **unknown})
        world = join_world()
        shown = [_progress(self)] if verbose is not False and world.leads else []
        with (
            world.together(),
            kept_memory(),
            preserved_randomness(resolve_device(device)),
            kept_run(resume, world) as kept,
        ):
            options = options if kept is None else kept.adjusted(options)
            said = print if verbose is not False and world.leads else None
            remarks = [Remarks(said, ignore=tuple(options.ignore))] if preflight else []
            options = replace(options, callbacks=[*options.callbacks, *shown, *remarks])
            plan, session, findings = build(self, data, options)
            findings.raise_errors()
            for finding in findings.warnings if world.leads else []:
                warnings.warn(str(finding), PreflightWarning, stacklevel=2)
            for one in remarks:
                one.left_out = findings.left_out
            for progress in shown:
                progress.notes += session.advice if kept is None else [*session.advice, *kept.notes(options)]
            session = session if kept is None else kept.chosen(session)
            with session.choices.active(session.model):
                if kept is None:
                    train(plan)
                else:
                    keeper = kept.keeper(plan, session, self, options)
                    with keeper.listening(), keeper.attributing_errors():
                        train(replace(plan, keeper=keeper))
            session = session.whole()
        session.model.eval()
        return Fitted(session, plan.context.history, session.described(plan.engine.reason), *remarks)

    def check(self, data: Any, *, test_data: Any = None, **options: Any) -> Findings:
        """Look for mistakes without training: all that `fit(data, **options)` looks for, without haste.

        The model, its buffers and the random state are left as they were. Each finding has a code; the page
        "Preflight" of the docs says more about each.

        Args:
            data: as for `fit()`.
            test_data: rows that are kept for the last test: are any of them trained or validated on?
            **options: as for `fit()`.

        Returns:
            The findings, errors first; empty when all is well.

        Raises:
            OptionError, RecipeError, DataError: as `fit()` does.

        Example:
            >>> import torch, lumbre as lb
            >>> from torch import nn, optim
            >>> recipe = lb.setup(lambda: nn.Linear(3, 1), loss=nn.MSELoss(), optimizer=optim.Adam)
            >>> x = torch.randn(100, 3)
            >>> [finding.code for finding in recipe.check((x, x.sin().sum(1)))]
            ['LB006']
            >>> recipe.check((x, x.sin().sum(1, keepdim=True)))
            No findings.
        """
        checked = replace(options_from(options), preflight=True, verbose=False, strategy=None)
        with preserved_randomness(resolve_device(checked.device)), left_alone(self, data, test_data):
            return build(self, data, checked, every_check=True, test_data=test_data)[2]

    def lr_finder(
        self, data: Any, *, start: float = 1e-6, end: float = 1.0, steps: int = 100, **options: Any
    ) -> LearningRates:
        """Find a learning rate: train while it rises from `start` to `end`, until the loss diverges.

        Everything else is as in `fit(data, **options)`: the optimizer's other options, batch size, precision, clipping,
        mixup. No trace is left: weights of a ready-made module and the random state are put back.

        Args:
            data: as for `fit()`.
            start: the first learning rate.
            end: the last, if the loss does not diverge before.
            steps: how many steps, in equal ratios.
            **options: as for `fit()`.

        Returns:
            Rates and losses, with `.suggest()`, `.plot()` and `.frame()`.

        References:
            Smith: Cyclical Learning Rates for Training Neural Networks, 2015.

        Example:
            >>> import torch, lumbre as lb
            >>> from torch import nn, optim
            >>> x = torch.randn(512, 4)
            >>> net = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
            >>> recipe = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.Adam)
            >>> rates = recipe.lr_finder((x, x.sum(1, keepdim=True)))
            >>> 1e-4 < rates.suggest() < 1
            True
        """
        return find_learning_rate(self, data, options_from(options), start, end, steps)

    def plot_lr(self, data: Any, epochs: int = 10, **options: Any) -> Any:
        """The learning rate of every batch of a run, before it is run: what the callbacks make of the optimizer's rate.

        It counts batches, not updates, and rows over all processes: so it is the same for any number of them and any
        accumulation. Of several groups of parameters the first is shown. Callbacks that wait for a metric, such as
        `schedules.plateau`, are left out.

        Args:
            data: as for `fit()`.
            epochs: of the run.
            **options: as for `fit()`.

        Returns:
            A plotnine object; its data has the columns step (from 0) and lr.

        Raises:
            MissingExtraError: plotnine is not installed.
            OptionError: a scheduler does not reach the end of the run; there are several optimizers.

        Example:
            >>> import torch, lumbre as lb
            >>> from torch import nn, optim
            >>> recipe = lb.setup(lambda: nn.Linear(3, 1), loss=nn.MSELoss(), optimizer=optim.Adam)
            >>> data = torch.ones(64, 3), torch.ones(64, 1)
            >>> chart = recipe.plot_lr(data, 5, callbacks=lb.callbacks.LearningRate(lb.schedules.cosine()))
            >>> [round(rate, 6) for rate in chart.data["lr"][:3]]
            [0.001, 0.000976, 0.000905]
        """
        from lumbre.plots import plot_rates

        checked = options_from({**options, "epochs": epochs, "preflight": False, "strategy": None})
        with preserved_randomness(resolve_device(checked.device)), left_alone(self, data):
            context = build(self, data, checked)[0].context
        return plot_rates(rates_ahead(context, checked.callbacks))

    def batch_size_finder(
        self, data: Any, *, sizes: Iterable[int] | None = None, seconds: float = 0.5, **options: Any
    ) -> BatchSizes:
        """Measure how many rows a second are trained with each batch size, until memory or rows run out.

        A larger batch updates less often and mostly wants a higher learning rate: judge by more than speed.

        Args:
            data: as for `fit()`.
            sizes: batch sizes to try, rising; 16, 32, 64, ... where not given.
            seconds: how long to train with each.
            **options: as for `fit()`.

        Returns:
            Speeds and memory, with `.suggest()` and `.frame()`.
        """
        return find_batch_size(self, data, options_from(options), None if sizes is None else list(sizes), seconds)

    def overfit_one_batch(self, data: Any, *, steps: int = 200, **options: Any) -> OneBatch:
        """Train on one batch again and again: a net that cannot learn it by heart has a mistake somewhere.

        Leaves no trace. Dropout and weight decay hinder it, as they should; switch them off to be sure.

        Args:
            data: as for `fit()`.
            steps: updates.
            **options: as for `fit()`.

        Returns:
            The losses, with `.learned` and `.frame()`.

        Example:
            >>> import torch, lumbre as lb
            >>> from torch import nn, optim
            >>> recipe = lb.setup(lambda: nn.Linear(3, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
            >>> recipe = recipe.set_opt_hparams(lr=0.1)
            >>> recipe.overfit_one_batch((torch.eye(3), torch.tensor([0, 1, 0]))).learned
            True
        """
        at_least(1, steps=steps)
        return overfit_one_batch(self, data, options_from(options), steps)

    def verify_resume(self, data: Any, *, steps: int = 8, **options: Any) -> ResumeProof:
        """Prove on this recipe and data that a stopped run goes on to the same bits, or name what differs.

        Trains three short runs in a temporary folder: one of `steps` updates at a stretch, and one that is stopped in
        the middle and taken up again from its checkpoint. All state is compared bit for bit: weights, optimizers,
        metrics, callbacks, history. Leaves no trace; callbacks that write logs or models are left out.

        Args:
            data: as for `fit()`. It is gone through several times, so a generator will not do.
            steps: updates of a run.
            **options: as for `fit()`.

        Returns:
            What was found: true where all is equal, with a sentence that names the differences.

        Raises:
            OptionError: less than 2 steps, or an option as for `fit()`.
            DataError: the data and epochs do not give enough updates.

        Example:
            >>> import torch, lumbre as lb
            >>> from torch import nn, optim
            >>> net = lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 1))
            >>> recipe = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.Adam)
            >>> x = torch.randn(512, 4)
            >>> bool(recipe.verify_resume((x, x.sum(1, keepdim=True))))
            True
        """
        at_least(2, steps=steps)  # so that there is a middle
        return verify_resume(self, data, options_from(options), steps)


def setup(
    module: Callable[..., nn.Module],
    *,
    loss: Loss | None = None,
    optimizer: Callable[..., optim.Optimizer] | None = None,
    metrics: Any = (),
    response: Response | None = None,
) -> Recipe:
    """Declare what to train, against which loss, with which optimizer.

    Args:
        module: a module class, which every `fit()` builds afresh; a callable that returns a module; or a module,
            which `fit()` then trains itself. It may define what is not given here: `loss(self, pred, target)`,
            `configure_optimizers(self, **opt_hparams)` (returns an optimizer), `predict(self, x)`,
            `response(self, pred)`.
        loss: a function of prediction and target that gives a scalar, for example `nn.CrossEntropyLoss()`.
        optimizer: a class of `torch.optim`, or a callable `(parameters, **options)`.
        metrics: metrics of lumbre or torchmetrics: one, several, or a dict that names them; or
            `lumbre.metrics.Sets(both, train=..., valid=...)`, where not all are for both passes.
        response: a function of a prediction that gives it on the scale of the target, on which `compare()`, plots,
            reports and the metrics of numbers look at it. Not needed for the losses of torch, of which lumbre knows it:
            `exp` of those of `nn.PoissonNLLLoss()`, for example, and probabilities for those of classes.

    Raises:
        RecipeError: loss or optimizer are missing, or something is not what it should be.

    Example:
        >>> import lumbre as lb
        >>> from torch import nn, optim
        >>> lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD, metrics=lb.metrics.MAE())
        Recipe
          module: Linear
          loss: MSELoss()
          optimizer: SGD
          metrics: MAE
    """
    if not callable(module):
        raise RecipeError(
            f"setup({module!r})",
            "a module class, a callable that returns a module, or a module",
            "setup(Net, ...)",
        )
    if isinstance(loss, type):
        raise RecipeError(
            f"loss={loss.__name__}, a class",
            "a loss function",
            f"loss={loss.__name__}() with parentheses",
        )
    if isinstance(optimizer, optim.Optimizer):
        kind = type(optimizer).__name__
        raise RecipeError(
            f"optimizer={kind}(...), over parameters of its own",
            "an optimizer class: fit() makes the optimizer for the module it builds",
            f"optimizer=torch.optim.{kind}, and .set_opt_hparams(lr=...)",
        )
    if loss is not None and not callable(loss):
        named = _LOSSES.get(str(loss).lower().replace("_", ""), "MSELoss")
        raise RecipeError(f"loss={loss!r}", "a function of prediction and target", f"loss=torch.nn.{named}()")
    if optimizer is not None and not callable(optimizer):
        named = _OPTIMIZERS.get(str(optimizer).lower(), "Adam")
        raise RecipeError(f"optimizer={optimizer!r}", "an optimizer class", f"optimizer=torch.optim.{named}")
    if response is not None and not callable(response):
        raise RecipeError(f"response={response!r}", "a function of a prediction", "response=torch.exp")
    known = isinstance(module, (type, nn.Module))
    name = getattr(module, "__name__", type(module).__name__)
    if loss is None and known and not has_loss(module):
        raise no_loss(name)
    if optimizer is None and known and not own_method(module, "configure_optimizers"):
        raise no_optimizer(name)
    return Recipe(module=module, loss=loss, optimizer=optimizer, metrics=as_sets(metrics), response=response)


# How other libraries name losses and optimizers.
_LOSSES = {
    "mae": "L1Loss",
    "l1": "L1Loss",
    "huber": "HuberLoss",
    "crossentropy": "CrossEntropyLoss",
    "categoricalcrossentropy": "CrossEntropyLoss",
    "sparsecategoricalcrossentropy": "CrossEntropyLoss",
    "bce": "BCEWithLogitsLoss",
    "binarycrossentropy": "BCEWithLogitsLoss",
    "poisson": "PoissonNLLLoss",
    "nll": "NLLLoss",
}
_OPTIMIZERS = {name.lower(): name for name in ("AdamW", "SGD", "RMSprop", "Adagrad", "LBFGS")}


def _progress(recipe: Recipe) -> Progress:
    given = isinstance(recipe.module, nn.Module)
    return Progress(
        notes=[f"Training the {type(recipe.module).__name__} that was passed: its own weights change."] if given else []
    )
