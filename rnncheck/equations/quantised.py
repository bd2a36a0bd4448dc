"""What programs compute whose weights have 8 bits: other numbers are rounded to 8 bits too.

A runtime takes the step Δ of such numbers from the largest among them: of all, of a step, or of a row. Here it is
that of all in some calls, the largest/127. Rounding to a multiple of Δ has the variance Δ²/12, and is off by Δ/2 at
most.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnncheck.equations.cells import CELLS, cell_of
from rnncheck.equations.changes import with_cell
from rnncheck.equations.formats import beside, with_factors_everywhere
from rnncheck.equations.layers import operation_of
from rnncheck.equations.operands import X
from rnncheck.equations.replay import States, replay
from rnncheck.network import Array, Layer, Network
from rnncheck.rounding.rounded import Rounded

# The levels on either side of zero.
_LEVELS = 127.0

# How often what goes into an activation is rounded: two products, what is added to them, and their sum; and so what
# becomes the state: two products and their sum.
_SUM, _STATE = 4, 3

# Where all is rounded, the steps are those of the numbers that the file was made with, whose largest may be so many
# times as large as those here.
_WIDER = 1.5

Rounding = Callable[[Hashable, X, int], X]  # (a place, the numbers there, how often they are rounded) -> the same


def with_quantised_factors(network: Network, calls: Sequence[Sequence[Array]], layers: Collection[str]) -> Network:
    """Return a network in which some layers round to 8 bits what they multiply with their kernels."""
    return _rounding(network, calls, layers, _at_factors)


def with_quantised_results(network: Network, calls: Sequence[Sequence[Array]]) -> Network:
    """Return a network whose layers round to 8 bits whatever they compute."""
    layers = {layer.name for layer in network.layers if layer.kind != "Constant"}

    def change(layer: Layer, rounding: Rounding) -> Layer:
        return _at_results(_at_factors(layer, rounding), rounding)

    return _rounding(network, calls, layers, change, _WIDER)


def _rounding(
    network: Network,
    calls: Sequence[Sequence[Array]],
    layers: Collection[str],
    change: Callable[[Layer, Rounding], Layer],
    wider: float = 1.0,
) -> Network:
    if not layers:
        return network
    largest: dict[Hashable, float] = {}

    def seen(place: Hashable, x: X, roundings: int) -> X:  # noqa: ARG001 - nothing is rounded yet
        largest[place] = max(largest.get(place, 0.0), float(np.abs(x).max(initial=0.0)))
        return x

    def coarse(place: Hashable, x: X, roundings: int) -> X:
        if not isinstance(x, Rounded):  # no analysis, but the numbers themselves
            return x
        step = wider * largest[place] / _LEVELS
        bound = x.bound + roundings * step / 2.0 if x.bounded else None
        return x.like(x.value, x.variance + roundings * step**2 / 12.0, bound)

    def changed(rounding: Rounding) -> Network:
        own = {each.name: change(each, rounding) for each in network.layers if each.name in layers}
        return replace(network, layers=tuple(own.get(each.name, each) for each in network.layers))

    watched = changed(seen)
    states: States = {}
    for inputs in calls:
        states = replay(watched, inputs, states=states).states
    return changed(coarse)


def _at_factors(layer: Layer, rounding: Rounding) -> Layer:
    def factor(x: X, kernel: Any, name: str) -> X:
        is_analysis = hasattr(kernel, "bounds")
        return rounding((layer.name, name), beside(kernel, x) if is_analysis else x, 1)

    return with_factors_everywhere(layer, factor, 0.5 / _LEVELS)


def _at_results(layer: Layer, rounding: Rounding) -> Layer:
    def rounded(place: str, x: X, roundings: int = 1) -> X:
        return rounding((layer.name, place), x, roundings)

    if layer.kind not in CELLS:
        operation = operation_of(layer)

        def apply(inputs: Sequence[X], weights: Mapping[str, Any], options: Mapping[str, Any]) -> X:
            return rounded("output", operation.apply(inputs, weights, options), _SUM)

        return replace(layer, equations=replace(operation, apply=apply))
    cell = cell_of(layer)

    def project(*given: Any) -> X:
        return rounded("sum", cell.project(*given), _SUM)

    def gates(*given: Any) -> tuple[X, ...]:
        return tuple(rounded(f"gate {number}", gate) for number, gate in enumerate(cell.gates(*given)))

    def output(own: tuple[X, ...], state: X, *given: Any) -> X:
        return rounded("h", cell.output(own, rounded("state", state, _STATE), *given), _STATE)

    return with_cell(layer, project=project, gates=gates, output=output)
