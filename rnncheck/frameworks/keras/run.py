"""Run a Keras model in this process: its outputs on one of Keras' compute paths, its states by a probe.

The probe is a model that calls the same layers, with the same weights, in the same order. It returns the outputs of
every layer, and for every recurrent layer the outputs of the same cell at every step.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnncheck.errors import NotApplicableError
from rnncheck.frameworks.keras import symbolic
from rnncheck.frameworks.keras.extract import to_numpy
from rnncheck.frameworks.keras.paths import PREDICT, ComputePath, recurrent_layers
from rnncheck.frameworks.keras.symbolic import Arguments, GraphRun, Rewrite, fresh_inputs, graph_of, own_name, twin
from rnncheck.network import UNCHECKED, Array, Network, Recording, Tensor

Calls = Sequence[Sequence[Array]]  # the inputs of each call


def record(model: Any, network: Network, calls: Calls, path: ComputePath = PREDICT) -> tuple[Recording, ...]:
    """Run the model on the inputs of each call in turn, plain first and then as a probe.

    A stateful model starts from zero states, and gets its own states back. The network is what `extract` read.

    Raises:
        NotApplicableError: the model has no such path here.
    """
    with running(model, network, calls, path) as runner:
        return runner.record(calls)


@contextlib.contextmanager
def running(model: Any, network: Network, calls: Calls, path: ComputePath = PREDICT) -> Iterator[KerasRunner]:
    """Yield a runner of the model on a path; afterwards model and framework are as they were.

    The arguments and errors are those of `record`; the runner takes other calls too.
    """
    import keras

    path.require(model, network, len(calls[0][0]))  # N
    renamed = symbolic.accepted_names(model)
    with contextlib.ExitStack() as states, renamed, path.around(model), _Explorer(path, network) as explorer:
        for variable in _states(model):
            states.callback(variable.assign, to_numpy(variable))
        inputs = fresh_inputs(model, calls[0])
        outputs = explorer.run(model, inputs)
        plain = model if path.plain else keras.Model(inputs, outputs, name="rnncheck_model")
        names = {layer.name for layer in network.layers}
        seen = {tensor: output for tensor, output in explorer.tensors.items() if tensor.layer in names}
        flat = keras.tree.flatten(inputs)
        probe = keras.Model(flat, [*seen.values(), *explorer.sequences.values()], name="rnncheck_probe")
        path.compile(plain, probe)  # a plain path compiles none
        yield KerasRunner(model, network, path, plain, probe, tuple(seen), tuple(explorer.sequences))


@dataclass(frozen=True)
class KerasRunner:
    """Runs a Keras model on one compute path."""

    model: Any  # the user's
    network: Network  # what was read from it
    path: ComputePath
    plain: Any  # the model that computes the outputs on that path
    probe: Any  # the model that returns the outputs of layers
    tensors: tuple[Tensor, ...]  # the outputs that the probe returns first
    sequences: tuple[str, ...]  # the layers whose outputs at every step it returns then

    def record(self, calls: Calls) -> tuple[Recording, ...]:
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

    def outputs(self, calls: Calls) -> list[list[Array]]:
        """Return the outputs of each call."""
        return self._run(self.plain, calls)

    def cut_in_two(self, calls: Calls) -> list[list[Array]]:
        """Return the outputs of each call where recurrent layers get their sequence in two parts."""
        return self._rewritten(calls, symbolic.CutInTwo())

    def with_masked(self, calls: Calls, value: float) -> list[list[Array]]:
        """Return the outputs of each call where all inputs at steps that do not count are one value."""
        return self._rewritten(calls, symbolic.WithMasked(value))

    def _rewritten(self, calls: Calls, rewrite: symbolic.CutInTwo | symbolic.WithMasked) -> list[list[Array]]:
        with self._calling(self.model, calls, rewrite) as model:
            if not rewrite.count:
                raise NotApplicableError(rewrite.missing)
            return self._run(model, calls)

    # A model of the same layers, each called as `call` says, on the path.
    @contextlib.contextmanager
    def _calling(self, model: Any, calls: Calls, call: Rewrite) -> Iterator[Any]:
        import keras

        def on_the_path(_: str, layer: Any, args: Any, kwargs: Any) -> Any:
            return call(layer, args, self.path.arguments(layer, args, kwargs))

        inputs = fresh_inputs(model, calls[0])
        with GraphRun(on_the_path) as graph_run:
            changed = keras.Model(inputs, graph_run.run(model, inputs), name="rnncheck_rewritten")
            self.path.compile(changed)
            yield changed

    def reloaded(self, calls: Calls) -> list[list[Array]]:
        """Return the outputs of each call of the model after it was saved and loaded."""
        import keras

        # Keras loads the file at once, so that it need not stay.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"
            self.model.save(file)
            loaded = keras.saving.load_model(file, compile=False, safe_mode=True)

        def unchanged(layer: Any, args: Any, kwargs: Any) -> Any:
            return layer(*args, **kwargs)

        with self.path.around(loaded), self._calling(loaded, calls, unchanged) as model:
            return self._run(model, calls)

    def _run(self, model: Any, calls: Calls) -> list[list[Array]]:
        import keras

        # The models share the layers that keep states; each run starts from zeros.
        for each in (self.model, self.probe, model):
            for variable in _states(each):
                variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
        results = []
        for inputs in calls:
            samples, batch = len(inputs[0]), self.path.batch
            batch_size = samples if self.network.stateful else batch and batch(samples)  # stateful: whole batches
            arrays = list(map(_as_predict_casts, inputs))
            fed = keras.tree.pack_sequence_as(graph_of(model)._inputs_struct, arrays)
            outputs = self.path.execute(model, fed, batch_size)
            results.append([to_numpy(array) for array in keras.tree.flatten(outputs)])
        return results


# `predict` casts floating-point inputs to Keras' default dtype before the model sees them.
def _as_predict_casts(array: Array) -> Array:
    import keras

    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


# The variables in which recurrent layers keep their states, wherever in the model they are.
def _states(model: Any) -> list[Any]:
    import keras

    stateful = [layer for layer in recurrent_layers(model) if getattr(layer, "stateful", False)]
    return [variable for layer in stateful for variable in keras.tree.flatten(layer.states or [])]


# Notes the outputs of each layer of a Network, as symbolic tensors.
class _Explorer(GraphRun):
    def __init__(self, path: ComputePath, network: Network) -> None:
        self._network = network
        self._unchecked = {layer.name for layer in network.layers if layer.kind == UNCHECKED}
        super().__init__(self._call_and_note, self._unchecked)
        self.tensors: dict[Tensor, Any] = {}
        self.sequences: dict[str, Any] = {}
        self._path = path

    def _call_and_note(self, name: str, layer: Any, args: Any, kwargs: Any) -> Any:
        kwargs = self._path.arguments(layer, args, kwargs)
        outputs = layer(*args, **kwargs)
        self._note(name, layer, outputs, args, kwargs)
        return outputs

    def _note(self, name: str, layer: Any, outputs: Any, args: Any, kwargs: Any) -> None:
        import keras

        flat = keras.tree.flatten(outputs)
        match type(layer).__name__:
            case _ if name in self._unchecked:
                self._note_unchecked(name, flat)
            case "Bidirectional":
                self._note_bidirectional(name, layer, flat, Arguments.of(layer, args, kwargs))
            case "TimeDistributed":
                self._note_time_distributed(name, layer, flat[0], Arguments.of(layer, args, kwargs))
            case _ if isinstance(layer, keras.layers.RNN):
                output, *states = flat
                self.tensors[Tensor(name)] = output
                if layer.return_sequences:
                    self.sequences[name] = output
                self._note_cells(name, layer, states, Arguments.of(layer, args, kwargs))
            case _:
                self.tensors |= {Tensor(name, index): output for index, output in enumerate(flat)}

    # The final states of each cell of a layer, and its outputs at every step.
    def _note_cells(self, name: str, layer: Any, states: list[Any], arguments: Arguments) -> None:
        cells = getattr(layer.cell, "cells", [layer.cell])
        names = [*(f"{name}/{k}_{own_name(cell)}" for k, cell in enumerate(cells[:-1])), name]
        for cell, cell_name in zip(cells, names, strict=True):
            own = [states.pop(0) for _ in _sizes(cell)] if states else []
            self.tensors |= {Tensor(cell_name, index): state for index, state in enumerate(own, start=1)}
        if len(cells) > 1:
            steps = _all_steps(layer, arguments, f"rnncheck_steps_{len(self.sequences)}")
            ends = list(itertools.accumulate(_width(cell) for cell in cells))
            for cell_name, start, end in zip(names, [0, *ends], ends, strict=False):
                self.sequences[cell_name] = steps[..., start:end]
        elif name not in self.sequences:
            self.sequences[name] = _all_steps(layer, arguments, f"rnncheck_steps_{len(self.sequences)}")

    def _note_bidirectional(self, name: str, layer: Any, outputs: list[Any], arguments: Arguments) -> None:
        halves = (layer.forward_layer, layer.backward_layer)
        names = [f"{name}/{own_name(half)}" for half in halves]
        # Without a merge the outputs of both halves come first, then the states.
        shown = outputs[:2] if layer.merge_mode is None else [outputs[0]]
        states = outputs[len(shown) :]
        if layer.merge_mode is not None:
            self.tensors[Tensor(name)] = outputs[0]
        if layer.merge_mode == "concat":  # both directions' outputs; another run might differ in the last digit
            shape = layer.forward_layer.compute_output_shape(arguments.sequence.shape)
            width = (shape[0] if layer.return_state else shape)[-1]
            shown = [outputs[0][..., :width], outputs[0][..., width:]]
        if len(shown) == 2:
            backward = f"{name}/reverse" if layer.return_sequences else names[1]
            self.tensors |= {Tensor(names[0]): shown[0], Tensor(backward): shown[1]}
        middle = len(states) // 2
        for half, half_name, own in zip(halves, names, (states[:middle], states[middle:]), strict=True):
            self._note_cells(half_name, half, own, arguments.half(first=half is halves[0]))

    # Each output by a name of its own, with its mask: where it has none, one in which every step counts.
    def _note_unchecked(self, name: str, outputs: list[Any]) -> None:
        import keras

        for index, output in enumerate(outputs):
            own = f"{name}:{index}" if index else name
            self.tensors[Tensor(own)] = output
            if f"{own}/mask" in self._unchecked:
                mask = getattr(output, "_keras_mask", None)
                first = output[(..., *(0 for _ in output.shape[2:]))]  # (N, T)
                self.tensors[Tensor(f"{own}/mask")] = (
                    keras.ops.equal(keras.ops.zeros_like(first), 0) if mask is None else mask
                )

    def _note_time_distributed(self, name: str, layer: Any, output: Any, arguments: Arguments) -> None:
        self.tensors[Tensor(name)] = output
        mask = None if arguments.mask is None else _fold(arguments.mask)
        folded, inner = _fold(arguments.sequence), layer.layer
        inner_name = f"{name}/{own_name(inner)}"
        if hasattr(inner, "layers"):
            self.nested(inner_name, inner, folded, mask)
            # The model's output is that of the plain run; this one, of all steps at once, may round otherwise.
            self.tensors[self._network.layer(name).inputs[0]] = _fold(output)
        else:
            self._note(inner_name, inner, _fold(output), (folded,), {} if mask is None else {"mask": mask})


# The widths of a cell's states; the first is that of its output.
def _sizes(cell: Any) -> list[Any]:
    return list(cell.state_size) if isinstance(cell.state_size, list | tuple) else [cell.state_size]


def _width(cell: Any) -> int:
    return int(_sizes(cell)[0])


# (N, T, ...) as (N·T, ...)
def _fold(x: Any) -> Any:
    import keras

    return keras.ops.reshape(x, (-1, *x.shape[2:]))


# A layer's own cell on the layer's input, at every step; of a stack, every cell. The cells of a stack run together:
# in separate runs the last digits might differ, a chaotic stack would amplify them, and one cell's output would no
# longer be the next one's input.
def _all_steps(layer: Any, arguments: Arguments, name: str) -> Any:
    import keras

    cell, states = layer.cell, arguments.initial_state
    cells = list(getattr(cell, "cells", []))
    if len(cells) == 1:  # Keras cannot run a stack of one cell under a mask
        cell, states = cells[0], None if states is None else keras.tree.flatten(states[0])
    elif cells:
        cell = _showing_every_cell(cell)
        if states is not None:
            zeros = [keras.ops.zeros_like(keras.tree.flatten(own)[0]) for own in states]
            states = [*states, [keras.ops.concatenate(zeros, axis=-1)]]
    steps = twin(layer, name, cell, return_sequences=True)
    return steps(arguments.sequence, initial_state=states, mask=arguments.mask)


# A stack of the same cells whose output is the h of all of them, side by side. The output is also the state of a
# further cell: under a mask, JAX takes the first state of the last cell for the output of the step before.
def _showing_every_cell(stack: Any) -> Any:
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
