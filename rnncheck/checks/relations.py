"""Metamorphic relations: runs that must give the same numbers, whatever these are.

Each makes an implementation compute the same thing in another way, and brings the result into the form of the plain
run. The equations are asked for the rounding that may lie between the two, and for nothing else. To add one, write it
and decorate it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


# (runner, calls, network) -> the outputs in the form of the plain run's; NotApplicableError where nothing is to do.
Relation = Callable[[Any, Calls, Network], Outputs]

# By the name that a row has, which is the function's; its docstring says what is done.
RELATIONS: dict[str, Relation] = {}


def relation(function: Relation) -> Relation:
    """Register a run that must give the same numbers as the plain one."""
    RELATIONS[function.__name__] = function
    return function


@dataclass(frozen=True)
class Related:
    """What became of a relation."""

    name: str
    outputs: Outputs = ()  # to hold against those of the plain run; empty where there are none
    not_applicable: str = ""  # why it cannot be tried; empty where it can
    error: str = ""  # why it failed; empty where it did not


@relation
def same_call_twice(runner: Runner, calls: Calls, _: Network) -> Outputs:
    """The same is computed again."""
    return runner.outputs(calls)


@relation
def batch_permuted(runner: Runner, calls: Calls, network: Network) -> Outputs:
    """The samples come last to first."""
    if reason := network.why_in_order(len(calls[0][0])):
        raise NotApplicableError(reason)
    outputs = runner.outputs([[array[::-1] for array in inputs] for inputs in calls])
    # Back in the order of the plain run.
    return [[array[::-1] for array in each] for each in outputs]


@relation
def one_by_one(runner: Runner, calls: Calls, network: Network) -> Outputs:
    """Every sample is a batch of its own."""
    samples = len(calls[0][0])
    if reason := network.why_whole(samples):
        raise NotApplicableError(reason)
    # All calls with the first sample, all with the second, ...: a stateful model keeps each sample's states.
    alone = [runner.outputs([[array[n : n + 1] for array in inputs] for inputs in calls]) for n in range(samples)]
    return [
        [np.concatenate(parts) for parts in zip(*(each[call] for each in alone), strict=True)]
        for call in range(len(calls))
    ]


@relation
def sequence_cut(runner: Runner, calls: Calls, _: Network) -> Outputs:
    """Recurrent layers get their sequence in two parts, with the states handed over."""
    return _of_a_model(runner).cut_in_two(calls)


@relation
def nan_under_mask(runner: Runner, calls: Calls, _: Network) -> Outputs:
    """Steps that do not count are NaN."""
    return _of_a_model(runner).with_masked(calls, np.nan)


@relation
def huge_under_mask(runner: Runner, calls: Calls, _: Network) -> Outputs:
    """Steps that do not count are 1e30."""
    return _of_a_model(runner).with_masked(calls, 1e30)


@relation
def saved_and_loaded(runner: Runner, calls: Calls, _: Network) -> Outputs:
    """The model is saved and loaded."""
    return _of_a_model(runner).reloaded(calls)


def _of_a_model(runner: Runner) -> ModelRunner:
    if not isinstance(runner, ModelRunner):
        raise NotApplicableError("a function shows no model to change")
    return runner


def related_runs(runner: Runner, network: Network, calls: Calls, names: Sequence[str]) -> tuple[Related, ...]:
    """Try the metamorphic relations of these names on what computes outputs."""

    def related(name: str) -> Related:
        try:
            return Related(name, RELATIONS[name](runner, calls, network))
        except NotApplicableError as reason:
            return Related(name, not_applicable=str(reason))
        except Exception as error:  # noqa: BLE001 - whatever the framework raises is a finding
            return Related(name, error=described(error))

    return tuple(map(related, names))
