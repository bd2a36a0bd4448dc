"""What is printed: results on stdout, progress on stderr."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

_Item = TypeVar("_Item")


def with_progress(items: Sequence[Any], results: Iterable[_Item] | None = None) -> Iterator[_Item]:
    """Yield the items, or as many results, with a progress bar if stderr is a terminal."""
    results = items if results is None else results
    if len(items) == 1 or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    # Drawn from here after each item: threads of the bar could wait for the terminal when an interrupt joins them.
    console = Console(stderr=True, force_jupyter=False)
    yield from track(results, "checking", len(items), auto_refresh=False, console=console, transient=True)


def print_result(show: Callable[[Console], None], width: int = 118) -> None:
    """Print to stdout, `width` columns wide if that is no terminal, even if its reader, such as `head`, has left."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    # Rendered whole first, so that an error leaves no half of a table.
    rendered = io.StringIO()
    columns = shutil.get_terminal_size().columns if terminal else width
    show(Console(file=rendered, force_terminal=terminal or None, force_jupyter=False, width=columns, highlight=False))
    try:
        sys.stdout.write(rendered.getvalue())
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()


def silence_stdout() -> None:
    """Send stdout nowhere, so that Python does not try to flush it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def accept_any_output() -> None:
    """Print characters that the encoding of stdout lacks as `?`, and nothing if there is no stdout."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - closed with the process
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
