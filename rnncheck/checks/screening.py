"""How a block is looked at: all of it by the cheapest arithmetic, then what looks suspicious by more careful ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from rnncheck.checks.blocks import Block
from rnncheck.checks.scores import Comparison, Summary, compare
from rnncheck.checks.thresholds import ALARMING, SUSPICIOUS
from rnncheck.equations.arithmetic import Analysis
from rnncheck.equations.operands import Weights, X
from rnncheck.network import Array, Layer
from rnncheck.rounding import loops as kernels
from rnncheck.rounding.estimates import ScreeningMatrix
from rnncheck.rounding.products import Matrix, OrderedMatrix


@dataclass(frozen=True)
class Look:
    """An arithmetic and a layer's weights in it, which most blocks need of the first look alone."""

    analysis: Analysis
    layer: Layer

    @cached_property
    def weights(self) -> Weights:
        """The layer's weights."""
        return self.analysis.weights(self.layer)


@dataclass(frozen=True)
class Looks:
    """How the blocks of a layer are looked at.

    Attributes:
        first: how all rows are.
        careful: the arithmetic that counts.
        closer: by which arithmetics rows are looked at again, from which score on.
    """

    first: Look
    careful: Look
    closer: tuple[tuple[float, Look], ...]

    @staticmethod
    def at(layer: Layer, numbers: int) -> Looks:
        """Return those for so many numbers of a layer: where they are few, all are looked at carefully."""
        screening, careful, ordered = (
            Look(Analysis(bounded=True, matrix=matrix), layer) for matrix in (ScreeningMatrix, Matrix, OrderedMatrix)
        )
        if numbers <= kernels.FEW:
            return Looks(careful, careful, ((ALARMING, ordered),))
        return Looks(screening, careful, ((SUSPICIOUS, careful), (ALARMING, ordered)))


@dataclass(frozen=True)
class Found:
    """What a comparison saw, and how to look at its worst row again.

    The first look has rough bounds. Those of one row, the worst of all, are computed exactly in the end, so that the
    row of the table says how much of its bound it used.

    Attributes:
        summary: what was seen.
        worst: gives what a careful arithmetic says of the worst row; None where the look was careful.
    """

    summary: Summary
    worst: Callable[[], Summary] | None = None

    def __add__(self, other: Found) -> Found:
        larger = self if self.summary.score_max >= other.summary.score_max else other
        return Found(self.summary + other.summary, larger.worst)

    def settled(self) -> Summary:
        """Return what was seen, with the exact bound of the worst row."""
        if self.worst is None:
            return self.summary
        with np.errstate(all="ignore"):
            return self.summary + Summary(bound_use=self.worst().bound_use)


def look_closer(
    actual: Array,
    block: Block,
    operands: tuple[X, ...],
    expected: X,
    looks: Looks,
    evaluate: Callable[[tuple[X, ...], Look], X],
    settle: Callable[[Array | slice, X], X],
) -> Found:
    """Compare one block by the cheapest arithmetic, then the rows that look suspicious by more careful ones.

    Args:
        actual: what the layer put out.
        block: where.
        operands: what the equation needs: arrays with one row for each of the block's rows.
        expected: what the equation gives for them in the first look.
        looks: the arithmetics.
        evaluate: gives what the equation gives for some rows of the operands.
        settle: gives what is expected of some rows, given what the equation says of them.
    """

    def careful(rows: Array, look: Look) -> X:
        again = evaluate(tuple(operand[rows] for operand in operands), look)
        return _flat(settle(rows, again))

    comparison = Comparison(actual, _flat(settle(slice(None), expected)))
    for score, look in looks.closer:
        rows = comparison.rows_above(score)
        if not rows.size:
            break
        comparison.look_again(rows, careful(rows, look))
    if looks.first is looks.careful:
        return Found(comparison.summary(block))
    row = np.array([comparison.worst_row])
    its_operands = tuple(operand[row] for operand in operands)
    worst = partial(_worst, comparison.actual(row), row, its_operands, looks.careful, evaluate, settle)
    return Found(comparison.summary(block), worst)


def _worst(
    actual: Array,
    row: Array,
    operands: tuple[X, ...],
    look: Look,
    evaluate: Callable[[tuple[X, ...], Look], X],
    settle: Callable[[Array | slice, X], X],
) -> Summary:
    """Compare one row by a careful arithmetic; it holds on to the numbers of that row alone, not to its block's."""
    expected = _flat(settle(row, evaluate(operands, look)))
    return compare(actual, expected, Block(("row", "unit"), (0, 0), (1, actual.shape[-1])))


def _flat(x: X) -> X:
    """Return (R, ..., M) as (R, ...·M)."""
    return x if len(x.shape) == 2 else x.reshape((x.shape[0], -1))
