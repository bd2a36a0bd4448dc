"""Something to run in Keras, and what became of it: in this process or in another one.

Tasks and answers can be pickled, so that `rnncheck.backends` can send them to a process with another backend.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from rnncheck.case import Case
from rnncheck.errors import RnncheckError
from rnncheck.network import Array, Network
from rnncheck.recording import Recording

# How Keras makes a message bold.
_COLOUR = re.compile(r"\x1b\[\d*m")

Calls = tuple[tuple[Array, ...], ...]  # the inputs of each call in a row


class Task(Protocol):
    """Something to run in Keras."""

    def run(self) -> tuple[Network, tuple[Recording, ...]]:
        """Return the equations of what was run, and what it produced, one recording for each call."""


@dataclass(frozen=True)
class CaseTask:
    """Build a case and run it.

    Attributes:
        case: what to build.
    """

    case: Case

    def run(self) -> tuple[Network, tuple[Recording, ...]]:
        """Return the equations of what was built, and what it produced."""
        from rnncheck.builder import build
        from rnncheck.extractor import extract
        from rnncheck.runner import record

        try:
            built = build(self.case)
            network = extract(built.model)
            return network, record(built.model, network, built.calls)
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
    """

    path: Path
    calls: Calls

    def run(self) -> tuple[Network, tuple[Recording, ...]]:
        """Return the equations in the file, and what Keras computes when it loads it."""
        from rnncheck.rebuild import load
        from rnncheck.rehearsal import open_network
        from rnncheck.runner import record

        file, network = open_network(self.path)
        return network, record(load(file), network, self.calls)


@dataclass(frozen=True)
class LoadedTask:
    """Run a model that is in this process already, and stays here.

    Attributes:
        model: the Keras model.
        network: its equations.
        calls: the inputs of each call in a row.
    """

    model: Any
    network: Network
    calls: Calls

    def run(self) -> tuple[Network, tuple[Recording, ...]]:
        """Return the equations, and what Keras computes."""
        from rnncheck.runner import record

        return self.network, record(self.model, self.network, self.calls)


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    Attributes:
        network: the equations; None where it failed.
        recordings: what was produced.
        error: why it failed; empty where it did not.
        environment: versions, backend, device, where it ran in another process.
    """

    network: Network | None = None
    recordings: tuple[Recording, ...] = ()
    error: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def answer(task: Task) -> Answer:
    """Run a task; whatever the framework raises is an answer too.

    Raises:
        RnncheckError: the model has something that rnncheck does not replay, or the inputs do not fit it.
    """
    try:
        with quiet_framework():
            network, recordings = task.run()
    except RnncheckError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
        return Answer(error=_described(error))
    return Answer(network, recordings)


def _described(error: Exception) -> str:
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
