"""The shapes of a network's tensors, found by a run on zeros."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from rnncheck.equations.arithmetic import PLAIN
from rnncheck.equations.cells import CELLS, sizes
from rnncheck.equations.layers import HELPERS, LAYERS
from rnncheck.equations.operands import TooLargeError
from rnncheck.equations.replay import operate
from rnncheck.equations.windows import AT_ONCE
from rnncheck.errors import InputError, UnsupportedError
from rnncheck.network import UNCHECKED, Array, Layer, Network, Tensor

Shape = tuple[int, ...]

# The lengths that are tried of an axis which the model leaves open, until one is long enough for all windows.
_OPEN = (64, 2**10, 2**14, 2**18)

# The most numbers that one layer may read or make here (256 MiB), and all layers together, and the most products of
# two: a description of a few lines may declare any size.
_MOST_OF_A_LAYER, _MOST, _MOST_PRODUCTS = 2**25, 2**27, 2**35


def rehearse(network: Network) -> Network:
    """Return the network if the shapes of weights, inputs and masks fit together.

    Raises:
        UnsupportedError: they do not, or they declare more numbers than two samples may have.
    """
    constants = (len(layer.weights["value"]) for layer in network.layers if layer.kind == "Constant")
    samples = max(constants, default=2)
    steps = [spec.shape[0] for spec in network.inputs if len(spec.shape) > 1 and spec.shape[0] is not None]
    refusal = _misfit_at(network, samples, steps[0] if steps else _OPEN[0])
    is_open = any(None in spec.shape for spec in network.inputs)
    if refusal and not (is_open and any(_misfit_at(network, samples, length) is None for length in _OPEN)):
        raise refusal
    return network


def _misfit_at(network: Network, samples: int, steps: int) -> UnsupportedError | None:
    sizes = _sizes(network, samples, steps)
    for spec, size in zip(network.inputs, sizes, strict=True):
        if math.prod(size) > _MOST:
            return UnsupportedError(f"input {spec.name!r}: got shape {size}; expected at most {_MOST:,} numbers.")
    problems: dict[str, str] = {}
    on_zeros(network, sizes, problems, limited=True)
    return next((UnsupportedError(f"layer {layer!r}: got {said}.") for layer, said in problems.items()), None)


def check_fit(network: Network, inputs: Sequence[Array]) -> None:
    """Refuse inputs of a size that a layer does not take; an InputError."""
    # Two samples stand for all, unless the model holds states to start from, one for each.
    n = len(inputs[0]) if any(layer.kind == "Constant" for layer in network.layers) else min(len(inputs[0]), 2)
    problems: dict[str, str] = {}
    on_zeros(network, [(n, *array.shape[1:]) for array in inputs], problems)
    for layer, problem in problems.items():
        given = ", ".join(f"{spec.name!r} {x.shape}" for spec, x in zip(network.inputs, inputs, strict=True))
        raise InputError(f"layer {layer!r}: got {problem}. The inputs are {given}.")


def shapes(network: Network, n: int, steps: int) -> dict[str, Shape]:
    """Return the shape of each layer's output, where the layer can run on so many samples and steps."""
    values = on_zeros(network, _sizes(network, n, steps), {}, limited=True)
    return {layer.name: values[Tensor(layer.name)].shape for layer in network.layers if Tensor(layer.name) in values}


def _sizes(network: Network, n: int, steps: int) -> list[Shape]:
    specs = network.inputs
    return [(spec.samples or n, *(steps if size is None else size for size in spec.shape)) for spec in specs]


def of_few_samples(network: Network, arrays: Sequence[Array]) -> list[Shape]:
    """Return the shapes of arrays with one sample in place of all, or with all where they are not alike."""
    count = None if network.knows_samples else 1
    return [array[:count].shape for array in arrays]


def on_zeros(
    network: Network, inputs: Sequence[Shape], problems: dict[str, str] | None = None, *, limited: bool = False
) -> dict[Tensor, Array]:
    """Return the tensors of a run on zeros of these shapes, in which no recurrent layer goes over the steps.

    `problems` is filled with why a layer cannot run; layers that read its output are left out too. Without it, the
    error is raised. `limited` is whether sizes that no machine holds are among the problems.
    """
    values: dict[Tensor, Array] = {
        Tensor(spec.name): _zeros(shape, bool if spec.dtype == "bool" else np.float64)
        for spec, shape in zip(network.inputs, inputs, strict=True)
    }
    made = multiplied = 0
    for layer in network.layers:
        if layer.kind == UNCHECKED or not all(tensor in values for tensor in layer.reads):
            continue
        try:
            numbers, products = _work(layer, [values[tensor].shape for tensor in layer.inputs])
            made, multiplied = made + numbers, multiplied + products
            if limited and (numbers > _MOST_OF_A_LAYER or made > _MOST or multiplied > _MOST_PRODUCTS):
                raise TooLargeError(
                    f"sizes for which a run on two samples holds {numbers:,} numbers here, {made:,} so far, and "
                    f"multiplies {multiplied:,} times; expected at most {_MOST_OF_A_LAYER:,}, {_MOST:,} and "
                    f"{_MOST_PRODUCTS:,}"
                )
            with np.errstate(all="ignore"):
                outputs = _outputs(layer, values)
        except (ValueError, IndexError, TypeError, OverflowError) as error:  # NumPy's: it does not take this size
            if problems is None:
                raise
            problems[layer.name] = str(error) if isinstance(error, TooLargeError) else _misfit(layer, values, error)
        else:
            values |= {tensor: _zeros(array.shape, array.dtype) for tensor, array in outputs.items()}
    return values


def _misfit(layer: Layer, values: Mapping[Tensor, Array], error: Exception) -> str:
    weights = ", ".join(f"{weight} {array.shape}" for weight, array in layer.weights.items())
    inputs = ", ".join(str(values[tensor].shape) for tensor in layer.inputs)
    of_both = f", inputs {inputs} and {weights}" if weights else ""
    return f"shapes that do not fit together{of_both} ({error}); expected ones that do"


def _zeros(shape: Shape, dtype: Any) -> Array:
    # One zero that stands for all: a sequence may have a million steps.
    return np.broadcast_to(np.zeros((), dtype), shape)


# How many leading axes the inputs of a layer have along which one entry stands for all: samples, or rows.
def _alike(layer: Layer, shapes: Sequence[Shape]) -> int:
    if layer.kind not in LAYERS or layer.kind in HELPERS or len({shape[:1] for shape in shapes}) != 1:
        return 0
    axes = [axis for option in ("axis", "axes") for axis in np.ravel(layer.options.get(option, -1)).tolist()]
    if any(axis % max(len(shape), 1) == 0 for axis in axes for shape in shapes):  # along which samples are not alone
        return 0
    by_row = LAYERS[layer.kind].rowwise or layer.options.get("axis") == -1
    return len(shapes[0]) - 1 if by_row and len({shape[:-1] for shape in shapes}) == 1 else 1


# Upper limits on the numbers that a layer holds at once, and on its products of two.
def _work(layer: Layer, shapes: Sequence[Shape]) -> tuple[int, int]:
    alike, options = _alike(layer, shapes), layer.options
    inputs = [(*(1,) * alike, *shape[alike:]) for shape in shapes]
    sizes = [math.prod(shape) for shape in inputs]
    if not inputs or layer.kind in {"FoldTime", "UnfoldTime"}:  # which copy nothing where all is one zero
        return 0, 0
    if layer.kind in CELLS:  # the first step alone
        sizes[0] //= max(inputs[0][1], 1)
    if layer.kind in {"Dot", "Attention"} and len(inputs) > 1:
        # Each row of the one with each row of the other, summed over an axis, of Attention the last.
        axis = np.ravel(options.get("axes", -1)).tolist()[0]
        products = sizes[0] * sizes[1] // max(inputs[0][0] * inputs[0][axis], 1)
        keeps_products = options.get("score_mode") == "concat"
        return sum(sizes) + (products if keeps_products else products // max(inputs[0][axis], 1)), products
    window = math.prod(np.ravel(options.get("kernel_size", options.get("pool_size", options.get("n", 1)))).tolist())
    columns = max((weight.shape[-1] for weight in layer.weights.values() if weight.ndim > 1), default=0)
    in_row = 1 if layer.kind == "Embedding" else max(1, *inputs[0][-1:])
    rows = sizes[0] // in_row
    rows = -(-rows // math.prod(np.ravel(options.get("strides", 1)).tolist()))
    together = math.prod(map(max, zip_longest(*(shape[::-1] for shape in inputs), fillvalue=1)))
    # Convolutions and pooling read some windows at a time.
    read = sizes[0] * window if "n" in options else min(sizes[0] * window, AT_ONCE)
    return max(sum(sizes), together, read, rows * columns), rows * in_row * window * columns


def sequence_shapes(network: Network, values: Mapping[Tensor, Array]) -> dict[str, Shape]:
    """Return the shape (N, T, ..., M) of the states of each recurrent layer, given what `on_zeros` returns."""
    sequences: dict[str, Shape] = {}
    for layer in network.layers:
        if layer.kind in CELLS:
            n, *others = values[Tensor(layer.name, 1)].shape
            sequences[layer.name] = (n, values[layer.inputs[0]].shape[1], *others)
    return sequences


def _outputs(layer: Layer, values: Mapping[Tensor, Array]) -> dict[Tensor, Array]:
    # Of a recurrent layer only the input's share of the first step runs, which has the shape of its gates.
    weights = PLAIN.weights(layer)
    if layer.kind in LAYERS:
        inputs = [values[tensor] for tensor in layer.inputs]
        alike = _alike(layer, [x.shape for x in inputs])
        output = operate(layer, [x[(slice(1),) * alike] for x in inputs], PLAIN, weights)
        leading = inputs[0].shape[:alike] if inputs else ()
        return {Tensor(layer.name): np.broadcast_to(output, (*leading, *output.shape[alike:]))}
    x = values[layer.inputs[0]]
    if x.ndim != layer.weights["kernel"].ndim + 1:
        raise ValueError(f"an input of shape {x.shape} for a kernel of shape {layer.weights['kernel'].shape}")
    cell = CELLS[layer.kind]
    leading = cell.project(x[:, 0], weights, layer.options).shape[:-1]
    state, *others = (np.zeros((*leading, size)) for size in sizes(layer))
    if layer.mask is not None and values[layer.mask].shape != x.shape[:2]:
        raise ValueError(f"a mask of shape {values[layer.mask].shape} for (N, T) = {x.shape[:2]}")
    for given, own in zip(layer.initial_state, (state, *others), strict=False):
        if values[given].shape[1:] != own.shape[1:] or len(values[given]) not in {1, len(own)}:
            raise ValueError(f"an initial state of shape {values[given].shape} for {own.shape}")
    finals = {Tensor(layer.name, index): own for index, own in enumerate((state, *others), start=1)}
    steps = (len(state), x.shape[1], *state.shape[1:])
    output = np.broadcast_to(state[:, np.newaxis], steps) if layer.options["return_sequences"] else state
    return {Tensor(layer.name): output, **finals}
