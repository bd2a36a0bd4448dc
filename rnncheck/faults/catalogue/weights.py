"""Faults of single weights, and of weights in the wrong place."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from rnncheck.equations.cells import gate_width, weights_of_gates
from rnncheck.equations.changes import with_layer, with_weights
from rnncheck.faults.catalogue.causes import CONSTANT_WEIGHTS, ONE_STEP, ZERO_WEIGHT
from rnncheck.faults.catalogue.fault import WITH_WEIGHTS, fault, of_layer, of_network, of_weight, shapes
from rnncheck.network import Array, Layer, Network


@fault("weights", of_weight("kernel"), kinds=WITH_WEIGHTS, hidden_by=[ZERO_WEIGHT])
def weights_not_loaded(kernel: Array) -> Array:
    """the kernel is zero: it was never loaded"""
    return np.zeros_like(kernel)


@fault("weights", of_weight("recurrent_kernel"), hidden_by=[ONE_STEP, ZERO_WEIGHT])
def recurrent_kernel_not_loaded(kernel: Array) -> Array:
    """the recurrent kernel is zero: it was never loaded"""
    return np.zeros_like(kernel)


@fault("weights", of_network, kinds=WITH_WEIGHTS)
def weights_of_other_layer(network: Network, layer: Layer) -> Network | None:
    """the layer has the weights of another one"""
    for other in network.layers:
        alike = other.kind == layer.kind and shapes(other) == shapes(layer)
        # Where both have the same numbers, nothing is wrong.
        if alike and any(not np.array_equal(other.weights[name], weight) for name, weight in layer.weights.items()):
            return with_layer(network, replace(layer, weights=other.weights))
    return None


@fault("weights", of_weight("recurrent_kernel"), hidden_by=[ONE_STEP, CONSTANT_WEIGHTS])
def recurrent_rows_rotated(kernel: Array) -> Array | None:
    """the rows of the recurrent kernel are off by one"""
    return kernel_rows_rotated(kernel)


@fault("weights", of_weight("kernel"), kinds=WITH_WEIGHTS, hidden_by=[CONSTANT_WEIGHTS])
def kernel_rows_rotated(kernel: Array) -> Array | None:
    """the rows of the kernel are off by one"""
    return None if kernel.shape[-2] == 1 else np.roll(kernel, 1, axis=-2)


@fault("weights", of_layer, when=lambda layer: gate_width(layer) > 1, hidden_by=[CONSTANT_WEIGHTS])
def units_rotated(layer: Layer) -> Layer:
    """the units of every gate are off by one"""
    # (..., G, M), put back to (..., G·M)
    of_gates = weights_of_gates(layer)
    rolled = {k: np.roll(w.reshape(*w.shape[:-1], -1, gate_width(layer)), 1, axis=-1) for k, w in of_gates.items()}
    return with_weights(layer, **{k: w.reshape(of_gates[k].shape) for k, w in rolled.items()})


@fault("weights", of_weight("kernel"), kinds=WITH_WEIGHTS, hidden_by=[ZERO_WEIGHT])
def last_column_missing(kernel: Array) -> Array:
    """the last column of the kernel is zero: the last unit of the last gate does not see the inputs"""
    kernel[..., -1] = 0.0
    return kernel


def _to_decimals(decimals: int, weight: Array) -> Array | None:
    rounded = np.round(weight.astype(np.float64), decimals).astype(weight.dtype)  # in float16 10^6·w overflows
    return None if np.array_equal(rounded, weight) else rounded


for _decimals in (2, 3, 4, 5, 6):
    _name, _says = f"weights_of_{_decimals}_decimals", f"the weights are rounded to {_decimals} decimals"
    fault("weights", of_weight(), kinds=WITH_WEIGHTS, name=_name, summary=_says)(partial(_to_decimals, _decimals))


def _off_by(amount: float, weight: Array) -> Array:
    # One entry alone: that of the first row and the fourth unit, if any.
    weight[(*(0,) * (weight.ndim - 1), min(3, weight.shape[-1] - 1))] += amount
    return weight


for _of, _amounts, _causes in (
    ("kernel", (1e-3, 1e-4, 1e-5), ()),
    ("recurrent_kernel", (1e-3, 1e-4, 1e-5), (ONE_STEP,)),
    ("bias", (1e-3, 1e-6), ()),
):
    for _amount in _amounts:
        _name, _says = f"{_of}_off_by_{_amount:g}", f"one entry of the {_of.replace('_', ' ')} is off by {_amount:g}"
        _enter = fault("small", of_weight(_of), kinds=WITH_WEIGHTS, hidden_by=_causes, name=_name, summary=_says)
        _enter(partial(_off_by, _amount))
