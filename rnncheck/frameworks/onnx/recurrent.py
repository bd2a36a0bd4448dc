"""The nodes RNN, GRU and LSTM, with every attribute: each direction becomes a recurrent layer of a Network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnncheck.equations.cells import CELLS
from rnncheck.errors import UnsupportedError, escaped
from rnncheck.frameworks.onnx.graph import Node, Reader, SamplesElsewhereError, described, finite, operator, picked
from rnncheck.frameworks.onnx.operators import ACTIVATIONS, BY_LOWER_NAME, activation_of
from rnncheck.frameworks.onnx.sizes import Size
from rnncheck.frameworks.onnx.tensors import Value, own_axes
from rnncheck.network import Activation, Array, Layer, Tensor

# Our kind of each recurrent operator, and its blocks of gates in our order: ONNX has i o f c, and z r h as we do.
_RECURRENT = {"RNN": ("SimpleRNN", (0,)), "LSTM": ("LSTM", (0, 2, 3, 1)), "GRU": ("GRU", (0, 1, 2))}
_DEFAULTS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
_OUR_NAMES = {
    "RNN": ("activation",),
    "LSTM": ("recurrent_activation", "activation", "output_activation"),
    "GRU": ("recurrent_activation", "activation"),
}


@operator(*_RECURRENT)
def _recurrent(
    reader: Reader,
    node: Node,
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lens: Any = None,
    initial_h: Any = None,
    initial_c: Any = None,
    p: Any = None,
) -> Any:
    weights = {"W": w, "R": r, "B": b, "P": p}
    for name, weight in weights.items():
        if isinstance(weight, Value):
            raise UnsupportedError(f"node {node.name!r}: got its {name} from an input; expected weights in the file.")
    directions = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    backwards = directions.get(node.options.get("direction", "forward"))
    batch_first = bool(node.options.get("layout", 0))
    steps, samples = (1, 0) if batch_first else (0, 1)
    if not isinstance(x, Value) or backwards is None or len(x.axes) != 3:
        return None
    if x.axes[samples] != (0,):
        raise SamplesElsewhereError(
            f"node {node.name!r}: got {described(x)}; expected the samples in axis {samples}, as its layout says."
        )
    x = reader.unmerged(node, x)
    if x.axes[steps] != (1,) or x.axes[2] != (2,) or len(w) != len(backwards):
        return None
    names = [node.name] if len(backwards) == 1 else [f"{node.name}/forward", f"{node.name}/backward"]
    mask = _mask(reader, node, x, lens)
    activations = _gate_activations(node, len(backwards))
    by_direction = []
    for d, (name, back) in enumerate(zip(names, backwards, strict=True)):
        own = {key: None if weight is None else weight[d] for key, weight in weights.items()}
        starts = _starts(reader, node, name, d, r.shape[-1], x, (initial_h, initial_c))
        by_direction.append(
            _direction(reader, node, name, x, own, activations[d], mask=mask, starts=starts, back=back)
        )
    together = zip(*by_direction, strict=True)
    y, *last = (_put_together(reader, node, *each, batch_first=batch_first) for each in enumerate(together))
    reader.sequences[all_steps(node.outputs)] = (y, tuple(names))
    return (y, *last)


def all_steps(outputs: Sequence[str]) -> str:
    """Return the name of the tensor that has all steps of a recurrent node, which may not put it out itself."""
    return outputs[0] or f"all steps of {next(filter(None, outputs))}"


# What a node puts out at a place, with an axis for the directions: all steps, h or c.
def _put_together(reader: Reader, node: Node, place: int, parts: Sequence[Value], *, batch_first: bool) -> Value:
    value, direction = parts[0], tuple[int, ...]()
    if len(parts) > 1:
        axis = 1 if place else 2
        shape = (*value.shape[:axis], Size(len(parts)), value.shape[-1])
        name, direction = f"{node.name}/last {'hc'[place - 1]}" if place else node.name, (axis,)
        value = Value(Tensor(name), shape, (), value.dtype)
        if any(reader.readers[output] for output in node.outputs[place : place + 1]):
            reader.add(node, "Stack", parts, {"axis": axis}, name=name)
    n, *others = ((0,), direction) if place else ((0,), (1,), direction)
    order = (n, *others) if batch_first else (*others, n)
    return replace(value, axes=(*order, (len(value.shape) - 1,)))


# One direction: all its steps in the order of x, and its states after the last step.
def _direction(
    reader: Reader,
    node: Node,
    name: str,
    x: Value,
    weights: Mapping[str, Any],
    activations: Mapping[str, Activation],
    *,
    mask: Tensor | None,
    starts: tuple[Tensor, ...],
    back: bool,
) -> list[Value]:
    kind, blocks = _RECURRENT[node.kind]

    def ordered(weight: Array, order: Sequence[int] = blocks) -> Array:
        rows = np.split(weight, len(order))
        return np.concatenate([rows[block] for block in order])

    m = weights["R"].shape[-1]
    own = {"kernel": ordered(weights["W"]).T, "recurrent_kernel": ordered(weights["R"]).T}
    if weights["B"] is not None:
        first, second = (ordered(half) for half in np.split(weights["B"], 2))
        # Of a layer with one bias exporters write zeros for the second, which change nothing.
        alone = not second.any() and kind != "GRU"
        own["bias"] = first if alone else np.stack([first, second])
    options: dict[str, Any] = {
        "units": m,
        "bias_first": True,
        **activations,
        **({"reset_after": bool(node.options.get("linear_before_reset", 0))} if kind == "GRU" else {}),
        **({"clip": float(node.options["clip"])} if "clip" in node.options else {}),
        **({"input_forget": True} if node.options.get("input_forget") else {}),
        "return_sequences": True,
        "return_state": True,
        "go_backwards": back,
        "stateful": False,
        "zero_output_for_mask": mask is not None,
    }
    if weights["P"] is not None and weights["P"].any():
        kind, own["peephole"] = "PeepholeLSTM", ordered(weights["P"], (0, 2, 1))
    layer = Layer(name, kind, (x.tensor,), options, finite(node, own), x.dtype, mask, starts)
    reader.layers.append(layer)
    shape = (x.shape[0], x.shape[1], Size(m))
    y = Value(Tensor(name), shape, own_axes(3), x.dtype)
    if back:
        y = reader.add(node, "Reverse", [y], name=f"{name}/in order")
    states = range(1, 1 + len(CELLS[kind].states))
    return [y, *(Value(Tensor(name, k), (x.shape[0], Size(m)), own_axes(2), x.dtype) for k in states)]


# Which steps count, from the lengths of the sequences; None where all do.
def _mask(reader: Reader, node: Node, x: Value, lens: Any) -> Tensor | None:
    if lens is None or (not isinstance(lens, Value) and all(Size.of(each) == x.shape[1] for each in np.ravel(lens))):
        return None
    if not isinstance(lens, Value):
        if lens.dtype == object:
            raise UnsupportedError(f"node {node.name!r}: got sequence_lens that depend on shapes; expected numbers.")
        lens = reader.constant(node, f"{node.name}/lengths", np.asarray(lens, np.float64), x)
    elif lens.axes != ((0,),):
        raise UnsupportedError(f"node {node.name!r}: got sequence_lens {described(lens)}; expected one per sample.")
    name = f"{node.name}/mask"
    reader.layers.append(Layer(name, "StepsBefore", (lens.tensor, x.tensor), {}, {}, x.dtype))
    return Tensor(name)


# The states that a direction starts from; none where they are zeros.
def _starts(
    reader: Reader, node: Node, name: str, d: int, m: int, x: Value, given: tuple[Any, ...]
) -> tuple[Tensor, ...]:
    given = given[: len(CELLS[_RECURRENT[node.kind][0]].states)]
    if all(each is None or (not isinstance(each, Value) and not np.any(each)) for each in given):
        return ()
    batch_first = bool(node.options.get("layout", 0))
    starts = []
    for letter, each in zip("hc", given, strict=False):
        own = f"{name}/initial {letter}"
        if isinstance(each, Value):
            axis = 1 if batch_first else 0
            group = each.axes[axis]
            if len(group) == 1 and group != (0,):
                each = picked(reader, node, own, each, axis, d)  # noqa: PLW2901 - the part of this direction
            rest = each.axes[:axis] + each.axes[axis + 1 :]
            if each.axes[axis] or rest != ((0,), (1,)) or each.shape[1] != Size(m):
                raise UnsupportedError(
                    f"node {node.name!r}: got initial_{letter} {described(each)}; expected samples and {m} units."
                )
            starts.append(each.tensor)
            continue
        array = np.zeros((1, m), x.dtype) if each is None else np.asarray(each)
        if array.ndim == 3:
            array = array[:, d] if batch_first else array[d]
        starts.append(reader.constant(node, own, array, x).tensor)
    return tuple(starts)


# The activations of each direction, by our names for them. ONNX lists alphas and betas of those that have one.
def _gate_activations(node: Node, directions: int) -> list[dict[str, Activation]]:
    named = node.options.get("activations") or _DEFAULTS[node.kind] * directions
    alphas, betas = (iter(node.options.get(f"activation_{each}", [])) for each in ("alpha", "beta"))
    count = len(_DEFAULTS[node.kind])
    if len(named) != count * directions:
        raise UnsupportedError(f"node {node.name!r}: got {len(named)} activations; expected {count * directions}.")
    read = [*_each_activation(node, named, alphas, betas)]
    by_direction = [read[d * count : (d + 1) * count] for d in range(directions)]
    result = []
    for activations in by_direction:
        own = dict(zip(_OUR_NAMES[node.kind], activations, strict=True))
        if own.get("output_activation") == own["activation"]:
            del own["output_activation"]
        result.append(own)
    return result


def _each_activation(
    node: Node, named: Sequence[str], alphas: Iterator[float], betas: Iterator[float]
) -> Iterator[Activation]:
    for name in named:
        kind = BY_LOWER_NAME.get(name.lower())
        if kind is None:
            expected = ", ".join(BY_LOWER_NAME.values())
            raise UnsupportedError(f"node {node.name!r}: got the activation {escaped(name)}; expected {expected}.")
        attributes = ACTIVATIONS[kind][1]
        given = {}
        for attribute, values in (("alpha", alphas), ("beta", betas)):
            if attribute in attributes:
                value = next(values, attributes[attribute][1])
                if np.isnan(value):
                    raise UnsupportedError(f"node {node.name!r}: got {kind} without its {attribute}; expected one.")
                given[attribute] = value
        yield activation_of(node, kind, given)
