"""The scores of a layer as a map in block characters, for a terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.text import Text

from rnncheck.checks.thresholds import SCORE_LIMIT
from rnncheck.report.curves import Curves, score_map, starts

_BLOCKS = "▁▂▃▄▅▆▇█"  # from a hundredth of the limit to the limit
_MOST_LINES = 16
_MARGIN = 14


def print_score_map(curves: Curves, console: Console) -> None:
    """Print a line for each sample, or each unit of one, with a character for each step; what is wrong is an X."""
    scores, what, _ = score_map(curves, _MOST_LINES, console.width - _MARGIN)
    with np.errstate(divide="ignore"):
        heights = (np.log10(scores / SCORE_LIMIT) + 2.0) / 2.0 * (len(_BLOCKS) - 1)
    levels = np.clip(np.nan_to_num(heights), 0, len(_BLOCKS) - 1).round().astype(int)
    of_lines = (len(curves.actual) if what == "sample" else curves.actual.shape[2], len(scores))
    t_steps = curves.actual.shape[1]
    console.print(
        Text(f"score of each {what} over {t_steps} steps: ▁ up to a hundredth of the limit, █ at it, X above it")
    )
    for number, row, line in zip(starts(*of_lines), scores, levels, strict=True):
        text = Text(f"{what} {number}".ljust(_MARGIN))
        for score, level in zip(row, line, strict=True):
            text.append("X" if score > SCORE_LIMIT else _BLOCKS[level], "bold red" if score > SCORE_LIMIT else "")
        console.print(text)
