"""Write what the README shows: the output of its commands, and the tables that come from the code.

    python -m experiments.readme

A test runs the same commands and compares, with numbers of measured quantities left out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rnncheck.activations import ACTIVATIONS
from rnncheck.case import MASKS, POLICIES
from rnncheck.extractor import ENTRIES
from rnncheck.grid import KNOWN_DEVIATIONS
from rnncheck.verify import reproduce_command

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"

NOT_CHECKED = (
    "any other layer, shared or nested layers, subclassed models, training, gradients. Each is refused by name; "
    "nothing is skipped."
)

CONSOLE = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)
GENERATED = re.compile(r"<!-- generated: (?P<name>\w+) -->\n(?P<text>.*?)<!-- end -->", re.DOTALL)


def run(command: str) -> str:
    """Run one of the README's commands from the root of the project and return what it prints."""
    words = shlex.split(command)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    finished = subprocess.run(words, cwd=ROOT, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    lines = (line.rstrip() for line in finished.stdout.splitlines())
    return "\n".join(lines) + "\n"


def checked_table() -> str:
    """Every layer, its options, and what is refused."""
    lines = ["| layer | checked options | same numbers whatever it is | refused |", "|---|---|---|---|"]
    for name, entry in sorted(ENTRIES.items()):
        refused = [f"`{option}` other than `{value}`" for option, value in entry.refused.items()]
        cells = (
            ", ".join(f"`{option}`" for option in (*entry.checked, *entry.inherited)) or "none",
            ", ".join(f"`{option}`" for option in entry.same_numbers) or "none",
            ", ".join(refused) or "none",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    activations = ", ".join(f"`{name}`" for name in sorted(ACTIVATIONS))
    policies = ", ".join(f"`{name}`" for name in POLICIES)
    masks = ", ".join(f"`{name}` ({text})" for name, text in MASKS.items())
    lines += [
        "",
        f"Activations, of both layers: {activations}.",
        "",
        f"Dtype policies: {policies}. Initial states and masks, given to the layer's call; masks: {masks}.",
        "",
        f"Not checked: {NOT_CHECKED}",
    ]
    return "\n".join(lines) + "\n"


def deviations_list() -> str:
    """What Keras is known to compute otherwise, with the command that shows it."""
    return "".join(f"- {d.reason}: `{reproduce_command(d.example)}`\n" for d in KNOWN_DEVIATIONS)


SECTIONS: dict[str, Callable[[], str]] = {"checked": checked_table, "deviations": deviations_list}


def main() -> None:
    """Rewrite every output and every generated section."""
    text = README.read_text()
    text = CONSOLE.sub(lambda m: f"```console\n$ {m['command']}\n{run(m['command'])}```", text)
    text = GENERATED.sub(lambda m: f"<!-- generated: {m['name']} -->\n{SECTIONS[m['name']]()}<!-- end -->", text)
    README.write_text(text)


if __name__ == "__main__":
    main()
