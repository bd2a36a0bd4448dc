"""Faults of states: not carried, not reset, ignored, taken from the wrong place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from rnncheck.equations import changes
from rnncheck.equations.cells import Loop, cell_of, units
from rnncheck.equations.changes import (
    LSTMS,
    inserted,
    put_out_through,
    read_through,
    with_cell,
    with_gates,
    with_layer,
    with_options,
    with_state_fed,
)
from rnncheck.equations.shapes import of_few_samples, on_zeros, sequence_shapes
from rnncheck.faults.catalogue.causes import ONE_CALL, ONE_SAMPLE, ONE_STEP, ZERO_STATES
from rnncheck.faults.catalogue.fault import Fit, backwards, fault, halves, of_layer, of_network
from rnncheck.network import Array, Layer, Network, Recording, Tensor


def _has_initial_state(layer: Layer) -> bool:
    return bool(layer.initial_state)


@fault("states", of_layer, hidden_by=[ONE_STEP])
def state_not_carried(layer: Layer) -> Layer:
    """every step starts from zero states"""
    changed = with_state_fed(layer, lambda h: np.zeros(h.shape))
    return memory_not_carried(changed) if layer.kind in LSTMS else changed


@fault("states", of_layer, kinds=LSTMS, hidden_by=[ONE_STEP])
def memory_not_carried(layer: Layer) -> Layer:
    """every step starts from zero memory, with h carried"""
    return with_gates(layer, lambda f, *others: (f * 0.0, *others))


@fault("states", of_layer, hidden_by=[ONE_STEP])
def state_halved(layer: Layer) -> Layer:
    """every step starts from half of h"""
    return with_state_fed(layer, lambda h: h * 0.5)


@fault("states", of_network)
def first_step_skipped(network: Network, layer: Layer) -> Network | None:
    """the first step is left out"""

    def without_first(mask: Array) -> Array:
        mask = mask.copy()
        # The mask is in the order of the inputs.
        mask[:, -1 if backwards(layer) else 0] = False
        return mask

    return changes.masked_through(network, layer, without_first)


@fault("states", of_layer, when=_has_initial_state, hidden_by=[ZERO_STATES])
def initial_state_ignored(layer: Layer) -> Layer:
    """the layer starts from zero states whatever it is given"""
    return replace(layer, initial_state=())


@fault("states", of_layer, kinds=LSTMS, when=_has_initial_state, hidden_by=[ZERO_STATES])
def initial_states_swapped(layer: Layer) -> Layer:
    """the initial h and c are exchanged"""
    # Keras has [h, c], TensorFlow 1's LSTMStateTuple (c, h).
    return replace(layer, initial_state=layer.initial_state[::-1])


@fault("states", of_network, when=_has_initial_state, hidden_by=[ZERO_STATES])
def initial_state_of_other_layer(network: Network, layer: Layer) -> Network | None:
    """the layer starts from the initial states of another one"""
    others = (each for each in network.layers if each.name != layer.name and each.kind == layer.kind)
    other = next(others, None)
    if other is None or not other.initial_state or units(other) != units(layer):
        return None
    return with_layer(network, replace(layer, initial_state=other.initial_state))


@fault("states", of_network, kinds=LSTMS)
def final_states_swapped(network: Network, layer: Layer) -> Network | None:
    """the final h and c are exchanged"""
    return _exchanged(network, Tensor(layer.name, 1), Tensor(layer.name, 2))


@fault("states", of_network)
def bidirectional_states_reordered(network: Network, layer: Layer) -> Network | None:
    """the final states of Bidirectional's halves are exchanged"""
    both = halves(network, layer)
    if len(both) != 2 or both[0] is not layer or units(both[1]) != units(layer):
        return None
    return _exchanged(network, Tensor(layer.name, 1), Tensor(both[1].name, 1))


def _exchanged(network: Network, a: Tensor, b: Tensor) -> Network | None:
    # For whatever reads or returns one of them; where nothing does, there is no fault.
    used = {*network.outputs, *(tensor for each in network.layers for tensor in each.reads)}
    return changes.redirected(network, {a: b, b: a}) if {a, b} & used else None


@fault("states", of_layer, when=lambda layer: layer.options["stateful"], hidden_by=[ONE_CALL])
def state_lost_between_calls(layer: Layer) -> Layer:
    """a stateful layer starts every call from zero states"""
    return with_options(layer, stateful=False)


@fault("states", of_layer, when=lambda layer: not layer.options["stateful"], hidden_by=[ONE_CALL])
def state_kept_between_calls(layer: Layer) -> Layer:
    """a layer that is not stateful continues from the states of the previous call"""
    return with_options(layer, stateful=True)


@fault("states", of_network)
def state_left_by_earlier_run(network: Network, layer: Layer) -> Network | None:
    """the layer starts from the states that an earlier run on the same inputs left"""
    if layer.initial_state or layer.options["stateful"]:
        return None
    earlier = with_options(replace(layer, name=f"{layer.name} in an earlier run"), return_state=True)
    states = tuple(Tensor(earlier.name, index) for index in range(1, len(cell_of(layer).states) + 1))
    return inserted(network, earlier, replace(layer, initial_state=states))


@fault("batch", of_network, hidden_by=[ONE_SAMPLE])
def state_kept_between_samples(network: Network, layer: Layer) -> Network | None:
    """a sample starts from the states that the sample before it left"""
    changed = with_cell(layer, loop=Loop(across_samples=True))
    # Read as it is, so that it shows that samples belong together.
    return read_through(network, changed, lambda x: x)


def _number_of_steps(change: Callable[..., Network | None]) -> Fit:
    # All numbers of steps where there are few, else those that buffers and loops have.
    def fit(network: Network, layer: Layer, run: Sequence[Recording]) -> Iterator[tuple[Network, str]]:
        zeros = on_zeros(network, of_few_samples(network, run[0].inputs))
        steps = sequence_shapes(network, zeros)[layer.name][1]
        usual = {2**k for k in range(20)} | {10**k * m for k in range(5) for m in (1, 2, 5)} | {steps - 1, steps - 2}
        for count in range(1, steps):
            if (steps <= _FEW_STEPS or count in usual) and (changed := change(network, layer, count)):
                yield changed, f"the first {count} of {steps}" if count > 1 else f"the first of {steps}"

    return fit


# So many numbers of steps can be tried one after the other.
_FEW_STEPS = 24


@fault("states", of_network, hidden_by=[ONE_STEP], fitted=_number_of_steps)
def only_first_steps(network: Network, layer: Layer, count: int = 1) -> Network | None:
    """only some steps are computed"""
    if not layer.options["return_sequences"]:
        return with_layer(network, with_cell(layer, loop=Loop(returned=count - 1)))

    readers = [each for each in network.layers if Tensor(layer.name) in each.reads]
    if len(readers) == 1 and readers[0].kind == "Step" and readers[0].options["index"] == -1:
        return with_layer(network, with_options(readers[0], index=count - 1))

    def cut(h: Array) -> Array:  # what stands after these steps is zero
        return np.concatenate([h[:, :count], np.zeros_like(h[:, count:])], axis=1)

    return put_out_through(network, layer, cut)
