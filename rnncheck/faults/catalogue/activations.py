"""Faults of activations: another definition, the default instead of the configured one, in the wrong place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rnncheck.equations.activations import activate
from rnncheck.equations.cells import cell_of
from rnncheck.equations.changes import LSTMS, with_cell, with_options
from rnncheck.faults.catalogue.fault import CONVOLUTIONS, Form, fault, layerwise, of_layer
from rnncheck.network import Activation, Layer

_GATED = ("GRU", *LSTMS)


# Makes a fault of a function: the name of a layer's activation -> the name of the one that it uses.
def _of_activation(option: str) -> Form:
    def changed(change: Callable[[str], str | None], layer: Layer) -> Layer | None:
        name = layer.options[option].name
        new = change(name)
        if new is None or name in {new, "glu"}:  # GLU halves the units, which no other activation does
            return None
        return with_options(layer, **{option: Activation(new)})

    return layerwise(changed)


@fault("activations", _of_activation("recurrent_activation"), kinds=_GATED)
def hard_sigmoid_of_keras2(name: str) -> str | None:
    """the gates use Keras 2's hard_sigmoid, 0.2x + 0.5"""
    return "hard_sigmoid_keras2" if name in {"sigmoid", "hard_sigmoid"} else None


@fault("activations", _of_activation("recurrent_activation"), kinds=_GATED)
def hard_sigmoid_of_keras3(name: str) -> str | None:
    """the gates use Keras 3's hard_sigmoid, x/6 + 0.5"""
    return "hard_sigmoid" if name in {"sigmoid", "hard_sigmoid_keras2"} else None


@fault("activations", _of_activation("recurrent_activation"), kinds=_GATED)
def recurrent_activation_lost(_: str) -> str:
    """the gates use sigmoid whatever is configured"""
    return "sigmoid"


@fault("activations", _of_activation("activation"))
def activation_lost(_: str) -> str:
    """the layer uses tanh whatever is configured"""
    return "tanh"


@fault("activations", _of_activation("activation"))
def activation_missing(_: str) -> str:
    """the layer's activation is left out"""
    return "linear"


@fault("activations", _of_activation("activation"))
def sigmoid_for_tanh(name: str) -> str | None:
    """sigmoid is used in place of tanh"""
    return "sigmoid" if name == "tanh" else None


@fault("activations", _of_activation("activation"), kinds=("Dense", *CONVOLUTIONS))
def dense_activation_lost(_: str) -> str:
    """Dense, or a convolution, has no activation whatever is configured"""
    return "linear"


@fault("activations", of_layer, kinds=LSTMS)
def no_activation_on_memory(layer: Layer) -> Layer:
    """the memory's activation is left out: h = o*c"""
    return with_cell(layer, output=lambda gates, c, weights, options: gates[-1] * c)


@fault("activations", of_layer, kinds=LSTMS)
def activation_misplaced(layer: Layer) -> Layer:
    """the memory's activation is applied after the output gate: h = tanh(o*c)"""
    return with_cell(layer, output=lambda gates, c, weights, options: activate(options["activation"], gates[-1] * c))


@fault("activations", of_layer)
def activated_twice(layer: Layer) -> Layer:
    """the activation is applied to h once more, outside the cell"""
    once = cell_of(layer).output
    return with_cell(
        layer, output=lambda g, h, weights, options: activate(options["activation"], once(g, h, weights, options))
    )


@fault("options", of_layer)
def pre_activations_clipped(layer: Layer) -> Layer:
    """pre-activations are clipped to ±1, as with ONNX's clip"""

    def after_clipping(activation: Activation) -> Activation:
        clip = Activation("hard_tanh")
        return replace(activation, function=lambda x, **_: activate(activation, activate(clip, x)))

    chosen = {name: value for name, value in layer.options.items() if isinstance(value, Activation)}
    return with_options(layer, **{name: after_clipping(value) for name, value in chosen.items()})
