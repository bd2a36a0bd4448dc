"""Write what the documents show: the output of their commands, generated sections of the README, and pictures.

    python -m experiments.readme [WORD]

With WORD, run only the sessions that contain it, and draw only the pictures whose names do. Tests run the same
commands and compare. Those of rnncheck run outside the repository, as a reader's do: in the folder that `rnncheck
demo` writes. The pages of the site have the tables of `experiments.tables` by a directive, when they are built.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from experiments import pictures, records
from experiments.tables import TABLES
from rnncheck.cases.demo import write_demo

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = (README, *sorted((ROOT / "docs").glob("*.md")))

SESSION = re.compile(r"```console\n(?P<session>.*?)```", re.DOTALL)
GENERATED = re.compile(r"<!-- generated: (?P<name>\w+) -->\n(?P<text>.*?)<!-- end -->", re.DOTALL)
_COMMAND = re.compile(r"^\$ (?P<command>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)


class Shown(NamedTuple):
    """A command of a document and the output that stands below it."""

    command: str
    output: str


class Printed(NamedTuple):
    """What a command printed, and its exit code."""

    output: str
    status: int


def commands(session: str) -> list[Shown]:
    """Return the commands of a console session, in order."""
    return [Shown(shown["command"], shown["output"]) for shown in _COMMAND.finditer(session)]


@cache
def demo() -> tempfile.TemporaryDirectory[str]:
    """Return a folder with the files of the demo, which is there until this process ends."""
    folder = tempfile.TemporaryDirectory()
    write_demo(Path(folder.name))
    return folder


def run(command: str, status: int = 0, results: Path = records.KEPT) -> Printed:
    """Run a command of a document in the shell, at the root of the project or, one of its users, in the demo.

    Args:
        command: as the document has it.
        status: the exit code of the command before it, for `echo $?`.
        results: where experiments leave what they measure.
    """
    # A make inside a make says so, and JAX sets how much TensorFlow says; for the reader neither holds.
    own = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "TF_CPP_MIN_LOG_LEVEL", "GITHUB_ACTIONS"}
    inherited = {name: value for name, value in os.environ.items() if name not in own}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    finished = subprocess.run(
        ["/bin/sh", "-c", f"(exit {status})\n{command}"],
        cwd=ROOT if command.startswith(("make", "python -m experiments", "sphinx-build")) else demo().name,
        env={**inherited, "PATH": path, records.ELSEWHERE: str(results)},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Printed("".join(f"{line.rstrip()}\n" for line in finished.stdout.splitlines()), finished.returncode)


def run_session(session: str) -> str:
    """Return a console session with what its commands print now."""
    lines, status = [], 0
    for command, _ in commands(session):
        output, status = run(command, status)
        lines.append(f"$ {command}\n{output}")
    return "".join(lines)


def main() -> None:
    """Rewrite every output, every generated section and every picture."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""

    def printed(shown: re.Match[str]) -> str:
        return f"```console\n{run_session(shown['session'])}```" if word in shown["session"] else shown[0]

    for document in DOCUMENTS:
        text = SESSION.sub(printed, document.read_text())
        text = GENERATED.sub(lambda m: f"<!-- generated: {m['name']} -->\n{TABLES[m['name']]()}<!-- end -->", text)
        document.write_text(text)
    pictures.main(word)


if __name__ == "__main__":
    main()
