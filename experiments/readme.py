"""Write what README.md and docs/calibration.md show: outputs of commands, tables from the code and from results.

    python -m experiments.readme [WORD]

With WORD, of the commands only those that have it. A test runs the same commands and compares, measured numbers left
out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments import records
from rnncheck.cases.case import MASKS, POLICIES, reproduce_command
from rnncheck.cases.deviations import KNOWN_DEVIATIONS, Deviation
from rnncheck.checks.relations import RELATIONS
from rnncheck.equations.activations import ACTIVATIONS
from rnncheck.frameworks.keras.config.entries import ENTRIES
from rnncheck.frameworks.keras.paths import PATHS
from rnncheck.rounding.accuracy import ACCURACY

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CALIBRATION = ROOT / "docs" / "calibration.md"

NOT_CHECKED = (
    "any other layer, custom layers and Lambda, models that are no graph of layers (subclassed ones), operations "
    "between layers other than those of masks, training, gradients. Each is refused by name; nothing is skipped."
)

CONSOLE = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)
GENERATED = re.compile(r"<!-- generated: (?P<name>\w+) -->\n(?P<text>.*?)<!-- end -->", re.DOTALL)


def run(command: str, results: Path = records.KEPT) -> str:
    """Run one of the README's commands from the root of the project and return what it prints.

    Args:
        command: as the README has it.
        results: where experiments are to leave what they measure.
    """
    words = shlex.split(command)
    # A make inside a make says so; the README's is not.
    inherited = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**inherited, "PATH": path, records.ELSEWHERE: str(results)}
    finished = subprocess.run(words, cwd=ROOT, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    lines = (line.rstrip() for line in finished.stdout.splitlines())
    return "\n".join(lines) + "\n"


def checked_table() -> str:
    """Every layer, its options, and what is refused."""
    lines = ["| class | checked options | same numbers whatever it is | refused |", "|---|---|---|---|"]
    for name, entry in sorted(ENTRIES.items()):
        refused = [f"`{option}` other than `{value}`" for option, value in entry.refused.items()]
        cells = (
            ", ".join(f"`{option}`" for option in (*entry.parts, *entry.checked, *entry.inherited)) or "none",
            ", ".join(f"`{option}`" for option in dict.fromkeys(entry.same_numbers)) or "none",
            ", ".join(refused) or "none",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    activations = ", ".join(f"`{name}`" for name in sorted(ACTIVATIONS))
    policies = ", ".join(f"`{name}`" for name in POLICIES)
    masks = ", ".join(f"`{name}` ({text})" for name, text in MASKS.items())
    lines += [
        "",
        f"Activations, wherever a layer has one: {activations}; in files that Keras 2 wrote, its hard_sigmoid.",
        "",
        f"Dtype policies: {policies}. Masks, from an input, Masking or Embedding; those of the grid: {masks}.",
        "",
        "Initial states: zeros, constants, inputs, another layer's final states.",
        "",
        "Graphs: Sequential and functional models, nested and shared ones, several inputs and outputs.",
        "",
        f"Not checked: {NOT_CHECKED}",
    ]
    return "\n".join(lines) + "\n"


def deviations_list() -> str:
    """What Keras is known to compute otherwise, with the command that shows it."""
    return "".join(f"- {d.reason}: `{reproduce_command(d.example)}{_where(d)}`\n" for d in KNOWN_DEVIATIONS)


def _where(deviation: Deviation) -> str:
    return "" if "tensorflow" in deviation.backends else f" --backend {deviation.backends[0]}"


def _table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)


def accuracy_table() -> str:
    """The constants c and k beside what was measured."""
    lines = []
    for function, by_precision in records.read("activations")["elementary"].items():
        for precision, by_run in by_precision.items():
            c, k = ACCURACY[function][precision]
            measured = (f"{run} {m['worst']:.2f} / {m['typical']:.2f}" for run, m in by_run.items())
            lines.append((function, precision, c, k, ", ".join(measured)))
    return _table(("function", "precision", "c", "k", "measured: worst / typical"), lines)


def calibration_table() -> str:
    """How far correct code goes, by kind of check and dtype."""
    result = records.read("calibration")
    columns = ["rows", "undecidable", "numbers", "score_max", "score_rms", "bound_use"]
    columns += ["largest_row_rms", "largest_row_rms_of_1000"]
    lines = [(group, *(f"{v[c]:,}" for c in columns)) for group, v in result["groups"].items()]
    said = f"{result['cases']:,} cases, {result['numbers']:,} numbers, {result['wrong']} rows not explained.\n\n"
    return said + _table(("check and dtype", *(c.replace("_", " ") for c in columns)), lines)


def memory_table() -> str:
    """Memory and time of checking long sequences."""
    lines = [
        (f"{r['steps']:,}", r["verdict"], f"{r['extra_mb']:.0f} MB", f"{1e6 * r['seconds'] / r['steps']:.1f} us")
        for r in records.read("memory")
    ]
    return _table(("T (N=1, D=8, M=64)", "verdict", "beyond the arrays given", "time a step"), lines)


def bench_table() -> str:
    """The ratios of `make bench`."""
    lines = records.read("bench")
    return _table(tuple(lines[0]), [tuple(line.values()) for line in lines])


def paths_table() -> str:
    """The ways of Keras to compute a model."""
    lines = [(f"`{p.name}`", p.summary + (", where there is one" if p.on_gpu else "")) for p in PATHS.values()]
    return _table(("path", "what runs"), lines)


def relations_table() -> str:
    """The runs that must give the same."""
    return _table(("row", "what is done"), [(f"`{r.name}`", r.summary) for r in RELATIONS.values()])


SECTIONS: dict[str, Callable[[], str]] = {
    "accuracy": accuracy_table,
    "bench": bench_table,
    "calibration": calibration_table,
    "checked": checked_table,
    "deviations": deviations_list,
    "memory": memory_table,
    "paths": paths_table,
    "relations": relations_table,
}


def main() -> None:
    """Rewrite every output and every generated section."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""

    def printed(shown: re.Match[str]) -> str:
        if word not in shown["command"]:
            return shown[0]
        return f"```console\n$ {shown['command']}\n{run(shown['command'])}```"

    for path in (README, CALIBRATION):
        text = path.read_text()
        text = CONSOLE.sub(printed, text)
        text = GENERATED.sub(lambda m: f"<!-- generated: {m['name']} -->\n{SECTIONS[m['name']]()}<!-- end -->", text)
        path.write_text(text)


if __name__ == "__main__":
    main()
