"""The pictures of a report, drawn with matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axis import Axis
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from rnncheck.checks.thresholds import SCORE_LIMIT
from rnncheck.errors import InputError
from rnncheck.network import Array
from rnncheck.report.curves import Curves, curves_of, score_map, starts, thinned
from rnncheck.report.entry import Entry

# Readable on white and on black.
_EQUATIONS, _OBSERVED, _LIMIT, _WRONG = "#3b8ac4", "#c7701a", "#808080", "#d6455d"

# The colour of text and axes in a page, which replaces it by that of its own text.
_INK = "#010203"

_SIZE = (4.6, 3.0)  # in inches
_DPI = 130  # of what is an image: heat maps and clouds of points
_MOST_POINTS = 200
_MOST_CELLS = (48, 120)  # of a heat map
_MOST_UNITS = 48
# A limit below this is that of numbers which are only copied; an axis down to it would show little else.
_COPIED = 1e-30

# Without $ for formulas: names come from users. Text stays text, and what is written has no random names.
_STYLE: Any = {
    "axes.edgecolor": _INK, "axes.labelcolor": _INK, "axes.titlesize": 10, "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"], "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "rnncheck",
    "text.color": _INK, "xtick.color": _INK, "ytick.color": _INK, "legend.framealpha": 0.0, "legend.fontsize": 8,
}  # fmt: skip


class Picture(Figure):
    """A figure that a notebook shows, although it is not one of pyplot's."""

    def _repr_svg_(self) -> str:
        return to_svg(self)


def picture_names(curves: Curves) -> list[str]:
    """Return which of `PICTURES` there are."""
    names = ["errors", "scores", "numbers", "states"] if curves.has_steps else ["numbers"]
    return [*names, *(["gates"] if curves.gates is not None else [])]


def plot(entry: Entry, name: str | None = None) -> Picture:
    """Return one picture of an entry, or all in one figure.

    Raises:
        InputError: there is no such picture, or nothing to draw.
    """
    curves = curves_of(entry)
    if curves is None:
        raise InputError(
            f"{entry.name}: got no numbers to draw; expected a run that was compared, in this process. Pictures of "
            f"matches among more than a few cases are not kept: check this one alone."
        )
    there = picture_names(curves)
    if name is not None and name not in there:
        raise InputError(f"picture: got {name!r}; expected one of {', '.join(there)}.")
    return _figure(curves, there if name is None else [name])


def drawn(curves: Curves, name: str, prefix: str) -> str:
    """Return one picture as SVG, in its page's own colour of text; the prefix sets its names apart from others."""
    svg = to_svg(_figure(curves, [name]), transparent=True).replace(_INK, "currentColor")
    svg = re.sub(r"\n +", "\n", svg)
    return re.sub(r'( id="|ref="#|url\(#)', rf"\1{prefix}-{name}-", svg[svg.index("<svg") :])


def to_svg(figure: Figure, *, transparent: bool = False) -> str:
    """Return a figure as SVG, the same each time."""
    file = io.StringIO()
    with mpl.rc_context(_STYLE):
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", dpi=_DPI, metadata=metadata, transparent=transparent)
    # Two decimals are finer than any screen.
    return re.sub(r' [dxy]="[^"]*"', lambda place: re.sub(r"(\.\d\d)\d+", r"\1", place[0]), file.getvalue())


def _figure(curves: Curves, names: Sequence[str]) -> Picture:
    with mpl.rc_context(_STYLE):
        width, height = _SIZE
        figure = Picture(figsize=(width, height * len(names)), layout="constrained")
        parts = figure.subfigures(len(names), 1, squeeze=False)[:, 0]
        for part, name in zip(parts, names, strict=True):
            part.set_facecolor("none")
            PICTURES[name](part, curves)
        return figure


def _errors(figure: FigureBase, curves: Curves) -> None:
    """Two errors at each step of one sample: that of the whole run up to it, and that of the step alone."""
    assert curves.allowed is not None
    assert curves.one_step is not None
    axes = figure.subplots()
    scores = curves.scores[curves.sample]
    highest = scores.argmax(axis=1)[:, np.newaxis]  # the unit nearest to its limit
    t = starts(len(scores), _MOST_POINTS)
    for numbers, label, color, line in (
        (curves.end_to_end[curves.sample].max(axis=1), "end to end", _OBSERVED, "-"),
        (np.take_along_axis(curves.allowed[curves.sample], highest, 1)[:, 0], "limit", _LIMIT, "--"),
        (np.take_along_axis(np.abs(curves.one_step[curves.sample]), highest, 1)[:, 0], "one step", _EQUATIONS, "-"),
    ):
        axes.plot(t, _positive(thinned(numbers, _MOST_POINTS)), line, color=color, label=label)
    if curves.wrong:
        axes.axvline(curves.step, color=_WRONG, ls=":", label="first wrong")
    axes.set(yscale="log", xlabel="step", ylabel="error", title=f"Error of sample {curves.sample}")
    axes.minorticks_off()
    _in_whole_numbers(axes.xaxis)
    axes.legend()


def _positive(numbers: Array) -> Array:
    return np.where(np.isfinite(numbers) & (numbers > _COPIED), numbers, np.nan)


def _scores(figure: FigureBase, curves: Curves) -> None:
    """The largest score of each sample, or of each unit of one, at each step."""
    axes = figure.subplots()
    scores, what, line = score_map(curves, *_MOST_CELLS)
    lines = curves.actual.shape[0 if what == "sample" else 2]
    t_steps = curves.actual.shape[1]
    finite = scores[np.isfinite(scores)]
    # Far above the limit one number would leave all others dark.
    highest = min(max(SCORE_LIMIT, finite.max(initial=0.0)), 100.0 * SCORE_LIMIT)
    norm = LogNorm(SCORE_LIMIT / 100.0, highest, clip=True)
    image = axes.imshow(
        scores, norm=norm, cmap="cividis", aspect="auto", interpolation="nearest",
        extent=(-0.5, t_steps - 0.5, lines - 0.5, -0.5),
    )  # fmt: skip
    bar = _with_bar(figure, image)
    bar.set_label("score")
    bar.ax.axhline(SCORE_LIMIT, color=_WRONG)
    bar.minorticks_off()
    if curves.wrong:
        axes.plot(curves.step, line, "s", mfc="none", mec=_WRONG, mew=2, ms=10)
    title = f"Scores: right up to {SCORE_LIMIT:g}{'; square: first wrong' if curves.wrong else ''}"
    axes.set(xlabel="step", ylabel=what, title=title)
    _in_whole_numbers(axes.xaxis, axes.yaxis)


def _in_whole_numbers(*axes: Axis) -> None:
    for axis in axes:
        axis.set_major_locator(MaxNLocator(integer=True))


def _with_bar(figure: FigureBase, image: AxesImage) -> Colorbar:
    bar = figure.colorbar(image)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # not a path for each of 256 colours
    return bar


def _numbers(figure: FigureBase, curves: Curves) -> None:
    """What was expected across, what was got upwards: right numbers lie on the line."""
    axes = figure.subplots()
    actual = curves.actual.ravel()
    wrong = np.zeros(actual.shape, bool)
    expected = curves.of_run.ravel()
    if curves.one_step is not None:
        expected, wrong = actual - curves.one_step.ravel(), curves.scores.ravel() > SCORE_LIMIT
    for chosen, color, label in ((~wrong, _EQUATIONS, None), (wrong, _WRONG, "wrong")):
        those = np.flatnonzero(chosen & np.isfinite(actual) & np.isfinite(expected))
        if those.size:
            those = those[starts(those.size, _MOST_POINTS)]
            axes.plot(expected[those], actual[those], "o", ms=3, color=color, label=label, rasterized=True)
    axes.axline((0.0, 0.0), slope=1.0, color=_LIMIT, lw=0.8, zorder=0)
    axes.set(xlabel="expected", ylabel="got", title="Expected and got")
    if axes.get_legend_handles_labels()[1]:  # of wrong numbers none may be finite
        axes.legend()


def _states(figure: FigureBase, curves: Curves) -> None:
    """One unit of one sample over time by both sides, and the difference of the two runs below."""
    above, below = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    one = (curves.sample, slice(None), curves.unit)
    t = starts(curves.actual.shape[1], _MOST_POINTS)
    above.plot(t, curves.of_run[one][t], color=_EQUATIONS, label="equations")
    above.plot(t, curves.actual[one][t], color=_OBSERVED, ls="--", label="got")
    below.plot(t, (curves.actual[one] - curves.of_run[one])[t], color=_LIMIT)
    above.set(ylabel="h", title=f"Sample {curves.sample}, unit {curves.unit}")
    below.set(xlabel="step", ylabel="difference")
    _in_whole_numbers(below.xaxis)
    above.legend()


def _gates(figure: FigureBase, curves: Curves) -> None:
    """What each activation gave at the first wrong step, by unit, and the state that came of it."""
    assert curves.gates is not None
    axes = figure.subplots()
    rows = {name: values for name, (_, values) in curves.gates.activations.items()}
    rows |= {"h, equations": curves.gates.after["h"], "h, got": curves.gates.observed}
    first = max(0, curves.unit - _MOST_UNITS // 2) if len(curves.gates.observed) > _MOST_UNITS else 0
    numbers = np.array([values[first : first + _MOST_UNITS] for values in rows.values()])
    size = np.abs(numbers[np.isfinite(numbers)]).max(initial=1.0)
    edges = (first - 0.5, first + numbers.shape[1] - 0.5, len(rows) - 0.5, -0.5)
    image = axes.imshow(
        numbers, vmin=-size, vmax=size, cmap="PuOr", aspect="auto", interpolation="nearest", extent=edges
    )
    _with_bar(figure, image)
    axes.axvspan(curves.unit - 0.5, curves.unit + 0.5, fill=False, ec=_WRONG, lw=2)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="unit", title=f"Gates of sample {curves.sample} at step {curves.step}")
    _in_whole_numbers(axes.xaxis)


# By name; the docstring of each says what it shows.
PICTURES: dict[str, Callable[[FigureBase, Curves], None]] = {
    "errors": _errors,
    "scores": _scores,
    "numbers": _numbers,
    "states": _states,
    "gates": _gates,
}
