"""The same runs on several backends: each judged by the same equations, and all held against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from rnncheck.checks.scores import alike
from rnncheck.jobs.job import Answer, Work
from rnncheck.jobs.processes import run_everywhere
from rnncheck.network import Array, Recording
from rnncheck.report.report import Difference, Entry, Report


class CrossCheck:
    """Verifies on several backends, and gathers what was found."""

    def __init__(self, backends: Sequence[str]) -> None:
        """Remember the backends, some of `rnncheck.cases.deviations.BACKENDS`."""
        self._backends = backends
        self._entries: list[Entry] = []
        self._differences: list[Difference] = []
        self._environments: dict[str, dict[str, str]] = {}

    def run(self, works: Sequence[Work]) -> Iterator[Work]:
        """Verify each, and yield it when all backends have."""
        for work, answers in zip(works, run_everywhere(self._backends, [w.task for w in works]), strict=True):
            given = dict(zip(self._backends, answers, strict=True))
            entries = {backend: work.judge(each) for backend, each in given.items()}
            first = next(entry for found in entries.values() for entry in found)
            alike = _have_the_same_weights(answers)
            notes = () if alike else (_OTHER_WEIGHTS,)
            self._entries += [
                replace(entry, backend=name, notes=(*entry.notes, *notes))
                for name, found in entries.items()
                for entry in found
            ]
            if alike:
                self._differences += _differences(first.name, given, by_path=bool(first.path))
            self._environments |= {backend: dict(each.environment) for backend, each in given.items()}
            yield work

    def report(self, *, interrupted: bool = False) -> Report:
        """Return what was found."""
        return Report(self._environment(), tuple(self._entries), interrupted, tuple(self._differences))

    def _environment(self) -> dict[str, str]:
        """Return what the backends say of themselves, with what they disagree on side by side."""
        found: dict[str, list[str]] = {}
        for said in self._environments.values():
            for name, value in said.items():
                found.setdefault(name, [])
                found[name] += [] if value in found[name] else [value]
        return {name: ", ".join(values) for name, values in found.items()}


_OTHER_WEIGHTS = (
    "Keras' initialisers draw other weights on each backend, so that nothing is said of how far their outputs differ."
)


def _have_the_same_weights(answers: Sequence[Answer]) -> bool:
    """Whether all backends that had a model to run had the same weights in it."""
    first, *others = [each.network.layers for each in answers if each.network is not None] or [()]
    return all(
        np.array_equal(weight, other.weights[name], equal_nan=True)
        for layers in others
        for layer, other in zip(first, layers, strict=True)
        for name, weight in layer.weights.items()
    )


def _differences(name: str, answers: dict[str, Answer], *, by_path: bool) -> Iterator[Difference]:
    """Yield the largest difference between the outputs of each two backends, by the path on which both ran."""
    runs = {backend: {run.path: run.recordings for run in each.runs} for backend, each in answers.items()}
    paths = dict.fromkeys(path for of_backend in runs.values() for path in of_backend)
    for path in paths:
        ran = [backend for backend, of_backend in runs.items() if of_backend.get(path)]
        for pair in combinations(ran, 2):
            first, second = (runs[backend][path] for backend in pair)
            largest = max(map(_largest, _outputs(first), _outputs(second)), default=0.0)
            yield Difference(name, pair, largest, path if by_path else "")


def _outputs(recordings: Sequence[Recording]) -> list[Array]:
    return [output for recording in recordings for output in recording.outputs]


def _largest(a: Array, b: Array) -> float:
    """Return the largest |a - b|; NaN or an infinity on both sides is no difference, on one side an infinite one."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(alike(a, b), 0.0, np.abs(a - b))
    return float(np.max(np.nan_to_num(difference, nan=np.inf, posinf=np.inf), initial=0.0))
