"""Runs many jobs: in this process, in several, or on several backends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

from rnncheck.frameworks.keras.session import load_keras
from rnncheck.jobs.job import Work
from rnncheck.jobs.processes import run_side_by_side
from rnncheck.report.console import with_progress
from rnncheck.report.report import Entry, Report


def run_here(works: Sequence[Work]) -> Report:
    """Run few in this process, many in several; an interrupt ends the run and keeps what was found."""
    from rnncheck.frameworks.keras.environment import environment

    processes = min(_MOST_PROCESSES, os.cpu_count() or 1) if len(works) > _FEW else 1
    entries: list[Entry] = []
    said: Mapping[str, str] = {}
    interrupted = False
    try:
        for found, said in with_progress(works, _verified(works, processes)):  # noqa: B007 - the last one is kept
            entries += found
    except KeyboardInterrupt:
        interrupted = True
    return Report(said or environment(), tuple(entries), interrupted)


# So many cases are worth the start of further processes, which share the cores with each other.
_FEW = 12


_MOST_PROCESSES = 4


def _verified(works: Sequence[Work], processes: int) -> Iterator[tuple[tuple[Entry, ...], Mapping[str, str]]]:
    """Yield the entries of each, with what another process that ran it says of itself."""
    if processes > 1:
        with contextlib.closing(run_side_by_side([work.task for work in works], processes)) as answers:
            for work, answer in zip(works, answers, strict=True):
                yield work.judge(answer), answer.environment
        return
    load_keras()
    for work in works:
        yield work.verify(), {}


def run_on_backends(works: Sequence[Work], backends: Sequence[str]) -> Report:
    """Run everything on several backends; an interrupt ends the run and keeps what was found."""
    from rnncheck.jobs.backends import CrossCheck

    cross_check = CrossCheck(backends)
    interrupted = False
    try:
        for _ in with_progress(works, cross_check.run(works)):
            pass
    except KeyboardInterrupt:
        interrupted = True
    return cross_check.report(interrupted=interrupted)
