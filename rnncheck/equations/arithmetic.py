"""The arithmetics that a replay can run in: plain, emulated, or with noise and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnncheck.equations.cells import CELLS
from rnncheck.equations.layers import operation_of
from rnncheck.equations.operands import Weights, X
from rnncheck.network import Array, Layer
from rnncheck.rounding.precision import PRECISIONS, Precision
from rnncheck.rounding.products import Matrix
from rnncheck.rounding.rounded import EXACT, Bounds, Rounded

# The weights that inputs are multiplied with; a convolution's (k, ..., D, M) is flattened to (k·...·D, M).
KERNELS = frozenset({"kernel", "recurrent_kernel", "projection", "depthwise_kernel", "pointwise_kernel"})


class Arithmetic:
    """What a layer's weights and inputs become before the equations see them: plain float64 arrays, the replay."""

    @property
    def runs(self) -> int:
        """How many networks' runs it does at once, each on samples of its own, one after the other's."""
        return 1

    def weights(self, layer: Layer) -> Weights:
        """Return the layer's weights, rounded to its precision, ready for the equations; kernels as matrices."""
        return rounded_weights(layer)

    def lift(self, x: X, precision: Precision) -> X:  # noqa: ARG002 - plain numbers have no precision
        """Return an input of an operation as the equations are to see it."""
        return x

    def store(self, x: X, precision: Precision) -> X:  # noqa: ARG002 - nothing is rounded here
        """Return a result as it is kept: the new states of a step, the output of an operation."""
        return x


class Emulation(Arithmetic):
    """What an implementation might compute: every step and operation in float64, its result rounded to the format."""

    def store(self, x: X, precision: Precision) -> X:
        """Return a floating-point result rounded to the format."""
        return precision.round(x) if x.dtype.kind == "f" else x


@dataclass(frozen=True)
class Analysis(Arithmetic):
    """Arithmetic that carries noise along, and bounds unless they are left out; each operation rounds by its rule."""

    bounds: Bounds = Bounds.CARRIED  # whether the worst-case bound is carried
    matrix: type[Matrix] = Matrix  # how a kernel's products are analysed: `Matrix` or `OrderedMatrix`

    def weights(self, layer: Layer) -> Weights:
        """Return kernels as `Matrix`, so that `x @ kernel` becomes `Rounded`; the others stay exact arrays."""
        precision = computing(layer)
        return {
            name: self.matrix(weight, precision, self.bounds) if name in KERNELS else weight
            for name, weight in self.rounded(layer).items()
        }

    def rounded(self, layer: Layer) -> Mapping[str, Any]:
        """Return the layer's weights, rounded to its precision; kernels as matrices."""
        return rounded_weights(layer)

    def lift(self, x: X, precision: Precision) -> X:
        """Return numbers that were observed as `Rounded` without an error, so that sums of them have one."""
        if isinstance(x, Rounded):
            return x if x.precision is precision else x.to(precision)
        if x.dtype.kind != "f":  # ids and masks have no rounding
            return x
        return Rounded(x, EXACT, EXACT, precision, bounds=self.bounds)


def computing(layer: Layer) -> Precision:
    """Return the precision that a layer computes in; some never compute in less than float32."""
    casts = layer.kind in CELLS or operation_of(layer).casts_weights
    return PRECISIONS[layer.dtype] if casts else _at_least_float32(layer)


def receiving(layer: Layer) -> Precision:
    """Return the precision that a layer casts its inputs to; what casts none takes those of float32."""
    casts = layer.kind in CELLS or operation_of(layer).casts_inputs
    return PRECISIONS[layer.dtype] if casts else _at_least_float32(layer)


def _at_least_float32(layer: Layer) -> Precision:
    return max(PRECISIONS[layer.dtype], PRECISIONS["float32"], key=lambda each: each.digits)


def rounded_weights(layer: Layer) -> dict[str, Array]:
    """Return a layer's weights, rounded to the precision that it computes in; kernels as matrices."""
    precision = computing(layer)
    return {
        name: precision.round(weight.reshape(-1, weight.shape[-1]) if name in KERNELS else weight)
        for name, weight in layer.weights.items()
    }


PLAIN = Arithmetic()

# Over many steps a worst-case bound grows out of any use.
FREE_RUNNING = Analysis(Bounds.FREE)


def receive_input(array: Array, dtype: str) -> Array:
    """Return an input as the model's input layer casts it: numbers of the declared dtype, in any that has them."""
    if array.dtype.name == dtype:
        return array
    if dtype == "bool":
        return array.astype(bool)
    return PRECISIONS[dtype].round(array) if dtype in PRECISIONS else array.astype(dtype)


def received(array: Array, precision: Precision) -> Array:
    """Return an observed array as a layer receives it: floats cast to its precision, masks and ids as they are."""
    return precision.round(array) if array.dtype.kind == "f" else array
