"""Implementations to try checks on: the equations run in a coarse arithmetic, right or with a fault in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
    """Record all that an implementation of a network might show; by default, it rounds every step once."""
    # No implementation shows what a fault put between its layers.
    shown = {layer.name for layer in network.layers if layer.kind != "Moved"}
    narrow = all(layer.dtype != "float64" for layer in network.layers)

    def stored(array: Array) -> Array:  # in the dtype that an implementation's arrays have
        return array.astype(np.float32) if narrow and array.dtype.kind == "f" else array

    states: States = {}
    recordings = []
    for inputs in calls:
        run = replay(network, inputs, states=states, arithmetic=arithmetic or Emulation(), every_step=True)
        states = run.states
        outputs = tuple(map(stored, run.outputs))
        sequences = {name: stored(h) for name, h in run.sequences.items()}
        tensors = {tensor: stored(x) for tensor, x in run.tensors.items() if tensor.layer in shown}
        recordings.append(Recording(tuple(inputs), outputs, sequences, tensors))
    return tuple(recordings)


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


@dataclass(frozen=True)
class Summing(Emulation):
    """An implementation in float32 whose products are computed in a way of its own."""

    product: Product

    def weights(self, layer: Layer) -> Weights:
        """Return kernels whose products are computed that way."""
        plain = super().weights(layer)
        changes = layer.kind in CELLS and layer.dtype == "float32"
        return {n: _Kernel(w, self.product) if changes and n in KERNELS else w for n, w in plain.items()}


@dataclass(frozen=True, eq=False)
class _Kernel:
    value: Array  # (n, M)
    product: Product

    __array_ufunc__ = None  # so that NumPy leaves `a @ kernel` to the kernel

    def __getitem__(self, columns: tuple[slice, slice]) -> _Kernel:
        return replace(self, value=self.value[columns])

    def __rmatmul__(self, a: Array) -> Array:
        return self.product(a, self.value).astype(np.float64)


def one_after_the_other(a: Array, kernel: Array) -> Array:
    """Add from the first term to the last."""
    return np.cumsum(_terms(a, kernel), axis=-2, dtype=np.float32)[..., -1, :]


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
    return terms[..., 0, :]


def fused(a: Array, kernel: Array) -> Array:
    """Add every product unrounded, from the first to the last: fused multiply-add."""
    total = np.zeros((len(a), kernel.shape[1]), np.float32)
    for k, row in enumerate(kernel):
        total = (total + a[:, k, np.newaxis] * row).astype(np.float32)
    return total


def _terms(a: Array, kernel: Array) -> Array:
    # The products that a sum is of, (R, n, M), each rounded to float32.
    return np.multiply(a[..., np.newaxis], kernel, dtype=np.float32)
