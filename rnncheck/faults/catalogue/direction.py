"""Faults of direction, of Bidirectional's halves, and of layout and batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnncheck.equations.cells import Loop
from rnncheck.equations.changes import moving, put_out_through, redirected, with_cell, with_layer, with_options
from rnncheck.faults.catalogue.causes import EQUAL_SAMPLES, ONE_SAMPLE, ONE_STEP
from rnncheck.faults.catalogue.fault import (
    backwards,
    fault,
    halves,
    of_inputs,
    of_layer,
    of_network,
    of_weight,
    shapes,
)
from rnncheck.network import Array, Layer, Network, Tensor


@fault("direction", of_layer, when=backwards, hidden_by=[ONE_STEP])
def go_backwards_ignored(layer: Layer) -> Layer:
    """go_backwards is ignored: the steps are taken from first to last"""
    return with_options(layer, go_backwards=False)


@fault("direction", of_layer, when=lambda layer: not backwards(layer), hidden_by=[ONE_STEP])
def time_reversed(layer: Layer) -> Layer:
    """the steps are taken from last to first"""
    return with_options(layer, go_backwards=True)


@fault("direction", of_network, when=lambda layer: not backwards(layer), hidden_by=[ONE_STEP])
def time_reversed_in_order(network: Network, layer: Layer) -> Network | None:
    """the steps are taken from last to first, and put out in the order of the inputs"""
    # As ONNX' reverse direction has it.
    if not layer.options["return_sequences"]:
        return None
    turned = with_options(layer, go_backwards=True)
    return put_out_through(with_layer(network, turned), turned, lambda h: h[:, ::-1])


@fault("direction", of_network, when=backwards, hidden_by=[ONE_STEP])
def output_turned_round(network: Network, layer: Layer) -> Network | None:
    """the output of a layer that goes backwards is turned round"""
    # Keras leaves it in the order in which the steps were taken.
    return put_out_through(network, layer, lambda h: h[:, ::-1]) if layer.options["return_sequences"] else None


@fault("direction", of_network, kinds=("Reverse",), hidden_by=[ONE_STEP])
def output_not_turned_round(network: Network, layer: Layer) -> Network | None:
    """the output of Bidirectional's backward half is not turned round"""
    turns_a_mask = layer.name.endswith("mask")  # for the backward half to read
    return None if turns_a_mask else redirected(network, {Tensor(layer.name): layer.inputs[0]})


@fault("direction", of_layer, when=backwards, hidden_by=[ONE_STEP])
def backward_last_step_for_first(layer: Layer) -> Layer | None:
    """a layer that goes backwards returns its first step, which is the last of the sequence"""
    return None if layer.options["return_sequences"] else with_cell(layer, loop=Loop(returned=0))


@fault("direction", of_network, hidden_by=[ONE_STEP])
def off_by_one_state(network: Network, layer: Layer) -> Network:
    """every step outputs the state before it"""
    if layer.options["return_sequences"]:
        return put_out_through(network, layer, inputs_late_by_one)
    return with_layer(network, with_cell(layer, loop=Loop(returned=-2)))


@fault("direction", of_network)
def backward_uses_forward_weights(network: Network, layer: Layer) -> Network | None:
    """the backward half has the forward half's weights"""
    both = halves(network, layer)
    if len(both) != 2 or both[1] is not layer or shapes(both[0]) != shapes(layer):
        return None
    return with_layer(network, replace(layer, weights=both[0].weights))


def _merges_halves(layer: Layer) -> bool:
    return layer.reads_its_inside and len(layer.inputs) == 2


@fault("direction", of_layer, kinds=("Concatenate",), when=_merges_halves)
def halves_swapped(layer: Layer) -> Layer:
    """Bidirectional's halves are merged in the other order"""
    return replace(layer, inputs=layer.inputs[::-1])


_OTHER_MERGE = {"Add": "Average", "Average": "Add", "Multiply": "Add"}


@fault("direction", of_layer, kinds=_OTHER_MERGE, when=_merges_halves)
def merge_mode_confused(layer: Layer) -> Layer:
    """Bidirectional merges in another mode than configured"""
    return replace(layer, kind=_OTHER_MERGE[layer.kind])


@fault("layout", of_inputs, hidden_by=[ONE_SAMPLE, ONE_STEP])
def time_and_batch_swapped(x: Array) -> Array:
    """(N, T, D) is read as (T, N, D)"""
    # torch reads its inputs so, unless batch_first is set.
    n, t_steps, *rest = x.shape
    return x.reshape(t_steps, n, *rest).swapaxes(0, 1)


@fault("layout", of_inputs, hidden_by=[ONE_SAMPLE, EQUAL_SAMPLES])
def reversed_along_batch(x: Array) -> Array:
    """the samples are taken from last to first"""
    return x[::-1]


@fault("layout", of_inputs, when=lambda layer: layer.weights["kernel"].shape[-2] > 1)
def features_reversed(x: Array) -> Array:
    """the features of a step are taken from last to first"""
    return x[..., ::-1]


@fault("layout", of_inputs)
def inputs_late_by_one(x: Array) -> Array:
    """every step reads the inputs of the step before"""
    return np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)


@fault("layout", of_layer, kinds=("Flatten",), hidden_by=[ONE_STEP])
def flatten_in_other_order(layer: Layer) -> Layer:
    """Flatten takes one channel after the other, or does not where they are first"""
    # (N, T, D) is flattened as (N, D, T), and (N, H, W, C) as (N, C, H, W), as torch has it.
    if layer.options.get("data_format") == "channels_first":
        return with_options(layer, data_format="channels_last")
    return replace(layer, equations=moving(lambda x: np.moveaxis(x, -1, 1).reshape(len(x), -1)))


@fault("batch", of_inputs, hidden_by=[ONE_SAMPLE, EQUAL_SAMPLES])
def sample_0_repeated(x: Array) -> Array:
    """every sample is computed from the first one"""
    return np.repeat(x[:1], len(x), axis=0)


@fault("batch", of_inputs, hidden_by=[ONE_SAMPLE])
def only_first_sample_right(x: Array) -> Array:
    """the samples after the first are computed from zeros"""
    return np.concatenate([x[:1], np.zeros_like(x[1:])])


@fault("batch", of_inputs, hidden_by=[ONE_SAMPLE, EQUAL_SAMPLES])
def stale_buffer(x: Array) -> Array:
    """every sample is computed from the one before it"""
    return np.roll(x, 1, axis=0)


@fault("batch", of_weight("recurrent_kernel"), hidden_by=[ONE_STEP])
def units_cut_at_block(kernel: Array) -> Array | None:
    """the recurrent product leaves out the units after the last whole block"""
    # As a kernel in vector instructions does that has no loop for the rest.
    m = kernel.shape[-2]
    if m == 1:
        return None
    kernel[..., 1 << ((m - 1).bit_length() - 1) :, :] = 0.0  # from the largest power of 2 below M on
    return kernel
