"""Random changes of the package: what is changed, and what counts as noticed."""

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import records
from experiments.mutate import PACKAGE, ROOT, Finder, Mutant, Reach, Result, keep, kept_results, mutants, report


def changed(code):
    """Return every change of some code, each as the whole text."""
    text = textwrap.dedent(code)
    return [mutant.applied(text) for mutant in Finder("a.py", text).found]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a < b", "a <= b"),
        ("a is not b", "a is b"),
        ("(a) in (b)", "(a) not in (b)"),
        ("a and b", "a or b"),
        ("x + y", "x - y"),
        ("x ** y", "x * y"),
        ("not a", " a"),
        ("-a", "a"),
        ("~a", "a"),
        ("f(3)", "f(4)"),
        ("f(0.5)", "f(1.0)"),
        ("f(True)", "f(False)"),
        ("y = f(x, axis=a)", "y = f(x)"),
        ("y = np.minimum(a, b)", "y = np.maximum(a, b)"),
        ("f(x)", "pass"),
        ("x += y", "pass"),
        ("if a:\n    x = y", "if not (a):\n    x = y"),
        ("[x for x in y if x]", "[x for x in y if True]"),
        ("if a:\n    raise ValueError(b)", "if a:\n    pass"),
        ("é = 'ß'; x = y + z", "é = 'ß'; x = y - z"),
    ],
)
def test_change_is_made(code, expected):
    assert expected in changed(code)


@pytest.mark.parametrize(
    "code",
    [
        '"""A docstring of 3 words."""',
        "x: Literal[1]",
        "def f(x: tuple[int, Literal[3]]) -> Literal[2]: ...",
        "@dataclass(frozen=True)\nclass A: ...",
        "if TYPE_CHECKING:\n    from a import b",
        "zip(a, b, strict=True)[a]",
        'f"{x + 1}"',
    ],
)
def test_what_changes_no_result_is_left_alone(code):
    assert [text for text in changed(code) if text != "pass"] == []


def test_message_of_an_error_is_left_alone():
    assert changed('raise ValueError("got", 3)') == ["pass"]


def test_every_change_of_the_package_can_be_read():
    found = mutants([ROOT / PACKAGE / "equations" / "cells.py"])

    assert len(found) > 50
    assert {mutant.operator for mutant in found} >= {"comparison", "arithmetic", "constant", "condition"}


def test_quickest_tests_of_each_file_that_reach_a_line_come_first():
    mutant = Mutant("a.py", 3, "constant", 0, 1, "2")
    seconds = {"a::quick": 1.0, "a::next": 2.0, "b::slow": 20.0, "b::other": 0.5, "c::long": 80.0}
    tests = {
        ("a.py", 3): frozenset({"a::quick", "a::next", "b::slow", "c::long"}),
        ("a.py", 4): frozenset({"b::other"}),
    }
    reached = Reach(tests, seconds)

    assert reached.all(mutant) == ["a::quick", "b::slow", "c::long", "a::next"]
    assert reached.first(mutant) == ["a::quick", "b::slow"]
    assert reached.all(replace(mutant, line=1))[:2] == ["b::other", "a::quick"]  # runs when the file is imported


def test_results_are_kept_for_the_same_package(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(records, "KEPT", tmp_path)
    monkeypatch.delenv(records.ELSEWHERE, raising=False)
    result = Result(
        Mutant("a.py", 1, "constant", 0, 1, "2"), "x = 1", "x = 2", "killed", "tests/test_a.py::test", 1.0
    )

    assert kept_results("one") == {}
    keep("one", [result])

    assert kept_results("one") == {result.mutant: result}
    assert kept_results("other") == {}


@pytest.mark.parametrize(("killed", "survived", "code"), [(19, 1, 0), (18, 1, 1), (0, 0, 1)])
def test_report_fails_below_95_percent(killed, survived, code, capsys):
    mutant = Mutant("a.py", 1, "constant", 0, 1, "2")
    outcomes = ["killed"] * killed + ["survived"] * survived + ["looks equivalent"] * 5
    found = [Result(mutant, "x = 1", "x = 2", outcome, "", 1.0) for outcome in outcomes]

    assert report(found) == code
    printed = capsys.readouterr().out
    assert printed.count("survived: a.py:1 (constant)\n  - x = 1\n  + x = 2") == survived
    assert printed.endswith(
        f"{killed} killed, {survived} survived ({killed / max(1, killed + survived):.0%}), 5 look equivalent\n"
    )
