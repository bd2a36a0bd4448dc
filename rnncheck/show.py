"""Shows a Network: its layers, shapes, parameters and options, and the equations that will be checked."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnncheck.entries import ENTRIES
from rnncheck.equations import CELLS
from rnncheck.layers import HELPERS, LAYERS
from rnncheck.network import Array, InputSpec, Layer, Network, Tensor
from rnncheck.replay import replay

# Two sizes of N and T each: an axis that grows with them is theirs.
_SIZES = ((2, 11), (3, 12))


def print_network(network: Network, console: Console, title: str) -> None:
    """Print a table of the layers, the number of parameters, and the equations of the kinds of layers there are.

    Args:
        network: what to show.
        console: where.
        title: what to call it.
    """
    console.print(Text(title))
    console.print(_layers_table(network))
    console.print(Text(f"{network.parameters:,} parameters; outputs: {_names(network.outputs)}"))
    for kind in dict.fromkeys(layer.kind for layer in network.layers if layer.kind not in HELPERS):
        console.print(Text(f"\n{kind}", "bold"))
        for line in equations(kind):
            console.print(Text(f"  {line}"))


def _layers_table(network: Network) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("layer", "kind", "output", "parameters", "reads", "options other than the default"):
        table.add_column(column, justify="right" if column == "parameters" else "left", overflow="fold")
    for spec in network.inputs:
        table.add_row(Text(spec.name), "Input", _input_shape(spec), "0", "", spec.dtype)
    shapes = output_shapes(network)
    for layer in network.layers:
        table.add_row(
            Text(layer.name),
            layer.kind,
            shapes[layer.name],
            f"{layer.parameters:,}",
            Text(_names(_read_by(layer))),
            Text(", ".join(changed_options(layer))),
        )
    return table


def _read_by(layer: Layer) -> tuple[Tensor, ...]:
    mask = () if layer.mask is None else (layer.mask,)
    return (*layer.inputs, *layer.initial_state, *mask)


def _names(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(map(str, tensors))


def _input_shape(spec: InputSpec) -> str:
    n = "N" if spec.samples is None else str(spec.samples)
    return f"({', '.join([n, *('T' if size is None else str(size) for size in spec.shape)])})"


def changed_options(layer: Layer) -> Iterator[str]:
    """Yield the options of a layer that are not Keras' defaults, as `name=value`."""
    defaults = ENTRIES[layer.kind].defaults if layer.kind in ENTRIES else {}
    for name, value in layer.options.items():
        if name not in defaults or str(defaults[name]) != str(value):
            yield f"{name}={value}"
    if layer.dtype != "float32":
        yield f"dtype={layer.dtype}"


def output_shapes(network: Network) -> dict[str, str]:
    """Return the shape of every layer's output in letters, found by running the equations on two sizes."""
    whole = replace(network, outputs=tuple(Tensor(layer.name) for layer in network.layers))
    runs = [replay(whole, [_zeros(spec, n, steps) for spec in network.inputs]).outputs for n, steps in _SIZES]
    return {
        layer.name: f"({', '.join(map(_axis, small.shape, large.shape))})"
        for layer, small, large in zip(network.layers, *runs, strict=True)
    }


def _zeros(spec: InputSpec, n: int, steps: int) -> Array:
    shape = (spec.samples or n, *(steps if size is None else size for size in spec.shape))
    return np.zeros(shape, bool if spec.dtype == "bool" else np.int64 if "int" in spec.dtype else np.float32)


def _axis(small: int, large: int) -> str:
    """Name an axis by how it grows with N and T."""
    (n, t_steps), (more_n, more_steps) = _SIZES
    if small == large:
        return str(small)
    if (small, large) == (n, more_n):
        return "N"
    if (small, large) == (n * t_steps, more_n * more_steps):
        return "N·T"
    if small % n == 0 and large == small // n * more_n:
        return f"{small // n}N"
    if large - small == more_steps - t_steps:
        return f"T{small - t_steps:+d}" if small != t_steps else "T"
    return f"{small}, {large}, ..."


def equations(kind: str) -> list[str]:
    """Return what is computed by a kind of layer, in plain text, as its function in the code says it."""
    if kind in CELLS:
        cell = CELLS[kind]
        parts: list[Any] = [cell.gates, *([] if cell.memory is None else [cell.memory]), cell.output]
    else:
        parts = [LAYERS[kind].apply]
    return [line for part in parts for line in _first_paragraphs(part)]


def _first_paragraphs(function: Any) -> list[str]:
    """Return a docstring down to where it speaks of shapes and sources."""
    text = inspect.getdoc(function) or ""
    kept = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith(("Source:", "Args:", "projected (")):
            break
        kept.append(" ".join(paragraph.split()))
    return kept
