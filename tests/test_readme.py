"""Everything that the documents show is real: commands, outputs, exit codes, examples, tables and links."""

import doctest
import re
import tomllib
from collections.abc import Callable
from math import log10
from pathlib import Path
from urllib.parse import unquote

import pytest

import rnncheck
from experiments import records
from experiments.readme import DOCUMENTS, GENERATED, README, ROOT, SESSION, commands, demo, run
from experiments.tables import TABLES
from rnncheck.cli import cli
from rnncheck.frameworks.keras.config.entries import ENTRIES

TEXT = {document.relative_to(ROOT).as_posix(): document.read_text() for document in DOCUMENTS}
SESSIONS = [(name, shown["session"]) for name, text in TEXT.items() for shown in SESSION.finditer(text)]
WITHOUT_A_FRAMEWORK = {
    *(f"rnncheck {name}" for name in ("compare", "demo", "show", "weights", "--help")),
    "echo $?",
}
MOST_BYTES = 8192

_NUMBER = re.compile(r"(?<![\d.])\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?%?(?![\d.]*\.\d)")
# Which of the smallest faults rounding hides depends on a run's last digits.
_HIDDEN = re.compile(
    r"(?:blind spots in '[^']*':\s+)?(?:`[^`]*`,\s+)*`[^`]*`:\s+no\s+number\s+here\s.*?samples\s+and\s+steps\.",
    re.DOTALL,
)


def same_size(shown: str, printed: str) -> bool:
    """Whether counts and places are equal, and what was measured is within a factor of ten.

    What is huge or tiny, as the score of a fault or the noise of a chaotic run, may be off by a tenth of its digits.
    """
    if not {".", "e", "%"} & {*shown, *printed}:
        return shown == printed
    a, b = (float(number.replace(",", "").rstrip("%")) for number in (shown, printed))
    return a == b or (a > 0 and b > 0 and abs(log10(a) - log10(b)) < max(1.0, 0.1 * abs(log10(a))))


def words(output: str) -> str:
    """Join an output's words with single spaces: the width of a column depends on the numbers in it."""
    return " ".join(_HIDDEN.sub("", output).split())


def like(shown: str, printed: str) -> str:
    """Return what was printed, with each number of the right size as it is shown."""
    numbers = iter(_NUMBER.findall(shown))
    if slowest := re.search(r"slowest \S+", shown):  # which test that is differs from run to run
        printed = re.sub(r"slowest \S+", slowest[0], printed)

    def as_shown(match: re.Match[str]) -> str:
        number = next(numbers, "")
        return number if number and same_size(number, match[0]) else match[0]

    return _NUMBER.sub(as_shown, printed)


class Alike(doctest.OutputChecker):
    """Compares the output of examples as that of commands."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(words(want), like(words(want), words(got)), optionflags)


def is_quick(session: str) -> bool:
    """Whether no command of a session loads a framework."""
    return all(" ".join(command.split()[:2]) in WITHOUT_A_FRAMEWORK for command, _ in commands(session))


def by_speed(sessions: list[tuple[str, str]]) -> list[object]:
    marked = []
    for name, session in sessions:
        marks = () if is_quick(session) else pytest.mark.long
        marked.append(pytest.param(session, id=f"{name}: {commands(session)[0].command}", marks=marks))
    return marked


def fenced(language: str) -> list[object]:
    """Return the code blocks of a language in all documents, with the line where each begins."""
    return [
        pytest.param(match[1], id=f"{name}:{text.count(chr(10), 0, match.start()) + 1}")
        for name, text in TEXT.items()
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]


@pytest.mark.few(6)
@pytest.mark.parametrize("session", by_speed(SESSIONS))
def test_commands_print_what_is_shown(session: str, tmp_path: Path) -> None:
    shown, status = commands(session), 0
    for here, after in zip(shown, [*shown[1:], None], strict=True):
        printed, status = run(here.command, status, results=tmp_path)

        assert like(words(here.output), words(printed)) == words(here.output)
        assert status == 0 or (after is not None and after.command == "echo $?"), f"exit code {status} is not shown"


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        ("noise 1.3e-07", "noise   2.9e-07", True),
        ("noise 1.3e-07", "noise 1.3e-05", False),
        ("score 1.72", "score 0", False),
        ("is 69% of", "is 61% of", True),
        ("is 69% of", "is 2% of", False),
        ("8 numbers compared", "9 numbers compared", False),
        ("1 match", "1 mismatch", False),
        ("8x24x16", "8x24x17", False),
        ("Keras 3.15.1", "Keras 3.15.2", False),
        ("bound use 0.12", "bound use -", False),
        ("1 match", "1 match and 2", False),
    ],
)
def test_outputs_are_alike_in_words_counts_and_size(shown: str, printed: str, alike: bool) -> None:
    assert (like(words(shown), words(printed)) == words(shown)) is alike


@pytest.mark.parametrize("example", fenced("pycon"))
def test_interactive_examples_print_what_is_shown(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo().name)
    test = doctest.DocTestParser().get_doctest(example, {}, "example", None, 0)
    failures: list[str] = []

    tried = doctest.DocTestRunner(Alike(), optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=failures.append)

    assert tried.attempted > 0
    assert not tried.failed, "".join(failures)


@pytest.mark.long
@pytest.mark.parametrize("example", fenced("python"))
def test_pytest_examples_pass(example: str, tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(example)

    printed, status = run(f"python -m pytest -q -p no:cacheprovider --rootdir {tmp_path} {tmp_path}")

    assert status == 0, printed


def broken_tables(text: str) -> list[str]:
    """Return the tables, outside of code, whose lines differ in their number of cells."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    tables = re.findall(r"(?:^\|.*\n)+", prose, re.MULTILINE)
    return [table for table in tables if len({len(re.findall(r"(?<!\\)\|", x)) for x in table.splitlines()}) > 1]


@pytest.mark.parametrize("text", TEXT.values(), ids=TEXT)
def test_documents_have_no_broken_table(text: str) -> None:
    assert broken_tables(text) == []


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_generated_tables_are_whole(make: Callable[[], str]) -> None:
    assert make().strip()
    assert broken_tables(make()) == []


def test_a_broken_table_is_found() -> None:
    assert broken_tables("| a | b |\n| --- | --- |\n| 1 |\n") != []


def test_generated_sections_of_the_readme_are_up_to_date() -> None:
    sections = list(GENERATED.finditer(README.read_text()))

    assert sections
    for section in sections:
        assert section["text"] == TABLES[section["name"]]()


def test_every_generated_table_stands_in_a_page() -> None:
    used = set(re.findall(r"^```\{generated\} (\w+)$", "\n".join(TEXT.values()), re.MULTILINE))

    assert used == set(TABLES)


@pytest.mark.parametrize("name", [*TEXT, "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(name: str) -> None:
    code = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s]+)\)", code.sub("", (ROOT / name).read_text()))
    for target in targets:
        path, _, heading = unquote(target).partition("#")
        if re.match(r"https?://", target):
            continue
        linked = ((ROOT / name).parent / path).resolve() if path else ROOT / name

        assert linked.exists(), target
        assert not heading or heading in headings(linked.read_text()), target


def headings(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_is_one_page() -> None:
    assert len(README.read_bytes()) <= MOST_BYTES


def test_readme_opens_with_an_example_that_ends_with_its_exit_code() -> None:
    first = SESSION.search(README.read_text())

    assert first is not None
    assert [command.split()[0] for command, _ in commands(first["session"])] == ["rnncheck", "echo"]
    assert "```" not in README.read_text()[: first.start()]


def test_readme_says_what_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = re.search(r"^pip install \. +# brings (.*)$", README.read_text(), re.MULTILINE)
    extras = re.search(r"^pip install '\.\[(\w+)\]'.*also: (.*)$", README.read_text(), re.MULTILINE)

    assert brought is not None
    assert brought[1].split(", ") == [re.split(r"[<>=]", each)[0] for each in project["dependencies"]]
    assert extras is not None
    assert {extras[1], *extras[2].split(", ")} == set(project["optional-dependencies"]) - {"dev", "docs"}


def test_contributing_names_every_make_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    contributing = (ROOT / "CONTRIBUTING.md").read_text()

    missing = {target for target in targets - {"help", "install", "clean"} if f"`make {target}`" not in contributing}

    assert missing == set()


def test_make_targets_of_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for text in TEXT.values() for target in re.findall(r"`make ([a-z-]+)`", text)}

    assert named - targets == set()


def test_rooms_of_the_architecture_exist() -> None:
    rooms = re.findall(r"^\| `([\w/]+\.py)` \| (?:`(\w+)`)?", TEXT["docs/architecture.md"], re.MULTILINE)

    assert 0 < len(rooms) <= 8
    assert len({file for file, _ in rooms}) == len(rooms)
    for file, function in rooms:
        assert f"def {function}(" in (ROOT / "rnncheck" / file).read_text() or not function


def test_options_named_in_documents_exist() -> None:
    options = {name for command in cli.commands.values() for option in command.params for name in option.opts}
    of_others = {"--help", "--junitxml", "--rnncheck-seed"}  # click's, pytest's, and that of the plugin
    prose = "\n".join(re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE) for text in TEXT.values())
    named = {option for code in re.findall(r"`([^`\n]+)`", prose) for option in re.findall(r"--[a-z-]+", code)}

    assert named - options - of_others == set()


def test_reference_has_every_public_name() -> None:
    documented = re.findall(r"^\.\. auto\w+:: (\w+)$", TEXT["docs/reference.md"], re.MULTILINE)

    assert sorted(documented) == sorted(set(rnncheck.__all__) - {"__version__"})


@pytest.mark.long
def test_all_recurrent_layers_of_keras_are_checked() -> None:
    from keras import layers

    classes = {name: each for name, each in vars(layers).items() if isinstance(each, type)}
    bases = (layers.RNN, layers.Bidirectional, layers.TimeDistributed)
    cells = {name for name in classes if name.endswith(("Cell", "Cells"))}
    recurrent = {name for name, each in classes.items() if issubclass(each, bases)} | cells

    assert recurrent - set(ENTRIES) == set()


@pytest.mark.long
def test_experiments_leave_what_is_kept_alone_when_told_to(tmp_path: Path) -> None:
    kept = {path: path.read_bytes() for path in records.KEPT.iterdir()}

    run("python -m experiments.power", results=tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"power.json"}
    assert {path: path.read_bytes() for path in records.KEPT.iterdir()} == kept


@pytest.mark.long
def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    printed, status = run(f"sphinx-build -q -W --keep-going -b html docs {tmp_path}")

    assert status == 0, printed
    assert "Traceback" not in (tmp_path / "tutorial.html").read_text()
