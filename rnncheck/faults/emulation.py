"""Implementations to try checks on: the equations run in a coarse arithmetic, right or with a fault in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rnncheck.equations.arithmetic import KERNELS, Emulation
from rnncheck.equations.cells import CELLS
from rnncheck.equations.changes import with_options
from rnncheck.equations.operands import Weights, X
from rnncheck.equations.replay import States, replay
from rnncheck.network import Activation, Array, Layer, Network, Recording
from rnncheck.rounding.precision import PRECISIONS, Precision

# (a (R, n), kernel (n, M)) -> a·kernel (R, M), by additions in float32.
Product = Callable[[Array, Array], Array]


def emulate(
    network: Network, calls: Sequence[Sequence[Array]], arithmetic: Emulation | None = None
) -> tuple[Recording, ...]:
    """Run a network as an implementation might, and record all that it shows.

    Args:
        network: what to run, right or with a fault in it.
        calls: the inputs of each call in a row.
        arithmetic: how it computes; every step in float64, rounded once, when None.
    """
    states: States = {}
    recordings = []
    shown = {layer.name for layer in network.layers if layer.kind != "Moved"}
    for inputs in calls:
        run = replay(network, inputs, states=states, arithmetic=arithmetic or Emulation(), every_step=True)
        states = run.states
        recordings.append(
            Recording(
                inputs=tuple(inputs),
                outputs=tuple(_stored(network, output) for output in run.outputs),
                states={name: _stored(network, h) for name, h in run.sequences.items()},
                tensors={t: _stored(network, x) for t, x in run.tensors.items() if t.layer in shown},
            )
        )
    return tuple(recordings)


def _stored(network: Network, array: Array) -> Array:
    """Return float32 numbers as such, so that they look as an implementation's do."""
    narrow = all(layer.dtype != "float64" for layer in network.layers)
    return array.astype(np.float32) if narrow and array.dtype.kind == "f" else array


class Flushing(Emulation):
    """An implementation whose processor takes numbers below the smallest normal one for zero."""

    def store(self, x: X, precision: Precision) -> X:
        """Return a result rounded to the format, or zero."""
        result = super().store(x, precision)
        return np.where(np.abs(result) < precision.underflow / 4.0, 0.0, result) if x.dtype.kind == "f" else result


def with_sigmoid_by_tanh(network: Network) -> Network:
    """Return the network in which sigmoid is (1 + tanh(x/2))/2, each operation rounded to the layer's format."""

    def changed(layer: Layer) -> Layer:
        precision = PRECISIONS[layer.dtype]

        def by_tanh(x: X) -> X:
            return precision.round(precision.round(1.0 + precision.round(np.tanh(x / 2.0))) / 2.0)

        sigmoids = [key for key, value in layer.options.items() if value == Activation("sigmoid")]
        return with_options(layer, **dict.fromkeys(sigmoids, Activation("sigmoid", function=by_tanh)))

    return replace(network, layers=tuple(map(changed, network.layers)))


class Summing(Emulation):
    """An implementation in float32 whose products are computed in a way of its own."""

    def __init__(self, product: Product) -> None:
        self._product = product

    def weights(self, layer: Layer) -> Weights:
        """Return kernels whose products are computed that way."""
        plain: Mapping[str, Array] = super().weights(layer)
        if layer.kind not in CELLS or layer.dtype != "float32":
            return plain
        return {n: _Kernel(w, self._product) if n in KERNELS else w for n, w in plain.items()}


class _Kernel:
    """A weight matrix (n, M) whose products are computed in float32."""

    __array_ufunc__ = None

    def __init__(self, value: Array, product: Product) -> None:
        self._value = value
        self._product = product

    def __getitem__(self, columns: tuple[slice, slice]) -> _Kernel:
        return _Kernel(self._value[columns], self._product)

    def __rmatmul__(self, a: Array) -> Array:
        return self._product(a, self._value).astype(np.float64)


def one_after_the_other(a: Array, kernel: Array) -> Array:
    """Add from the first term to the last."""
    total: Array = np.cumsum(_terms(a, kernel), axis=-2, dtype=np.float32)[..., -1, :]
    return total


def last_to_first(a: Array, kernel: Array) -> Array:
    """Add from the last term to the first."""
    return one_after_the_other(a[..., ::-1], kernel[::-1])


def in_pairs(a: Array, kernel: Array) -> Array:
    """Add neighbours, then the sums of neighbours, and so on."""
    terms = _terms(a, kernel)
    while terms.shape[-2] > 1:
        if terms.shape[-2] % 2:
            terms = np.concatenate([terms, np.zeros_like(terms[..., :1, :])], axis=-2)
        terms = terms[..., ::2, :] + terms[..., 1::2, :]
    result: Array = terms[..., 0, :]
    return result


def fused(a: Array, kernel: Array) -> Array:
    """Add every product unrounded, from the first to the last: fused multiply-add."""
    total = np.zeros((len(a), kernel.shape[1]), np.float32)
    for k, row in enumerate(kernel):
        total = (total + a[:, k, np.newaxis] * row).astype(np.float32)
    return total


def _terms(a: Array, kernel: Array) -> Array:
    """Return the products that a sum is of, (R, n, M), each rounded to float32."""
    terms: Array = a.astype(np.float32)[..., np.newaxis] * kernel.astype(np.float32)
    return terms
