"""Faults of a recording: the network is right, but something else than h stands where the states should."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rnncheck.equations.cells import Loop
from rnncheck.equations.changes import LSTMS, read_through, with_cell
from rnncheck.equations.operands import X, join, move
from rnncheck.faults.catalogue.causes import ONE_SAMPLE, ONE_STEP
from rnncheck.faults.catalogue.fault import fault, layerwise, of_network
from rnncheck.network import Layer, Network

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


@fault("recording", of_network, hidden_by=[ONE_SAMPLE, ONE_STEP])
def states_recorded_time_first(network: Network, layer: Layer) -> Network | None:
    """what was recorded as the states has the steps first, (T, N, M), and was read as (N, T, M)"""
    # Read as it is, so that it shows that samples belong together.
    return read_through(network, _recorded(_time_first, layer), lambda x: x)


def _time_first(steps: Sequence[States], _: States) -> Sequence[X]:
    h = join([h for h, *_ in steps], np.stack)  # (T, N, ..., M)
    t_steps, n, *others = h.shape
    read = move(h, lambda array: array.reshape(n, t_steps, *others))
    return [read[:, t] for t in range(t_steps)]
