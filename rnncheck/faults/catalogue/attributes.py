"""Faults of what ONNX and PyTorch have and Keras does not: options of recurrent layers that are ignored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnncheck.equations.changes import with_layer, with_weights
from rnncheck.faults.catalogue.causes import ONE_STEP
from rnncheck.faults.catalogue.fault import fault, halves, of_layer, of_network
from rnncheck.network import Activation, Layer, Network

_ONNX_LSTMS = ("LSTM", "PeepholeLSTM")


def _without(layer: Layer, option: str) -> Layer | None:
    if not layer.options.get(option):
        return None
    return replace(layer, options={name: value for name, value in layer.options.items() if name != option})


@fault("exports", of_layer)
def clip_ignored(layer: Layer) -> Layer | None:
    """clip is ignored"""
    return _without(layer, "clip")


@fault("exports", of_layer, kinds=_ONNX_LSTMS, hidden_by=[ONE_STEP])
def input_forget_ignored(layer: Layer) -> Layer | None:
    """input_forget is ignored: the forget gate is one of its own"""
    return _without(layer, "input_forget")


@fault("exports", of_layer, kinds=_ONNX_LSTMS)
def output_activation_ignored(layer: Layer) -> Layer | None:
    """the activation of the memory is that of the candidates, whatever is configured"""
    return _without(layer, "output_activation")


@fault("exports", of_layer, kinds=("PeepholeLSTM",))
def peepholes_ignored(layer: Layer) -> Layer:
    """the peepholes are ignored"""
    return with_weights(layer, peephole=np.zeros_like(layer.weights["peephole"]))


@fault("exports", of_layer, kinds=("ProjectedLSTM",))
def projection_ignored(layer: Layer) -> Layer:
    """the projection is left out: h has the first units of those before it"""
    return with_weights(layer, projection=np.eye(*layer.weights["projection"].shape, dtype=np.float32))


@fault("exports", of_network)
def second_direction_has_first_activations(network: Network, layer: Layer) -> Network | None:
    """the second direction has the activations of the first"""
    both = halves(network, layer)
    if len(both) != 2 or both[1] is not layer:
        return None
    own, first = (
        {name: value for name, value in each.options.items() if isinstance(value, Activation)}
        for each in (layer, both[0])
    )
    if own == first:
        return None
    options = {name: value for name, value in layer.options.items() if name not in own}
    return with_layer(network, replace(layer, options={**options, **first}))
