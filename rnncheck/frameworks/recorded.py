"""What another program computed: arrays, or files of them, checked against the shapes of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rnncheck.cases.array_files import read_arrays, taken_for_granted, told_of
from rnncheck.cases.inputs import check_inputs, count_of, in_order, real_array
from rnncheck.cases.resolutions import stored_numbers
from rnncheck.checks.observed import observe
from rnncheck.checks.steps import sees
from rnncheck.checks.unchecked import without_unchecked
from rnncheck.equations.cells import CELLS
from rnncheck.equations.shapes import of_few_samples, on_zeros, sequence_shapes
from rnncheck.errors import InputError
from rnncheck.network import UNCHECKED, Array, InputSpec, Network, Recording, Tensor
from rnncheck.rounding.precision import PRECISIONS

Specs = Sequence[InputSpec]


def read_recording(
    network: Network, inputs: Path, outputs: Path, states: Path | None = None, dtype: str | None = None
) -> Recording:
    """Read what a program was given and what it computed; states are h after every step, by recurrent layer.

    `dtype` is that of raw binary files.
    """
    given = read_arrays(inputs, network.inputs, "input", dtype)
    with told_of(inputs):
        arrays = check_inputs(network, given)
    n, by_layer = len(arrays[0]), None
    shown: dict[str, Array] = {}
    if network.unchecked:  # whose outputs say what shapes the others have
        names = [layer.name for layer in network.layers if layer.kind in {*CELLS, UNCHECKED}]
        named = [InputSpec(name, (), "float64") for name in names]
        with told_of(states or Path("--states")):
            by_layer, shown = _apart(network, n, {} if states is None else read_arrays(states, named, "layer", dtype))
    with told_of(states or inputs):
        of_outputs, of_states = _specs(network, arrays, shown)
    # What was assumed of the inputs may be why the outputs do not fit.
    assumed = taken_for_granted(inputs, network.inputs)
    given = read_arrays(outputs, of_outputs, "output", dtype)
    with told_of(outputs, assumed):
        recorded = _outputs(network, of_outputs, given)
    if states is None:
        return _recording(arrays, recorded, {})
    given = read_arrays(states, of_states, "layer", dtype) if by_layer is None else by_layer
    with told_of(states, assumed):
        return _recording(arrays, recorded, _states(of_states, given), shown)


def make_recording(network: Network, inputs: Any, outputs: Any, states: Any) -> Recording:
    """Check recorded arrays against a network, and put them together; they are given as to `rnncheck.compare`."""
    arrays = check_inputs(network, inputs)
    states, shown = _apart(network, len(arrays[0]), states)
    of_outputs, of_states = _specs(network, arrays, shown)
    return _recording(arrays, _outputs(network, of_outputs, outputs), _states(of_states, states), shown)


def _apart(network: Network, n: int, given: Any) -> tuple[Any, dict[str, Array]]:
    # What was recorded of states, and what unchecked layers put out, which stands among it by their names.
    names = [layer.name for layer in network.layers if layer.kind == UNCHECKED]
    if not names:
        return given, {}
    missing = [name for name in names if not isinstance(given, Mapping) or name not in given]
    if missing:
        raise InputError(
            f"states: got none by the name {missing[0]!r}; expected what that layer put out, (N, ...), among them, "
            "since it is not checked and what follows starts from it. Save it by that name, as .npz or .json."
        )
    shown = {}
    for name in names:
        array = np.asarray(given[name])
        if array.ndim < 1 or len(array) != n or array.dtype.kind not in "biuf":
            expected = f"expected {n} samples of real numbers, (N, ...)"
            raise InputError(f"states of {name!r}: got shape {array.shape} and dtype {array.dtype}; {expected}.")
        array, stored = stored_numbers(array)
        if stored and stored.base == 10 and not (array == np.rint(array)).all():
            expected = "expected all digits, since what follows starts from these numbers"
            raise InputError(f"states of {name!r}: got {stored}; {expected}. Write %.9g, or .npz.")
        shown[name] = array
    return {name: array for name, array in given.items() if name not in shown}, shown


def _recording(
    inputs: tuple[Array, ...],
    outputs: Sequence[Array],
    states: Mapping[str, Array],
    shown: Mapping[str, Array] = MappingProxyType({}),
) -> Recording:
    # With what the numbers tell of how they were stored.
    given: dict[int | str, Array] = dict(enumerate(outputs))
    given.update(states)
    stored = {name: stored_numbers(array) for name, array in given.items()}
    return Recording(
        inputs,
        tuple(stored[position][0] for position in range(len(outputs))),
        {name: stored[name][0] for name in states},
        {Tensor(name): array for name, array in shown.items()},
        resolutions={name: resolution for name, (_, resolution) in stored.items() if resolution},
    )


def told_digits(network: Network, recording: Recording, outputs: str, states: str) -> Iterator[str]:
    """Say what cannot be seen since numbers are stored so coarsely; `outputs` and `states` are where they are."""
    layers = [tensor.layer for tensor in network.outputs]
    dtypes = {spec.name: spec.dtype for spec in network.inputs} | {each.name: each.dtype for each in network.layers}
    of_outputs = zip(range(len(layers)), layers, recording.outputs, strict=True)
    of_states = ((name, name, h) for name, h in recording.states.items())
    for where, given in ((outputs, of_outputs), (states, of_states)):
        coarse = []
        for name, layer, array in given:
            precision = PRECISIONS.get(dtypes[layer])  # ids have none
            stored = recording.resolutions.get(name)
            if precision and stored and stored.is_coarser_than(precision.digits):
                finite = np.abs(array[np.isfinite(array)])
                half = float(stored.half_unit(finite).max())
                if half > 0.5 * precision.unit * float(finite.max()):
                    coarse.append((half, stored, _ADVICE[precision.digits > 24, stored.base]))
        if coarse:
            half, stored, advice = max(coarse, key=lambda each: each[0])
            yield f"{where} has {stored}: differences below {half:.1g} cannot be seen; {advice}."


# How to store more, by whether float64 is needed and by what the digits are of.
_ADVICE = {
    (False, 10): "write %.9g",
    (True, 10): "write %.17g",
    (False, 2): "save float32",
    (True, 2): "save float64",
}


def output_specs(network: Network, inputs: Sequence[Array]) -> Specs:
    """Return the outputs of a network for some inputs, each with its name and shape."""
    return _specs(network, inputs, {})[0]


def _specs(network: Network, inputs: Sequence[Array], shown: Mapping[str, Array]) -> tuple[Specs, Specs]:
    # The outputs, and the sequences of states (T, ..., M) of the recurrent layers. An output's name is the model's
    # own for it, or else that of the layer, `layer:1` for its state.
    opened, n = without_unchecked(network, inputs, shown), len(inputs[0])
    shapes = of_few_samples(network, [*inputs, *shown.values()])
    zeros = on_zeros(opened, shapes)
    names = network.output_names or map(str, network.outputs)
    outputs = [
        InputSpec(name, zeros[tensor].shape[1:], "float64", n)
        for name, tensor in zip(names, network.outputs, strict=True)
    ]
    # A layer inside TimeDistributed has a row for each step of a sample.
    sequences = sequence_shapes(opened, zeros).items()
    return outputs, [InputSpec(name, h[1:], "float64", n // shapes[0][0] * h[0]) for name, h in sequences]


def _outputs(network: Network, specs: Specs, given: Any) -> tuple[Array, ...]:
    # A mapping may have them by the model's names or by the names of the layers.
    arrays = in_order("outputs", [spec.name for spec in specs], given, list(map(str, network.outputs)))
    return tuple(
        real_array(f"output {spec.name!r}", array, (spec.samples, *spec.shape))
        for spec, array in zip(specs, arrays, strict=True)
    )


def _states(specs: Specs, given: Any) -> dict[str, Array]:
    if isinstance(given, Mapping) and not given:
        return {}
    shapes = {spec.name: (spec.samples, *spec.shape) for spec in specs}
    layers = ", ".join(map(repr, shapes))
    if not shapes:
        raise InputError("states: got states of a model without a recurrent layer; expected none. Leave them out.")
    if not isinstance(given, Mapping):
        arrays = given if isinstance(given, list | tuple) else [given]
        if len(arrays) != len(shapes):
            raise InputError(
                f"states: got {count_of(arrays)} without a name; expected names, those of the recurrent layers: "
                f"{layers}. Save them by name, as .npz or .json."
            )
        given = dict(zip(shapes, arrays, strict=True))
    unknown = sorted(set(given) - set(shapes))
    if unknown:
        raise InputError(
            f"states: got layer {unknown[0]!r}; expected one of the recurrent layers: {layers}. Rename it."
        )
    return {name: real_array(f"states of {name!r}", array, shapes[name]) for name, array in given.items()}


@dataclass(frozen=True)
class FunctionRunner:
    """Runs a function that computes what a network does."""

    network: Network
    # Takes an array for each input; returns one array, one for each output, or a mapping by name.
    function: Callable[..., Any]

    def outputs(self, calls: Sequence[Sequence[Array]]) -> list[tuple[Array, ...]]:
        """Return the outputs of each call; an InputError where they do not fit the network."""
        # The function gets copies, since it may write over its arguments.
        return [
            make_recording(self.network, inputs, self.function(*(array.copy() for array in inputs)), {}).outputs
            for inputs in calls
        ]


def worth_recording(network: Network, recording: Recording) -> list[str]:
    """Return the recurrent layers whose states would let more steps be checked, if they were recorded too."""
    # Which steps can be checked depends on which states are known, whatever their values.
    known: dict[str, Array] = {
        name: np.broadcast_to(0.0, (len(recording.inputs[0]), *h[1:]))
        for name, h in sequence_shapes(network, on_zeros(network, of_few_samples(network, recording.inputs))).items()
    }
    now, then = (observe(network, [replace(recording, states=states)]) for states in (recording.states, known))
    helped = [each for each in network.layers if each.name in known and sees(each, then) and not sees(each, now)]
    return [layer.name for layer in helped if layer.name not in recording.states]
