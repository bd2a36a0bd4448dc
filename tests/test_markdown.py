"""A report in Markdown, and what GitHub Actions shows of it."""

from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rows import MATCH

from rnncheck import Entry, Report, Verdict
from rnncheck.checks.verdicts import failed_row
from rnncheck.jobs.judge import judge_files
from rnncheck.report.github import tell_github
from rnncheck.report.markdown import to_markdown

DEMO = Path(__file__).parent.parent / "rnncheck" / "demo"
WRONG = ["compare", DEMO / "sine.keras", "--inputs", DEMO / "inputs.npy", "--outputs", DEMO / "wrong_outputs.csv"]
ROW = replace(MATCH, layer="gru", bound_use=None)
CANNOT_TELL = replace(ROW, verdict=Verdict.UNDECIDABLE, detail="rounding errors grow too large")


def html(markdown):
    """Return what a reader of Markdown makes of a text, with tables and without raw HTML let through unseen."""
    return MarkdownIt("commonmark").enable("table").render(markdown)


def compared(outputs):
    return judge_files(DEMO / "sine.keras", [DEMO / "inputs.npy"], [DEMO / outputs])


def test_markdown_has_the_answer_first_then_the_table_and_how_much_was_compared():
    written = to_markdown(compared("wrong_outputs.csv"))

    lines = written.splitlines()
    shown = html(written)
    assert lines[0] == (
        "**MISMATCH** sine.keras: in layer 'lstm', the gates are read in the order i, o, f, c: ONNX's"
    )
    assert lines[2].startswith("- first wrong at sample 0, unit 0: expected -0.5143, got 0.01397; ")
    assert shown.index("<ul>") < shown.index("<table>") < shown.index("1 case, 8 numbers compared: 1 mismatch")
    assert "<td>next_value output</td>" in shown
    assert written.endswith("compared: 1 mismatch\n")


def test_markdown_of_a_match_has_its_notes():
    shown = html(to_markdown(Report({}, (Entry("a case", (ROW,), notes=("the first * call", "and _this_")),))))

    assert "<strong>MATCH</strong> a case: all 40 numbers agree with the equations" in shown
    assert "<li>note: a case: the first * call</li>" in shown
    assert "<li>note: a case: and _this_</li>" in shown


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "`code`",
        "a|b",
        "*a* _b_ __c__",
        "[a](b)",
        "a\nb",
        "\\",
        "&amp;",
        "~~a~~",
        "a\\|b",
    ],
)
def test_names_are_shown_as_they_are(name):
    entry = Entry(name, (replace(ROW, layer=name), replace(ROW, layer=name, verdict=Verdict.MISMATCH)), notes=(name,))

    shown = html(to_markdown(Report({}, (entry, entry))))

    whole = name.replace("\n", "\\n").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert shown.count(whole) >= 4
    assert not {"<script>", "<code>", "<em>", "<a", "<s>", "<del>"} & set(shown.split())
    assert f"<td>{whole} h</td>" in shown
    assert "<script>" not in shown


def test_long_table_says_how_much_was_cut():
    entries = tuple(Entry(f"case {number}", (ROW,)) for number in range(30))

    assert "\n\n... and 6 more cases\n\n" in to_markdown(Report({}, entries))


# --- GitHub Actions ---


@pytest.fixture
def github(monkeypatch, tmp_path):
    """A job of GitHub Actions; return the file of its summary, in which a step before has written."""
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


def test_job_gets_a_summary_and_an_annotation(github, rnncheck_command):
    done = rnncheck_command(*WRONG)

    expected = to_markdown(compared("wrong_outputs.csv"))
    assert (done.code, done.out[:10]) == (1, "MISMATCH  ")
    assert github.read_text() == f"before\n{expected}\n"
    (line,) = done.err.splitlines()
    assert line.startswith("::error title=rnncheck::MISMATCH  sine.keras: in layer 'lstm', the gates are read in ")
    assert "ONNX's%0Afirst wrong at sample 0, unit 0: " in line


def test_annotation_escapes_what_ends_a_line(github, capsys):
    tell_github(
        Report({}, (Entry("5%\n::error::", (failed_row("gru", "it crashed"),)),)), with_summary=False, quiet=False
    )

    assert capsys.readouterr().err == "::error title=rnncheck::ERROR  5%25\\n::error::: it crashed\n"
    assert github.read_text() == "before\n"


def test_what_cannot_be_told_is_a_warning_and_a_match_is_nothing(github, capsys):
    tell_github(Report({}, (Entry("a", (CANNOT_TELL,)),)), with_summary=False, quiet=False)
    tell_github(Report({}, (Entry("a", (ROW,)),)), with_summary=False, quiet=False)

    said = capsys.readouterr()
    assert said.err == "::warning title=rnncheck::UNDECIDABLE  a: gru h: rounding errors grow too large\n"
    assert said.out == ""


def test_summary_that_is_asked_for_is_the_only_one(github, rnncheck_command, tmp_path):
    rnncheck_command(*WRONG, "--summary", tmp_path / "a.md")

    assert github.read_text() == "before\n"
    assert (tmp_path / "a.md").read_text() == to_markdown(compared("wrong_outputs.csv"))


def test_quiet_job_says_nothing_and_has_its_summary(github, rnncheck_command):
    done = rnncheck_command(*WRONG, "--quiet")

    assert done == (1, "", "")
    assert "ONNX's" in github.read_text()


def test_summary_that_cannot_be_written_leaves_the_verdict(github, rnncheck_command, monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))

    done = rnncheck_command(*WRONG)

    assert done.code == 1
    assert done.err.endswith("\n::warning title=rnncheck::GITHUB_STEP_SUMMARY: Is a directory\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "100%.keras"], "100%25.keras: there is no such file"),
        (["show"], "Missing argument 'MODEL'."),
    ],
)
def test_mistake_is_annotated_too(github, rnncheck_command, words, said):
    done = rnncheck_command(*words)

    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"::error title=rnncheck::{said}")


def test_outside_of_github_there_is_neither(github, rnncheck_command, monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS")

    done = rnncheck_command(*WRONG)

    assert done.err == ""
    assert github.read_text() == "before\n"


# --- stdout ---


@pytest.mark.parametrize(
    ("option", "begins"), [("--json", "{\n"), ("--csv", "case,seed,layer,"), ("--summary", "**MISMATCH** sine")]
)
def test_result_on_stdout_is_alone_there(rnncheck_command, option, begins):
    done = rnncheck_command(*WRONG, option, "-")

    assert (done.code, done.err) == (1, "")
    assert done.out.startswith(begins)
    assert "MISMATCH  " not in done.out


def test_result_on_stdout_is_written_though_all_else_is_quiet(rnncheck_command):
    done = rnncheck_command(*WRONG, "--summary", "-", "--quiet")

    assert done.out == to_markdown(compared("wrong_outputs.csv"))


def test_stdout_takes_one_result(rnncheck_command):
    done = rnncheck_command(*WRONG, "--json", "-", "--csv", "-")

    assert done == (2, "", "rnncheck: -: got it for two results; expected another place for each.\n")
