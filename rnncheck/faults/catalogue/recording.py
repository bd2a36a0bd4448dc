"""Faults of a recording: the network is right, but something else than h stands where the states should."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rnncheck.equations.cells import Loop
from rnncheck.equations.changes import LSTMS, with_cell
from rnncheck.equations.operands import X
from rnncheck.faults.catalogue.fault import fault, layerwise
from rnncheck.network import Layer

States = tuple[X, ...]


def _recorded(function: Callable[[Sequence[States], States], Sequence[X]], layer: Layer) -> Layer:
    # (the states after every step, those before the first) -> what is recorded of every step
    return with_cell(layer, loop=Loop(recorded=function))


@fault("recording", layerwise(_recorded))
def state_recorded_before_step(steps: Sequence[States], first: States) -> Sequence[X]:
    """what was recorded as the states is h before every step, not after it"""
    return [first[0], *(h for h, *_ in steps[:-1])]


@fault("recording", layerwise(_recorded), kinds=LSTMS)
def memory_recorded_as_state(steps: Sequence[States], _: States) -> Sequence[X]:
    """what was recorded as the states is the memory c, not h"""
    return [c for _, c in steps]
