"""Write the pictures that the documents show: `python -m experiments.readme` does."""

from __future__ import annotations

from pathlib import Path

import rnncheck

DOCS = Path(__file__).parent.parent / "docs"

# A correct run whose errors grow until nothing of them is left to judge.
CHAOTIC = rnncheck.Case(layer="simple_rnn", N=8, T=300, D=8, M=64, K=2, recurrent_scale=3.0)


def chaos() -> str:
    """Return the errors of a chaotic run, as SVG."""
    from rnncheck.report.plot import plot, to_svg

    (entry,) = rnncheck.verify(CHAOTIC).entries
    return to_svg(plot(entry, "errors"))


# By the name of the file.
PICTURES = {"chaos.svg": chaos}


def main(word: str = "") -> None:
    """Write every picture whose name contains a word."""
    for name, draw in PICTURES.items():
        if word in name:
            (DOCS / name).write_text(draw(), encoding="utf-8")
