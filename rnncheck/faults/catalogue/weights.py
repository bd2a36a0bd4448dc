"""Faults of single weights, and of weights in the wrong place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rnncheck.equations.cells import units
from rnncheck.equations.changes import with_layer, with_weights
from rnncheck.faults.catalogue.causes import CONSTANT_WEIGHTS, ONE_STEP, ZERO_WEIGHT, Cause
from rnncheck.faults.catalogue.fault import WITH_WEIGHTS, fault, of_layer, of_network, of_weights, shapes
from rnncheck.network import Array, Layer, Network


@fault("weights", of_weights("kernel"), kinds=WITH_WEIGHTS, hidden_by=[ZERO_WEIGHT])
def weights_not_loaded(kernel: Array) -> Array:
    """the kernel is zero: it was never loaded"""
    return np.zeros_like(kernel)


@fault("weights", of_weights("recurrent_kernel"), hidden_by=[ONE_STEP, ZERO_WEIGHT])
def recurrent_kernel_not_loaded(kernel: Array) -> Array:
    """the recurrent kernel is zero: it was never loaded"""
    return np.zeros_like(kernel)


@fault("weights", of_network, kinds=WITH_WEIGHTS)
def weights_of_other_layer(network: Network, layer: Layer) -> Network | None:
    """the layer has the weights of another one"""

    def differs(other: Layer) -> bool:
        return any(not np.array_equal(other.weights[name], weight) for name, weight in layer.weights.items())

    alike = (each for each in network.layers if each.kind == layer.kind and shapes(each) == shapes(layer))
    other = next(filter(differs, alike), None)
    return None if other is None else with_layer(network, replace(layer, weights=other.weights))


@fault("weights", of_weights("recurrent_kernel"), hidden_by=[ONE_STEP, CONSTANT_WEIGHTS])
def recurrent_rows_rotated(kernel: Array) -> Array | None:
    """the rows of the recurrent kernel are off by one"""
    return kernel_rows_rotated(kernel)


@fault("weights", of_weights("kernel"), kinds=WITH_WEIGHTS, hidden_by=[CONSTANT_WEIGHTS])
def kernel_rows_rotated(kernel: Array) -> Array | None:
    """the rows of the kernel are off by one"""
    return None if kernel.shape[-2] == 1 else np.roll(kernel, 1, axis=-2)


@fault("weights", of_layer, when=lambda layer: units(layer) > 1, hidden_by=[CONSTANT_WEIGHTS])
def units_rotated(layer: Layer) -> Layer:
    """the units of every gate are off by one"""

    def rotated(weight: Array) -> Array:
        by_gate = weight.reshape(*weight.shape[:-1], -1, units(layer))
        return np.roll(by_gate, 1, axis=-1).reshape(weight.shape)

    return with_weights(layer, **{name: rotated(weight) for name, weight in layer.weights.items()})


@fault("weights", of_weights("kernel"), kinds=WITH_WEIGHTS, hidden_by=[ZERO_WEIGHT])
def last_column_missing(kernel: Array) -> Array:
    """the last column of the kernel is zero: the last unit of the last gate does not see the inputs"""
    kernel[..., -1] = 0.0
    return kernel


def _enter_small(name: str, amounts: Sequence[float], hidden_by: Sequence[Cause] = ()) -> None:
    for amount in amounts:

        def one_entry_off(weight: Array, amount: float = amount) -> Array:
            """Return a weight of which one entry is off: that of the first row and the fourth unit, if any."""
            weight[(*(0,) * (weight.ndim - 1), min(3, weight.shape[-1] - 1))] += amount
            return weight

        fault(
            "small",
            of_weights(name),
            kinds=WITH_WEIGHTS,
            hidden_by=hidden_by,
            name=f"{name}_off_by_{amount:g}",
            summary=f"one entry of the {name.replace('_', ' ')} is off by {amount:g}",
        )(one_entry_off)


_enter_small("kernel", (1e-3, 1e-4, 1e-5))
_enter_small("recurrent_kernel", (1e-3, 1e-4, 1e-5), [ONE_STEP])
_enter_small("bias", (1e-3, 1e-6))
