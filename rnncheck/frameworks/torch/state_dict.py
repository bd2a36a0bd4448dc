"""From the weights of a PyTorch module alone, a state dict, to a Network.

A state dict has names and arrays, and no forward. Its modules are taken to follow one another, each reading what the
one before it puts out, every step of it; which follows which is told by the sizes. What else is not in it is taken to
be torch's default, and said in the notes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice, pairwise, permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnncheck.cases.array_files import read_npz
from rnncheck.equations.shapes import rehearse
from rnncheck.errors import InputError, UnsupportedError, escaped
from rnncheck.frameworks.torch.extract import recurrent_layer, recurrent_layers, to_numpy
from rnncheck.network import Activation, Array, InputSpec, Layer, Network, Tensor

SUFFIXES = (".safetensors", ".npz")
PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")

_DTYPES = ("float16", "float32", "float64")

# Of so many modules all orders are tried.
_MOST_MODULES = 7

_RECURRENT = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_(l(?:0|[1-9][0-9]{0,2})(?:_reverse)?)")

Group = Mapping[str, Array]  # the arrays of one module, by their names in it


class StateDict(NamedTuple):
    """The weights of a module, as a Network."""

    network: Network
    notes: tuple[str, ...]  # what was taken for granted


def is_state_dict(model: Any) -> bool:
    """Whether a model is a state dict: names with arrays or tensors."""
    return (
        isinstance(model, Mapping)
        and bool(model)
        and all(
            isinstance(name, str) and hasattr(array, "shape") and hasattr(array, "dtype")
            for name, array in model.items()
        )
    )


def read_file(path: Path) -> StateDict:
    """Read a state dict from a `.safetensors` or `.npz` file; nothing in it is executed.

    Raises:
        InputError: it cannot be read, is a pickle, or the package safetensors is not installed.
        UnsupportedError: it has something that rnncheck does not replay.
    """
    if path.suffix.lower() in PICKLES:
        raise InputError(
            f"{path}: got a pickle, which can run any code when it is read; expected .safetensors or .npz. Save it "
            "with safetensors.torch.save_file(module.state_dict(), 'model.safetensors')."
        )
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; expected the weights of a module. Check the path.")
    arrays = read_npz(path, "weight") if path.suffix.lower() == ".npz" else _read_safetensors(path)
    try:
        return read(arrays, escaped(path.name))
    except (InputError, UnsupportedError) as error:
        raise type(error)(f"{path}: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Array]:
    if find_spec("safetensors") is None:
        raise InputError(f"{path}: got no safetensors here; expected it. Run: pip install safetensors")
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: dict[str, Array] = load_file(path)
    # A format that NumPy lacks is one of the last two.
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        said = f"it cannot be read ({error}); expected a whole file of {', '.join(_DTYPES)}"
        raise InputError(f"{path}: {said}.") from error
    return arrays


def read(given: Mapping[str, Any], name: str = "state dict") -> StateDict:
    """Read a state dict; see `read_file` for the errors."""
    groups: dict[str, dict[str, Array]] = {}
    for key, value in given.items():
        prefix, _, own = key.rpartition(".")
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype not in _DTYPES:
            raise InputError(f"{escaped(key)!r}: got {dtype} numbers; expected {', '.join(_DTYPES)}. Convert them.")
        array = to_numpy(value) if hasattr(value, "detach") else np.asarray(value)
        if not np.isfinite(array).all():
            raise InputError(f"{escaped(key)!r}: got a weight that is NaN or infinite; expected finite numbers.")
        groups.setdefault(prefix, {})[own] = array
    modules = [_module(prefix, group) for prefix, group in groups.items()]
    if not modules:
        raise InputError("got no weights; expected those of a module.")
    if len({each.name for each in modules}) < len(modules):
        raise InputError("got two modules of one name; expected a name for each.")
    order = _in_order(modules)
    first = order[0]
    layers: list[Layer] = []
    source = Tensor("x")
    for module in order:
        layers += module.layers(source)
        source = Tensor(layers[-1].name)
    spec = (
        InputSpec("x", (None,), "int64") if first.takes == 0 else InputSpec("x", (None, first.takes), layers[0].dtype)
    )
    network = Network(name, (spec,), tuple(layers), (source,))
    return StateDict(rehearse(network), tuple(_notes(order)))


class _Module(NamedTuple):
    name: str
    takes: int  # features of what it reads; 0 for ids
    gives: int
    layers: Callable[[Tensor], list[Layer]]  # what it reads -> its layers
    kind: str


def _module(prefix: str, group: Group) -> _Module:
    name = escaped(prefix).replace(".", "/") or "module"
    if "weight_ih_l0" in group:
        return _recurrent(name, group)
    weight, bias = group.get("weight"), group.get("bias")
    if weight is None or weight.ndim != 2 or not set(group) <= {"weight", "bias"}:
        raise UnsupportedError(
            f"{name!r}: got {', '.join(map(escaped, group))}; expected the weights of an RNN, LSTM, GRU, Linear or "
            "Embedding. Give the module itself, in Python."
        )
    if bias is not None and bias.shape != (len(weight),):
        raise UnsupportedError(
            f"{name!r}: got a bias {bias.shape} for {len(weight)} units; expected one number each."
        )
    if bias is None and re.search("embed", prefix.rpartition(".")[2], re.IGNORECASE):
        options = {"input_dim": len(weight), "output_dim": weight.shape[1], "mask_zero": False}

        def embedding(source: Tensor) -> list[Layer]:
            return [Layer(name, "Embedding", (source,), options, {"embeddings": weight}, weight.dtype.name)]

        return _Module(name, 0, weight.shape[1], embedding, "Embedding")
    weights = {"kernel": weight.T, **({} if bias is None else {"bias": bias})}

    def linear(source: Tensor) -> list[Layer]:
        own = {"units": len(weight), "activation": Activation("linear"), "bias_first": True}
        return [Layer(name, "Dense", (source,), own, weights, weight.dtype.name)]

    return _Module(name, weight.shape[1], len(weight), linear, "Linear")


def _recurrent(name: str, group: Group) -> _Module:
    found: dict[str, dict[str, Array]] = {}  # by torch's suffix, such as l0_reverse
    for key, array in group.items():
        match = _RECURRENT.fullmatch(key)
        if match is None:
            raise UnsupportedError(f"{name!r}: got {escaped(key)!r}; expected the weights of an RNN, LSTM or GRU.")
        found.setdefault(match[2], {})[match[1]] = array
    both = "l0_reverse" in found
    count = len(found) // (1 + both)
    kind, takes, gives = _kind(found, count, both=both)
    if not kind:
        raise UnsupportedError(
            f"{name!r}: got weights that are not those of an RNN, LSTM or GRU; expected all of one."
        )

    def direction(own: str, suffix: str, source: Tensor) -> Layer:
        weights, backwards = found[suffix], suffix.endswith("_reverse")
        dtype = weights["weight_ih"].dtype.name
        return recurrent_layer(own, kind, source, weights, backwards=backwards, dtype=dtype)

    def layers(source: Tensor) -> list[Layer]:
        dtype = found["l0"]["weight_ih"].dtype.name
        return recurrent_layers(name, count, source, direction, dtype, both=both)

    return _Module(name, takes, gives, layers, kind)


# What the weights of so many layers, in one direction or both, are those of, and the numbers of features; no kind
# where they do not fit together.
def _kind(found: Mapping[str, Group], count: int, *, both: bool) -> tuple[str, int, int]:
    first = found.get("l0", {})
    if not {"weight_ih", "weight_hh"} <= set(first) or first["weight_ih"].ndim != 2 or first["weight_hh"].ndim != 2:
        return "", 0, 0
    (rows, takes), (_, width) = first["weight_ih"].shape, first["weight_hh"].shape
    units = first["weight_hr"].shape[-1] if "weight_hr" in first else width
    gives = width * (1 + both)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for number in range(count):
        own: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, gives if number else takes),
            "weight_hh": (rows, width),
        }
        own |= {"bias_ih": (rows,), "bias_hh": (rows,)} if "bias_ih" in first else {}
        own |= {"weight_hr": (width, units)} if "weight_hr" in first else {}
        shapes |= {f"l{number}": own, **({f"l{number}_reverse": own} if both else {})}
    if {suffix: {part: array.shape for part, array in group.items()} for suffix, group in found.items()} != shapes:
        return "", 0, 0
    gates = {4 * units: "LSTM"} if "weight_hr" in first else {units: "RNN", 3 * units: "GRU", 4 * units: "LSTM"}
    return gates.get(rows, ""), takes, gives


# The only order in which each module takes what the one before it gives.
def _in_order(modules: Sequence[_Module]) -> list[_Module]:
    if len(modules) > _MOST_MODULES:
        raise UnsupportedError(
            f"got {len(modules)} modules; expected at most {_MOST_MODULES}. Give the module itself."
        )
    fitting = (o for o in permutations(modules) if all(a.gives == b.takes for a, b in pairwise(o)))
    found = list(islice(fitting, 2))
    if len(found) > 1:
        first, second = (" -> ".join(each.name for each in order) for order in found)
        raise UnsupportedError(
            f"got modules that fit as {first} and as {second}; expected one order. Give the module."
        )
    if found:
        return list(found[0])
    told = ", ".join(f"{each.name} ({each.takes or 'ids'} -> {each.gives})" for each in modules)
    raise UnsupportedError(f"got {told}, which do not follow one another; expected modules that do.")


def _notes(order: Sequence[_Module]) -> Iterator[str]:
    if len(order) > 1:
        names = " -> ".join(each.name for each in order)
        yield f"a state dict does not say what follows what: taken was {names}"
        yield "each module is taken to read every step of what the one before it puts out, with nothing between them"
    if any(each.kind == "RNN" for each in order):
        yield "a state dict does not say the nonlinearity of an RNN: taken was tanh"
