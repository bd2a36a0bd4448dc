"""Faults of direction, of Bidirectional's halves, and of layout and batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rnncheck.equations.cells import CELLS, Loop
from rnncheck.equations.changes import (
    moving,
    put_out_through,
    read_through,
    redirected,
    with_cell,
    with_layer,
    with_options,
    with_weights,
)
from rnncheck.faults.catalogue.causes import EQUAL_SAMPLES, ONE_SAMPLE, ONE_STEP, TWO_SAMPLES
from rnncheck.faults.catalogue.fault import Change, Fault, in_layer
from rnncheck.network import Array, Layer, Network, Tensor

# How Keras names the merges of Bidirectional, as kinds of layers.
_MERGES = ("Concatenate", "Add", "Multiply", "Average")


def _reading(change: Callable[[Array], Array]) -> Change:
    return lambda network, layer: read_through(network, layer, change) if layer.kind in CELLS else None


def _features_reversed(network: Network, layer: Layer) -> Network | None:
    if layer.kind not in CELLS or layer.weights["kernel"].shape[-2] == 1:
        return None
    return read_through(network, layer, lambda x: x[..., ::-1])


def _output_reversed(network: Network, layer: Layer) -> Network | None:
    if layer.kind not in CELLS or not (layer.options["return_sequences"] and layer.options["go_backwards"]):
        return None
    return put_out_through(network, layer, lambda sequence: sequence[:, ::-1])


def _not_reversed(network: Network, layer: Layer) -> Network | None:
    """Let whoever reads a sequence that is turned round read it as it was."""
    if layer.kind != "Reverse" or layer.name.endswith("mask"):
        return None
    (source,) = layer.inputs
    return redirected(network, {Tensor(layer.name): source})


def _returning(step: int) -> Callable[[Layer], Layer | None]:
    """Return a change by which a layer that puts out one step puts out that one."""

    def change(layer: Layer) -> Layer | None:
        return None if layer.options["return_sequences"] else with_cell(layer, loop=Loop(returned=step))

    return change


def _late_by_one(network: Network, layer: Layer) -> Network | None:
    """Put out of every step the state before it, zeros of the first."""
    if layer.kind in CELLS and layer.options["return_sequences"]:
        return put_out_through(network, layer, _late)
    return in_layer(_returning(-2))(network, layer)


def _last_in_time(layer: Layer) -> Layer | None:
    return _returning(0)(layer) if layer.options["go_backwards"] else None


def _is_merge(layer: Layer) -> bool:
    return layer.kind in _MERGES and layer.reads_its_inside and len(layer.inputs) == 2


def _merged(change: Callable[[Layer], Layer | None]) -> Change:
    def changed(network: Network, layer: Layer) -> Network | None:
        new = change(layer) if _is_merge(layer) else None
        return None if new is None else with_layer(network, new)

    return changed


def _merge_confused(layer: Layer) -> Layer | None:
    """Take sum for mean and mean for sum, and the product for the sum."""
    other = {"Add": "Average", "Average": "Add", "Multiply": "Add"}.get(layer.kind)
    return None if other is None else replace(layer, kind=other)


def _weights_of_the_other_half(network: Network, layer: Layer) -> Network | None:
    halves = [
        each for each in network.layers if each.kind == layer.kind and _half_of(each) == _half_of(layer) is not None
    ]
    if layer.kind not in CELLS or len(halves) != 2 or halves[1] is not layer:
        return None
    first = halves[0].weights
    if any(first[name].shape != weight.shape for name, weight in layer.weights.items() if name in first):
        return None
    return with_layer(network, replace(layer, weights=first)) if first.keys() == layer.weights.keys() else None


def _half_of(layer: Layer) -> str | None:
    """Return the name of the wrapper that a layer stands in; None for one that stands alone."""
    return layer.name.rpartition("/")[0] or None


def _cut_at_block(layer: Layer) -> Layer | None:
    """Leave out of the recurrent product what lies behind the last whole block of units, of the largest that fits."""
    kernel = np.array(layer.weights["recurrent_kernel"])
    m = kernel.shape[-2]
    block = 1 << ((m - 1).bit_length() - 1) if m > 1 else 1
    if m == block:
        return None
    kernel[..., block:, :] = 0.0
    return with_weights(layer, recurrent_kernel=kernel)


def _time_and_batch_swapped(x: Array) -> Array:
    n, t_steps, *rest = x.shape
    return x.reshape(t_steps, n, *rest).swapaxes(0, 1)


def _late(x: Array) -> Array:
    return np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)


def _other_samples_zero(x: Array) -> Array:
    return np.concatenate([x[:1], np.zeros_like(x[1:])])


def _flattened_otherwise(network: Network, layer: Layer) -> Network | None:
    def flattened(x: Array) -> Array:
        return np.moveaxis(x, 1, -1).reshape(len(x), -1)

    return with_layer(network, replace(layer, equations=moving(flattened))) if layer.kind == "Flatten" else None


FAULTS = (
    Fault(
        "go_backwards_ignored",
        "direction",
        "the steps are taken first to last where they go backwards",
        in_layer(lambda layer: with_options(layer, go_backwards=False) if layer.options["go_backwards"] else None),
        (ONE_STEP,),
    ),
    Fault(
        "time_reversed",
        "direction",
        "the steps are taken last to first",
        in_layer(lambda layer: None if layer.options["go_backwards"] else with_options(layer, go_backwards=True)),
        (ONE_STEP,),
    ),
    Fault(
        "output_turned_round",
        "direction",
        "what a layer that goes backwards puts out is turned round",
        _output_reversed,
        (ONE_STEP,),
    ),
    Fault(
        "output_not_turned_round",
        "direction",
        "what Bidirectional's backward half puts out is not turned round",
        _not_reversed,
        (ONE_STEP,),
    ),
    Fault(
        "backward_last_step_for_first",
        "direction",
        "a layer that goes backwards puts out the last step of the sequence, which it takes first",
        in_layer(_last_in_time),
        (ONE_STEP,),
    ),
    Fault(
        "off_by_one_state",
        "direction",
        "every step puts out the state before it",
        _late_by_one,
        (ONE_STEP,),
    ),
    Fault(
        "backward_uses_forward_weights",
        "direction",
        "the backward half has the forward half's weights",
        _weights_of_the_other_half,
    ),
    Fault(
        "halves_swapped",
        "direction",
        "Bidirectional's halves are merged in the other order",
        _merged(lambda layer: replace(layer, inputs=layer.inputs[::-1]) if layer.kind == "Concatenate" else None),
    ),
    Fault("merge_mode_confused", "direction", "Bidirectional merges in another mode", _merged(_merge_confused)),
    Fault(
        "time_and_batch_swapped",
        "layout",
        "(N, T, D) is read as (T, N, D)",
        _reading(_time_and_batch_swapped),
        (ONE_SAMPLE, ONE_STEP),
    ),
    Fault(
        "reversed_along_batch",
        "layout",
        "the samples are taken last to first",
        _reading(lambda x: x[::-1]),
        (ONE_SAMPLE, EQUAL_SAMPLES),
    ),
    Fault(
        "features_reversed",
        "layout",
        "the features of a step are taken last to first",
        _features_reversed,
    ),
    Fault("inputs_late_by_one", "layout", "every step reads the inputs of the step before", _reading(_late)),
    Fault(
        "flatten_in_other_order",
        "layout",
        "Flatten takes the first axis fastest",
        _flattened_otherwise,
        (ONE_STEP,),
    ),
    Fault(
        "sample_0_repeated",
        "batch",
        "every sample is computed from the first one",
        _reading(lambda x: np.repeat(x[:1], len(x), axis=0)),
        (ONE_SAMPLE, EQUAL_SAMPLES),
    ),
    Fault(
        "only_first_sample_right",
        "batch",
        "the samples after the first are computed from zeros",
        _reading(_other_samples_zero),
        (ONE_SAMPLE,),
    ),
    Fault(
        "stale_buffer",
        "batch",
        "every sample is computed from the one before it",
        _reading(lambda x: np.roll(x, 1, axis=0)),
        (ONE_SAMPLE, TWO_SAMPLES, EQUAL_SAMPLES),
    ),
    Fault(
        "units_cut_at_block",
        "batch",
        "the recurrent product leaves out the units behind the last whole block",
        in_layer(_cut_at_block),
        (ONE_STEP,),
    ),
)
