"""Faults of what is done to the outputs of a network that is right: scaled, moved, in another order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rnncheck.equations.activations import activate
from rnncheck.equations.cells import CELLS, units
from rnncheck.equations.changes import returned_through
from rnncheck.equations.operands import X, move, plain
from rnncheck.equations.replay import replay
from rnncheck.faults.catalogue.causes import EQUAL_OUTPUTS, SINGLE_SAMPLE, ZERO_OUTPUTS
from rnncheck.faults.catalogue.fault import WITH_WEIGHTS, Change, Fit, fault
from rnncheck.network import Activation, Array, Layer, Network, Recording, Tensor

# A parameter is fitted to so many numbers at least: to fewer, any would fit.
_ENOUGH = 8
_TOO_NEAR = 1e-5  # to another fault, without that parameter


def of_output(change: Callable[[X], X]) -> Change:
    """Make a fault of a function of an output."""
    return lambda network, layer: returned_through(network, layer, change)


def _fitted(solve: Callable[[Array, Array], Sequence[Any]], words: str) -> Callable[[Callable[..., X]], Fit]:
    # `solve` finds the parameters of a change from what is expected of a run's first call and what it has.
    return lambda change: _fit(change, solve, words)


def _fit(change: Callable[..., X], solve: Callable[[Array, Array], Sequence[Any]], words: str) -> Fit:
    def fit(network: Network, layer: Layer, run: Sequence[Recording]) -> Iterator[tuple[Network, str]]:
        if Tensor(layer.name) not in network.outputs:
            return
        position = network.outputs.index(Tensor(layer.name))
        expected = replay(network, run[0].inputs).outputs[position]
        actual = run[0].outputs[position].astype(np.float64)
        if expected.shape != actual.shape or not (np.isfinite(expected).all() and np.isfinite(actual).all()):
            return
        if parameters := solve(expected, actual):
            changed = returned_through(network, layer, lambda y: change(y, *parameters))
            if changed is not None:
                yield changed, words.format(*parameters)

    return fit


def _scale(expected: Array, actual: Array) -> Sequence[float]:
    energy = float(np.sum(expected * expected))
    if expected.size < _ENOUGH or energy == 0.0:
        return ()
    factor = float(np.sum(expected * actual)) / energy
    return () if any(abs(factor - plain) < _TOO_NEAR for plain in (-1.0, 0.0, 1.0)) else (factor,)


def _shift(expected: Array, actual: Array) -> Sequence[float]:
    return (float(np.mean(actual - expected)),) if expected.size >= _ENOUGH else ()


def _scale_and_shift(expected: Array, actual: Array) -> Sequence[float]:
    y = expected - expected.mean()
    if expected.size < _ENOUGH or not y.any():
        return ()
    factor = float(np.sum(y * actual) / np.sum(y * y))
    by = float(actual.mean() - factor * expected.mean())
    is_simpler = abs(factor - 1.0) < _TOO_NEAR or abs(by) < _TOO_NEAR * float(np.abs(actual).max())
    return () if is_simpler else (factor, by)


def _order(axis: int) -> Callable[[Array, Array], Sequence[Any]]:
    # The order along an axis in which the expected numbers are nearest to the actual ones.
    def solve(expected: Array, actual: Array) -> Sequence[Any]:
        rows, own = (np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1) for array in (expected, actual))
        if not 1 < len(rows) <= _MOST_IN_ORDER:
            return ()
        order = [int(np.abs(rows - row).sum(axis=1).argmin()) for row in own]
        return (order,) if sorted(order) == list(range(len(rows))) != order else ()

    return solve


_MOST_IN_ORDER = 1000  # the work grows with the square


@fault("outputs", of_output, kinds=WITH_WEIGHTS, hidden_by=[ZERO_OUTPUTS], fitted=_fitted(_scale, "by {:.7g}"))
def outputs_scaled(y: X, factor: float = 0.5) -> X:
    """the outputs are multiplied by a number"""
    return y * factor


@fault("outputs", of_output, kinds=WITH_WEIGHTS, fitted=_fitted(_shift, "{:+.7g}"))
def outputs_shifted(y: X, by: float = 1.0) -> X:
    """a number is added to the outputs"""
    return y + by


@fault("outputs", of_output, kinds=WITH_WEIGHTS, fitted=_fitted(_scale_and_shift, "{:.7g} and {:+.7g}"))
def outputs_rescaled(y: X, factor: float = 0.5, by: float = 1.0) -> X:
    """the outputs are multiplied by a number, and another is added"""
    return y * factor + by


@fault("outputs", of_output, kinds=WITH_WEIGHTS, hidden_by=[ZERO_OUTPUTS])
def outputs_negated(y: X) -> X:
    """the outputs have the other sign"""
    return -y


def _has_columns(layer: Layer) -> bool:
    widths = [weight.shape[-1] for weight in layer.weights.values()]
    return (units(layer) if layer.kind in CELLS else max(widths)) > 1


def _in_order(y: X, axis: int, order: Sequence[int] | None) -> X:
    return move(y, lambda array: np.flip(array, axis) if order is None else np.take(array, order, axis))


@fault(
    "outputs",
    of_output,
    kinds=WITH_WEIGHTS,
    when=_has_columns,
    hidden_by=[EQUAL_OUTPUTS],
    fitted=_fitted(_order(-1), "{}"),
)
def output_columns_in_other_order(y: X, order: Sequence[int] | None = None) -> X:
    """the columns of the outputs are in another order"""
    return _in_order(y, -1, order)


@fault("batch", of_output, kinds=WITH_WEIGHTS, hidden_by=[SINGLE_SAMPLE], fitted=_fitted(_order(0), "{}"))
def outputs_of_other_samples(y: X, order: Sequence[int] | None = None) -> X:
    """the outputs are those of the samples in another order"""
    return _in_order(y, 0, order)


@fault("batch", of_output, kinds=WITH_WEIGHTS, when=_has_columns, hidden_by=[SINGLE_SAMPLE])
def outputs_transposed(y: X) -> X:
    """the first two axes of the outputs are swapped, such as time first: (T, N, K) for (N, T, K)"""
    return move(y, lambda array: array.swapaxes(0, 1).reshape(array.shape))


@fault("outputs", of_output, kinds=WITH_WEIGHTS)
def softmax_applied(y: X) -> X:
    """the outputs go through a softmax that the model does not have"""
    return activate(Activation("softmax"), y)


@fault("outputs", of_output, kinds=WITH_WEIGHTS)
def largest_output_alone(y: X) -> X:
    """the largest output of each sample is 1, and the others are 0: argmax"""
    values = plain(y)
    return y * 0.0 + (values == values.max(axis=-1, keepdims=True)).astype(np.float64)
