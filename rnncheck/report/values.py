"""The fields of a row, and values as JSON and tables have them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from rnncheck.checks.verdicts import Row

SCHEMA = 1

# What a row has in JSON, CSV and the data frame.
ROW_FIELDS = tuple(each.name for each in fields(Row) if each.name not in {"proven", "decides", "detail"})


def row_to_dict(row: Row) -> dict[str, Any]:
    """Return a row as JSON has it."""
    return plain_values({name: getattr(row, name) for name in ROW_FIELDS})


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them; numbers that are not finite become strings."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str):  # of which enumerations are
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def flat_row(row: Row) -> dict[str, Any]:
    """Return a row as a line of a table has it: numbers stay numbers, shapes and places become text."""
    return {
        **{name: getattr(row, name) for name in ROW_FIELDS},
        "check": str(row.check),
        "verdict": str(row.verdict),
        "shape": shape_text(row.shape),
        "worst": place_text(row.worst),
        "first": place_text(row.first),
    }


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as people read it: `2x5x4`."""
    return "x".join(map(str, shape))


def place_text(place: Mapping[str, int] | None) -> str:
    """Return a place as people read it: `n=0 t=3 unit=2`; empty for none."""
    return " ".join(f"{axis}={index}" for axis, index in (place or {}).items())
