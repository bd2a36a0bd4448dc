"""What another program computed: arrays, or files of them, checked against the shapes of a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rnncheck.cases.array_files import read_arrays, taken_for_granted, told_of
from rnncheck.cases.inputs import check_inputs, count_of, in_order, real_array
from rnncheck.checks.observed import observe
from rnncheck.checks.steps import sees
from rnncheck.equations.cells import CELLS
from rnncheck.equations.replay import replay
from rnncheck.errors import InputError
from rnncheck.network import Array, InputSpec, Network, Recording


def read_recording(network: Network, inputs: Path, outputs: Path, states: Path | None = None) -> Recording:
    """Read what a program was given and what it computed.

    Args:
        network: the equations.
        inputs: `.npy`, `.npz`, `.csv` or `.json` with its inputs.
        outputs: the same with its outputs.
        states: the same with the state h after every step of some or all recurrent layers, by their names.

    Raises:
        InputError: a file cannot be read, or an array does not fit the network.
    """
    given = read_arrays(inputs, network.inputs, "input")
    with told_of(inputs):
        arrays = check_inputs(network, given)
    assumed = taken_for_granted(inputs, network.inputs)
    given = read_arrays(outputs, output_specs(network, arrays), "output")
    with told_of(outputs, assumed):
        returned = _outputs(network, arrays, given)
    if states is None:
        return Recording(arrays, returned)
    given = read_arrays(states, state_specs(network, arrays), "layer")
    with told_of(states, assumed):
        return Recording(arrays, returned, _states(network, arrays, given))


def _by_layer(specs: Collection[str], given: Any) -> dict[str, Any]:
    """Return states without names under the names of the recurrent layers."""
    arrays = given if isinstance(given, list | tuple) else [given]
    if len(arrays) != len(specs):
        raise InputError(
            f"states: got {count_of(arrays)} without a name; expected names, those of the recurrent layers: "
            f"{', '.join(map(repr, specs))}."
        )
    return dict(zip(specs, arrays, strict=True))


def make_recording(network: Network, inputs: Any, outputs: Any, states: Any) -> Recording:
    """Check recorded arrays against a network, and put them together.

    Args:
        network: the equations.
        inputs: what the program was given: one array, several in the model's order, or a mapping by name.
        outputs: what it computed, likewise.
        states: recurrent layer -> h after every step, (N, T, M), in the order in which the layer takes the steps;
            without names one array for each recurrent layer.

    Raises:
        InputError: a count, a name, a shape or a dtype does not fit.
    """
    arrays = check_inputs(network, inputs)
    return Recording(arrays, _outputs(network, arrays, outputs), _states(network, arrays, states))


def _outputs(network: Network, inputs: Sequence[Array], given: Any) -> tuple[Array, ...]:
    specs = output_specs(network, inputs)
    arrays = in_order("outputs", [spec.name for spec in specs], given, list(map(str, network.outputs)))
    return tuple(
        real_array(f"output {spec.name!r}", array, (len(inputs[0]), *spec.shape))
        for spec, array in zip(specs, arrays, strict=True)
    )


@dataclass(frozen=True)
class FunctionRunner:
    """Runs a function that computes what a network does.

    Attributes:
        network: the equations.
        function: takes an array for each input; returns one array, one for each output, or a mapping by name.
    """

    network: Network
    function: Callable[..., Any]

    def outputs(self, calls: Sequence[Sequence[Array]]) -> list[tuple[Array, ...]]:
        """Return the outputs of each call.

        Raises:
            InputError: what the function returns does not fit the network.
        """
        # The function gets copies, since it may write over its arguments.
        given = ([array.copy() for array in inputs] for inputs in calls)
        return [
            make_recording(self.network, inputs, self.function(*own), {}).outputs
            for inputs, own in zip(calls, given, strict=True)
        ]


def output_specs(network: Network, inputs: Sequence[Array]) -> tuple[InputSpec, ...]:
    """Return the name and shape of each output for some inputs.

    The name is the model's own for it, or else that of the layer, `layer:1` for its state.
    """
    outputs = replay(network, [array[:1] for array in inputs]).outputs
    names = network.output_names or tuple(map(str, network.outputs))
    return tuple(InputSpec(name, array.shape[1:], "float64") for name, array in zip(names, outputs, strict=True))


def state_specs(network: Network, inputs: Sequence[Array]) -> tuple[InputSpec, ...]:
    """Return name and shape (T, ..., M) of the sequence of states of each recurrent layer."""
    recurrent = [layer for layer in network.layers if layer.kind in CELLS]
    run = replay(network, [array[:1] for array in inputs], every_step=True)
    return tuple(InputSpec(layer.name, run.sequences[layer.name].shape[1:], "float64") for layer in recurrent)


def worth_recording(network: Network, recording: Recording) -> list[str]:
    """Return the recurrent layers whose states would let more steps be checked, if they were recorded too."""
    samples = len(recording.inputs[0])
    known = {spec.name: np.zeros((samples, *lengths_of(spec))) for spec in state_specs(network, recording.inputs)}
    now, then = (observe(network, [replace(recording, states=states)]) for states in (recording.states, known))
    helped = [each for each in network.layers if each.name in known and sees(each, then) and not sees(each, now)]
    return [layer.name for layer in helped if layer.name not in recording.states]


def lengths_of(spec: InputSpec) -> tuple[int, ...]:
    """Return the shape of an array without the N axis, all of which is known."""
    return tuple(length for length in spec.shape if length is not None)


def _states(network: Network, inputs: Sequence[Array], given: Any) -> dict[str, Array]:
    if isinstance(given, Mapping) and not given:
        return {}
    specs = {spec.name: spec for spec in state_specs(network, inputs)}
    if not specs:
        raise InputError("states: got states of a model without a recurrent layer; expected none.")
    states = given if isinstance(given, Mapping) else _by_layer(specs, given)
    unknown = sorted(set(states) - set(specs))
    if unknown:
        raise InputError(
            f"states: got layer {unknown[0]!r}; expected one of the recurrent layers: {', '.join(map(repr, specs))}."
        )
    return {
        name: real_array(f"states of {name!r}", array, (len(inputs[0]), *specs[name].shape))
        for name, array in states.items()
    }
