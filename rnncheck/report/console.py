"""What is printed: results on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

_Item = TypeVar("_Item")


# Seconds after which a run says what it is doing.
_PATIENCE = 1.0


class _Line:
    """A line on a terminal that says what is being done, once a run takes long."""

    def __init__(self) -> None:
        # A descriptor of its own: while Keras starts, stderr's is held back.
        self._terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")
        self._lock, self._text, self._late = threading.Lock(), "", False
        self._timer = threading.Timer(_PATIENCE, self._begin)
        self._timer.daemon = True
        self._timer.start()

    def tell(self, text: str) -> None:
        with self._lock:
            self._text = text
            if self._late:
                self._draw(text)

    def close(self) -> None:
        self._timer.cancel()
        with self._lock:
            if self._late:
                self._draw("")
            self._terminal.close()

    def _begin(self) -> None:
        with self._lock:
            if not self._terminal.closed:
                self._late = True
                self._draw(self._text)

    def _draw(self, text: str) -> None:
        from rich.console import Console
        from rich.control import Control
        from rich.segment import ControlType

        console = Console(file=self._terminal, force_jupyter=False)
        if not console.is_dumb_terminal:
            console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
            console.print(text, end="", no_wrap=True, crop=True)
            self._terminal.flush()


_lines: list[_Line] = []  # the one that is shown, if any


@contextlib.contextmanager
def telling(*, quiet: bool) -> Iterator[None]:
    """Show what is being done on stderr if that is a terminal, unless it is quiet; leave nothing there."""
    if not quiet and sys.stderr.isatty():
        _lines.append(_Line())
    try:
        yield
    finally:
        _stop_telling()


def tell(text: str) -> None:
    """Say what is being done from here on, where `telling` shows it."""
    for line in _lines:
        line.tell(text)


def _stop_telling() -> None:
    while _lines:
        _lines.pop().close()


def with_progress(items: Sequence[Any], results: Iterable[_Item] | None = None) -> Iterator[_Item]:
    """Yield the items, or as many results, with a progress bar if stderr is a terminal."""
    results = items if results is None else results
    if len(items) == 1 or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    _stop_telling()  # the bar takes its place
    # Drawn from here after each item: threads of the bar could wait for the terminal when an interrupt joins them.
    console = Console(stderr=True, force_jupyter=False)
    yield from track(results, "checking", len(items), auto_refresh=False, console=console, transient=True)


# As wide as a README's code block.
_WIDTH = 118


def as_text(show: Callable[[Console], None]) -> str:
    """Return what is shown on a console, as plain text."""
    from rich.console import Console

    buffer = io.StringIO()
    # In a notebook Rich would write past the buffer.
    show(Console(file=buffer, width=_WIDTH, color_system=None, force_jupyter=False))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def print_result(show: Callable[[Console], None], width: int = _WIDTH) -> None:
    """Print to stdout.

    It is as wide as $COLUMNS or the terminal says, else `width`.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    # Rendered whole first, so that an error leaves no half of a table.
    rendered = io.StringIO()
    columns = shutil.get_terminal_size((width, 1)).columns if terminal else int(os.environ.get("COLUMNS") or width)
    show(Console(file=rendered, force_terminal=terminal or None, force_jupyter=False, width=columns, highlight=False))
    print_text("".join(f"{line.rstrip()}\n" for line in rendered.getvalue().splitlines()))


def print_text(text: str) -> None:
    """Write text to stdout, even if its reader, such as `head`, has left."""
    try:
        sys.stdout.write(text)
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
