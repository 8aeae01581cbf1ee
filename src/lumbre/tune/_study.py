"""One study for any number of workers: who takes which trial, and what becomes of the trials of a worker that died.

A worker takes a trial under a file lock, so that the trials of all workers together are as many as were asked for.
While it runs one, it leaves the time in the study every few seconds. A trial whose worker has been silent for too long
is lost: it is marked failed, and a copy with the same parameters is put in line. SQLite and journal files are treated
alike: Optuna's own heartbeat knows only the first, and its loop could not keep to a number of trials over processes.
"""

import itertools
import math
import random
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.pool import NullPool

from lumbre.base import OptionError, did_you_mean, stream
from lumbre.tune._space import Parameter

BEAT_SECONDS = 10.0
DEAD_SECONDS = 60.0
MAX_RETRIES = 3
_NAME = "lumbre"
_JOURNALS = (".journal", ".log")
_DATABASES = (".db", ".sqlite", ".sqlite3")
_COUNTABLE = 10_000


def distributions(parameters: Sequence[Parameter]) -> dict[str, BaseDistribution]:
    """The parameters as Optuna knows them."""
    found: dict[str, BaseDistribution] = {}
    for one in parameters:
        if one.choices is not None:
            choices: Sequence[CategoricalChoiceType] = list(one.choices)
            found[one.label] = CategoricalDistribution(choices)
        elif one.whole:
            found[one.label] = IntDistribution(int(one.low), int(one.high), log=one.log)
        else:
            found[one.label] = FloatDistribution(float(one.low), float(one.high), log=one.log)
    return found


class Draws(BaseSampler):
    """Draws by TPE, each trial from a stream of its own; where combinations can be counted, none is drawn twice.

    So a study that goes on draws what it would have drawn without the stop, and workers never draw alike.

    Source: Bergstra, Bardenet, Bengio, Kégl: Algorithms for Hyper-Parameter Optimization, 2011.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        self._space = dict(space)
        self._seed = seed
        self.combinations = _combinations(self._space)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters are drawn together."""
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values for all parameters."""
        seed = stream(self._seed, "tune", trial.number)
        tpe = TPESampler(seed=seed % 2**32)
        drawn = tpe.sample_relative(study, trial, {name: one for name, one in search_space.items() if not one.single()})
        by_chance = RandomSampler(seed=seed % 2**32)
        for name, one in search_space.items():  # all of them in the first trials, later those with a single value
            if name not in drawn:
                drawn[name] = by_chance.sample_independent(study, trial, name, one)
        free = self.free(study)
        if free and drawn not in free:
            return random.Random(seed).choice(free)
        return drawn

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value by chance; only for what `sample_relative` left out, which is nothing."""
        return RandomSampler(seed=self._seed).sample_independent(study, trial, param_name, param_distribution)

    def free(self, study: optuna.Study) -> list[dict[str, Any]]:
        """The combinations that no trial has; none where they are not countable."""
        if not self.combinations:
            return []
        taken = {tuple(map(trial.params.get, self._space)) for trial in study.get_trials(deepcopy=False)}
        return [one for one in self.combinations if tuple(one.values()) not in taken]


def _combinations(space: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    """Every combination of the space; none where they are not countable, or too many."""
    values: list[Sequence[Any]] = []
    for one in space.values():
        if isinstance(one, CategoricalDistribution):
            values.append(one.choices)
        elif isinstance(one, IntDistribution):
            values.append(range(one.low, one.high + 1))
        else:
            return []
    if math.prod(map(len, values)) > _COUNTABLE:
        return []
    return [dict(zip(space, each, strict=True)) for each in itertools.product(*values)]


class Search:
    """A study, and the right to take trials from it.

    Args:
        path: the study's file; None for one in memory, which a single worker has for itself.
        facts: what must be the same whenever the study goes on: "monitor", "mode" and the space.
        mode: "min" or "max".
        sampler: draws parameters.
        pruner: says when to give a trial up.
        trials: how many there are to be in all.
    """

    def __init__(
        self,
        path: Path | None,
        facts: Mapping[str, Any],
        mode: str,
        sampler: Draws,
        pruner: BasePruner,
        trials: int,
    ) -> None:
        self.path = path
        self.trials = trials
        self._sampler = sampler
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._turn(), quiet():
            self._storage = storage_of(path)
            self.study = optuna.create_study(
                storage=self._storage,
                study_name=_NAME,
                direction="minimize" if mode == "min" else "maximize",
                sampler=sampler,
                pruner=pruner,
                load_if_exists=True,
            )
            _check_facts(self.study, facts, path)

    def take(self, space: dict[str, BaseDistribution], worker: str) -> optuna.Trial | None:
        """The next trial, now this worker's; None where no more are to be begun."""
        with self._turn():
            self._line_up()
            for silent in self._silent():
                self._lose(silent, "its worker fell silent")
            begun = [trial for trial in self.study.get_trials(deepcopy=False) if counts(trial)]
            waiting = any(trial.state == TrialState.WAITING for trial in begun)
            if sum(trial.state != TrialState.WAITING for trial in begun) >= self.trials:
                return None
            if not waiting and self._sampler.combinations and not self._sampler.free(self.study):
                return None
            with quiet():
                trial = self.study.ask(fixed_distributions=space)
            trial.set_user_attr("beat", time.time())
            trial.set_user_attr("worker", worker)
            return trial

    def tell(self, trial: optuna.Trial, value: float | None = None, state: TrialState | None = None) -> None:
        """Tell what came of a trial; nothing where another worker, which thought this one dead, has ended it."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.study.tell(trial, value, state=state, skip_if_finished=True)

    def fail(self, trial: optuna.Trial, error: str) -> None:
        """Tell that a trial failed, and why."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            trial.set_user_attr("error", error)
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    @property
    def waits(self) -> bool:
        """Whether other workers are at work on trials that were asked for."""
        trials = [trial for trial in self.study.get_trials(deepcopy=False) if counts(trial)]
        finished = sum(trial.state.is_finished() for trial in trials)
        return finished < self.trials and any(trial.state == TrialState.RUNNING for trial in trials)

    @property
    def succeeded(self) -> bool:
        """Whether a trial came to a value."""
        return any(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def is_best(self, trial: FrozenTrial) -> bool:
        """Whether no other trial has a better value."""
        return trial.state == TrialState.COMPLETE and self.study.best_trial.number == trial.number

    def failures(self) -> list[FrozenTrial]:
        """The trials that failed by an error."""
        failed = self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return [trial for trial in failed if counts(trial)]

    def lose_all_of(self, worker: str, why: str, *, again: bool = False) -> None:
        """Put the trials of a worker that ended in line again.

        Args:
            worker: its name.
            why: said beside the trial.
            again: in any case, and not only so often.
        """
        with self._turn():
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if trial.user_attrs.get("worker") == worker:
                    self._lose(trial, why, again=again)

    def _lose(self, trial: FrozenTrial, why: str, *, again: bool = False) -> None:
        """Mark a trial failed, and put a copy with the same parameters in line, unless that happened too often."""
        history: list[int] = trial.user_attrs.get("lost", [])
        retried = again or len(history) < MAX_RETRIES
        number = trial._trial_id  # pyright: ignore[reportPrivateUsage]
        text = f"{why}; tried again" if retried else f"{why}, and those of trials {history} before it"
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # it may come to its end meanwhile
            self._storage.set_trial_user_attr(number, "error", text)
            self._storage.set_trial_user_attr(number, "retried", retried)
            self._storage.set_trial_user_attr(number, "lost", history if again else [*history, trial.number])
            self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        self._line_up()

    def _line_up(self) -> None:
        """Put a copy of each lost trial in line that has none; done anew where a worker was killed in the middle."""
        trials = self.study.get_trials(deepcopy=False)
        copied = {trial.user_attrs.get("copy_of") for trial in trials}
        for trial in trials:
            if not counts(trial) and trial.number not in copied:
                self.study.add_trial(
                    create_trial(
                        state=TrialState.WAITING,
                        params=trial.params,
                        distributions=trial.distributions,
                        user_attrs={"copy_of": trial.number, "lost": trial.user_attrs["lost"]},
                    )
                )

    @contextmanager
    def beating(self, trial: optuna.Trial) -> Generator[None]:
        """Leave a sign of life in the study while the trial runs."""
        if self.path is None:
            yield
            return
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_SECONDS):
                try:
                    trial.set_user_attr("beat", time.time())
                except optuna.exceptions.UpdateFinishedTrialError:  # another worker thought this one dead
                    return
                except optuna.exceptions.StorageInternalError:  # a file busy for too long; the next beat may pass
                    continue

        thread = threading.Thread(target=beat, name="lumbre-tune-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _silent(self) -> list[FrozenTrial]:
        """Running trials whose workers have not been heard of for too long, or died while they took them."""
        now = time.time()
        return [
            trial
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if "worker" not in trial.user_attrs or now - trial.user_attrs["beat"] > DEAD_SECONDS
        ]

    def _turn(self) -> AbstractContextManager[Any]:
        """The lock under which trials are taken; the system frees it when its holder dies."""
        return nullcontext() if self.path is None else FileLock(f"{self.path}.turn")


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those asked for, and not one that was lost and tried again."""
    return trial.state != TrialState.FAIL or not trial.user_attrs.get("retried", False)


def check_path(study: Any) -> Path | None:
    """The study's file.

    Raises:
        OptionError: the end of its name tells neither a database nor a journal.
    """
    if study is None:
        return None
    if not isinstance(study, (str, Path)) or Path(study).suffix not in _JOURNALS + _DATABASES:
        hint = did_you_mean(Path(study).suffix, _JOURNALS + _DATABASES) if isinstance(study, (str, Path)) else ""
        raise OptionError(
            f"study={study!r}",
            f"a file ending in {', '.join(_DATABASES)} (SQLite) or {', '.join(_JOURNALS)} (a journal)",
            f'{hint}study="runs/tune.db", or study="runs/tune.journal" on a network drive',
        )
    return Path(study).absolute()


def storage_of(path: Path | None) -> optuna.storages.BaseStorage:
    """Optuna's storage in a file, or in memory."""
    if path is None:
        return optuna.storages.InMemoryStorage()
    if path.suffix in _JOURNALS:
        return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    # A connection left open would reach the processes forked from this one, which SQLite forbids.
    options = {"connect_args": {"timeout": 60}, "poolclass": NullPool}
    return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs=options)


def _check_facts(study: optuna.Study, facts: Mapping[str, Any], path: Path | None) -> None:
    kept = study.user_attrs.get("lumbre")
    if kept is None:
        study.set_user_attr("lumbre", dict(facts))
        return
    for name, value in facts.items():
        if kept.get(name) != value:
            raise OptionError(
                f"{name} {value} for the study in {path}",
                f"{name} {kept.get(name)}, with which it was begun",
                "the same space, monitor and mode as before, or another file",
            )


@contextmanager
def quiet() -> Generator[None]:
    """Leave the telling of what happens to lumbre."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
