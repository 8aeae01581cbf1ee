"""Runs that can be killed: their state goes into checkpoints, and a run found in a folder goes on from there."""

import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from torch import Tensor

from lumbre.base import LumbreError, ResumeError, brief, is_out_of_memory
from lumbre.callbacks import EarlyStopping, KeepBestModel, ModelCheckpoint
from lumbre.core import Plan
from lumbre.data import FIRST_BATCH, is_drawn_anew
from lumbre.processes import World, lock_patience, network_error
from lumbre.resume._facts import facts_of, needs_epochs, same_but_for_fingerprint, same_fact
from lumbre.resume._hidden import HiddenState
from lumbre.resume._state import Run, bring_back, merged_meter, take_state
from lumbre.resume._stops import stop_stands
from lumbre.run import Checkpoints, Options, Session, Spec, as_checkpoints, choices_from
from lumbre.storage import CheckpointStore, Stored, agreed, checked_run, pack, unpack

TERMINATED = 143
"""The exit status of a process that was asked to end (128 + SIGTERM), after it has written a checkpoint."""


class RunKeeper:
    """The keeper of a run whose checkpoints go into a store.

    Processes that share a run take checkpoints at the same updates. Whether to stop, and what the clock says, they ask
    one another after every update and hear after the next, so that nobody waits for the answer.

    Args:
        run: what has state.
        store: where checkpoints go.
        when: how often.
        facts: what the run is made of.
        stored: the checkpoint to go on from, or None.
        ask: asks all processes for the largest of some numbers.
        chosen: what was chosen for it, which a run that goes on takes over.
        hidden: looks for what checkpoints do not keep; None looks for nothing.
    """

    def __init__(
        self,
        run: Run,
        store: CheckpointStore,
        when: Checkpoints,
        facts: dict[str, str],
        stored: Stored | None,
        ask: Callable[[Sequence[int]], Callable[[], list[int]]],
        chosen: dict[str, bool],
        *,
        hidden: HiddenState | None,
    ) -> None:
        self._run = run
        self._hidden = hidden
        self._store = store
        self._when = when
        self._facts = facts
        self._stored = stored
        self._ask_all = ask
        self._answer: Callable[[], list[int]] | None = None
        self._chosen = chosen
        self._context = run.plan.context
        self._began = perf_counter()
        self._step = self._last_step = self._restored = 0
        self._last_time = monotonic()
        self._asked: int | None = None
        position = (1, 0) if stored is None else stored.document["position"]
        self.start = (int(position[0]), int(position[1]))
        self.stopped = stored is not None and stop_stands(
            stored.document, run.callbacks, run.plan.epochs, run.plan.context.monitored
        )

    def restore(self) -> None:
        """Bring the stored state back; in a run that starts afresh, make sure that its state can be stored."""
        if self._stored is None:
            pack(take_state(self._run, within=False), {})
            if self._hidden is not None:
                self._hidden.begin()
            return
        bring_back(self._run, self._state(self._stored))
        for one in self._run.callbacks:
            if isinstance(one, (EarlyStopping, KeepBestModel, ModelCheckpoint)):
                one.judge_again(self._context)
        if self._context.stop_reason is not None and not self.stopped:
            self._context.stop_reason = None
            for one in self._run.callbacks:
                if isinstance(one, EarlyStopping):
                    one.wait_again()
        self._step = self._last_step = self._restored = self._context.step
        if self._hidden is not None:
            self._hidden.begin()

    def _state(self, stored: Stored) -> dict[str, Any]:
        """This process's own state of as many processes; of another number the first one's, and metrics shared out."""
        world, device = self._run.world, self._context.device

        def of(rank: int) -> dict[str, Any]:
            part = stored.part(rank)
            return unpack(part.document["state"], part.tensors, device)

        if stored.processes == world.size:
            return of(world.rank)
        state = of(0)
        if state["meter"] is not None:
            states = [state["meter"]] if world.leads else []
            states += [of(rank)["meter"] for rank in stored.parts]
            state["meter"] = merged_meter(self._run, states)
        return state

    def batch_done(self, now: float) -> float:
        """Take a checkpoint if one is due and no group of batches is waiting for its update."""
        step = self._context.step
        if step == self._step:
            return now
        self._step = step
        when = self._when
        asked, late, busy = self._told()
        if step >= self._run.plan.max_steps:  # what the end of this epoch comes to belongs to this run alone
            self._save(asked, within=True, wait=True)
            now = self._context.history.lap("checkpoints", now)
            self._ask_others()
            return now
        due = late or (when.steps is not None and step - self._last_step >= when.steps)
        if asked or (due and not busy):
            self._save(asked, within=True, wait=when.wait or bool(asked))
            now = self._context.history.lap("checkpoints", now)
        self._ask_others()
        return now

    def epoch_done(self, now: float) -> None:
        """Take a checkpoint; the last one of a run is waited for."""
        ctx, (fewest, most) = self._context, self._run.plan.epochs
        # The end of an epoch updates with a group that is not full: no update of the batch that comes next.
        self._step = ctx.step
        full = ctx.step >= self._run.plan.max_steps
        last = full or ctx.epoch >= most or (ctx.stop_reason is not None and ctx.epoch >= fewest)
        if self._answer is not None:
            self._answer()  # what was said after the last update counts no more
        self._ask_others()
        asked, _, busy = self._told()
        if full and self._last_step == ctx.step:
            pass  # it is kept as it was after that update, from where it goes on
        elif last or asked or not busy:
            self._save(asked, within=False, wait=last or self._when.wait or bool(asked))
        if not last:
            self._ask_others()
        ctx.history.lap("checkpoints", now)

    def _flags(self) -> list[int]:
        """What this process would tell the others: the signal it was sent, whether time is up, whether it writes."""
        seconds = self._when.seconds
        late = seconds is not None and monotonic() - self._last_time >= seconds
        return [self._asked or 0, int(late), int(self._store.busy)]

    def _ask_others(self) -> None:
        if self._run.world.size > 1:
            self._answer = self._ask_all(self._flags())

    def _told(self) -> list[int]:
        """What all processes said when they were last asked; nobody had anything to say before that."""
        if self._run.world.size == 1:
            return self._flags()
        answer, self._answer = self._answer, None
        return [0, 0, 0] if answer is None else answer()

    def _save(self, asked: int, *, within: bool, wait: bool) -> None:
        self._store.wait()
        self._store.complain()
        if self._hidden is not None:
            self._hidden.tell(within=within)
        ctx, world = self._context, self._run.world
        tensors: dict[str, Tensor] = {}
        state = take_state(self._run, within=within)
        state["progress"]["fit_seconds"] += perf_counter() - self._began
        document = {
            "position": [ctx.epoch, ctx.batch_index] if within else [ctx.epoch + 1, 0],
            "engine": self._run.plan.engine.name,
            **self._chosen,
            "world_size": world.size,
            "facts": self._facts,
            "state": pack(state, tensors),
        }
        alike = frozenset[str]() if world.leads else self._alike(tensors)
        copies = _copies({name: tensor for name, tensor in tensors.items() if name not in alike})
        name = f"step-{ctx.step:08}" + ("" if within else f"-epoch-{ctx.epoch}")
        self._store.write(name, document, copies, wait=wait)
        self._last_step, self._last_time = ctx.step, monotonic()
        if wait:
            self._store.complain()
        if asked == signal.SIGTERM:
            raise SystemExit(TERMINATED)
        if asked:
            raise KeyboardInterrupt

    def _alike(self, tensors: dict[str, Tensor]) -> frozenset[str]:
        """Tensors that are the same in all processes, since all do the same updates: weights, states of optimizers."""
        weights = {f"/model/tensors/{name}" for name, _ in self._run.plan.model.named_parameters()}
        return frozenset(name for name in tensors if name in weights or name.startswith("/optimizers/"))

    def _ask(self, number: int, frame: object) -> None:
        if self._asked is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: at once
        self._asked = number

    @contextmanager
    def listening(self) -> Generator[None]:
        """Take SIGTERM and Ctrl-C as requests to write a checkpoint at the next step and to stop.

        Ctrl-C only where it would raise KeyboardInterrupt: SIGINT that is ignored (by `nohup`, or `&` in a script)
        stays so, and a handler of the caller's stays in place.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may listen
            return
        before: dict[int, Any] = {signal.SIGTERM: signal.signal(signal.SIGTERM, self._ask)}
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def attributing_errors(self) -> Generator[None]:
        """Say what was found of an error before the first update that follows it: the state may be at fault."""
        try:
            yield
        except LumbreError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError) as error:
            if self._stored is None or self._context.step != self._restored:
                raise
            if self._run.world.size > 1 and network_error(error) is not None:
                raise  # another process is at fault
            raise ResumeError(
                f"{self._store.folder / self._stored.name}, after which the first step failed: "
                f"{type(error).__name__}: {brief(error)}",
                "a state that fits this run, and a step that can be taken",
                "look at the error above; if the checkpoint is at fault, delete it, and the one before it is used",
            ) from error


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor] | Exception:
    """Copies on the same device; the error, where there is no memory for them."""
    try:
        return {name: tensor.clone() for name, tensor in tensors.items()}
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return error


class KeptRun:
    """The folder of a run, and what was found in it.

    Args:
        when: the folder, and how often to write.
        world: the processes that share the run; all of them must ask.
    """

    def __init__(self, when: Checkpoints, world: World) -> None:
        self.when = when
        self._world = world
        self._line, self._store_line = world.line(), world.line()
        self.store = CheckpointStore(
            Path(when.folder).absolute(),  # a callback may change the working directory
            when.keep,
            rank=world.rank,
            gather=self._store_line.gather,
            patience=lock_patience(world),
        )
        try:
            self.stored = self.store.newest()
            if self.stored is not None:
                for rank in (0, *self.stored.parts):
                    checked_run(self.stored.part(rank).document)
        except BaseException:
            self.store.close()
            raise

    def close(self) -> None:
        """Finish what is being written, and let others use the folder."""
        self.store.close()

    def close_lines(self) -> None:
        """Give up the lines to the other processes, at a moment when all of them do."""
        self._line.close()
        self._store_line.close()

    def adjusted(self, options: Options) -> Options:
        """The options, with what was left to chance or to choice in them as the found run had it."""
        if self.stored is None:
            return options
        document = self.stored.document
        if options.seed is None:
            options = replace(options, seed=int(document["facts"]["seed"]))
        if options.flush_denormal is None:
            options = replace(options, flush_denormal=document.get("flush_denormal", False))
        if options.engine != "auto" or (self._world.size > 1 and document["engine"] != "eager"):
            return options  # what one process compiled, several do not
        return replace(options, engine=document["engine"])

    def chosen(self, session: Session) -> Session:
        """The session with the choices of the found run: dropout draws by place, and products differ in a last bit."""
        if self.stored is None:
            return session
        chosen = choices_from(self.stored.document, session.device)
        chosen = replace(chosen, flush_denormal=session.choices.flush_denormal)
        if session.sharded is not None:
            chosen = replace(chosen, channels_last=False)
        return replace(session, choices=chosen)

    def keeper(self, plan: Plan, session: Session, recipe: Spec, options: Options, *, look: bool = True) -> RunKeeper:
        """The keeper of a run, whose session has what was `chosen`; `look` for what checkpoints do not keep.

        Raises:
            ResumeError: the run that was found is another one.
        """
        facts, stored, world = facts_of(recipe, options, session), self.stored, self._world
        if stored is not None:
            # What the first process finds is what counts: it is the one whose facts were written.
            agreed(
                self._store_line.gather,
                world.rank,
                lambda: self._compare(stored, facts, plan, options, session) if world.leads else None,
            )
        run = Run(plan, options.callbacks, session.loss_module, world)
        hidden = None
        if look and world.leads:
            hidden = HiddenState(run, {"loss": session.loss, "augment": options.augment})
        chosen = session.choices.state()
        return RunKeeper(run, self.store, self.when, facts, stored, self._line.ask, chosen, hidden=hidden)

    def _compare(self, stored: Stored, facts: dict[str, str], plan: Plan, options: Options, session: Session) -> None:
        document = stored.document
        known: dict[str, str] = document["facts"]
        changed = {
            name: (known.get(name, "not told"), now)
            for name, now in facts.items()
            if not same_fact(known.get(name), now)
        }
        if stored.processes == self._world.size:
            if document["engine"] != plan.engine.name:
                changed["engine"] = document["engine"], plan.engine.name
        elif session.record.data["train"].covers.startswith(FIRST_BATCH):
            changed.pop("train_data", None)  # of that the first process has its part, which is another now
        flushed = str(document.get("flush_denormal", False)), str(session.choices.flush_denormal)
        if flushed[0] != flushed[1]:
            changed["flush_denormal"] = flushed
        rows = changed.get("train_data")
        if rows and same_but_for_fingerprint(*rows) and is_drawn_anew(plan.train, session.record.data["train"]):
            del changed["train_data"]
        counting = needs_epochs(list(options.callbacks))
        if counting is None:
            changed.pop("epochs", None)
        changed = {name: values for name, values in changed.items() if name not in self.when.allow_changes}
        if not changed:
            return
        lines = [f"\n    {name}: was {_short(was, now)}, is {_short(now, was)}" for name, (was, now) in changed.items()]
        why = f" ({counting} counts on the number of epochs)" if "epochs" in changed else ""
        names = ", ".join(repr(name) for name in changed if name != "weights")
        raise ResumeError(
            f"{self.when.folder}, which holds a run that differs in{''.join(lines)}",
            f"the recipe, data and options that the run began with{why}",
            f"another folder; or lumbre.Checkpoints({str(self.when.folder)!r}, allow_changes=({names},)), "
            "if the change is meant",
        )

    def notes(self, options: Options, plan: Plan) -> list[str]:
        """What to say of the run that was found, and that goes on by `plan`."""
        if self.stored is None:
            return []
        (epoch, batch), most = self.stored.document["position"], options.epoch_range[1]
        if epoch > most:
            return [f"The run in {self.when.folder} is complete: nothing is left to train."]
        if stop_stands(self.stored.document, options.callbacks, options.epoch_range, plan.context.monitored):
            return [
                f"The run in {self.when.folder} is complete, it stopped early: nothing is left to train. "
                "It goes on with more epochs, or with more patience."
            ]
        where = f"epoch {epoch}" + (f", after {batch} batches" if batch else "")
        was, now = self.stored.processes, self._world.size
        where += "" if was == now else f", with {now} processes in place of {was}"
        return [f"Going on with the run in {self.when.folder}: {where}."]


@contextmanager
def kept_run(resume: Any, world: World) -> Generator[KeptRun | None]:
    """The folder of `resume`, in use by this run alone while the context lasts; None without one."""
    when = as_checkpoints(resume)
    if when is None:
        yield None
        return
    kept = KeptRun(when, world)
    try:
        yield kept
    finally:
        kept.close()
    kept.close_lines()


def _short(text: str, other: str) -> str:
    """`text` around the place where it differs from `other`."""
    at = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    begin, end = max(0, at - 60), at + 80
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"
