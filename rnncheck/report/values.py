"""A row's fields, and values as JSON and tables have them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rnncheck.checks.verdicts import Row

SCHEMA = 1


_ROW_FIELDS = (
    "layer",
    "output",
    "check",
    "shape",
    "max_abs_diff",
    "noise",
    "score_max",
    "score_rms",
    "bound_use",
    "worst",
    "first",
    "verdict",
)


def row_fields() -> tuple[str, ...]:
    """Return the names of the fields that a row has in JSON, CSV and the data frame."""
    return _ROW_FIELDS


def row_to_dict(row: Row) -> dict[str, Any]:
    """Return a row as JSON has it."""
    return {name: _plain(getattr(row, name)) for name in _ROW_FIELDS}


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them; numbers that are not finite are strings."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def flat_row(row: Row) -> dict[str, Any]:
    """Return a row as a line of a table has it: numbers as they are, shapes and places as text."""
    values = {name: getattr(row, name) for name in _ROW_FIELDS}
    return {
        **values,
        "check": str(row.check),
        "verdict": str(row.verdict),
        "shape": "x".join(map(str, row.shape)),
        "worst": place_text(row.worst),
        "first": place_text(row.first),
    }


def place_text(place: Mapping[str, int] | None) -> str:
    """Return a place as people read it: `n=0 t=3 unit=2`; empty for none."""
    return " ".join(f"{axis}={index}" for axis, index in (place or {}).items())
