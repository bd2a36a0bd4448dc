"""What GitHub Actions shows of a report by itself: annotations, and the summary of the job."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rnncheck.checks.verdicts import Verdict
from rnncheck.report.answer import answers
from rnncheck.report.markdown import to_markdown
from rnncheck.report.report import Report

_LEVELS = {Verdict.MISMATCH: "error", Verdict.ERROR: "error", Verdict.UNDECIDABLE: "warning"}


def is_github() -> bool:
    """Whether this is a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def tell_github(report: Report, *, with_summary: bool, quiet: bool) -> None:
    """Append a report to the summary of the job, and annotate on stderr what does not match.

    The runner reads stderr as it reads stdout, which may be full of JSON.
    """
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    lines = [] if quiet else list(annotated(report))
    if with_summary and summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(to_markdown(report) + "\n")
        except OSError as error:  # nobody asked for it: the verdict stays what it is
            lines.append(annotation("warning", f"GITHUB_STEP_SUMMARY: {error.strerror}"))
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def annotated(report: Report) -> Iterator[str]:
    """Yield a line for each answer that is no match, as GitHub Actions shows it beside the job."""
    for answer in answers(report.entries):
        if answer.verdict in _LEVELS:
            yield annotation(_LEVELS[answer.verdict], "\n".join((f"{answer.label}  {answer.first}", *answer.further)))


def annotation(level: str, text: str) -> str:
    """Return a text as the runner takes it for an annotation: an "error" or a "warning"."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title=rnncheck::{text}"
