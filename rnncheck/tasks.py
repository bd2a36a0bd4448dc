"""Something to run in Keras, and what became of it: in this process or in another one.

Tasks and answers can be pickled, so that `rnncheck.backends` can send them to a process with another backend.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from rnncheck.case import Case
from rnncheck.errors import NotApplicableError, RnncheckError
from rnncheck.network import Array, Network
from rnncheck.recording import Recording
from rnncheck.relations import RELATIONS, Related, Runner
from rnncheck.report import Entry

# How Keras makes a message bold.
_COLOUR = re.compile(r"\x1b\[\d*m")

Calls = tuple[tuple[Array, ...], ...]  # the inputs of each call in a row


@dataclass(frozen=True)
class How:
    """How a model is run.

    Attributes:
        paths: on which of `rnncheck.paths.PATHS`.
        relations: which of `rnncheck.relations.RELATIONS` are tried on each of them.
    """

    paths: tuple[str, ...] = ("predict",)
    relations: tuple[str, ...] = ()


ONCE = How()


@dataclass(frozen=True)
class Opened:
    """A Keras model in this process.

    Attributes:
        model: the Keras model.
        network: its equations.
        calls: the inputs of each call in a row.
    """

    model: Any
    network: Network
    calls: Calls


class Task(Protocol):
    """Something to run in Keras."""

    @property
    def how(self) -> How:
        """How to run it."""

    def open(self) -> AbstractContextManager[Opened]:
        """Get hold of it for a while."""


@dataclass(frozen=True)
class CaseTask:
    """Build a case and run it.

    Attributes:
        case: what to build.
        how: how to run it.
    """

    case: Case
    how: How = ONCE

    @contextlib.contextmanager
    def open(self) -> Iterator[Opened]:
        """Build it; its models are forgotten afterwards."""
        from rnncheck.builder import build
        from rnncheck.extractor import extract

        try:
            built = build(self.case)
            yield Opened(built.model, extract(built.model), built.calls)
        finally:
            forget_models()


def forget_models() -> None:
    """Let go of the models that were built, so that the next ones have the names that they would have alone."""
    import keras

    keras.backend.clear_session(free_memory=False)
    _keep_what_is_loaded()


@cache
def _keep_what_is_loaded() -> None:
    """Spare the garbage collector the frameworks' own million of objects, which would take it 0.2 s a model."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class FileTask:
    """Load a model file and run it.

    Attributes:
        path: a `.keras` or `.h5` file.
        calls: the inputs of each call in a row.
        how: how to run it.
    """

    path: Path
    calls: Calls
    how: How = ONCE

    @contextlib.contextmanager
    def open(self) -> Iterator[Opened]:
        """Read the equations in the file, and let Keras load it."""
        from rnncheck.rebuild import load
        from rnncheck.rehearsal import open_network

        file, network = open_network(self.path)
        yield Opened(load(file), network, self.calls)


@dataclass(frozen=True)
class LoadedTask:
    """Run a model that is in this process already, and stays here.

    Attributes:
        opened: the model, its equations and the inputs.
        how: how to run it.
    """

    opened: Opened
    how: How = ONCE

    @contextlib.contextmanager
    def open(self) -> Iterator[Opened]:
        """Return it."""
        yield self.opened


@dataclass(frozen=True)
class Run:
    """What became of a model on one path.

    Attributes:
        path: the name of the path.
        recordings: what was produced, one recording for each call; empty where it failed or was not run.
        related: what became of the metamorphic relations.
        error: why it failed; empty where it did not.
        not_applicable: why there was nothing to run; empty where there was.
    """

    path: str = "predict"
    recordings: tuple[Recording, ...] = ()
    related: tuple[Related, ...] = ()
    error: str = ""
    not_applicable: str = ""


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    Attributes:
        network: the equations; None where there was no model to run.
        runs: one for each path.
        error: why there was no model to run; empty where there was.
        environment: versions, backend, device, where it ran in another process.
    """

    network: Network | None = None
    runs: tuple[Run, ...] = ()
    error: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """What was produced on the first path."""
        return self.runs[0].recordings if self.runs else ()


def answer(task: Task) -> Answer:
    """Run a task; whatever the framework raises is an answer too.

    Raises:
        RnncheckError: the model has something that rnncheck does not replay, or the inputs do not fit it.
    """
    try:
        with quiet_framework(), task.open() as opened:
            return Answer(opened.network, tuple(_run(opened, path, task.how.relations) for path in task.how.paths))
    except RnncheckError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
        return Answer(error=described(error))


@dataclass(frozen=True)
class Work:
    """Something to verify: a run in Keras, here or in another process, and how to judge it.

    Attributes:
        task: what to run.
        judge: what became of it -> the entries of a report, one for each path.
    """

    task: Task
    judge: Callable[[Answer], tuple[Entry, ...]]

    def verify(self) -> tuple[Entry, ...]:
        """Run it in this process, and judge it."""
        return self.judge(answer(self.task))


def _run(opened: Opened, path: str, relations: Sequence[str]) -> Run:
    from rnncheck.paths import PATHS
    from rnncheck.runner import running

    try:
        with running(opened.model, opened.network, opened.calls, PATHS[path]) as runner:
            recordings = runner.record(opened.calls)
            return Run(path, recordings, related_runs(runner, opened.network, opened.calls, relations))
    except NotApplicableError as reason:
        return Run(path, not_applicable=str(reason))
    except RnncheckError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
        refusal = PATHS[path].refusal
        if refusal and refusal in str(error):
            return Run(path, not_applicable=f"Keras says that {refusal} for one of the layers")
        return Run(path, error=described(error))


def related_runs(runner: Runner, network: Network, calls: Calls, names: Sequence[str]) -> tuple[Related, ...]:
    """Try metamorphic relations on what computes outputs.

    Args:
        runner: computes outputs.
        network: the equations.
        calls: the inputs of each call in a row.
        names: those of the relations.
    """
    return tuple(_related(runner, network, calls, name) for name in names)


def _related(runner: Runner, network: Network, calls: Calls, name: str) -> Related:
    try:
        return Related(name, RELATIONS[name].outputs(runner, network, calls))
    except NotApplicableError as reason:
        return Related(name, not_applicable=str(reason))
    except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
        return Related(name, error=described(error))


def described(error: Exception) -> str:
    """Return an exception's type and its first line; where Keras says first where it was raised, the next one too."""
    lines = [line for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    said = lines[: 2 if lines and lines[0].startswith("Exception encountered when calling") else 1]
    return f"{type(error).__name__}: {' '.join(said)}"


@contextlib.contextmanager
def quiet_framework() -> Iterator[None]:
    """Keep the framework's advice to model builders out of a check's output."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
