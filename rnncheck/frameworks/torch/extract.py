"""From a PyTorch module to a Network: the graph of its forward, as torch.fx traces it, and its weights.

Every tensor of a Network has the samples first. A module may have the steps first, as with batch_first=False; which
axis has the samples is kept for each tensor, and the runner turns what goes in and comes out.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from rnncheck.equations.cells import CELLS
from rnncheck.equations.shapes import rehearse
from rnncheck.errors import InputError, UnsupportedError, described
from rnncheck.network import Activation, Array, InputSpec, Layer, Network, Tensor

# Our kind of each recurrent module, and its blocks of gates in our order: torch's i f g o are i f c o here, and its
# r z n are our z r h.
_CELLS = ("RNNCell", "LSTMCell", "GRUCell")
_RECURRENT = {"RNN": ("SimpleRNN", (0,)), "LSTM": ("LSTM", (0, 1, 2, 3)), "GRU": ("GRU", (1, 0, 2))}

# Activations: the name here, and those parameters that torch has too, under the same names.
_ACTIVATIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Tanh": ("tanh", ()),
    "Sigmoid": ("sigmoid", ()),
    "ReLU": ("relu", ()),
    "ReLU6": ("relu6", ()),
    "LeakyReLU": ("leaky_relu", ("negative_slope",)),
    "ELU": ("elu", ("alpha",)),
    "CELU": ("celu", ("alpha",)),
    "SELU": ("selu", ()),
    "SiLU": ("silu", ()),
    "Softsign": ("softsign", ()),
    "LogSigmoid": ("log_sigmoid", ()),
}


@dataclass(frozen=True)
class Value:
    """A tensor of a module: the tensor of the Network that it is, its number of axes, and which has the samples."""

    tensor: Tensor
    rank: int
    samples: int = 0


@dataclass(frozen=True)
class States:
    """What torch keeps as one tensor, (L, N, M): the last states of the layers of a recurrent module."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Reading:
    """What was read from a module."""

    network: Network
    root: Any  # the module whose graph it is: the one that was given, or a Sequential of it
    graph: Any  # torch.fx.Graph
    inputs: tuple[Value, ...]
    outputs: tuple[Value | States, ...]  # what the module returns, in the order of its structure
    values: Mapping[str, Any]  # node of the graph -> what it is: a Value, States, a tuple of them
    layers: Mapping[str, str]  # node of the graph that calls a recurrent module -> its name in the Network
    cells: Mapping[str, str]  # the same of a cell, whose layer takes one step


def is_module(model: Any) -> bool:
    """Whether a model is a PyTorch module. Those of Keras are modules too where Keras runs on PyTorch."""
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    if torch is None or not isinstance(model, torch.nn.Module):
        return False
    return keras is None or not isinstance(model, keras.Layer)


def read(module: Any) -> Reading:
    """Read a module.

    Raises:
        UnsupportedError: it has a module, an option or a function that rnncheck does not replay, or a forward that
            torch.fx cannot trace.
        InputError: a weight is NaN or infinite.
    """
    import torch

    name, root, tracer = type(module).__name__, module, torch.fx.Tracer()
    if tracer.is_leaf_module(module, ""):  # one of torch's own: its forward is not looked into
        root = torch.nn.Sequential()
        root.add_module(name.lower(), module)
    try:
        graph = tracer.trace(root, _defaults(root))
    except Exception as error:
        raise UnsupportedError(
            f"{name}: got a forward that torch.fx cannot trace ({described(error)}); expected one that does the same "
            "whatever the numbers are."
        ) from error
    for node in reversed(graph.nodes):  # what nobody reads, such as assertions that arguments have their defaults
        if not node.users and node.op not in {"placeholder", "output"}:
            graph.erase_node(node)
    # Where nothing else tells, inputs are taken to have the samples first, and if that does not fit, the steps.
    try:
        return _read(name, root, graph, samples=0)
    except UnsupportedError as error:
        try:
            return _read(name, root, graph, samples=1)
        except UnsupportedError:
            raise error from None


def _read(name: str, root: Any, graph: Any, *, samples: int) -> Reading:
    dtype = next((_dtype(each) for each in root.parameters()), "float32")
    reader = _Reader(root, any(type(each).__name__ in _RECURRENT for each in root.modules()), dtype, samples)
    values = {node.name: reader.value(node) for node in graph.nodes}
    outputs = [each for node in graph.nodes if node.op == "output" for each in values[node.name]]
    taken = [node.name for node in graph.nodes if node.op == "placeholder" and not node.args]
    if unread := [each for each in taken if each not in reader.specs]:
        raise UnsupportedError(
            f"{name}: got an input {unread[0]!r} that no layer reads; expected inputs that are read."
        )
    network = Network(
        name,
        tuple(reader.specs[each] for each in taken),
        tuple(reader.layers),
        tuple(one.tensor for each in outputs for one in (each.values if isinstance(each, States) else [each])),
    )
    inputs = tuple(reader.inputs[each] for each in taken)
    return Reading(rehearse(network), root, graph, inputs, tuple(outputs), values, reader.recurrences, reader.cells)


# The arguments of a forward that need not be given.
def _defaults(module: Any) -> dict[str, Any]:
    parameters = inspect.signature(module.forward).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


@dataclass
class _Reader:
    root: Any
    recurrent: bool  # whether the model has a recurrent layer, so that what a Linear layer gets has steps
    dtype: str  # of inputs, and of what has no weights
    samples: int  # the axis of inputs that has the samples, where nothing else tells
    specs: dict[str, InputSpec] = field(default_factory=dict)
    inputs: dict[str, Value] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)  # node -> its value
    recurrences: dict[str, str] = field(default_factory=dict)  # see `Reading.layers`
    cells: dict[str, str] = field(default_factory=dict)  # see `Reading.cells`
    # Node that takes one step of an input for a cell -> the shape of the input, (T, D).
    sequences: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)  # module -> how often it was called so far

    def value(self, node: Any) -> Any:
        """Return what a node of the graph is; it is called for each in turn."""
        import torch

        args = torch.fx.node.map_arg(node.args, lambda each: self.known[each.name])
        for user in node.users:
            if user.op == "call_module" and user.args[:1] == (node,):
                module = self.root.get_submodule(user.target)
                if type(module).__name__ in _CELLS:
                    self.sequences[node.name] = (None, module.input_size)
        match node.op:
            case "placeholder":
                found = node.args[0] if node.args else Value(Tensor(node.name), 0)  # its rank is seen from its use
            case "call_module":
                found = self._module(node.name, node.target, args, node.kwargs)
            case "call_function" | "call_method":
                name = node.target if isinstance(node.target, str) else node.target.__name__
                found = self._function(node.name, name, args, dict(node.kwargs))
            case "output":
                found = [self._as_output(each) for each in torch.utils._pytree.tree_leaves(args[0])]
            case _:
                raise UnsupportedError(
                    f"{node.name!r}: got the tensor {node.target!r} of the module itself; expected modules and their "
                    "inputs alone."
                )
        self.known[node.name] = found
        return found

    def _as_output(self, value: Any) -> Value | States:
        if not isinstance(value, Value | States) or (isinstance(value, Value) and value.rank == 0):
            raise UnsupportedError(f"forward: got {value!r} among what it returns; expected what a layer puts out.")
        return value

    def _module(self, node: str, target: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        module = self.root.get_submodule(target)
        self.uses[target] = self.uses.get(target, 0) + 1
        name = target.replace(".", "/") + (f"@{self.uses[target]}" if self.uses[target] > 1 else "")
        # A quantised LSTM has its name in common with the plain one.
        kind = type(module).__name__ if type(module).__module__.startswith("torch.nn.modules.") else str(type(module))
        x, *others = args or [None]
        if kind in _CELLS and len(others) < 2 and not kwargs:
            self.cells[node] = name
            return _cell(self, name, module, x, *others)
        if x is None or kwargs or any(other is not None for other in others):
            raise UnsupportedError(
                f"{name!r}: got {kind} called with other arguments than its input; expected the input alone, "
                "in the first place, so that states start from zeros."
            )
        if kind not in _MODULES:
            raise UnsupportedError(
                f"{name!r}: got a module of the kind {kind}, which is not replayed; expected "
                f"{', '.join((*_MODULES, *_CELLS))}."
            )
        found = _MODULES[kind](self, name, module, x)
        if isinstance(found, tuple):
            self.recurrences[node] = name
        return found

    # A tensor that a layer reads. What an input of the model is, (N, *shape), is seen from the first layer that reads
    # it; `samples` is the axis in which the layer takes the samples, None for any.
    def seen(
        self, name: str, value: Any, shape: tuple[int | None, ...] = (), samples: int | None = None, dtype: str = ""
    ) -> Value:
        if not isinstance(value, Value):
            raise UnsupportedError(f"{name!r}: got {_described(value)} as its input; expected one tensor.")
        if value.rank == 0:
            own, turned = value.tensor.layer, value.samples
            if own not in self.specs:
                if not shape:
                    raise UnsupportedError(f"{name!r}: got the input {own!r}; expected a layer with weights first.")
                axis = (self.samples if len(shape) > 1 or dtype else 0) if samples is None else samples ^ turned
                self.specs[own] = InputSpec(own, shape, dtype or self.dtype)
                self.inputs[own] = Value(value.tensor, 1 + len(shape), axis)
            value = replace(self.inputs[own], samples=self.inputs[own].samples ^ turned)
        seen: Value = value
        if samples is not None and seen.samples != samples:
            raise UnsupportedError(
                f"{name!r}: got a tensor whose axis {seen.samples} has the samples; expected axis {samples}, as its "
                "batch_first says."
            )
        return seen

    def add(self, layer: Layer, like: Value, rank: int = 0) -> Value:
        self.layers.append(layer)
        return replace(like, tensor=Tensor(layer.name), rank=rank or like.rank)

    def operation(self, name: str, kind: str, inputs: Sequence[Any], **options: Any) -> Value:
        """Add a layer without weights, which puts out what has the axes of its inputs."""
        seen = [self.seen(name, each) for each in inputs]
        if len({(each.rank, each.samples) for each in seen}) > 1:
            raise UnsupportedError(f"{name!r}: got tensors whose axes differ; expected the same axes of all.")
        tensors = tuple(each.tensor for each in seen)
        return self.add(Layer(name, kind, tensors, options, dtype=self.dtype), seen[0])

    def _function(self, node: str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        function = _FUNCTIONS.get(name)
        if function is not None and _takes(function, self, node, *args, **kwargs):
            found = function(self, node, *args, **kwargs)
            if found is not None:
                return found
        said = ", ".join([*map(_described, args), *(f"{key}={value}" for key, value in kwargs.items())])
        raise UnsupportedError(
            f"{node!r}: got {name}({said}) in forward, which is not replayed; expected one step of a sequence, or "
            f"{', '.join(_FUNCTIONS)} of what layers put out."
        )

    def step(self, node: str, x: Value, index: Any) -> Value:
        """Add the choice of one step: x[:, k] of a tensor with the samples first, x[k] with the steps first."""
        x = self.seen(node, x, self.sequences.get(node, ()))
        index = list(index) if isinstance(index, tuple) else [index]
        whole = slice(None)
        while len(index) > 1 and index[-1] == whole:
            index.pop()
        before = [] if x.samples else [whole]
        if x.rank == 3 and len(index) == len(before) + 1 and index[:-1] == before and isinstance(index[-1], int):
            return replace(self.operation(node, "Step", [x], index=index[-1]), rank=2, samples=0)
        raise UnsupportedError(f"{node!r}: got the part {index} of a tensor; expected one step of a sequence.")


_Read = Callable[..., Any]  # reads a module or a function


# Returns a decorator that enters what it is put on into a table, under some names.
def _entering(table: dict[str, _Read]) -> Callable[..., Callable[[_Read], _Read]]:
    def named(*names: str) -> Callable[[_Read], _Read]:
        def entered(read: _Read) -> _Read:
            table.update(dict.fromkeys(names, read))
            return read

        return entered

    return named


# (reader, name, module, what it is called with) -> what it gives, by the module's class.
_MODULES: dict[str, _Read] = {}
_module = _entering(_MODULES)


# The output of the last layer, and the states of all of them, as torch has them: (y, h) or (y, (h, c)).
@_module(*_RECURRENT)
def _recurrent(reader: _Reader, name: str, module: Any, x: Any) -> tuple[Any, ...]:
    x = reader.seen(name, x, (None, module.input_size), samples=0 if module.batch_first else 1)
    layers = recurrent_layers(
        name, module.num_layers, x.tensor, partial(_direction, module), reader.dtype, both=module.bidirectional
    )
    reader.layers += layers
    states = [_states_of(layer) for layer in layers if layer.kind in CELLS]
    last = tuple(States(each) for each in zip(*states, strict=True))
    return replace(x, tensor=Tensor(layers[-1].name)), last if len(last) > 1 else last[0]


def recurrent_layers(
    name: str, count: int, source: Tensor, direction: Callable[[str, str, Tensor], Layer], dtype: str, *, both: bool
) -> list[Layer]:
    """Return the layers of torch's RNN, LSTM or GRU: so many on one another, each in one direction or in both.

    `direction` makes one, from its name here, the suffix of its weights there (l0, l0_reverse), and what it reads.
    """
    layers: list[Layer] = []
    for k in range(count):
        base = f"{name}/{k}" if count > 1 else name
        if both:
            forward = direction(f"{base}/forward", f"l{k}", source)
            backward = direction(f"{base}/backward", f"l{k}_reverse", source)
            turned = Layer(f"{base}/reverse", "Reverse", (Tensor(backward.name),), dtype=dtype)
            parts = (Tensor(forward.name), Tensor(turned.name))
            layers += [forward, backward, turned, Layer(base, "Concatenate", parts, {"axis": -1}, dtype=dtype)]
        else:
            layers.append(direction(base, f"l{k}", source))
        source = Tensor(base)
    return layers


# The one step of a cell, from the states that it is called with: its h, or (h, c).
def _cell(reader: _Reader, name: str, module: Any, x: Any, states: Any = None) -> Any:
    given = [] if states is None else list(states) if isinstance(states, tuple | list) else [states]
    x = reader.seen(name, x, (module.input_size,))
    starts = tuple(reader.seen(name, each, (module.hidden_size,)).tensor for each in given)
    sequence = reader.add(Layer(f"{name}/sequence", "ExpandDims", (x.tensor,), {"axis": 1}, dtype=reader.dtype), x, 3)
    layer = _direction(module, name, "", sequence.tensor)
    options = {**layer.options, "return_sequences": False}
    reader.layers.append(replace(layer, initial_state=starts, options=options))
    if len(starts) not in {0, len(CELLS[layer.kind].states)}:
        raise UnsupportedError(
            f"{name!r}: got {len(starts)} states; expected {len(CELLS[layer.kind].states)} or none."
        )
    after = [
        Value(Tensor(name), 2),
        *(Value(Tensor(name, k), 2) for k in range(2, len(CELLS[layer.kind].states) + 1)),
    ]
    return tuple(after) if len(after) > 1 else after[0]


# One direction of one layer of a module, or a cell, whose weights have no suffix.
def _direction(module: Any, name: str, suffix: str, source: Tensor) -> Layer:
    parts = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else [])]
    parts += ["weight_hr"] if getattr(module, "proj_size", 0) else []
    weights = {part: getattr(module, f"{part}_{suffix}" if suffix else part) for part in parts}
    return recurrent_layer(
        name,
        type(module).__name__.removesuffix("Cell"),
        source,
        {part: _array(name, weight) for part, weight in weights.items()},
        getattr(module, "nonlinearity", "tanh"),
        backwards=suffix.endswith("_reverse"),
        dtype=_dtype(weights["weight_ih"]),
    )


# The states of a recurrent layer after its last step.
def _states_of(layer: Layer) -> tuple[Value, ...]:
    return tuple(Value(Tensor(layer.name, 1 + k), 2) for k in range(len(CELLS[layer.kind].states)))


def recurrent_layer(
    name: str,
    kind: str,
    source: Tensor,
    given: Mapping[str, Array],
    nonlinearity: str = "tanh",
    *,
    backwards: bool,
    dtype: str,
) -> Layer:
    """Return the layer of one direction of torch's RNN, LSTM or GRU, given its weights by torch's names.

    weight_ih (G·M, D), weight_hh (G·M, M), bias_ih and bias_hh (G·M,), where there are any, and weight_hr (P, M) of
    an LSTM with a projection, whose weight_hh is (4M, P).
    """
    own, blocks = _RECURRENT[kind]

    def ordered(part: str) -> Array:
        rows = np.split(given[part], len(blocks))
        return np.concatenate([rows[block] for block in blocks])

    weights = {"kernel": ordered("weight_ih").T, "recurrent_kernel": ordered("weight_hh").T}
    if "weight_hr" in given:
        own, weights["projection"] = "ProjectedLSTM", given["weight_hr"].T
    if "bias_ih" in given:
        weights["bias"] = np.stack([ordered("bias_ih"), ordered("bias_hh")])
    options: dict[str, Any] = {
        "units": len(given["weight_hh"]) // len(blocks),
        "bias_first": True,
        "activation": Activation(nonlinearity),
        **({} if own == "SimpleRNN" else {"recurrent_activation": Activation("sigmoid")}),
        **({"reset_after": True} if own == "GRU" else {}),
        "return_sequences": True,
        "return_state": True,
        "go_backwards": backwards,
        "stateful": False,
        "zero_output_for_mask": False,
    }
    return Layer(name, own, (source,), options, weights, dtype)


@_module("Linear")
def _dense(reader: _Reader, name: str, module: Any, x: Any) -> Value:
    shape = (None, module.in_features) if reader.recurrent else (module.in_features,)
    x = _with_features(name, reader.seen(name, x, shape))
    weights = {"kernel": _array(name, module.weight).T}
    if module.bias is not None:
        weights["bias"] = _array(name, module.bias)
    options = {"units": module.out_features, "activation": Activation("linear"), "bias_first": True}
    return reader.add(Layer(name, "Dense", (x.tensor,), options, weights, _dtype(module.weight)), x)


@_module("Embedding")
def _embedding(reader: _Reader, name: str, module: Any, x: Any) -> Value:
    if module.max_norm is not None:
        raise UnsupportedError(f"{name!r}: got max_norm={module.max_norm}; expected none.")
    x = reader.seen(name, x, (None,), dtype="int64")
    table = _array(name, module.weight)
    options = {"input_dim": len(table), "output_dim": table.shape[1], "mask_zero": False}
    layer = Layer(name, "Embedding", (x.tensor,), options, {"embeddings": table}, _dtype(module.weight))
    return reader.add(layer, x, x.rank + 1)


@_module("LayerNorm")
def _layer_norm(reader: _Reader, name: str, module: Any, x: Any) -> Value:
    if len(module.normalized_shape) > 1:
        raise UnsupportedError(f"{name!r}: got normalized_shape={module.normalized_shape}; expected one axis.")
    x = _with_features(name, reader.seen(name, x))
    weights = {"gamma": module.weight, "beta": module.bias}
    given = {each: _array(name, weight) for each, weight in weights.items() if weight is not None}
    options = {"axis": (-1,), "epsilon": module.eps, "rms_scaling": False}
    dtype = reader.dtype if module.weight is None else _dtype(module.weight)
    return reader.add(Layer(name, "LayerNormalization", (x.tensor,), options, given, dtype), x)


@_module("Dropout", "Dropout1d", "AlphaDropout", "Identity")
def _nothing(reader: _Reader, name: str, module: Any, x: Any) -> Value:
    return reader.operation(name, "Dropout", [x])


@_module(*_ACTIVATIONS)
def _activation(reader: _Reader, name: str, module: Any, x: Any) -> Value:
    own, names = _ACTIVATIONS[type(module).__name__]
    activation = Activation(own, {each: getattr(module, each) for each in names})
    return reader.operation(name, "Activation", [x], activation=activation)


@_module("Softmax", "LogSoftmax")
def _softmax(reader: _Reader, name: str, module: Any, x: Any) -> Value:
    own = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[type(module).__name__]
    if (found := _over_features(reader, name, x, module.dim, own)) is None:
        raise UnsupportedError(f"{name!r}: got dim={module.dim}; expected -1, the axis of the features.")
    return found


# An activation over the last axis; None where it is over another.
def _over_features(reader: _Reader, name: str, x: Any, dim: Any, activation: str) -> Value | None:
    x = _with_features(name, reader.seen(name, x))
    over_last = isinstance(dim, int) and dim % x.rank == x.rank - 1
    return reader.operation(name, "Activation", [x], activation=Activation(activation)) if over_last else None


def _with_features(name: str, x: Value) -> Value:
    if x.samples == x.rank - 1:
        raise UnsupportedError(f"{name!r}: got a tensor whose last axis has the samples; expected features there.")
    return x


def _takes(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


# (reader, node, the arguments in forward) -> what it is here; None for arguments that are not replayed.
_FUNCTIONS: dict[str, _Read] = {}
_function = _entering(_FUNCTIONS)


@_function("getitem")
def _part(reader: _Reader, node: str, x: Any, index: Any) -> Any:
    if isinstance(x, Value):
        return reader.step(node, x, index)
    values = x.values if isinstance(x, States) else x
    return values[index] if isinstance(index, int) else None


@_function("squeeze")
def _only_state(reader: _Reader, node: str, x: Any, dim: int) -> Any:
    return x.values[0] if isinstance(x, States) and dim == 0 and len(x.values) == 1 else None


@_function("transpose", "swapaxes", "permute")
def _turned(reader: _Reader, node: str, x: Any, *axes: Any) -> Any:
    axes = tuple(axes[0]) if len(axes) == 1 else axes
    return replace(x, samples=1 - x.samples) if isinstance(x, Value) and axes in {(0, 1), (1, 0), (1, 0, 2)} else None


@_function("contiguous")
def _same(reader: _Reader, node: str, x: Any) -> Any:
    return x


@_function("dropout")
def _dropout(reader: _Reader, node: str, x: Any, *_: Any, **options: Any) -> Any:
    return None if options.get("training") else reader.operation(node, "Dropout", [x])


def _activation_function(name: str) -> None:
    @_function(name)
    def activation(reader: _Reader, node: str, x: Any, *, inplace: bool = False) -> Any:
        return reader.operation(node, "Activation", [x], activation=Activation(name))


for _name in ("tanh", "sigmoid", "relu"):
    _activation_function(_name)


def _function_over_features(name: str) -> None:
    @_function(name)
    def over_features(
        reader: _Reader,
        node: str,
        x: Any,
        dim: Any = None,
        _stacklevel: int = 3,
        dtype: Any = None,
    ) -> Any:
        return None if dtype is not None else _over_features(reader, node, x, dim, name)


for _name in ("softmax", "log_softmax"):
    _function_over_features(_name)


# The mean over all steps.
@_function("mean")
def _mean(reader: _Reader, node: str, x: Any, dim: Any) -> Any:
    if not isinstance(x, Value) or x.rank != 3 or dim != 1 - x.samples:
        return None
    mean = reader.operation(node, "GlobalAveragePooling1D", [x], keepdims=False)
    return replace(mean, rank=2, samples=0)


@_function("add")
def _sum(reader: _Reader, node: str, a: Any, b: Any) -> Any:
    return reader.operation(node, "Add", [a, b]) if isinstance(a, Value) and isinstance(b, Value) else None


@_function("mul")
def _product(reader: _Reader, node: str, a: Any, b: Any) -> Any:
    return reader.operation(node, "Multiply", [a, b]) if isinstance(a, Value) and isinstance(b, Value) else None


@_function("cat")
def _side_by_side(reader: _Reader, node: str, parts: Any, dim: int = 0) -> Any:
    axes = {(each.rank, each.samples) for each in parts if isinstance(each, Value)}
    rank, samples = axes.pop() if len(axes) == 1 else (1, 0)
    last = dim % rank == rank - 1 and samples != rank - 1
    return reader.operation(node, "Concatenate", parts, axis=-1) if last else None


def _described(value: Any) -> str:
    match value:
        case Value():
            return f"a tensor of {value.tensor}"
        case States():
            return "last states of several layers"
        case tuple() | list():
            return "several tensors"
    return repr(value)


def _dtype(weight: Any) -> str:
    return str(weight.dtype).removeprefix("torch.")


def to_numpy(tensor: Any) -> Array:
    """Return a tensor as a NumPy array; bfloat16, which NumPy lacks, as float32."""
    array: Array = (tensor.float() if _dtype(tensor) == "bfloat16" else tensor).detach().cpu().numpy()
    return array


def _array(name: str, weight: Any) -> Array:
    array = to_numpy(weight)
    if not np.isfinite(array).all():
        raise InputError(f"layer {name!r}: got a weight that is NaN or infinite; expected finite numbers.")
    return array
