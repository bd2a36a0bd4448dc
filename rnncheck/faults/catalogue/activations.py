"""Faults of activations: another definition, the default instead of the configured one, in the wrong place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rnncheck.equations.activations import activate
from rnncheck.equations.cells import CELLS, cell_of
from rnncheck.equations.changes import LSTMS, with_cell, with_options
from rnncheck.faults.catalogue.causes import ONE_STEP
from rnncheck.faults.catalogue.fault import Change, Fault, in_layer
from rnncheck.network import Activation, Layer

_GATED = ("GRU", *LSTMS)


def _instead(option: str, new: str, old: Sequence[str] = (), kinds: Sequence[str] = tuple(CELLS)) -> Change:
    """Replace an activation, where it is one of the old ones; with none named, where it is not the new one."""

    def change(layer: Layer) -> Layer | None:
        name = layer.options[option].name
        applies = name in old if old else name not in {new, "glu"}  # which halves the units
        return with_options(layer, **{option: Activation(new)}) if applies else None

    return in_layer(change, kinds)


def _output(new: Callable[[Layer], Callable[..., Any]], kinds: Sequence[str] = LSTMS) -> Change:
    return in_layer(lambda layer: with_cell(layer, output=new(layer)), kinds)


def _without_activation(layer: Layer) -> Callable[..., Any]:
    del layer
    return lambda gates, c, options: gates[-1] * c


def _activation_outside(layer: Layer) -> Callable[..., Any]:
    del layer
    return lambda gates, c, options: activate(options["activation"], gates[-1] * c)


def _activated_twice(layer: Layer) -> Callable[..., Any]:
    output = cell_of(layer).output
    return lambda gates, state, options: activate(options["activation"], output(gates, state, options))


def _clipped(layer: Layer) -> Layer:
    """Clip what goes into every activation to ±1."""

    def after_clipping(activation: Activation) -> Activation:
        def function(x: Any, **parameters: float) -> Any:
            del parameters
            return activate(activation, activate(Activation("hard_tanh"), x))

        return Activation(activation.name, activation.parameters, function)

    chosen = {name: value for name, value in layer.options.items() if isinstance(value, Activation)}
    return with_options(layer, **{name: after_clipping(value) for name, value in chosen.items()})


_KERAS2, _KERAS3 = "hard_sigmoid_keras2", "hard_sigmoid"


FAULTS = (
    Fault(
        "hard_sigmoid_of_keras2",
        "activations",
        "the gates use Keras 2's hard_sigmoid, 0.2x + 0.5",
        _instead("recurrent_activation", _KERAS2, ("sigmoid", _KERAS3), _GATED),
    ),
    Fault(
        "hard_sigmoid_of_keras3",
        "activations",
        "the gates use Keras 3's hard_sigmoid, x/6 + 0.5",
        _instead("recurrent_activation", _KERAS3, ("sigmoid", _KERAS2), _GATED),
    ),
    Fault(
        "recurrent_activation_lost",
        "activations",
        "the gates use sigmoid whatever is configured",
        _instead("recurrent_activation", "sigmoid", kinds=_GATED),
    ),
    Fault(
        "activation_lost",
        "activations",
        "the layer uses tanh whatever is configured",
        _instead("activation", "tanh"),
    ),
    Fault(
        "activation_missing",
        "activations",
        "the layer's activation is left out",
        _instead("activation", "linear"),
    ),
    Fault(
        "sigmoid_for_tanh",
        "activations",
        "sigmoid stands where tanh is due",
        _instead("activation", "sigmoid", ("tanh",)),
    ),
    Fault(
        "dense_activation_lost",
        "activations",
        "Dense has no activation whatever is configured",
        _instead("activation", "linear", kinds=("Dense",)),
    ),
    Fault(
        "no_activation_on_memory",
        "activations",
        "the memory is let out without its activation: h = o*c",
        _output(_without_activation),
    ),
    Fault(
        "activation_misplaced",
        "activations",
        "the memory's activation is applied after the output gate: h = tanh(o*c)",
        _output(_activation_outside),
    ),
    Fault(
        "activated_twice",
        "activations",
        "the activation is applied to h once more, outside the cell",
        _output(_activated_twice, tuple(CELLS)),
        (ONE_STEP,),
    ),
    Fault(
        "pre_activations_clipped",
        "options",
        "what goes into the activations is clipped to ±1: ONNX's clip, which nobody asked for",
        in_layer(_clipped),
    ),
)
