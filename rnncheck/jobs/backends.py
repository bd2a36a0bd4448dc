"""Keras' backends: which are there, and how far the same run differs between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from rnncheck.cases.deviations import BACKENDS
from rnncheck.checks.scores import alike
from rnncheck.errors import InputError
from rnncheck.frameworks.keras.session import installed_backends
from rnncheck.jobs.perform import Run
from rnncheck.network import Array
from rnncheck.report.entry import Difference

OTHER_WEIGHTS = (
    "Keras' initialisers draw other weights on each backend, so that nothing is said of how far their outputs differ."
)


def named_backends(names: Sequence[str]) -> tuple[str, ...]:
    """Return the backends that are named; with `all`, those installed. An InputError where one is not."""
    names = [names] if isinstance(names, str) else names
    installed = installed_backends()
    for name in names:
        if name not in {*BACKENDS, "all"}:
            raise InputError(f"backend: got {name!r}; expected {', '.join(BACKENDS)} or all.")
        if name not in {*installed, "all"}:
            raise InputError(
                f"backend: got {name!r}, which is not installed; expected one that is. "
                f'Run: pip install "rnncheck[{name}]"'
            )
    return tuple(name for name in installed if name in names or "all" in names)


def have_the_same_weights(runs: Iterable[Sequence[Run]]) -> bool:
    """Whether all backends that had a model to run had the same weights in it."""
    # One path is enough: all paths of a job run the same model.
    networks = [each[0].network for each in runs]
    first, *others = [each.layers for each in networks if each is not None] or [()]
    return all(
        np.array_equal(weight, other.weights[name], equal_nan=True)
        for layers in others
        for layer, other in zip(first, layers, strict=True)
        for name, weight in layer.weights.items()
    )


def differences(name: str, runs: Mapping[str, Sequence[Run]], *, by_path: bool) -> Iterator[Difference]:
    """Yield the largest difference between the outputs of each two backends, on each path that both ran."""
    outputs = {
        (each.path, backend): [output for recording in each.recordings for output in recording.outputs]
        for backend, of_backend in runs.items()
        for each in of_backend
        if each.recordings
    }
    for path in dict.fromkeys(path for path, _ in outputs):
        for pair in combinations([backend for where, backend in outputs if where == path], 2):
            first, second = (outputs[path, backend] for backend in pair)
            largest = max(map(_largest, first, second))
            yield Difference(name, pair, largest, path if by_path else "")


def _largest(a: Array, b: Array) -> float:
    # The same NaN or infinity on both sides is no difference, on one side an infinite one.
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(alike(a, b), 0.0, np.abs(a - b))
    return float(np.max(np.nan_to_num(difference, nan=np.inf, posinf=np.inf), initial=0.0))
