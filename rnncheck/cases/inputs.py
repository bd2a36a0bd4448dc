"""Arrays from users, checked; and random inputs in their place."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, permutations
from numbers import Integral
from typing import Any

import numpy as np

from rnncheck.cases.memory import check_memory
from rnncheck.equations.arithmetic import receiving
from rnncheck.equations.shapes import check_fit
from rnncheck.errors import InputError
from rnncheck.network import UNCHECKED, Array, InputSpec, Layer, Network, Tensor
from rnncheck.rounding.precision import PRECISIONS

# Layers after which an id is still the same id.
_MOVING = frozenset({
    "Reshape", "Flatten", "Permute", "RepeatVector", "Reverse", "FoldTime", "ExpandDims", "Identity", "Dropout",
})  # fmt: skip


def check_inputs(network: Network, inputs: Any) -> tuple[Array, ...]:
    """Return a user's inputs as one array for each input of the network.

    They are one array, a sequence in the order of the inputs, or a mapping by their names. Any real dtype, byte order
    and memory layout works; values are cast as the model's own input layer would.

    Raises:
        InputError: their number, dtype, rank, shape or values do not fit.
    """
    specs = network.inputs
    given = in_order("inputs", [spec.name for spec in specs], inputs)
    arrays = tuple(_check_array(spec, array) for spec, array in zip(specs, given, strict=True))
    n = len(arrays[0])
    for spec, array in zip(specs, arrays, strict=True):
        if len(array) != n:
            raise InputError(
                f"input {spec.name!r}: got {len(array)} samples; expected {n}, as of input {specs[0].name!r}. Give "
                "as many of each."
            )
        if network.stateful and spec.samples not in {None, n}:
            raise InputError(
                f"input {spec.name!r}: got {n} samples; expected {spec.samples}, the batch of a stateful model, "
                "which keeps a state for each. Give as many."
            )
        _check_ids(network, spec, array)
    check_range(network, arrays)
    check_fit(network, arrays)
    return arrays


def in_order(what: str, names: Sequence[str], given: Any, aliases: Sequence[str] = ()) -> list[Any]:
    """Return one array, a sequence of arrays, or a mapping by name or by alias, in the order of the names."""
    expected = ", ".join(map(repr, names))
    if isinstance(given, Mapping):
        for called in (names, aliases):
            if given and set(given) == set(called):
                return [given[name] for name in called]
        raise InputError(
            f"{what}: got arrays named {', '.join(map(repr, given)) or 'nothing'}; expected {expected}. Rename them."
        )
    arrays = list(given) if isinstance(given, list | tuple) else [given]
    if len(arrays) != len(names):
        raise InputError(f"{what}: got {count_of(arrays)}; expected {len(names)}: {expected}. Give one for each.")
    return arrays


def count_of(arrays: Sequence[Any]) -> str:
    """Return how many arrays there are, in words."""
    return "1 array" if len(arrays) == 1 else f"{len(arrays)} arrays"


def real_array(where: str, given: Any, shape: Sequence[int | None], kinds: str = "iuf") -> Array:
    """Return what a user gave as an array of real numbers, of a shape in which None is any length.

    Raises:
        InputError: it is no such array, or has another shape.
    """
    array = _as_array(where, given)
    if array.dtype.kind not in kinds:
        raise InputError(
            f"{where}: got dtype {array.dtype}; expected real numbers. Convert it: array.astype('float32') does."
        )
    # Without a sample, whose shape is (0, ...), there is nothing to check.
    if not _fits(array.shape, shape) or (shape[0] is None and 0 in array.shape):
        besides = ", with at least one sample" if shape[0] is None else ""
        todo = what_to_do(array.shape, shape)
        raise InputError(f"{where}: got shape {array.shape}; expected {in_letters(shape)}{besides}. {todo}")
    return array


def _fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(size in {None, n} for size, n in zip(expected, shape, strict=True))


def what_to_do(shape: Sequence[int], expected: Sequence[int | None]) -> str:
    """Say what mistake a wrong shape looks like, and how to mend it."""
    if 0 in shape:
        return "Give a sample and a step, or more."
    if len(shape) != len(expected):
        return _what_to_do_with_axes(shape, expected)
    for order in islice(permutations(range(len(shape))), _MOST_ORDERS):
        if _fits([shape[axis] for axis in order], expected):
            looks = _ORDERS.get(order, "as if its axes were in another order")
            return f"It looks {looks}: give array.transpose{order}."
    if len(shape) > 2:
        n, t, *others = shape
        for more, todo in _STEPS.items():
            if _fits((n, t - more, *others), expected) or _fits((t, n - more, *others), expected):
                return todo
    only_samples_differ = _fits((expected[0] or 1, *shape[1:]), expected)
    return "Give one for each sample of the inputs." if only_samples_differ else "Give all of it, samples first."


def _what_to_do_with_axes(shape: Sequence[int], expected: Sequence[int | None]) -> str:
    sizes = tuple(-1 if size is None else size for size in expected)
    count, known = math.prod(shape), abs(math.prod(sizes))
    if count == known or (sizes.count(-1) == 1 and count % known == 0):
        turned = ".T" if len(shape) == 2 and shape[0] == sizes[-1] != shape[1] else ""
        return f"It has as many numbers: give array{turned}.reshape{sizes}, if they are in that order."
    if len(shape) == len(sizes) - 1 and expected[0] in {None, 1}:
        alone = (1, *shape)
        besides = "" if _fits(alone, expected) else f" {what_to_do(alone, expected)}"
        return f"The axis of samples is missing: give array[None].{besides}"
    return "Give all of it, samples first."


_MOST_ORDERS = 1000  # all of six axes
_ORDERS = {(1, 0): "transposed", (1, 0, 2): "time first"}
_STEPS = {
    1: "It has one step more than the model takes: is h_0, or another, in front? Leave it out.",
    -1: "It is one step short: give every step, the last one too.",
}


def fold(numbers: Array, shape: Sequence[int | None], samples: int | None) -> Array | None:
    """Return numbers in C order as samples of a shape in which None is any length; None if their count does not fit.

    Where nothing says how many steps a sample has, all are of one. Where the samples are known, they may be a step
    longer or shorter, so that `what_to_do` can say so.
    """
    sizes = [-1 if size is None else size for size in shape]
    if samples and len(sizes) > 1 and -1 not in sizes:
        for t in (sizes[0], sizes[0] + 1, sizes[0] - 1):
            if t > 0 and numbers.size == samples * t * math.prod(sizes[1:]):
                return numbers.reshape(samples, t, *sizes[1:])
    if sizes.count(-1) > 1 or numbers.size % abs(math.prod(sizes)):
        return None
    return numbers.reshape(1 if -1 in sizes else -1, *sizes)


def in_letters(shape: Sequence[int | None]) -> str:
    """Write a shape of which some lengths are open, the first of them N, as `(N, any, 3)`."""
    first, *others = ("any" if size is None else str(size) for size in shape)
    return f"({', '.join(['N' if first == 'any' else first, *others])}{'' if others else ','})"


def _as_array(where: str, given: Any) -> Array:
    if isinstance(given, str | os.PathLike):
        raise InputError(f"{where}: got the path {str(given)!r}; expected an array. Read it first: numpy.load does.")
    if isinstance(given, np.ma.MaskedArray):  # NumPy would take what its mask hides for numbers
        raise InputError(f"{where}: got a masked array; expected plain numbers. Fill it first: numpy.ma.filled does.")
    if hasattr(given, "detach"):  # a tensor of torch, of which NumPy takes neither gradients nor bfloat16
        given = given.detach().cpu()
        given = given.float() if "bfloat16" in str(given.dtype) else given
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{where}: got something that is no array ({error}); expected numbers. Give nested lists of one shape."
        ) from error
    # NumPy does not know that bfloat16 is a number; float32 holds every one of them.
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _check_array(spec: InputSpec, given: Any) -> Array:
    where = f"input {spec.name!r}"
    array = real_array(where, given, (None, *spec.shape), "biuf")
    if array.dtype.kind == "f":
        place = _first(~np.isfinite(array))
        if place is not None:
            raise InputError(
                f"{where}: got {array[place]} at {list(place)}; expected finite numbers. Leave such samples out."
            )
        if array.dtype.itemsize > 8 and np.abs(array).max() > np.finfo(np.float64).max:
            raise InputError(f"{where}: got numbers beyond float64; expected such as {spec.dtype}. Scale them.")
    # Integers of more than 4 bytes, and float64, need float64 to stay what they are.
    dtype = np.bool_ if spec.dtype == "bool" else np.float64 if array.dtype.itemsize > 4 else np.float32
    return np.ascontiguousarray(array, dtype=dtype)


def _first(found: Array) -> tuple[int, ...] | None:
    places = np.argwhere(found)
    return tuple(places[0].tolist()) if len(places) else None


def _check_ids(network: Network, spec: InputSpec, array: Array) -> None:
    for layer in embeddings_of(network, spec):
        rows = len(layer.weights["embeddings"])
        place = _first((array < 0) | (array >= rows) | (array != np.trunc(array)))
        if place is not None:
            raise InputError(
                f"input {spec.name!r}: got {array[place]:.15g} at {list(place)}; expected whole numbers from 0 to "
                f"{rows - 1}, the rows of the table of layer {layer.name!r}. Give ids of this model."
            )


def embeddings_of(network: Network, spec: InputSpec) -> Iterator[Layer]:
    """Yield the Embedding layers that take an input's numbers as ids."""
    same = {Tensor(spec.name)}  # the input, and what still holds its ids
    for layer in network.layers:
        if layer.inputs[:1] and layer.inputs[0] in same:
            if layer.kind == "Embedding":
                yield layer
            elif layer.kind in _MOVING:
                same.add(Tensor(layer.name))


def check_range(network: Network, inputs: Sequence[Array]) -> None:
    """Refuse inputs that are infinite in the format in which the network takes them."""
    for spec, array in zip(network.inputs, inputs, strict=True):
        if array.dtype.kind != "f" or spec.dtype not in PRECISIONS:
            continue
        checked = (layer for layer in network.layers if layer.kind != UNCHECKED)
        readers = [layer for layer in checked if Tensor(spec.name) in layer.inputs]
        largest = float(np.abs(array).max())
        for precision in dict.fromkeys([PRECISIONS[spec.dtype], *map(receiving, readers)]):
            # The largest number of all may still be rounded down to the format's largest.
            place = None if largest <= precision.largest else _first(~np.isfinite(precision.round(array)))
            if place is not None:
                raise InputError(
                    f"input {spec.name!r}: got {array[place]:.9g} at {list(place)}, which is infinite in "
                    f"{precision.name}, the format in which the network takes it; expected numbers up to "
                    f"{precision.largest:.9g}. Scale them, or state a format that has them."
                )


def make_mask(kind: str, n: int, t_steps: int, rng: np.random.Generator) -> Array:
    """Return which steps count, (N, T) booleans, of one of the kinds in `case.MASKS`."""
    none, steps = np.zeros((n, 1), int), np.arange(t_steps)
    starts = _lengths(n, t_steps, rng) if kind in ("left", "both", "mixed") else none
    ends = t_steps - (_lengths(n, t_steps, rng) if kind in ("right", "both", "mixed") else none)
    counts = (steps >= starts) & (steps < ends)
    if kind in ("holes", "mixed"):
        counts &= rng.random((n, t_steps)) > 0.3
        counts[0, min(starts[0, 0], t_steps - 1)] = True  # so that there is something to check
    if kind == "mixed" and n > 1:
        counts[n // 2] = False
    return counts


def _lengths(n: int, t_steps: int, rng: np.random.Generator) -> Array:
    # Lengths of padding from 1 to a third of the steps, (N, 1), neighbours different where possible.
    longest = max(1, t_steps // 3)
    return 1 + (rng.integers(longest) + np.arange(n)[:, np.newaxis]) % longest


def random_inputs(
    network: Network, seed: int, samples: int | None = None, steps: int | None = None
) -> tuple[Array, ...]:
    """Return one array (N, ...) for each input of the network.

    Numbers are drawn from a standard normal distribution; ids from what the embeddings that read them have; masks,
    and the steps that a Masking layer or an embedding leaves out, have holes, ends of several lengths and a sample in
    which nothing counts. N is the batch that the model fixes, or 4, and open axes have length 12, unless `samples`
    and `steps` say otherwise.

    Raises:
        InputError: the model does not leave these sizes open, or they are too large for this machine.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"random inputs: got seed={seed!r}; expected a whole number from 0 up.")
    _check_sizes(network, samples, steps)
    rng = np.random.default_rng(seed)
    fixed = next((spec.samples for spec in network.inputs if spec.samples is not None), None)
    n, t_steps = samples or fixed or 4, steps or 12
    shapes = [(n, *(t_steps if size is None else size for size in spec.shape)) for spec in network.inputs]
    # They are drawn as float64, 8 bytes a number.
    needed = sum(8 * math.prod(shape) for shape in shapes)
    check_memory(f"random inputs: got {', '.join(map(str, shapes))}, which need", needed)
    longest = next((shape[1] for shape in shapes if len(shape) > 2), t_steps)
    arrays = tuple(
        _random_input(network, spec, shape, rng, longest) for spec, shape in zip(network.inputs, shapes, strict=True)
    )
    check_fit(network, arrays)
    return arrays


def no_inputs_given(arrays: Sequence[Array], seed: int) -> str:
    """Return what a reader of a report must know where its inputs are random."""
    samples = len(arrays[0])
    return f"no inputs given: {samples} random sample{'' if samples == 1 else 's'}, seed {seed}"


def _check_sizes(network: Network, samples: int | None, steps: int | None) -> None:
    for name, size in (("N", samples), ("T", steps)):
        if size is not None and (not isinstance(size, Integral) or size < 1):
            raise InputError(f"random inputs: got {name}={size!r}; expected a whole number from 1 up.")
    for spec in network.inputs:
        if samples is not None and spec.samples not in {None, samples}:
            raise InputError(
                f"random inputs: got N={samples}; expected {spec.samples}, the batch that the model fixes for input "
                f"{spec.name!r}. Leave it out."
            )
    if steps is not None and not any(None in spec.shape for spec in network.inputs):
        shapes = ", ".join(f"{spec.name!r} {in_letters((None, *spec.shape))}" for spec in network.inputs)
        raise InputError(
            f"random inputs: got T={steps}; expected none, since the model fixes its steps: {shapes}. Leave it out."
        )


def _random_input(
    network: Network, spec: InputSpec, shape: tuple[int, ...], rng: np.random.Generator, longest: int
) -> Array:
    if any(layer.kind == "StepsBefore" and layer.inputs[0] == Tensor(spec.name) for layer in network.layers):
        return rng.integers(1, longest + 1, size=shape)  # lengths of sequences
    if spec.dtype == "bool":
        return make_mask("mixed", shape[0], shape[1], rng) if len(shape) == 2 else rng.random(shape) > 0.3
    tables = [len(layer.weights["embeddings"]) for layer in embeddings_of(network, spec)]
    floats = spec.dtype.startswith(("float", "bfloat"))
    if floats and not tables:
        values: Array = rng.normal(size=shape).astype(np.float32)
    else:  # ids from 1, since a mask may leave 0 out
        most = min(tables, default=10)
        values = rng.integers(min(1, most - 1), most, size=shape).astype(np.float32 if floats else np.int64)
    # The value by which a step says that it does not count.
    tests = (layer for layer in network.layers if layer.kind == "NotEqual" and layer.inputs == (Tensor(spec.name),))
    left_out = next((layer.options["value"] for layer in tests), None)
    if left_out is not None and len(shape) >= 2 and (floats or abs(left_out) < 2**62):
        values[~make_mask("mixed", shape[0], shape[1], rng)] = left_out
    return values
