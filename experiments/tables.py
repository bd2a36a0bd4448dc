"""The tables of the documents, as Markdown: from the code, and from what experiments left in `experiments/results`.

A page of the site takes one with the directive `generated`; the README has them between comments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments import records
from experiments.comparison import CONDITIONS, RULES, SEVERITIES
from rnncheck.cases.case import MASKS, POLICIES, reproduce_command
from rnncheck.cases.deviations import KNOWN_DEVIATIONS, Deviation
from rnncheck.checks import thresholds
from rnncheck.checks.relations import RELATIONS
from rnncheck.equations.activations import ACTIVATIONS
from rnncheck.equations.formats import FORMATS
from rnncheck.faults.catalogue import FAULTS
from rnncheck.frameworks.keras.config.entries import ENTRIES, Entry
from rnncheck.frameworks.keras.paths import PATHS
from rnncheck.rounding.accuracy import ACCURACY


def table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    rows = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def layers() -> str:
    """Every class that is read, by its role: the options that are checked and those that are refused."""
    parts = []
    for title, roles in _ROLES.items():
        entries = {name: entry for name, entry in sorted(ENTRIES.items()) if entry.role in roles}
        lines = [(f"`{name}`", _codes(_checked(entry)), _refused(entry)) for name, entry in entries.items()]
        parts.append(f"### {title}\n\n{table(('class', 'checked options', 'refused'), lines)}")
    return "\n".join(parts)


_ROLES = {
    "Recurrent layers and cells": ("recurrent", "rnn", "cell", "stack"),
    "Wrappers": ("bidirectional", "time_distributed"),
    "Layers without a state": ("layer",),
}


def _checked(entry: Entry) -> Sequence[str]:
    return (*entry.parts, *entry.checked, *entry.inherited)


def _refused(entry: Entry) -> str:
    return ", ".join(f"`{option}` other than `{accepted}`" for option, accepted in entry.refused.items())


def without_effect() -> str:
    """The options that change no number at inference, of all classes."""
    return _codes(sorted({option for entry in ENTRIES.values() for option in entry.same_numbers})) + "\n"


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def activations() -> str:
    """The activations, by Keras' names."""
    return _codes(sorted(ACTIVATIONS)) + "\n"


def dtypes() -> str:
    """The dtype policies."""
    return _codes(POLICIES) + "\n"


def masks() -> str:
    """The masks of the grid."""
    return table(("mask", "which steps count"), [(f"`{name}`", summary) for name, summary in MASKS.items()])


def faults() -> str:
    """The catalogue of faults, by class."""
    lines = [(fault.group, f"`{fault.name}`", fault.summary) for fault in FAULTS]
    return table(("class", "fault", "what the faulty implementation does"), lines)


def formats() -> str:
    """What a program may compute in."""
    return table(("format", "what it is"), [(f"`{name}`", each.summary) for name, each in FORMATS.items()])


def paths() -> str:
    """The ways of Keras to compute a model."""
    lines = [(f"`{p.name}`", p.summary + (", where there is one" if p.on_gpu else "")) for p in PATHS.values()]
    return table(("compute path", "what runs"), lines)


def relations() -> str:
    """The runs that must give the same numbers."""
    return table(("row", "what is done"), [(f"`{name}`", each.__doc__) for name, each in RELATIONS.items()])


def deviations() -> str:
    """What Keras is known to compute otherwise, with the command that shows it."""
    return "".join(
        f"- {each.reason}\n\n  ```sh\n  {reproduce_command(each.example)}{_where(each)}\n  ```\n\n"
        for each in KNOWN_DEVIATIONS
    )


def _where(deviation: Deviation) -> str:
    return "" if "tensorflow" in deviation.backends else f" --backend {deviation.backends[0]}"


def limits() -> str:
    """The constants of a verdict."""
    return table(("constant", "value"), [(f"`{name}`", getattr(thresholds, name)) for name in _LIMITS])


_LIMITS = ("SCORE_LIMIT", "AVERAGE_LIMIT", "AVERAGE_COUNT", "GROWTH_LIMIT", "UNDECIDABLE_SHARE")


def accuracy() -> str:
    """The constants c and k beside what was measured."""
    lines = []
    for function, by_precision in records.read("activations")["elementary"].items():
        for precision, by_run in by_precision.items():
            c, k = ACCURACY[function][precision]
            measured = (f"{run} {m['worst']:.2f} / {m['typical']:.2f}" for run, m in by_run.items())
            lines.append((function, precision, c, k, ", ".join(measured)))
    return table(("function", "precision", "c", "k", "measured: worst / typical"), lines)


def calibration() -> str:
    """How far correct code goes, by kind of check and dtype."""
    columns = ["rows", "undecidable", "numbers", "score_max", "score_rms", "bound_use"]
    columns += ["largest_row_rms", "largest_row_rms_of_1000"]
    groups = records.read("calibration")["groups"]
    lines = [(group, *(f"{v[c]:,}" for c in columns)) for group, v in groups.items()]
    return table(("check and what", *(c.replace("_", " ") for c in columns)), lines)


def evidence() -> str:
    """Two sentences: what was measured on correct and on wrong code."""
    correct, rules = records.read("calibration"), records.read("comparison")["rules"]
    own, usual = rules["rnncheck"], rules["numpy.allclose"]
    kinds = ", ".join(f"{kind}: {count}" for kind, count in own["honest_by_condition"].items())
    return (
        f"- Of {correct['cases']:,} random models that are correct, with {correct['numbers']:,} numbers, "
        f"it called {correct['wrong'] or 'none'} wrong.\n"
        f"- Of {own['honest']} correct runs ({kinds}) it flagged {own['false_alarms'] or 'none'}, and of "
        f"{sum(own['faulty'].values()):,} faulty runs it missed {_missed(own) or 'none'}. On the same runs "
        f"`numpy.allclose` with its defaults flagged {usual['false_alarms']} and missed {_missed(usual)}.\n"
    )


def _missed(found: Mapping[str, Any]) -> int:
    return sum(found["misses"].values())


def comparison() -> str:
    """False alarms and misses of rnncheck and of the rules that people use."""
    header = ("rule", "rtol", "atol", "false alarms", *CONDITIONS, *(f"missed: {each}" for each in SEVERITIES))
    result = records.read("comparison")
    lines = []
    for rule, found in result["rules"].items():
        alarms = _shares(found["false_alarms_by_condition"], found["honest_by_condition"])
        tolerances = [f"{tolerance:g}" for tolerance in RULES.get(rule, ())] or ["", ""]
        own = f"{found['false_alarms']}/{found['honest']}"
        lines.append((rule, *tolerances, own, *alarms, *_shares(found["misses"], found["faulty"])))
    return f"{table(header, lines)}\nLeft out: {result['left_out']} faulty runs in which nothing moves far enough.\n"


def _shares(wrong: Mapping[str, int], runs: Mapping[str, int]) -> list[str]:
    return [f"{wrong[group]}/{count}" for group, count in runs.items()]


def power() -> str:
    """Faults in a SimpleRNN of each size, and whether the usual rules would have seen them."""
    rules = ("numpy.allclose", "torch float32", "ONNX")
    lines = []
    for result in records.read("power"):
        usual = ("passes" if result[rule] <= 1 else "fails" for rule in rules)
        sizes = (f"{result['moved']:.3g}", f"{result['score']:.3g}")
        place = " ".join(f"{axis}={index}" for axis, index in result["first"].items())
        differs = f"{result['output_difference']:.1e}"
        lines.append((result["fault"], result["M"], *sizes, result["verdict"], place, differs, *usual))
    return table(("fault", "M", "moved", "score", "verdict", "first at", "output differs by", *rules), lines)


def extremes() -> str:
    """The verdicts on runs that are hard on rounding-error analysis, right and with one number wrong."""
    return _counts("extremes", "runs")


def causes() -> str:
    """The verdicts on recordings in which causes were looked for, and how many were named that are not there."""
    untrue = len(records.read("causes")["failed"])
    return f"{_counts('causes', 'recordings')}\nNamed without being there: {untrue or 'none'}.\n"


def _counts(name: str, what: str) -> str:
    lines = [(*label.rsplit(": ", 1), f"{count:,}") for label, count in records.read(name)["counts"].items()]
    return table((what, "verdict", "count"), lines)


def exports() -> str:
    """What became of the exports of the built-in grid."""
    found = records.read("exports")
    counts = found["verdicts"]
    lines = [[verdict, f"{count:,}"] for verdict, count in sorted(counts.items(), key=lambda each: -each[1])]
    score = f"the largest score of a match is {found['largest_score']} of 8"
    return f"{found['cases']} cases, {found['uses']:,} uses; {score}.\n\n{table(['verdict', 'uses'], lines)}"


def exports_that_fail() -> str:
    """Which cases of the built-in grid have an export that is wrong, cannot be judged, or does not run."""
    by_case: dict[str, tuple[str, str]] = {}
    for each in records.read("exports")["others"]:
        said = each["said"].partition(" on model.onnx: ")[2] or each["said"]
        by_case.setdefault(each["case"], (each["verdict"], " ".join(said.split())[:160]))
    return table(["case", "verdict", "what is said"], [[case, *found] for case, found in by_case.items()])


def memory() -> str:
    """Memory and time of checking long sequences."""
    lines = [
        (f"{r['steps']:,}", r["verdict"], f"{r['extra_mb']:.0f} MB", f"{1e6 * r['seconds'] / r['steps']:.1f} µs")
        for r in records.read("memory")
    ]
    return table(("T (N=1, D=8, M=64)", "verdict", "beyond the arrays given", "time for a step"), lines)


def bench() -> str:
    """The ratios of `make bench`."""
    lines = records.read("bench")
    return table(tuple(lines[0]), [tuple(line.values()) for line in lines])


TABLES: dict[str, Callable[[], str]] = {
    make.__name__: make
    for make in (
        layers, without_effect, activations, dtypes, masks, faults, formats, paths, relations, deviations, limits,
        accuracy, calibration, evidence, comparison, power, extremes, causes, memory, bench,
        exports, exports_that_fail,
    )
}  # fmt: skip
