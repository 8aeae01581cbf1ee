"""A `Recipe` holds a run that is declared, and `fit()` carries it out."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never

import torch

from lumbre import trials
from lumbre.base import at_least, no_more, preserved_randomness
from lumbre.callbacks import Remarks, TimeLimit, progress_of
from lumbre.core import Callback, train
from lumbre.devices import kept_memory, resolve_device
from lumbre.fitted import Fitted
from lumbre.preflight import Findings, PreflightWarning
from lumbre.processes import join_world
from lumbre.resume import kept_run
from lumbre.run import Checkpoints, Spec, build, left_alone, options_from, rates_ahead

if TYPE_CHECKING:
    from plotnine import ggplot


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
        *more: Never,
        epochs: int | tuple[int, int] = 10,
        valid_data: Any = None,
        valid_every: int = 1,
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
        flush_denormal: bool | None = None,
        strategy: str | None = None,
        max_seconds: float | None = None,
        max_steps: int | None = None,
        resume: str | Path | Checkpoints | None = None,
        preflight: bool = True,
        ignore: Iterable[str] = (),
        verbose: bool | int | Literal["plot"] | None = None,
        **unknown: Never,
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
                Of several sets, `{"near": a, "far": b}`, each a pair, a frame, a Dataset or a loader, each has values
                of its own such as "valid_far_loss"; "valid_loss" is the first. The checks look at each.
            valid_every: validate after every so many epochs, and after the last.
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
            flush_denormal: numbers under 1.2e-38 (float64: 2.2e-308), slow to compute with, are 0 in the run; where
                not given, in one of 1,000 updates or more on a processor, if first prediction and loss keep their bits.
            strategy: how several processes share the run: "ddp", where not given, keeps the model in each; "fsdp" keeps
                a part of its parameters, gradients and optimizer state in each (`fully_shard` of torch; see the page
                "Many devices"). The trained model is whole in every process. One process does the same without either.
            max_seconds: end the run after the epoch in which so many seconds are over, but not before its fewest
                epochs are done. With `resume` the same call goes on, for as long again.
            max_steps: end the run after so many updates in all, within an epoch where need be; its loss and validation
                are those of the updates done. With `resume` a run goes on where more of them are asked for.
            resume: a folder, or `lumbre.Checkpoints(folder, ...)`: checkpoints of the run go there, and a run that is
                found there goes on, to the same bits as if it had never been stopped. SIGTERM then writes one at the
                next step and ends the process with status 143; Ctrl-C writes one and returns what was trained so far.
            preflight: look for mistakes before the first epoch, for about a second (`check()` takes its time; a net
                that was found sound is looked at once), and remark on what looks wrong at the ends of epochs.
            ignore: codes of checks to leave out, such as ("LB038",).
            verbose: show progress; on where not given. 10 shows each tenth epoch; "plot" draws the loss, in a notebook.
            *more: refused: input and target are one argument, the pair (x, y).
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
        no_more(more, "fit(data)", "data as one argument; options have names", "fit((x, y), epochs=10)")
        given = {name: value for name, value in locals().items() if name not in ("self", "data", "more", "unknown")}
        options = options_from({**given, **unknown})
        world = join_world()
        shown = [progress_of(self.module, options.verbose)] if options.verbose != 0 and world.leads else []
        place = resolve_device(device)
        with world.together(), kept_memory(), preserved_randomness(place), kept_run(resume, world) as kept:
            options = options if kept is None else kept.adjusted(options)
            remarks = [Remarks(shown[0].say if shown else None, ignore=tuple(options.ignore))] if preflight else []
            timed = [] if options.max_seconds is None else [TimeLimit(options.max_seconds, world.gather)]
            options = replace(options, callbacks=[*options.callbacks, *timed, *shown, *remarks])
            plan, session, findings = build(self, data, options)
            findings.raise_errors()
            for finding in findings.warnings if world.leads else []:
                warnings.warn(str(finding), PreflightWarning, stacklevel=2)
            for one in remarks:
                one.left_out, one.constant = findings.left_out, findings.constant
                one.endless = any(found.code == "LB094" for found in findings)
            for progress in shown:
                progress.notes += session.advice if kept is None else [*session.advice, *kept.notes(options, plan)]
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

    def fine_tune(
        self, data: Any, epochs: int = 5, *, frozen: int = 1, parts: Any = None, spread: float = 100, **options: Any
    ) -> Fitted:
        """Train the head of a pretrained net while its body is held still, then all of it, the first layers slowest.

        The recipe's learning rate is the head's. It is reached at the end of the frozen epochs, and half of it is the
        peak of one cycle over the others. As fastai's `Learner.fine_tune` (Howard and Gugger, "fastai: A Layered API
        for Deep Learning", 2020), only that each part has a rate, and a BatchNorm that is held still keeps statistics.

        Args:
            data: as for `fit()`.
            epochs: over which all is trained.
            frozen: epochs before them, in which the head alone is.
            parts: names or patterns of the net's parts, from the head towards the first layers, a list for each that
                takes several; the rest is the last part. `lumbre.nets.vision` knows those of its nets.
            spread: how many times faster the head learns than the rest. Groups that the recipe has stay as they are.
            **options: of `fit()`, which does all this with `GradualUnfreezing` and `LearningRate`.

        Raises:
            RecipeError: the parts are not known, or the recipe has no learning rate. Others as `fit()` does.

        Example:
            >>> import torch, lumbre as lb
            >>> from torch import nn, optim
            >>> net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
            >>> recipe = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.SGD)
            >>> data = torch.randn(64, 2), torch.randn(64, 1)
            >>> tuned = recipe.set_opt_hparams(lr=0.1).fine_tune(data, parts=["2"], verbose=False)
        """
        own: dict[str, Any] = {"frozen": frozen, "parts": parts, "spread": spread}
        return trials.fine_tune(self, Recipe.fit, data, options, epochs=epochs, **own)

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
        with preserved_randomness(resolve_device(checked.device)), left_alone(self, checked, data, test_data):
            return build(self, data, checked, every_check=True, test_data=test_data)[2]

    def lr_finder(
        self, data: Any, *, start: float = 1e-6, end: float = 1.0, steps: int = 100, **options: Any
    ) -> trials.LearningRates:
        """Find a learning rate: train while it rises from `start` to `end`, until the loss diverges.

        Everything else is as in `fit(data, **options)`: the optimizer's other options, batch size, precision, clipping,
        mixup. No trace is left: weights of a ready-made module and the random state are put back. The way is that of
        Smith, "Cyclical Learning Rates for Training Neural Networks", 2015.

        Args:
            data: as for `fit()`.
            start: the first learning rate.
            end: the last, if the loss does not diverge before.
            steps: how many steps, in equal ratios.
            **options: as for `fit()`.

        Returns:
            Rates and losses, with `.suggest()`, `.plot()` and `.frame()`.

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
        return trials.find_learning_rate(self, data, options_from(options), start, end, steps)

    def plot_lr(self, data: Any, epochs: int = 10, **options: Any) -> "ggplot":
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
            >>> falling = lb.callbacks.LearningRate(lb.schedules.cosine())
            >>> chart = recipe.plot_lr(data, 5, callbacks=falling)
            >>> [round(rate, 6) for rate in chart.data["lr"][:3]]
            [0.001, 0.000976, 0.000905]
        """
        from lumbre.plots import plot_rates

        checked = options_from({**options, "epochs": epochs, "preflight": False, "strategy": None})
        with preserved_randomness(resolve_device(checked.device)), left_alone(self, checked, data):
            context = build(self, data, checked)[0].context
        return plot_rates(rates_ahead(context, checked.callbacks))

    def batch_size_finder(
        self, data: Any, *, sizes: Iterable[int] | None = None, seconds: float = 0.5, **options: Any
    ) -> trials.BatchSizes:
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
        chosen = None if sizes is None else list(sizes)
        return trials.find_batch_size(self, data, options_from(options), chosen, seconds)

    def overfit_one_batch(self, data: Any, *, steps: int = 200, **options: Any) -> trials.OneBatch:
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
            >>> recipe = lb.setup(
            ...     nn.Linear(3, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.Rprop
            ... )
            >>> recipe.overfit_one_batch((torch.eye(3), torch.tensor([0, 1, 0]))).learned
            True
        """
        at_least(1, steps=steps)
        return trials.overfit_one_batch(self, data, options_from(options), steps)

    def verify_resume(self, data: Any, *, steps: int = 8, **options: Any) -> trials.ResumeProof:
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
        return trials.verify_resume(self, data, options_from(options), steps)

    def cross_validate(
        self,
        data: Any,
        *,
        folds: int = 5,
        repeats: int = 1,
        stratify: Any = None,
        group: Any = None,
        ordered: Any = None,
        gap: int = 0,
        seed: int = 0,
        workers: int = 1,
        resume: str | Path | Checkpoints | None = None,
        final: bool = False,
        **options: Any,
    ) -> trials.CrossValidation:
        """Fit once for each fold of the data, and judge each model on the rows that it has not seen.

        A fold is `fit(train, seed=seed, **options)` and `evaluate(held_out)` for each pair of `lumbre.data.folds(data,
        folds, seed=seed)`, bit for bit; repeat r, from 0, takes seed + r for both. All that is learned from rows is
        learned from the fold's training rows: centre and scale of frame data, and when to stop. For that,
        `valid_data=0.2` holds out a fifth of them; so the rows of the fold are only judged on. A module that is passed
        ready-made is copied for each fold and stays as it is.

        Args:
            data: tensors, arrays, frame data or a map-style Dataset.
            folds: how many; each row is held out once in a repeat.
            repeats: how often, with other folds and another seed.
            stratify: a class for each row, True for the target, or the name of a column: each fold has its share of
                each class, within one row.
            group: a group for each row, or the name of a column: no group is in two parts, `valid_data=0.2` included.
            ordered: the rows have an order, and each fold is predicted from those before it: True, or a time for each
                row, or the name of a column. The fold is one of `folds` windows of equal size at the end, all that
                comes before it is trained on, and `valid_data=0.2` holds out the last of these.
            gap: with `ordered`, rows left out before what is held out.
            seed: of folds and fits.
            workers: processes to share the fits out over, each with as many threads as this one has
                (`torch.set_num_threads(1)` before suits small nets). The bits are the same for any number. Where they
                cannot be forked (GPUs, macOS, Windows) the module must stand in a file.
            resume: a folder; a run that was stopped or killed goes on there, to the same bits.
            final: fit all rows, too, without validation, for the median of the folds' best epochs.
            **options: of `fit()`. Its checks before training look at the first fold alone; values for each row
                (`sampler`) are those of all rows. verbose=False prints no line for each fold.

        Returns:
            Scores, their summary with intervals, predictions for each row, and the models.

        Raises:
            OptionError: there cannot be such folds, or options do not go together.
            DataError: the data has no rows that can be counted.
            LumbreError: as `fit()` does.

        Example:
            >>> import torch, lumbre as lb
            >>> from torch import nn, optim
            >>> x = torch.linspace(-1, 1, 60).reshape(60, 1)
            >>> net, loss, metric = lambda: nn.Linear(1, 1), nn.MSELoss(), lb.metrics.MAE()
            >>> recipe = lb.setup(net, loss=loss, optimizer=optim.SGD, metrics=metric)
            >>> found = recipe.cross_validate((x, 3 * x), folds=3, epochs=2, verbose=False)
            >>> list(found.summary()["metric"]), found.predictions.shape, len(found.models)
            (['loss', 'mae'], torch.Size([60, 1]), 3)
        """
        own: dict[str, Any] = {"folds": folds, "repeats": repeats, "stratify": stratify, "group": group}
        own |= {"ordered": ordered, "gap": gap, "seed": seed, "final": final}
        return trials.cross_validate(self, Recipe.fit, data, options, workers=workers, resume=resume, **own)

    def ensemble(
        self,
        data: Any,
        n: int = 10,
        *,
        bootstrap: bool = False,
        seed: int = 0,
        workers: int = 1,
        resume: str | Path | Checkpoints | None = None,
        **options: Any,
    ) -> trials.Ensemble:
        """Fit several times, so that the models predict together: their mean is better than most of them alone.

        Member i, from 0, is `fit(data, seed=seed + i, **options)`, bit for bit. A module that is passed ready-made is
        copied for each, and begins as it is.

        Args:
            data: as for `fit()`; with `bootstrap`, data whose rows can be counted.
            n: how many models, from 2.
            bootstrap: each model has as many rows as there are, drawn with replacement. `valid_data=0.2` holds out a
                fifth before, so that no row is on both sides.
            seed: of the first member.
            workers: as for `cross_validate()`: the bits are the same for any number.
            resume: a folder; a run that was stopped or killed goes on there, to the same bits.
            **options: of `fit()`. Its checks before training look at the first member alone.

        Returns:
            The models, with `.predict()` (their mean, of probabilities where there are classes), `.spread()`,
            `.evaluate()` and `.save()`.

        Raises:
            OptionError, DataError, LumbreError: as `cross_validate()` does.

        Example:
            >>> import torch, lumbre as lb
            >>> from torch import nn, optim
            >>> x = torch.linspace(-1, 1, 60).reshape(60, 1)
            >>> recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD)
            >>> recipe = recipe.set_hparams(in_features=1, out_features=1)
            >>> several = recipe.ensemble((x, 3 * x), n=3, epochs=2, verbose=False)
            >>> several.predict(x).shape, several.spread(x).shape
            (torch.Size([60, 1]), torch.Size([60, 1]))
        """
        own: dict[str, Any] = {"n": n, "bootstrap": bootstrap, "seed": seed}
        return trials.fit_ensemble(self, Recipe.fit, data, options, workers=workers, resume=resume, **own)
