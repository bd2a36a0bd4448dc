"""Make a Keras model in this process produce its numbers: outputs by `predict`, states by a probe.

The probe is a model that calls the same layers, with the same weights, in the same order. It returns what every layer
puts out, and for every recurrent layer what the same cell puts out at every step.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnncheck.extractor import to_numpy
from rnncheck.network import Array, Network, Tensor
from rnncheck.recording import Recording


def record(model: Any, network: Network, calls: Sequence[Sequence[Array]]) -> tuple[Recording, ...]:
    """Run the model on the inputs of each call in turn, plain first and then as a probe.

    A stateful model starts from zero states, and gets back what states it had.

    Args:
        model: a Keras model.
        network: what `extract` read from it.
        calls: the inputs of each call.
    """
    import keras

    calls = [[_as_predict_casts(array) for array in inputs] for inputs in calls]
    explorer = _Explorer()
    try:
        explorer.explore(model, model.inputs)
        names = {layer.name for layer in network.layers}
        seen = {tensor: output for tensor, output in explorer.tensors.items() if tensor.layer in names}
        probe = keras.Model(model.inputs, [*seen.values(), *explorer.sequences.values()], name="rnncheck_probe")
        with _states_kept(model):
            outputs = _predict_all(model, network, calls, reset=(model, probe))
            probed = _predict_all(probe, network, calls, reset=(model, probe))
    finally:
        explorer.forget()
    return tuple(
        Recording(
            inputs=tuple(inputs),
            outputs=tuple(plain),
            tensors=dict(zip(seen, shown, strict=False)),
            states=dict(zip(explorer.sequences, shown[len(seen) :], strict=True)),
        )
        for inputs, plain, shown in zip(calls, outputs, probed, strict=True)
    )


def _as_predict_casts(array: Array) -> Array:
    """Cast floating-point inputs to Keras' default dtype, as `predict` does before the model sees them."""
    import keras

    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


@contextlib.contextmanager
def _states_kept(model: Any) -> Iterator[None]:
    """Give a stateful model its states back, whatever happens."""
    variables = _states(model)
    values = [to_numpy(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _states(model: Any) -> list[Any]:
    """Return the variables in which recurrent layers keep their states, wherever in the model they are."""
    import keras

    layers = model._flatten_layers(include_self=False, recursive=True)
    stateful = [layer for layer in layers if getattr(layer, "stateful", False) and hasattr(layer, "cell")]
    return [variable for layer in stateful for variable in keras.tree.flatten(layer.states or [])]


def graph_of(model: Any) -> Any:
    """Return the functional model that a Sequential one wraps, or the model itself."""
    return getattr(model, "_functional", None) or model


def _predict_all(
    model: Any, network: Network, calls: Sequence[Sequence[Array]], reset: Sequence[Any]
) -> list[list[Array]]:
    import keras

    for variable in (variable for each in reset for variable in _states(each)):
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
    results = []
    for inputs in calls:
        # A stateful model takes its batch whole; any other as `predict` cuts it.
        batch_size = len(inputs[0]) if network.stateful else None
        fed = keras.tree.pack_sequence_as(graph_of(model)._inputs_struct, list(inputs))
        predicted = model.predict(fed, batch_size=batch_size, verbose=0)
        results.append([to_numpy(array) for array in keras.tree.flatten(predicted)])
    return results


class _Explorer:
    """Runs a model's graph again on symbolic tensors, and notes what each layer of its Network puts out.

    Names are those of the Network: of a nested model `model/layer`, of a layer's second use `layer@2`, of a
    wrapper's inside `wrapper/layer`.
    """

    def __init__(self) -> None:
        self.tensors: dict[Tensor, Any] = {}
        self.sequences: dict[str, Any] = {}
        self._uses: Counter[str] = Counter()
        self._nodes: list[tuple[Any, int]] = []

    def explore(self, model: Any, inputs: Any, prefix: str = "") -> Any:
        """Run one model, inputs and outputs in its own structure."""

        def calling(operation: Any) -> Any:
            return lambda *args, **kwargs: self._call(prefix, operation, args, kwargs)

        return graph_of(model)._run_through_graph(inputs, operation_fn=calling)

    def forget(self) -> None:
        """Take back what exploring left in the model's layers."""
        for operation, count in reversed(self._nodes):
            del operation._inbound_nodes[count:]

    def _call(self, prefix: str, operation: Any, args: Any, kwargs: Any) -> Any:
        name = prefix + operation.name
        self._uses[name] += 1
        if self._uses[name] > 1:
            name = f"{name}@{self._uses[name]}"
        if hasattr(operation, "layers"):
            return self._nested(name, operation, args[0], kwargs.get("mask"))
        self._nodes.append((operation, len(operation._inbound_nodes)))
        outputs = operation(*args, **kwargs)
        self._note(name, operation, outputs, args, kwargs)
        return outputs

    def _nested(self, name: str, model: Any, inputs: Any, mask: Any) -> Any:
        import keras

        for x, counts in zip(keras.tree.flatten(inputs), keras.tree.flatten(mask), strict=False):
            if counts is not None:
                x._keras_mask = counts
        return self.explore(model, inputs, f"{name}/")

    def _note(self, name: str, layer: Any, outputs: Any, args: Any, kwargs: Any) -> None:
        import keras

        flat = keras.tree.flatten(outputs)
        match type(layer).__name__:
            case "Bidirectional":
                self._note_bidirectional(name, layer, flat, _Arguments.of(layer, args, kwargs))
            case "TimeDistributed":
                self._note_time_distributed(name, layer, flat[0], _Arguments.of(layer, args, kwargs))
            case _ if isinstance(layer, keras.layers.RNN):
                self._note_recurrent(name, layer, flat, _Arguments.of(layer, args, kwargs))
            case _:
                self.tensors |= {Tensor(name, index): output for index, output in enumerate(flat)}

    def _note_recurrent(self, name: str, layer: Any, outputs: list[Any], arguments: _Arguments) -> None:
        """Note a layer's output, its final states, and what each of its cells puts out at every step."""
        output, *states = outputs
        self.tensors[Tensor(name)] = output
        if layer.return_sequences:
            self.sequences[name] = output
        self._note_cells(name, layer, states, arguments)

    def _note_cells(self, name: str, layer: Any, states: list[Any], arguments: _Arguments) -> None:
        cells = getattr(layer.cell, "cells", [layer.cell])
        names = [*(f"{name}/{k}_{cell.name}" for k, cell in enumerate(cells[:-1])), name]
        for cell, cell_name in zip(cells, names, strict=True):
            own = [states.pop(0) for _ in _sizes(cell)] if states else []
            self.tensors |= {Tensor(cell_name, index): state for index, state in enumerate(own, start=1)}
        if len(cells) > 1:
            steps = _all_steps(layer, arguments, name)
            ends = list(itertools.accumulate(_width(cell) for cell in cells))
            for cell_name, start, end in zip(names, [0, *ends], ends, strict=False):
                self.sequences[cell_name] = steps[..., start:end]
        elif name not in self.sequences:
            self.sequences[name] = _all_steps(layer, arguments, name)

    def _note_bidirectional(self, name: str, layer: Any, outputs: list[Any], arguments: _Arguments) -> None:
        halves = (layer.forward_layer, layer.backward_layer)
        names = [f"{name}/{half.name}" for half in halves]
        shown = outputs[:2] if layer.merge_mode is None else [outputs[0]]
        states = outputs[len(shown) :]
        if layer.merge_mode is not None:
            self.tensors[Tensor(name)] = outputs[0]
        if layer.merge_mode == "concat":  # what both directions put out; another run may miss a last digit
            shape = layer.forward_layer.compute_output_shape(arguments.sequence.shape)
            width = (shape[0] if layer.return_state else shape)[-1]
            shown = [outputs[0][..., :width], outputs[0][..., width:]]
        if len(shown) == 2:
            backward = f"{name}/reverse" if layer.return_sequences else names[1]
            self.tensors |= {Tensor(names[0]): shown[0], Tensor(backward): shown[1]}
        middle = len(states) // 2
        for half, half_name, own in zip(halves, names, (states[:middle], states[middle:]), strict=True):
            self._note_cells(half_name, half, own, arguments.half(first=half is halves[0]))

    def _note_time_distributed(self, name: str, layer: Any, output: Any, arguments: _Arguments) -> None:
        self.tensors[Tensor(name)] = output
        mask = None if arguments.mask is None else _fold(arguments.mask)
        folded, inner = _fold(arguments.sequence), layer.layer
        inner_name = f"{name}/{inner.name}"
        if hasattr(inner, "layers"):
            self._nested(inner_name, inner, folded, mask)
        else:
            self._note(inner_name, inner, _fold(output), (folded,), {} if mask is None else {"mask": mask})


@dataclass(frozen=True)
class _Arguments:
    """What a recurrent layer was called with."""

    sequence: Any
    initial_state: Any
    mask: Any

    @staticmethod
    def of(layer: Any, args: Any, kwargs: Any) -> _Arguments:
        """Return them by name."""
        sequence, *_ = (bound := inspect.signature(layer.call).bind(*args, **kwargs).arguments).values()
        return _Arguments(sequence, bound.get("initial_state"), bound.get("mask"))

    def half(self, *, first: bool) -> _Arguments:
        """Return those of one direction of Bidirectional."""
        if self.initial_state is None:
            return self
        middle = len(self.initial_state) // 2
        states = self.initial_state[:middle] if first else self.initial_state[middle:]
        return replace(self, initial_state=list(states))


def _sizes(cell: Any) -> list[Any]:
    return list(cell.state_size) if isinstance(cell.state_size, list | tuple) else [cell.state_size]


def _width(cell: Any) -> int:
    """Return how many numbers a cell puts out."""
    return int(_sizes(cell)[0])


def _fold(x: Any) -> Any:
    """Return (N, T, ...) as (N·T, ...)."""
    import keras

    return keras.ops.reshape(x, (-1, *x.shape[2:]))


# The arguments that say how a layer runs its cell, and of which size it is.
_OF_A_CELL = (
    "units", "filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "reset_after",
)  # fmt: skip
_RUNNING = (
    *_OF_A_CELL, "go_backwards", "stateful", "unroll", "zero_output_for_mask",
)  # fmt: skip


def _all_steps(layer: Any, arguments: _Arguments, name: str) -> Any:
    """Run a layer's own cell on what the layer reads, so that every step is returned: of a stack, that of every cell.

    The cells of a stack are run together: in another run their numbers might end in another digit, which a chaotic
    stack amplifies, and then what one cell put out would not be what the next one read.
    """
    import keras

    holders = {key: layer if hasattr(layer, key) else layer.cell for key in _RUNNING}
    running = {key: getattr(holder, key) for key, holder in holders.items() if hasattr(holder, key)}
    running |= {
        "dtype": layer.dtype_policy,
        "return_sequences": True,
        "name": re.sub(r"\W", "_", name) + "_all_steps",
    }
    states = arguments.initial_state
    if type(layer) is keras.layers.RNN:
        cell, cells = layer.cell, list(getattr(layer.cell, "cells", []))
        if len(cells) == 1:  # Keras cannot run a stack of one cell under a mask
            cell, states = cells[0], None if states is None else keras.tree.flatten(states[0])
        elif cells:
            cell = _showing_every_cell(cell)
            states = None if states is None else [*states, [_side_by_side(states)]]
        steps = keras.layers.RNN(cell, **{key: running[key] for key in running if key not in _OF_A_CELL})
    else:
        steps = type(layer)(**running)
        steps.cell = layer.cell
    return steps(arguments.sequence, initial_state=states, mask=arguments.mask)


def _showing_every_cell(stack: Any) -> Any:
    """Return a stack of the same cells that puts out the h of all of them, side by side.

    What it puts out is the state of a further cell, because under a mask JAX takes the first state of the last cell
    for the output before.
    """
    import keras

    class EveryCell(keras.layers.StackedRNNCells):  # type: ignore[misc]
        output_size = property(lambda self: sum(map(_width, self.cells)))
        state_size = property(lambda self: [*(_sizes(cell) for cell in self.cells), [self.output_size]])

        def get_initial_state(self, batch_size: Any = None) -> Any:
            states = super().get_initial_state(batch_size)
            return [*states, [keras.ops.zeros((batch_size, self.output_size), self.compute_dtype)]]

        def call(self, inputs: Any, states: Any, training: bool = False, **kwargs: Any) -> Any:
            *before, _ = states
            _, after = super().call(inputs, before, training=training, **kwargs)
            shown = keras.ops.concatenate([keras.tree.flatten(own)[0] for own in after], axis=-1)
            return shown, [*after, [shown]]

    return EveryCell(stack.cells, dtype=stack.dtype_policy)


def _side_by_side(states: Any) -> Any:
    """Return zeros of the size of all cells' h, side by side."""
    import keras

    return keras.ops.concatenate([keras.ops.zeros_like(keras.tree.flatten(own)[0]) for own in states], axis=-1)
