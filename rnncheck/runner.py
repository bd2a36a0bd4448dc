"""Make a Keras model in this process produce its numbers: outputs by `predict`, states by a probe.

The probe is a model over the same graph and the same weights. It also returns what every layer put out, and for a
recurrent layer that returns its last output only, what the same cell puts out at every step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rnncheck.equations import CELLS
from rnncheck.extractor import layer_nodes, to_numpy
from rnncheck.network import Array, Network, Tensor
from rnncheck.recording import Recording


@dataclass(frozen=True)
class _Probe:
    model: Any
    tensors: tuple[Tensor, ...]  # what the model returns first
    sequences: tuple[str, ...]  # then the states of these layers at every step


def record(model: Any, network: Network, calls: Sequence[Sequence[Array]]) -> tuple[Recording, ...]:
    """Run the model on the inputs of each call in turn, plain first and then as a probe.

    A stateful model starts from zero states, and gets back what states it had.

    Args:
        model: a Keras model.
        network: what `extract` read from it.
        calls: the inputs of each call.
    """
    calls = [[_as_predict_casts(array) for array in inputs] for inputs in calls]
    probe = _probe(model, network)
    with _states_kept(model):
        outputs = _predict_all(model, network, calls, reset=(model, probe.model))
        probed = _predict_all(probe.model, network, calls, reset=(model, probe.model))
    return tuple(_recording(probe, *both) for both in zip(calls, outputs, probed, strict=True))


def _as_predict_casts(array: Array) -> Array:
    """Cast floating-point inputs to Keras' default dtype, as `predict` does before the model sees them."""
    import keras

    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _recording(probe: _Probe, inputs: Sequence[Array], outputs: list[Array], probed: list[Array]) -> Recording:
    count = len(probe.tensors)
    return Recording(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        states=dict(zip(probe.sequences, probed[count:], strict=True)),
        tensors=dict(zip(probe.tensors, probed[:count], strict=True)),
    )


@contextlib.contextmanager
def _states_kept(model: Any) -> Iterator[None]:
    """Give a stateful model its states back, whatever happens."""
    variables = [variable for layer in _stateful(model) for variable in layer.states or []]
    values = [to_numpy(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _stateful(model: Any) -> list[Any]:
    return [layer for layer in model.layers if getattr(layer, "stateful", False)]


def _predict_all(
    model: Any, network: Network, calls: Sequence[Sequence[Array]], reset: Sequence[Any]
) -> list[list[Array]]:
    import keras

    for each in reset:
        for layer in _stateful(each):
            layer.reset_state()
    results = []
    for inputs in calls:
        # A stateful model takes its batch whole; any other as `predict` cuts it.
        batch_size = len(inputs[0]) if network.stateful else None
        graph = getattr(model, "_functional", model)  # a Sequential model wraps one
        fed = keras.tree.pack_sequence_as(graph._inputs_struct, list(inputs))
        predicted = model.predict(fed, batch_size=batch_size, verbose=0)
        results.append([to_numpy(array) for array in keras.tree.flatten(predicted)])
    return results


def _probe(model: Any, network: Network) -> _Probe:
    import keras

    tensors: dict[Tensor, Any] = {}
    sequences: dict[str, Any] = {}
    for layer, node in zip(network.layers, layer_nodes(model).values(), strict=True):
        tensors |= {Tensor(layer.name, index): output for index, output in enumerate(node.outputs)}
        if layer.kind in CELLS:
            returns_sequences = layer.options["return_sequences"]
            sequences[layer.name] = node.outputs[0] if returns_sequences else _all_steps(node)
    probe = keras.Model(model.inputs, [*tensors.values(), *sequences.values()], name="rnncheck_probe")
    return _Probe(probe, tuple(tensors), tuple(sequences))


def _all_steps(node: Any) -> Any:
    """Run a layer's own cell on what the layer reads, with its weights, so that every step is returned."""
    import keras

    layer = node.operation
    steps = keras.layers.RNN(
        layer.cell,
        return_sequences=True,
        go_backwards=layer.go_backwards,
        stateful=layer.stateful,
        unroll=layer.unroll,
        zero_output_for_mask=layer.zero_output_for_mask,
        dtype=layer.dtype_policy,
        name=f"{layer.name}_all_steps",
    )
    return steps(*node.arguments.args, **node.arguments.kwargs)
