"""A report in Markdown, for a pull request or the summary of a CI job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rnncheck.errors import escaped
from rnncheck.report.answer import answers
from rnncheck.report.report import Report

if TYPE_CHECKING:
    from rich.table import Table

# What means something to GitHub's Markdown within a line; an underscore between letters does not.
_MARKUP = re.compile(r"[\\`*\[\]<>|~&$#@]|(?<![^\W_])_|_(?![^\W_])")


def to_markdown(report: Report) -> str:
    """Return the answer, the tables, the notes, and how many numbers were compared."""
    from rnncheck.report.tables import conclusion_of, notes_of, tables_of

    parts = []
    for answer in answers(report.entries):
        further = "".join(f"\n- {plain(line)}" for line in answer.further)
        parts.append(f"**{answer.label}** {plain(answer.first)}\n{further}")
    for table, cut, what in tables_of(report.entries, report.differences):
        parts.append(_table(table))
        parts += [f"... and {cut} {what}"] if cut > 0 else []
    parts.append("\n".join(f"- {plain(note)}" for note in notes_of(report.entries)))
    parts.append(plain(conclusion_of(report.entries).plain))
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line: names in it come from users."""
    return _MARKUP.sub(r"\\\g<0>", escaped(text))


def _table(table: Table) -> str:
    # The cells that a console shows.
    lines = [
        [str(column.header) for column in table.columns],
        ["--:" if column.justify == "right" else "---" for column in table.columns],
        *(
            [plain(str(cell)) for cell in cells]
            for cells in zip(*(each.cells for each in table.columns), strict=True)
        ),
    ]
    title = f"{plain(str(table.title))}\n\n" if table.title else ""
    return title + "\n".join(f"| {' | '.join(line)} |" for line in lines)
