"""A Keras model's graph, run again on symbolic tensors, with a say in how each layer is called.

The probe that shows the states is such a run, and so are models that must compute the same in another way.
"""

from __future__ import annotations

import contextlib
import inspect
import operator
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from rnncheck.network import Array

# (the layer's name in the Network, the layer, args, kwargs) -> the outputs to go on with.
CallLayer = Callable[[str, Any, Any, Any], Any]
Rewrite = Callable[[Any, Any, Any], Any]  # the same without the name


def graph_of(model: Any) -> Any:
    """Return the functional model that a Sequential one wraps, or the model itself."""
    return getattr(model, "_functional", None) or model


# What TensorFlow takes as the name of a scope, and so of a layer that runs.
_SCOPE = re.compile(r"[A-Za-z0-9.][\w.-]*", re.ASCII)


@contextlib.contextmanager
def accepted_names(model: Any) -> Iterator[None]:
    """Rename the layers whose names TensorFlow refuses, as long as they run; `own_name` tells their own names."""
    with contextlib.ExitStack() as stack:
        for number, layer in enumerate(model._flatten_layers()):
            if not _SCOPE.fullmatch(layer.name):
                stack.callback(setattr, layer, "name", layer.name)
                stack.callback(delattr, layer, "_rnncheck_name")
                layer._rnncheck_name, layer.name = layer.name, f"rnncheck_{number}"
        yield


def own_name(layer: Any) -> str:
    """Return the name of a layer or operation that its model was made or saved with."""
    name: str = getattr(layer, "_rnncheck_name", layer.name)
    return name


class GraphRun(contextlib.ExitStack):
    """Runs a model's graph again, layer after layer, as `call` says; leaves no trace in the model's layers.

    Names are those of the Network: `model/layer` inside a nested model, `layer@2` for a layer's second use,
    `wrapper/layer` inside a wrapper.
    """

    def __init__(self, call: CallLayer, whole: Container[str] = ()) -> None:
        """Run layer by layer, but for the models whose names are among `whole`."""
        super().__init__()
        self._call_layer = call
        self._whole = whole
        self._uses: Counter[str] = Counter()

    def run(self, model: Any, inputs: Any, prefix: str = "") -> Any:
        """Run one model, inputs and outputs in its own structure."""
        return graph_of(model)._run_through_graph(inputs, operation_fn=lambda op: partial(self._call, prefix, op))

    def nested(self, name: str, model: Any, inputs: Any, mask: Any) -> Any:
        """Run a model that is a layer of another one."""
        import keras

        # The graph is run and the model not called: its layers look for the mask where Keras keeps it.
        for x, counts in zip(keras.tree.flatten(inputs), keras.tree.flatten(mask), strict=False):
            if counts is not None:
                x._keras_mask = counts
        return self.run(model, inputs, f"{name}/")

    def _call(self, prefix: str, operation: Any, /, *args: Any, **kwargs: Any) -> Any:
        name = prefix + own_name(operation)
        self._uses[name] += 1
        if self._uses[name] > 1:
            name = f"{name}@{self._uses[name]}"
        if hasattr(operation, "layers") and name not in self._whole:
            return self.nested(name, operation, args[0], kwargs.get("mask"))
        # Keras keeps a record of every call of a layer, and describes a model by it.
        self.callback(operator.delitem, operation._inbound_nodes, slice(len(operation._inbound_nodes), None))
        return self._call_layer(name, operation, args, kwargs)


def fresh_inputs(model: Any, arrays: Sequence[Array]) -> Any:
    """Return symbolic inputs of a model, in its own structure, with the shapes of some arrays but for N."""
    import keras

    # Steps that the model leaves open are fixed, for only then can they be unrolled.
    given = zip(model.inputs, arrays, strict=True)
    inputs = [keras.Input(batch_shape=(x.shape[0], *a.shape[1:]), dtype=x.dtype, name=x.name) for x, a in given]
    return keras.tree.pack_sequence_as(graph_of(model)._inputs_struct, inputs)


def steps_axis(layer: Any) -> int:
    """Return along which axis a recurrent layer or a wrapper of one takes its steps; 0 for any other layer.

    It is 1, and one more for each TimeDistributed around it.
    """
    if hasattr(layer, "cell") or hasattr(layer, "forward_layer"):
        return 1
    inside = steps_axis(layer.layer) if type(layer).__name__ == "TimeDistributed" else 0
    return 1 + inside if inside else 0


@dataclass(frozen=True)
class Arguments:
    """What a recurrent layer, or a wrapper of one, was called with."""

    sequence: Any  # (N, T, ..., D)
    initial_state: Any  # in the layer's own structure; None for zeros
    mask: Any  # (N, T), given or carried by the sequence; None without

    @staticmethod
    def of(layer: Any, args: Any, kwargs: Any) -> Arguments:
        """Return the arguments of one call."""
        bound = inspect.signature(layer.call).bind(*args, **kwargs).arguments
        sequence, initial_state, mask = next(iter(bound.values())), bound.get("initial_state"), bound.get("mask")
        if mask is None and initial_state is None:  # Keras hands on no mask to a call with several tensors
            mask = getattr(sequence, "_keras_mask", None)
        return Arguments(sequence, initial_state, mask)

    def half(self, *, first: bool) -> Arguments:
        """Return those of one direction of Bidirectional."""
        if self.initial_state is None:
            return self
        middle = len(self.initial_state) // 2
        return replace(self, initial_state=list(self.initial_state[slice(middle) if first else slice(middle, None)]))


# What a plain RNN takes, and what other recurrent layers take besides.
_OF_AN_RNN = ("go_backwards", "stateful", "unroll", "zero_output_for_mask")
_OF_A_LAYER = (
    "units", "filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "reset_after",
    "use_cudnn",
)  # fmt: skip


def twin(layer: Any, name: str, cell: Any = None, **changed: Any) -> Any:
    """Return a recurrent layer that runs the same cell in the same way, but for what is changed.

    A plain `RNN` may get another `cell`. The changes are constructor arguments, such as return_sequences=True.
    """
    import keras

    plain = type(layer) is keras.layers.RNN
    options = {"dtype": layer.dtype_policy, "name": name}
    for option in _OF_AN_RNN if plain else (*_OF_AN_RNN, *_OF_A_LAYER):
        holder = layer if hasattr(layer, option) else layer.cell
        if hasattr(holder, option):
            options[option] = getattr(holder, option)
    if plain:
        return keras.layers.RNN(cell or layer.cell, **{**options, **changed})
    same = type(layer)(**{**options, **changed})
    same.cell = layer.cell
    return same


@dataclass
class CutInTwo:
    """Gives recurrent layers their sequence in two parts, one after the other, with the states handed over.

    Bidirectional, TimeDistributed and layers under a mask stay whole: what a layer puts out at a step that does not
    count depends on the step before, which the second part does not know.
    """

    count: int = 0  # of layers that were cut
    missing: ClassVar[str] = "every recurrent layer has a mask, a wrapper or a single step"  # why none was

    def __call__(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """Call a layer."""
        import keras

        found = Arguments.of(layer, args, kwargs) if hasattr(layer, "cell") else None
        if found is None or found.mask is not None or found.sequence.shape[1] < 2:
            return layer(*args, **kwargs)
        self.count += 1
        middle = found.sequence.shape[1] // 2
        # A layer that goes backwards begins with the second part.
        parts = [found.sequence[:, :middle], found.sequence[:, middle:]]
        first, second = reversed(parts) if layer.go_backwards else parts
        start = layer.states if found.initial_state is None and layer.stateful else found.initial_state
        name, sequences = f"rnncheck_first_part_{self.count}", layer.return_sequences
        part = twin(layer, name, return_sequences=sequences, return_state=True, stateful=False)
        before, *states = part(first, initial_state=start)
        after = layer(second, initial_state=states)
        if not sequences:
            return after
        output, *states = after if layer.return_state else [after]
        whole = keras.ops.concatenate([before, output], axis=1)
        return (whole, *states) if layer.return_state else whole


@dataclass
class WithMasked:
    """Replaces what recurrent layers are given at steps that do not count by one value."""

    value: float
    count: int = 0  # of layers that have a mask
    missing: ClassVar[str] = "no recurrent layer has a mask"  # why none was changed

    def __call__(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """Call a layer."""
        import keras

        found = Arguments.of(layer, args, kwargs) if steps_axis(layer) else None
        if found is None or found.mask is None:
            return layer(*args, **kwargs)
        self.count += 1
        counts = found.mask  # (N, T), or (N, S, T) inside of TimeDistributed
        for _ in found.sequence.shape[len(counts.shape) :]:
            counts = keras.ops.expand_dims(counts, -1)
        x = keras.ops.where(counts, found.sequence, keras.ops.cast(self.value, found.sequence.dtype))
        states = {} if found.initial_state is None else {"initial_state": found.initial_state}
        return layer(x, mask=found.mask, **states)
