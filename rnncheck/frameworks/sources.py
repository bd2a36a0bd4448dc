"""A first run of a network's equations on zeros, to learn shapes and to see that they fit together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from rnncheck.cases.case import Case
from rnncheck.equations.shapes import rehearse
from rnncheck.frameworks.keras.config.reader import read
from rnncheck.frameworks.keras.files.modelfile import ModelFile, open_model
from rnncheck.frameworks.keras.session import forget_models
from rnncheck.network import Activation, Array, Network


def open_network(path: Path) -> tuple[ModelFile, Network]:
    """Open a model file and read its network.

    Raises:
        InputError: the file cannot be read.
        UnsupportedError: it has something that rnncheck does not replay, or its shapes do not fit together.
    """
    file = open_model(path)
    return file, rehearse(read(file.config, file.weights, file.keras_version).network)


Calls = tuple[tuple[Array, ...], ...]  # the inputs of each call in a row


@dataclass(frozen=True)
class How:
    """How a model is run.

    Attributes:
        paths: on which of `rnncheck.frameworks.keras.paths.PATHS`.
        relations: which of `rnncheck.checks.relations.RELATIONS` are tried on each of them.
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
        from rnncheck.frameworks.keras.build import build
        from rnncheck.frameworks.keras.extract import extract

        try:
            built = build(self.case)
            yield Opened(built.model, extract(built.model), built.calls)
        finally:
            forget_models()


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
        from rnncheck.frameworks.keras.load import load

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
class Source:
    """A model to verify: what it says of itself, and how to get it to run.

    Attributes:
        name: what to call it.
        network: its equations.
        task: (the inputs of each call in a row, how to run it) -> what runs the model; None for equations alone.
        notes: what a reader of the report must know of it.
        loaded: the Keras model, where it is in this process.
    """

    name: str
    network: Network
    task: Callable[[Calls, How], Task] | None = None
    notes: tuple[str, ...] = ()
    loaded: Any = None

    @staticmethod
    def of(model: Any) -> Source:
        """Return a Network, a Keras model, or a file by its path, as a source."""
        if isinstance(model, Network):
            return Source(model.name, model)
        if isinstance(model, str | os.PathLike):
            return Source._of_file(Path(model))
        from rnncheck.frameworks.keras.extract import extract

        network = rehearse(extract(model))

        def task(calls: Calls, how: How) -> Task:
            return LoadedTask(Opened(model, network, calls), how)

        return Source(network.name, network, task, loaded=model)

    def noting(self, note: str) -> Source:
        """Return the same with one more note, where there is one."""
        return replace(self, notes=(*self.notes, note)) if note else self

    @staticmethod
    def _of_file(path: Path) -> Source:
        file, network = open_network(path)
        return Source(path.name, network, partial(FileTask, path), notes_on(network, file.keras_version))


def notes_on(network: Network, keras_version: str) -> tuple[str, ...]:
    """Say where the Keras that wrote a file computed something else than today's."""
    activations = {
        value.name for layer in network.layers for value in layer.options.values() if isinstance(value, Activation)
    }
    if "hard_sigmoid_keras2" not in activations:
        return ()
    note = (
        f"the file was written by Keras {keras_version}, whose hard_sigmoid is 0.2x + 0.5; that is what is expected. "
        "Keras 3 computes x/6 + 0.5 when it loads the file: a mismatch here says that the model changed."
    )
    return (note,)
