"""Search for a case that does not match, and shrink it: Hypothesis over every field of a case.

    python -m experiments.search [--examples 500] [--seed 0]

What is found is shrunk to the case that differs least from the default one, and printed with its table and with the
command that runs it again. `experiments.random_case` draws more cases in less time,
and larger ones; it does not shrink.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from experiments.random_case import verify_case
from rnncheck.cases.case import OPTIONS, Case
from rnncheck.cases.deviations import deviates
from rnncheck.checks.verdicts import Verdict
from rnncheck.errors import InputError
from rnncheck.report.entry import Entry
from rnncheck.report.report import Report

DEFAULTS = {field.name: field.default for field in fields(Case)}

# What each option is drawn from, besides its default, which is drawn as often as all the others together. The plain
# values come first, since Hypothesis shrinks towards the first. Small sizes suffice, and few layers and cells: Keras
# takes long for each of their unrolled steps.
_FEW: dict[str, Sequence[Any]] = {
    "N": (1, 2, 3, 9),
    "T": (4, 3, 2, 1, 7),
    "D": (1, 2, 4, 8),
    "M": (1, 2, 3, 7, 16),
    "K": (1, 3, 4),
    "cells": (3,),
    "layers": (2,),
    "kernel_size": (1, 3),
    "strides": (2, 3),
    "dilation_rate": (2,),
    "dropout": (0.5, 1.0),
    "recurrent_dropout": (0.5, 1.0),
    "recurrent_scale": (0.0, 1.0, 3.0),
}
_DRAWN = {name: _FEW.get(name, option.choices) for name, option in OPTIONS.items() if name != "seed"}
# Flags come last: Hypothesis finds combinations of them sooner that way.
CHOICES = dict(sorted(_DRAWN.items(), key=lambda item: item[1] == (False, True)))


SETTINGS = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],  # Hypothesis' explanations would need a trace of every line
    suppress_health_check=[HealthCheck.too_slow],
)


def cases() -> st.SearchStrategy[Case]:
    """Return a strategy for valid cases that shrinks towards the default case, option by option."""
    options = {name: _option(name) for name in CHOICES}
    return st.fixed_dictionaries({**options, "seed": st.integers(0, 2**32 - 1)}).map(nearest_case)


def _option(name: str) -> st.SearchStrategy[Any]:
    others = [choice for choice in CHOICES[name] if choice != DEFAULTS[name]]
    return st.sampled_from([DEFAULTS[name]] * len(others) + others)


def nearest_case(options: dict[str, Any]) -> Case:
    """Return the case with as many of the options as go together.

    They are taken one by one, in the order of the fields. What the case so far refuses, or makes it one that Keras is
    known to compute otherwise, is tried again after the others, since one of them may allow it: `go_backwards` needs
    `own_backward` inside Bidirectional, `kernel_size` may need `padding="same"`. No draw is lost that way, where
    almost all would be if a case had to be valid as drawn.
    """
    case, waiting = Case(), {name: options[name] for name in DEFAULTS if options[name] != DEFAULTS[name]}
    progress = True
    while progress:
        progress = False
        for name, value in list(waiting.items()):
            changed = _changed(case, name, value)
            if changed is not None:
                case, progress = changed, True
                del waiting[name]
    return case


def _changed(case: Case, name: str, value: Any) -> Case | None:
    """Return the case with another value of one option, or None where that is no case to search."""
    try:
        changed = replace(case, **{name: value})
    except InputError:
        return None
    return None if deviates(changed) else changed


def search(examples: int, *, verify: Callable[[Case], Entry] = verify_case, random_seed: int | None = None) -> None:
    """Verify cases; fail with the smallest that does not match, its table and the command that runs it again.

    Args:
        examples: how many cases to try.
        verify: what checks a case.
        random_seed: of the cases; None for the same ones in every run.

    Raises:
        AssertionError: a case does not match. Hypothesis adds a note with all fields of the case.
    """
    verify_once = functools.cache(verify)  # many a draw shrinks to the same case

    @settings(SETTINGS, max_examples=examples, derandomize=random_seed is None)
    @given(case=cases())
    def every_case_matches(case: Case) -> None:
        entry = verify_once(case)
        if entry.verdict is not Verdict.MATCH:
            raise AssertionError(describe(entry))

    (every_case_matches if random_seed is None else seed(random_seed)(every_case_matches))()


def describe(entry: Entry) -> str:
    """Return the command that runs a case again, and the table of what it found."""
    return f"{entry.reproduce}\n{Report(entries=(entry,))}"


def main() -> None:
    """Search, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        search(arguments.examples, random_seed=arguments.seed)
    except AssertionError as error:
        raise SystemExit("\n".join((str(error), *getattr(error, "__notes__", ())))) from error
    print(f"seed {arguments.seed}: {arguments.examples} cases, all match")


if __name__ == "__main__":
    main()
