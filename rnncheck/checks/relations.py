"""Metamorphic relations: runs that must give the same numbers, whatever these are.

Each makes an implementation compute the same thing in another way, and brings the result into the form of the plain
run. The equations are asked for the rounding that may lie between the two, and for nothing else. A new relation is an
entry of `RELATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rnncheck.errors import NotApplicableError, described
from rnncheck.network import Array, Network

Calls = Sequence[Sequence[Array]]  # the inputs of each call in a row
Outputs = Sequence[Sequence[Array]]  # by call, then by output


class Runner(Protocol):
    """What computes outputs: a Keras model, or a function."""

    def outputs(self, calls: Calls) -> Outputs:
        """Return the outputs of each call in a row, from zero states."""


@runtime_checkable
class ModelRunner(Runner, Protocol):
    """A runner that can change the model that it runs."""

    def cut_in_two(self, calls: Calls) -> Outputs:
        """Return the outputs where every recurrent layer gets its sequence in two parts, one after the other."""

    def with_masked(self, calls: Calls, value: float) -> Outputs:
        """Return the outputs where every step that does not count has a certain value."""

    def reloaded(self, calls: Calls) -> Outputs:
        """Return the outputs after the model was saved and loaded."""


@dataclass(frozen=True)
class Relation:
    """A run that must give the same numbers as the plain one."""

    name: str  # what a row calls it
    summary: str  # what is done, for a reader
    # (runner, network, calls) -> outputs in the form of the plain run's; NotApplicableError where nothing is to do.
    outputs: Callable[[Any, Network, Calls], Outputs]


@dataclass(frozen=True)
class Related:
    """What became of a relation."""

    name: str
    outputs: Outputs = ()  # to hold against those of the plain run; empty where there are none
    not_applicable: str = ""  # why it cannot be tried; empty where it can
    error: str = ""  # why it failed; empty where it did not


def _same_again(runner: Runner, network: Network, calls: Calls) -> Outputs:
    del network
    return runner.outputs(calls)


def _permuted(runner: Runner, network: Network, calls: Calls) -> Outputs:
    if reason := network.why_in_order(len(calls[0][0])):
        raise NotApplicableError(reason)
    outputs = runner.outputs([[array[::-1] for array in inputs] for inputs in calls])
    # Back in the order of the plain run.
    return [[array[::-1] for array in each] for each in outputs]


def _one_by_one(runner: Runner, network: Network, calls: Calls) -> Outputs:
    samples = len(calls[0][0])
    if reason := network.why_whole(samples):
        raise NotApplicableError(reason)
    # All calls with the first sample, all with the second, ...: a stateful model keeps each sample's states.
    alone = [runner.outputs([[array[n : n + 1] for array in inputs] for inputs in calls]) for n in range(samples)]
    return [
        [np.concatenate(parts) for parts in zip(*(each[call] for each in alone), strict=True)]
        for call in range(len(calls))
    ]


def _of_a_model(changed: Callable[[ModelRunner, Calls], Outputs]) -> Callable[[Runner, Network, Calls], Outputs]:
    def outputs(runner: Runner, network: Network, calls: Calls) -> Outputs:
        del network
        if not isinstance(runner, ModelRunner):
            raise NotApplicableError("a function shows no model to change")
        return changed(runner, calls)

    return outputs


RELATIONS: Mapping[str, Relation] = {
    relation.name: relation
    for relation in (
        Relation("same_call_twice", "the same is computed again", _same_again),
        Relation("batch_permuted", "the samples come last to first", _permuted),
        Relation("one_by_one", "every sample is a batch of its own", _one_by_one),
        Relation(
            "sequence_cut",
            "recurrent layers get their sequence in two parts, with the states handed over",
            _of_a_model(lambda runner, calls: runner.cut_in_two(calls)),
        ),
        Relation(
            "nan_under_mask",
            "steps that do not count are NaN",
            _of_a_model(lambda runner, calls: runner.with_masked(calls, np.nan)),
        ),
        Relation(
            "huge_under_mask",
            "steps that do not count are 1e30",
            _of_a_model(lambda runner, calls: runner.with_masked(calls, 1e30)),
        ),
        Relation(
            "saved_and_loaded",
            "the model is saved and loaded",
            _of_a_model(lambda runner, calls: runner.reloaded(calls)),
        ),
    )
}


def related_runs(runner: Runner, network: Network, calls: Calls, names: Sequence[str]) -> tuple[Related, ...]:
    """Try the metamorphic relations of these names on what computes outputs."""
    return tuple(_related(runner, network, calls, name) for name in names)


def _related(runner: Runner, network: Network, calls: Calls, name: str) -> Related:
    try:
        return Related(name, RELATIONS[name].outputs(runner, network, calls))
    except NotApplicableError as reason:
        return Related(name, not_applicable=str(reason))
    except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
        return Related(name, error=described(error))
