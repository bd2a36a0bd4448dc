"""Make a Keras model in this process produce its numbers: outputs on one of Keras' paths, states by a probe.

The probe is a model that calls the same layers, with the same weights, in the same order. It returns what every layer
puts out, and for every recurrent layer what the same cell puts out at every step.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnncheck.errors import NotApplicableError
from rnncheck.frameworks.keras.extract import to_numpy
from rnncheck.frameworks.keras.paths import PREDICT, KernelPath, recurrent_layers
from rnncheck.frameworks.keras.symbolic import (
    Arguments,
    CutInTwo,
    GraphRun,
    WithMasked,
    fresh_inputs,
    graph_of,
    rewritten,
    twin,
)
from rnncheck.network import Array, Network, Recording, Tensor


def record(
    model: Any, network: Network, calls: Sequence[Sequence[Array]], path: KernelPath = PREDICT
) -> tuple[Recording, ...]:
    """Run the model on the inputs of each call in turn, plain first and then as a probe.

    A stateful model starts from zero states, and gets back what states it had.

    Args:
        model: a Keras model.
        network: what `extract` read from it.
        calls: the inputs of each call.
        path: the way in which Keras computes it.

    Raises:
        NotApplicableError: there is no such path for this model here.
    """
    with running(model, network, calls, path) as runner:
        return runner.record(calls)


@contextlib.contextmanager
def running(
    model: Any, network: Network, calls: Sequence[Sequence[Array]], path: KernelPath = PREDICT
) -> Iterator[KerasRunner]:
    """Yield what runs the model on a path; afterwards model and framework are as they were.

    The arguments and errors are those of `record`; other calls may be run too.
    """
    import keras

    explorer = _Explorer(path)
    path.require(model, network, len(calls[0][0]))
    with _states_kept(model), path.around(model):
        try:
            inputs = fresh_inputs(model, calls[0])
            outputs = explorer.explore(model, inputs)
            plain = model if path.plain else keras.Model(inputs, outputs, name="rnncheck_model")
            names = {layer.name for layer in network.layers}
            seen = {tensor: output for tensor, output in explorer.tensors.items() if tensor.layer in names}
            flat = keras.tree.flatten(inputs)
            probe = keras.Model(flat, [*seen.values(), *explorer.sequences.values()], name="rnncheck_probe")
            path.compile(*([] if path.plain else [plain]), probe)
            yield KerasRunner(model, network, path, plain, probe, tuple(seen), tuple(explorer.sequences))
        finally:
            explorer.forget()


@dataclass(frozen=True)
class KerasRunner:
    """Runs a Keras model on one path.

    Attributes:
        model: the model as it came.
        network: what was read from it.
        path: the way in which Keras computes it.
        plain: what computes its outputs on that path.
        probe: what shows what its layers put out.
        tensors: which outputs of layers the probe puts out first.
        sequences: of which layers it puts out every step then.
    """

    model: Any
    network: Network
    path: KernelPath
    plain: Any
    probe: Any
    tensors: tuple[Tensor, ...]
    sequences: tuple[str, ...]

    def record(self, calls: Sequence[Sequence[Array]]) -> tuple[Recording, ...]:
        """Run the model on the inputs of each call in turn, plain first and then as a probe."""
        outputs = self.outputs(calls)
        probed = self._run(self.probe, calls)
        return tuple(
            Recording(
                inputs=tuple(map(_as_predict_casts, inputs)),
                outputs=tuple(plain),
                tensors=dict(zip(self.tensors, shown, strict=False)),
                states=dict(zip(self.sequences, shown[len(self.tensors) :], strict=True)),
            )
            for inputs, plain, shown in zip(calls, outputs, probed, strict=True)
        )

    def outputs(self, calls: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Return the outputs of each call."""
        return self._run(self.plain, calls)

    def cut_in_two(self, calls: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Return the outputs of each call where recurrent layers get their sequence in two parts."""
        return self._rewritten(calls, CutInTwo())

    def with_masked(self, calls: Sequence[Sequence[Array]], value: float) -> list[list[Array]]:
        """Return the outputs of each call where the steps that do not count have a certain value."""
        return self._rewritten(calls, WithMasked(value))

    def _rewritten(self, calls: Sequence[Sequence[Array]], rewrite: CutInTwo | WithMasked) -> list[list[Array]]:
        with self._calling(self.model, calls, rewrite) as model:
            if not rewrite.count:
                raise NotApplicableError(rewrite.missing)
            return self._run(model, calls)

    @contextlib.contextmanager
    def _calling(self, model: Any, calls: Sequence[Sequence[Array]], call: Callable[..., Any]) -> Iterator[Any]:
        """Yield a model whose layers `call` calls, as the path has it: (layer, args, kwargs) -> what is put out."""

        def on_the_path(layer: Any, args: Any, kwargs: Any) -> Any:
            return call(layer, args, self.path.arguments(layer, args, kwargs))

        with rewritten(model, calls[0], on_the_path) as changed:
            self.path.compile(changed)
            yield changed

    def reloaded(self, calls: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Return the outputs of each call of the model after it was saved and loaded."""
        import keras

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"
            self.model.save(file)
            loaded = keras.saving.load_model(file, compile=False, safe_mode=True)

        def as_it_is(layer: Any, args: Any, kwargs: Any) -> Any:
            return layer(*args, **kwargs)

        with self.path.around(loaded), self._calling(loaded, calls, as_it_is) as model:
            return self._run(model, calls)

    def _run(self, model: Any, calls: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Run a model on each call in turn, from zero states."""
        import keras

        for variable in (variable for each in (self.model, self.probe, model) for variable in _states(each)):
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
        results = []
        for inputs in calls:
            # A stateful model takes its batch whole; any other as the path cuts it.
            batch = self.path.batch
            batch_size = len(inputs[0]) if self.network.stateful else batch and batch(len(inputs[0]))
            arrays = list(map(_as_predict_casts, inputs))
            fed = keras.tree.pack_sequence_as(graph_of(model)._inputs_struct, arrays)
            outputs = self.path.execute(model, fed, batch_size)
            results.append([to_numpy(array) for array in keras.tree.flatten(outputs)])
        return results


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

    stateful = [layer for layer in recurrent_layers(model) if getattr(layer, "stateful", False)]
    return [variable for layer in stateful for variable in keras.tree.flatten(layer.states or [])]


class _Explorer:
    """Notes what each layer of a Network puts out, as symbolic tensors."""

    def __init__(self, path: KernelPath) -> None:
        self.tensors: dict[Tensor, Any] = {}
        self.sequences: dict[str, Any] = {}
        self._path = path
        self._graph_run = GraphRun(self._call)

    def explore(self, model: Any, inputs: Any) -> Any:
        """Run the model, inputs and outputs in its own structure."""
        return self._graph_run.run(model, inputs)

    def forget(self) -> None:
        """Take back what exploring left in the model's layers."""
        self._graph_run.forget()

    def _call(self, name: str, layer: Any, args: Any, kwargs: Any) -> Any:
        kwargs = self._path.arguments(layer, args, kwargs)
        outputs = layer(*args, **kwargs)
        self._note(name, layer, outputs, args, kwargs)
        return outputs

    def _note(self, name: str, layer: Any, outputs: Any, args: Any, kwargs: Any) -> None:
        import keras

        flat = keras.tree.flatten(outputs)
        match type(layer).__name__:
            case "Bidirectional":
                self._note_bidirectional(name, layer, flat, Arguments.of(layer, args, kwargs))
            case "TimeDistributed":
                self._note_time_distributed(name, layer, flat[0], Arguments.of(layer, args, kwargs))
            case _ if isinstance(layer, keras.layers.RNN):
                self._note_recurrent(name, layer, flat, Arguments.of(layer, args, kwargs))
            case _:
                self.tensors |= {Tensor(name, index): output for index, output in enumerate(flat)}

    def _note_recurrent(self, name: str, layer: Any, outputs: list[Any], arguments: Arguments) -> None:
        """Note a layer's output, its final states, and what each of its cells puts out at every step."""
        output, *states = outputs
        self.tensors[Tensor(name)] = output
        if layer.return_sequences:
            self.sequences[name] = output
        self._note_cells(name, layer, states, arguments)

    def _note_cells(self, name: str, layer: Any, states: list[Any], arguments: Arguments) -> None:
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

    def _note_bidirectional(self, name: str, layer: Any, outputs: list[Any], arguments: Arguments) -> None:
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

    def _note_time_distributed(self, name: str, layer: Any, output: Any, arguments: Arguments) -> None:
        self.tensors[Tensor(name)] = output
        mask = None if arguments.mask is None else _fold(arguments.mask)
        folded, inner = _fold(arguments.sequence), layer.layer
        inner_name = f"{name}/{inner.name}"
        if hasattr(inner, "layers"):
            self._graph_run.nested(inner_name, inner, folded, mask)
        else:
            self._note(inner_name, inner, _fold(output), (folded,), {} if mask is None else {"mask": mask})


def _sizes(cell: Any) -> list[Any]:
    return list(cell.state_size) if isinstance(cell.state_size, list | tuple) else [cell.state_size]


def _width(cell: Any) -> int:
    """Return how many numbers a cell puts out."""
    return int(_sizes(cell)[0])


def _fold(x: Any) -> Any:
    """Return (N, T, ...) as (N·T, ...)."""
    import keras

    return keras.ops.reshape(x, (-1, *x.shape[2:]))


def _all_steps(layer: Any, arguments: Arguments, name: str) -> Any:
    """Run a layer's own cell on what the layer reads, so that every step is returned: of a stack, that of every cell.

    The cells of a stack are run together: in another run their numbers might end in another digit, which a chaotic
    stack amplifies, and then what one cell put out would not be what the next one read.
    """
    import keras

    cell, states = layer.cell, arguments.initial_state
    cells = list(getattr(cell, "cells", []))
    if len(cells) == 1:  # Keras cannot run a stack of one cell under a mask
        cell, states = cells[0], None if states is None else keras.tree.flatten(states[0])
    elif cells:
        cell = _showing_every_cell(cell)
        states = None if states is None else [*states, [_side_by_side(states)]]
    steps = twin(layer, re.sub(r"\W", "_", name) + "_all_steps", cell, return_sequences=True)
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
