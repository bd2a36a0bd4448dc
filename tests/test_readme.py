"""Every command and output in the README is real."""

import re
from pathlib import Path

import pytest

from experiments import records
from experiments.readme import CALIBRATION, CONSOLE, GENERATED, README, SECTIONS, run

TEXT = README.read_text()
BOTH = TEXT + CALIBRATION.read_text()


# Which of the smallest faults rounding hides depends on a run's last digits.
_HIDDEN = re.compile(r"blind spot: [^:]* would not show: it moves no\s.*?samples and\s+steps\.\n", re.DOTALL)


def _without_numbers(output: str) -> str:
    """Leave out what differs between machines: measured numbers, and the width that they take."""
    numbers = re.sub(r"\d+(\.\d+)?(e[+-]\d+)?", "#", _HIDDEN.sub("", output))
    return re.sub(r"[ \t]+", " ", numbers)


@pytest.mark.long
@pytest.mark.parametrize("shown", list(CONSOLE.finditer(TEXT)), ids=lambda shown: shown["command"])
def test_readme_shows_what_its_commands_print(shown: re.Match[str], tmp_path: Path) -> None:
    printed = run(shown["command"], results=tmp_path)

    assert _without_numbers(printed) == _without_numbers(shown["output"])


@pytest.mark.parametrize("shown", list(GENERATED.finditer(BOTH)), ids=lambda shown: shown["name"])
def test_tables_are_what_the_code_says(shown: re.Match[str]) -> None:
    assert shown["text"] == SECTIONS[shown["name"]]()


@pytest.mark.long
def test_experiments_leave_what_is_kept_alone_when_told_to(tmp_path: Path) -> None:
    kept = {path: path.read_bytes() for path in records.KEPT.iterdir()}

    run("python -m experiments.power", results=tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"power.json"}
    assert {path: path.read_bytes() for path in records.KEPT.iterdir()} == kept


def test_readme_opens_with_make_verify() -> None:
    first = CONSOLE.search(TEXT)

    assert first is not None
    assert first["command"] == "make verify"


def test_readme_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example, _ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - the README's own example

    assert capsys.readouterr().out == "match 0\n"


def test_readme_pytest_example_passes(tmp_path: Path) -> None:
    _, example = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "test_example.py").write_text(example)

    printed = run(f"python -m pytest -q -p no:cacheprovider --rootdir {tmp_path} {tmp_path}")

    assert printed.splitlines()[-1].startswith("5 passed"), printed


def test_contributing_names_every_make_target() -> None:
    makefile = (README.parent / "Makefile").read_text()
    contributing = (README.parent / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE)) - {"help", "install", "clean"}

    missing = {target for target in targets if f"`make {target}`" not in contributing}

    assert missing == set()
