"""How a Network and a Replayed look in a notebook. They lie below this package and know nothing of it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from rnncheck.equations.replay import Replayed
from rnncheck.network import Network

# So many numbers of an array are shown.
_FEW = 4


def network_html(network: Network) -> str:
    """Return the layers with their shapes, and the equations."""
    from rnncheck.frameworks.keras.config.entries import keras_defaults
    from rnncheck.report.network_table import COLUMNS, equations_of, layer_lines, total_line

    rows = list(layer_lines(network, keras_defaults))
    return _rendered(network.name, COLUMNS, rows, [total_line(network)], equations_of(network))


def replayed_html(replayed: Replayed) -> str:
    """Return the outputs, what each layer put out and its states, with shapes and first numbers."""
    arrays = {f"output {number}": array for number, array in enumerate(replayed.outputs)}
    arrays |= {f"layer {tensor}": array for tensor, array in replayed.tensors.items()}
    arrays |= {f"h of {name} after every step": array for name, array in replayed.sequences.items()}
    rows = [(name, str(np.shape(array)), _first_numbers(array)) for name, array in arrays.items()]
    return _rendered("What the equations give", ("what", "shape", "first numbers"), rows)


def _first_numbers(array: Any) -> str:
    flat = np.ravel(array)
    return ", ".join(f"{number:.8g}" for number in flat[:_FEW]) + (", ..." if flat.size > _FEW else "")


def _rendered(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    further: Sequence[str] = (),
    equations: dict[str, list[str]] | None = None,
) -> str:
    from rnncheck.report.page import template

    formulas = equations or {}
    if find_spec("jinja2") is None:
        told = (line for kind, lines in formulas.items() for line in (kind, *lines))
        text = "\n".join((title, *map("  ".join, rows), *further, *told))
        return f"<pre>{html.escape(text)}</pre>"
    return template("network.html").render(
        title=title, headings=headings, rows=rows, further=further, equations=formulas
    )


# Set from here, so that the mathematics needs no pages.
Network._repr_html_ = network_html  # type: ignore[attr-defined]
Replayed._repr_html_ = replayed_html  # type: ignore[attr-defined]
