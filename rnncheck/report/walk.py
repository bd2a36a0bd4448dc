"""A walk through a network, as plain data, and how it looks."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnncheck.errors import escaped
from rnncheck.network import Array

if TYPE_CHECKING:
    from rich.console import Console

# Of more steps than this, the first and the last are shown unless somebody says which.
_MOST_STEPS = 12

# How many units are shown at most, and on a page.
_MOST_UNITS = 8

# As wide as a README's code block.
_WIDTH = 118


@dataclass(frozen=True, eq=False)
class LayerWalk:
    """The steps of a recurrent layer for one sample, in the order in which it takes them.

    Attributes:
        name: its name.
        kind: its Keras class.
        by_hand: the state h after every step by the equations, which run from their own states, (T, ..., M).
        observed: the same as Keras has it; None where the model did not run.
        counts: which steps a mask lets count, (T,); None without a mask.
        gates: what each activation gave at every step, (T, ..., M), by name, and the memory c; empty unless asked
            for. A SimpleRNN has no gates: `sum` is what its activation was given.
        backwards: whether it takes the last step first.
        sequences: how many sequences a sample is for it, inside TimeDistributed; this is the first.
    """

    name: str
    kind: str
    by_hand: Array
    observed: Array | None = None
    counts: Array | None = None
    gates: Mapping[str, Array] = field(default_factory=dict)
    backwards: bool = False
    sequences: int = 1


@dataclass(frozen=True, eq=False)
class Walk:
    """A network and what it makes of one sample, step by step: by the equations, and by Keras where it could run.

    Attributes:
        name: the model's name.
        layers: of each input and layer its name, its kind, the shape that it puts out, and its number of parameters.
        parameters: the number of parameters of all.
        weights: the weights by `layer/name`.
        sample: which sample it is.
        samples: N.
        steps: which steps are shown, from the first up to, without it, the second; None for all of them, or of many
            the first and the last.
        inputs: the sample's inputs by name, (T, D).
        recurrent: the recurrent layers.
        outputs: the sample's outputs by the equations, by name.
        predicted: the same as `predict` returns them; empty where the model did not run.
        notes: what else a reader must know.
    """

    name: str
    layers: tuple[tuple[str, str, str, int], ...]
    parameters: int
    weights: Mapping[str, Array]
    sample: int
    samples: int
    steps: tuple[int, int] | None
    inputs: Mapping[str, Array]
    recurrent: tuple[LayerWalk, ...]
    outputs: Mapping[str, Array]
    predicted: Mapping[str, Array]
    notes: tuple[str, ...] = ()

    # Rich is loaded only when somebody looks.
    def __str__(self) -> str:
        from rich.console import Console

        buffer = io.StringIO()
        # In a notebook Rich would write past the buffer.
        print_walk(self, Console(file=buffer, width=_WIDTH, color_system=None, force_jupyter=False))
        return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())

    def _repr_html_(self) -> str:
        parts = []
        for block in _blocks(self, _MOST_UNITS):
            if isinstance(block, str):
                parts.append(f"<p>{html.escape(escaped(block))}</p>")
                continue
            lines = [("th", block.columns), *(("td", row) for row in block.rows)]
            cells = ("".join(f"<{tag}>{html.escape(escaped(text))}</{tag}>" for text in row) for tag, row in lines)
            head, *rows = (f"<tr>{row}</tr>" for row in cells)
            caption = f"<caption>{html.escape(escaped(block.title))}</caption>"
            body = "".join(rows)
            parts.append(f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>")
        return f"<div>{''.join(parts)}</div>"


class _Table(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1  # how many columns in front hold text; numbers are set to the right


def print_walk(walk: Walk, console: Console) -> None:
    """Print a walk: the layers, the weights, each recurrent layer's steps, and the outputs."""
    from rnncheck.report.tables import new_table, shown

    # Two columns of words, one of the difference, and as many of units as fit.
    units = max(1, min(_MOST_UNITS, (console.width - 26) // 15))
    for place, block in enumerate(_blocks(walk, units)):
        if isinstance(block, str):
            console.print(shown(block))
            continue
        if place:
            console.print()
        table = new_table(block.title, block.columns, block.columns[block.texts :])
        for row in block.rows:
            table.add_row(*map(shown, row))
        console.print(table)


def _blocks(walk: Walk, units: int) -> Iterator[str | _Table]:
    yield from walk.notes
    rows = [(name, kind, shape, f"{count:,}") for name, kind, shape, count in walk.layers]
    yield _Table(f"{walk.name}: {walk.parameters:,} parameters", ("layer", "kind", "output", "parameters"), rows, 3)
    shapes = [(name, str(weight.shape)) for name, weight in walk.weights.items()]
    yield _Table("Weights", ("weight", "shape"), shapes, 2)
    for layer in walk.recurrent:
        title = f"Sample {walk.sample} of {walk.samples}, layer {layer.name!r}: h after each step"
        yield from _steps(title, layer, walk.steps, units)
    numbers = [(name, np.ravel(by_hand), walk.predicted.get(name)) for name, by_hand in walk.outputs.items()]
    yield from _of_outputs(walk.sample, numbers, units)


def _steps(title: str, layer: LayerWalk, steps: tuple[int, int] | None, units: int) -> Iterator[str | _Table]:
    from rnncheck.report.network_table import equations

    t_steps, by_hand = len(layer.by_hand), layer.by_hand.reshape(len(layer.by_hand), -1)
    first, end = steps or (0, t_steps)
    chosen = list(range(first, min(end, t_steps)))
    if steps is None and t_steps > _MOST_STEPS:
        chosen = [*range(_MOST_STEPS // 2), *range(t_steps - _MOST_STEPS // 2, t_steps)]
    title += ", the last step first" * layer.backwards
    title += f"; of {layer.sequences} sequences the first" * (layer.sequences > 1)
    rows: list[Sequence[str]] = []
    for t in chosen:
        lines: list[tuple[str, Array]] = []
        if layer.counts is None or layer.counts[t]:
            lines += [(name, gate[t].ravel()) for name, gate in layer.gates.items()]
        observed = None if layer.observed is None else layer.observed[t].ravel()
        skipped = layer.counts is not None and not layer.counts[t]
        named = f"{t} masked" if skipped else str(t)
        rows += _compared(named, by_hand[t], observed, "Keras", units, lines)
    yield _Table(title, _columns("step", by_hand.shape[1], units), rows, 2)
    yield " ".join(equations(layer.kind))
    if len(chosen) < min(end, t_steps) - first:
        left_out, behind = _MOST_STEPS // 2, t_steps - _MOST_STEPS // 2
        yield f"steps {left_out} to {behind - 1} are left out; --steps {left_out}:{behind} shows them"
    if by_hand.shape[1] > units:
        yield f"units 0 to {units - 1} of {by_hand.shape[1]}"


def _of_outputs(
    sample: int, numbers: Sequence[tuple[str, Array, Array | None]], units: int
) -> Iterator[str | _Table]:
    width = max((by_hand.size for _, by_hand, _ in numbers), default=0)
    rows: list[Sequence[str]] = []
    for name, by_hand, predicted in numbers:
        rows += _compared(name, by_hand, None if predicted is None else predicted.ravel(), "predict", units)
    yield _Table(f"Output of sample {sample}", _columns("output", width, units), rows, 2)
    if width > units:
        yield f"the first {units} of {width} numbers"


def _columns(first: str, width: int, units: int) -> list[str]:
    return [first, "", *(f"[{unit}]" for unit in range(min(units, width))), "differ by"]


def _compared(
    name: str,
    by_hand: Array,
    observed: Array | None,
    observer: str,
    units: int,
    further: Sequence[tuple[str, Array]] = (),
) -> Iterator[Sequence[str]]:
    # A line for each number of a place: further ones, what was observed, and what the equations give.
    lines = [*further, *([] if observed is None else [(observer, observed)]), ("by hand", by_hand)]
    for place, (who, numbers) in enumerate(lines):
        difference = ""
        if observed is not None and who == "by hand":
            difference = f"{np.abs(observed.astype(np.float64) - by_hand).max(initial=0.0):.1e}"
        texts = [f"{number:.8g}" for number in numbers[:units]]
        missing = [""] * (min(units, by_hand.size) - len(texts))
        yield [name if place == 0 else "", who, *texts, *missing, difference]
