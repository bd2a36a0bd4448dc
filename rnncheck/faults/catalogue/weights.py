"""Faults of single weights, and of weights in the wrong place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rnncheck.equations.cells import CELLS, units
from rnncheck.equations.changes import with_layer, with_weights
from rnncheck.faults.catalogue.causes import CONSTANT_WEIGHTS, ONE_STEP, ZERO_WEIGHT, Cause
from rnncheck.faults.catalogue.fault import Fault, in_layer
from rnncheck.faults.catalogue.gates import gates_of, with_columns
from rnncheck.network import Array, Layer, Network

_WITH_WEIGHTS = (*CELLS, "Dense")


def _off_by(name: str, amount: float) -> Callable[[Layer], Layer | None]:
    """Return a change by which one entry of a weight is off: that of the first row and the fourth unit, if any."""

    def change(layer: Layer) -> Layer | None:
        if name not in layer.weights:
            return None
        weight = np.array(layer.weights[name])
        weight[(*(0,) * (weight.ndim - 1), min(3, weight.shape[-1] - 1))] += amount
        return with_weights(layer, **{name: weight})

    return change


def _small(name: str, amount: float, *causes: Cause) -> Fault:
    return Fault(
        f"{name}_off_by_{amount:g}",
        "small",
        f"one entry of the {name.replace('_', ' ')} is off by {amount:g}",
        in_layer(_off_by(name, amount), _WITH_WEIGHTS),
        causes,
    )


def _not_loaded(name: str) -> Callable[[Layer], Layer]:
    return lambda layer: with_weights(layer, **{name: 0 * layer.weights[name]})


def _rows_rotated(name: str) -> Callable[[Layer], Layer | None]:
    def change(layer: Layer) -> Layer | None:
        weight = layer.weights[name]
        return None if weight.shape[-2] == 1 else with_weights(layer, **{name: np.roll(weight, 1, axis=-2)})

    return change


def _units_rotated(layer: Layer) -> Layer | None:
    m, gates = units(layer), len(gates_of(layer))
    columns = (np.arange(gates)[:, np.newaxis] * m + np.roll(np.arange(m), 1)).reshape(-1)
    return None if m == 1 else with_columns(layer, columns)


def _of_other_layer(network: Network, layer: Layer) -> Network | None:
    """Give a layer the weights of the next one of the same kind and shapes."""

    def shapes(of: Layer) -> tuple[str, dict[str, tuple[int, ...]]]:
        return of.kind, {name: weight.shape for name, weight in of.weights.items()}

    def differs(other: Layer) -> bool:
        return any(not np.array_equal(other.weights[name], weight) for name, weight in layer.weights.items())

    if layer.kind not in _WITH_WEIGHTS:
        return None
    others = (each for each in network.layers if shapes(each) == shapes(layer) and differs(each))
    other = next(others, None)
    return None if other is None else with_layer(network, replace(layer, weights=other.weights))


def _columns_zero(kernel: Array) -> Array:
    kernel = np.array(kernel)
    kernel[..., -1] = 0.0
    return kernel


FAULTS = (
    Fault(
        "weights_not_loaded",
        "weights",
        "the kernel is zero: it was never loaded",
        in_layer(_not_loaded("kernel"), _WITH_WEIGHTS),
        (ZERO_WEIGHT,),
    ),
    Fault(
        "recurrent_kernel_not_loaded",
        "weights",
        "the recurrent kernel is zero: it was never loaded",
        in_layer(_not_loaded("recurrent_kernel")),
        (ONE_STEP, ZERO_WEIGHT),
    ),
    Fault("weights_of_other_layer", "weights", "the layer has the weights of another one", _of_other_layer),
    Fault(
        "recurrent_rows_rotated",
        "weights",
        "the rows of the recurrent kernel are off by one",
        in_layer(_rows_rotated("recurrent_kernel")),
        (ONE_STEP, CONSTANT_WEIGHTS),
    ),
    Fault(
        "kernel_rows_rotated",
        "weights",
        "the rows of the kernel are off by one",
        in_layer(_rows_rotated("kernel"), _WITH_WEIGHTS),
        (CONSTANT_WEIGHTS,),
    ),
    Fault(
        "units_rotated",
        "weights",
        "the units of every gate are off by one",
        in_layer(_units_rotated),
        (CONSTANT_WEIGHTS,),
    ),
    Fault(
        "last_column_missing",
        "weights",
        "the last unit of the last gate has no weights of its inputs",
        in_layer(lambda layer: with_weights(layer, kernel=_columns_zero(layer.weights["kernel"])), _WITH_WEIGHTS),
        (ZERO_WEIGHT,),
    ),
    *(_small("kernel", amount) for amount in (1e-3, 1e-4, 1e-5)),
    *(_small("recurrent_kernel", amount, ONE_STEP) for amount in (1e-3, 1e-4, 1e-5)),
    *(_small("bias", amount) for amount in (1e-3, 1e-6)),
)
