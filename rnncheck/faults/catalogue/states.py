"""Faults of states: not carried, not reset, ignored, taken from the wrong place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rnncheck.equations.cells import CELLS, cell_of, units
from rnncheck.equations.changes import feeding, masked_through, redirected, with_cell, with_layer, with_options
from rnncheck.faults.catalogue.causes import NO_SAMPLE_PADDED, ONE_CALL, ONE_STEP, ZERO_STATES
from rnncheck.faults.catalogue.fault import Fault, in_layer
from rnncheck.network import Array, Layer, Network, Tensor


def _zeros(h: Any) -> Array:
    return np.zeros(h.shape)


def _state_not_carried(layer: Layer) -> Layer:
    fed = feeding(_zeros)(layer)
    return _memory_not_carried(fed) or fed


def _memory_not_carried(layer: Layer) -> Layer | None:
    cell = cell_of(layer)
    if cell.memory is None:
        return None

    def gates(projected: Any, h: Any, weights: Any, options: Any) -> tuple[Any, ...]:
        f, *others = cell.gates(projected, h, weights, options)
        return f * 0.0, *others

    return with_cell(layer, gates=gates)


def _first_step_skipped(network: Network, layer: Layer) -> Network | None:
    def without_first(mask: Array) -> Array:
        mask = mask.copy()
        mask[:, -1 if layer.options["go_backwards"] else 0] = False
        return mask

    return masked_through(network, layer, without_first)


def _swapped(layer: Layer) -> Layer | None:
    if len(layer.initial_state) < 2:
        return None
    return replace(layer, initial_state=layer.initial_state[::-1])


def _final_states_swapped(network: Network, layer: Layer) -> Network | None:
    """Exchange the final h and c of an LSTM for whoever reads or returns them."""
    if cell_of(layer).memory is None:
        return None
    return _exchanged(network, Tensor(layer.name, 1), Tensor(layer.name, 2))


def _halves_states_exchanged(network: Network, layer: Layer) -> Network | None:
    """Exchange the final states h of the two halves of a Bidirectional."""
    wrapper = layer.name.rpartition("/")[0]
    halves = [each for each in network.layers if wrapper and each.name.rpartition("/")[0] == wrapper]
    recurrent = [each for each in halves if each.kind in CELLS]
    if len(recurrent) != 2 or recurrent[0] is not layer or units(layer) != units(recurrent[1]):
        return None
    return _exchanged(network, Tensor(layer.name, 1), Tensor(recurrent[1].name, 1))


def _exchanged(network: Network, a: Tensor, b: Tensor) -> Network | None:
    """Exchange two tensors for whoever reads or returns them; None where nobody does."""
    used = {*network.outputs, *(tensor for each in network.layers for tensor in each.reads)}
    if not {a, b} & used:
        return None
    return redirected(network, {a: b, b: a})


def _state_of_other_layer(network: Network, layer: Layer) -> Network | None:
    """Start from the initial states of the other half of a Bidirectional, or of another layer of that size."""
    for other in network.layers:
        if other.name != layer.name and other.kind == layer.kind and _fits(layer, other):
            return with_layer(network, replace(layer, initial_state=other.initial_state))
    return None


def _fits(layer: Layer, other: Layer) -> bool:
    shapes = [each.weights["recurrent_kernel"].shape for each in (layer, other)]
    return bool(layer.initial_state and other.initial_state) and shapes[0] == shapes[1]


def _flag(name: str, *, was: bool) -> Callable[[Layer], Layer | None]:
    return lambda layer: with_options(layer, **{name: not was}) if layer.options[name] is was else None


def _recurrent(change: Callable[[Network, Layer], Network | None]) -> Callable[[Network, Layer], Network | None]:
    return lambda network, layer: change(network, layer) if "return_sequences" in layer.options else None


FAULTS = (
    Fault(
        "state_not_carried",
        "states",
        "every step starts from zero states",
        in_layer(_state_not_carried),
        (ONE_STEP,),
    ),
    Fault(
        "memory_not_carried",
        "states",
        "every step starts from zero memory, with h carried",
        in_layer(_memory_not_carried),
        (ONE_STEP,),
    ),
    Fault(
        "state_halved",
        "states",
        "h is carried at half its size, as where the mean of two states is taken",
        in_layer(feeding(lambda h: h * 0.5)),
        (ONE_STEP,),
    ),
    Fault(
        "first_step_skipped",
        "states",
        "the first step is left out",
        _recurrent(_first_step_skipped),
        (NO_SAMPLE_PADDED,),
    ),
    Fault(
        "initial_state_ignored",
        "states",
        "the layer starts from zero states whatever it is given",
        in_layer(lambda layer: replace(layer, initial_state=()) if layer.initial_state else None),
        (ZERO_STATES,),
    ),
    Fault(
        "initial_states_swapped",
        "states",
        "the initial h and c are exchanged",
        in_layer(_swapped),
        (ZERO_STATES,),
    ),
    Fault(
        "initial_state_of_other_layer",
        "states",
        "the layer starts from the initial states of another one",
        _recurrent(_state_of_other_layer),
        (ZERO_STATES,),
    ),
    Fault(
        "final_states_swapped",
        "states",
        "the final h and c are exchanged",
        _recurrent(_final_states_swapped),
    ),
    Fault(
        "bidirectional_states_reordered",
        "states",
        "the final states of Bidirectional's halves are exchanged",
        _recurrent(_halves_states_exchanged),
    ),
    Fault(
        "state_lost_between_calls",
        "states",
        "a stateful layer starts every call from zero states",
        in_layer(_flag("stateful", was=True)),
        (ONE_CALL,),
    ),
    Fault(
        "state_kept_between_calls",
        "states",
        "a layer that is not stateful goes on from the states of the call before",
        in_layer(_flag("stateful", was=False)),
        (ONE_CALL,),
    ),
)
