"""Change the package at random, one place at a time, and see whether the tests notice.

    python -m experiments.mutate [--count 150] [--seed 0] [--only rnncheck/equations] [--tests tests/test_cells.py]

The tests first run once unchanged, to learn which of them reach which line and how long each takes. Every change is
then made in a copy of the checkout, and tests that reach its line run, the quickest of each file first; where the
line runs when the file is imported, those that reach the file. If they pass, PROBE runs: where that prints the same
as before, to the last digit, the change looks equivalent, and a person must judge it; else the slower tests that
reach the line run, or all if none is known. A change in a line that only other processes run, or only the first test
that needs it, may survive that and be noticed by `make test` all the same.

Each result is kept at once, and a run that was interrupted goes on where it ended, unless the package or the tests
have changed since.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import multiprocessing
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Literal
from xml.etree import ElementTree as ET

import coverage

from experiments import records

ROOT = Path(__file__).parent.parent
PACKAGE = "rnncheck"
QUICK = 90.0  # seconds of tests that are tried before all others
QUICK_PATIENCE = 600.0  # seconds after which a run of those counts as hanging
PATIENCE = 1800.0  # the same of a run of all tests
WORKERS = 2

COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "is not": "is", "not in": "in"}
OPERATIONS = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "**": "*", "|": "&", "&": "|", "%": "+"}
NAMES = {"min": "max", "minimum": "maximum", "any": "all", "zeros": "ones", "argmin": "argmax", "floor": "ceil"}
NAMES |= {new: old for old, new in NAMES.items()}
COMPARISONS |= {"is": "is not", "in": "not in"}

# What a change of a result would show in: right and wrong runs, their diagnosis, and other ways to compute.
PROBE = (
    "verify --layer lstm -N 3 -T 6 -D 2 -M 5 -K 2 --mask mixed --metamorphic",
    "verify --layer simple_rnn,gru -N 1,3 -T 5 -D 2 -M 4 -K 1 --dtype float16,float32 --initial-state",
    "verify fixtures/keras2/2.15.1/lstm_hard_sigmoid.keras",
    "compare rnncheck/demo/sine.keras --inputs rnncheck/demo/inputs.npy --outputs rnncheck/demo/outputs.csv",
    "compare rnncheck/demo/sine.keras --inputs rnncheck/demo/inputs.npy --outputs rnncheck/demo/wrong_outputs.csv",
)

Outcome = Literal["killed", "survived", "looks equivalent"]


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        path: the file, from the root.
        line: where the change begins, from 1.
        operator: the kind of change.
        start: the first character that is replaced.
        end: the one behind the last.
        new: what stands there instead.
    """

    path: str
    line: int
    operator: str
    start: int
    end: int
    new: str

    def applied(self, text: str) -> str:
        """Return the file's text with the change."""
        return text[: self.start] + self.new + text[self.end :]


@dataclass(frozen=True)
class Result:
    """What became of a mutant: the outcome, and the first test that failed or an empty string."""

    mutant: Mutant
    before: str
    after: str
    outcome: Outcome
    by: str
    seconds: float


class Finder(ast.NodeVisitor):
    """Collect the mutants of one file; annotations, decorators and what is raised are left alone."""

    def __init__(self, path: str, text: str) -> None:
        """Prepare to turn lines and columns, which count bytes, into characters."""
        self.path = path
        self.text = text
        self.lines = text.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.found: list[Mutant] = []
        self.visit(ast.parse(text))

    def offset(self, line: int, column: int) -> int:
        """Return the position in the text of a line (from 1) and a column (in bytes)."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        """Return where a node begins and ends."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def add(self, operator: str, start: int, end: int, new: str) -> None:
        """Note a change."""
        if self.text[start:end] != new:
            self.found.append(Mutant(self.path, self.text.count("\n", 0, start) + 1, operator, start, end, new))

    def add_between(self, operator: str, left: ast.expr, right: ast.expr, changes: Mapping[str, str]) -> None:
        """Note a change of the operator between two operands."""
        start, end = self.span(left)[1], self.span(right)[0]
        token = re.sub(r"#.*|[()\\]", " ", self.text[start:end]).strip()
        if token in changes:
            at = start + self.text[start:end].index(token)
            self.add(operator, at, at + len(token), changes[token])

    def visit_Compare(self, node: ast.Compare) -> None:
        """Move or turn a comparison."""
        for left, right in pairwise([node.left, *node.comparators]):
            self.add_between("comparison", left, right, COMPARISONS)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Put `or` for `and`."""
        for left, right in pairwise(node.values):
            self.add_between("and/or", left, right, {"and": "or", "or": "and"})
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Compute something else."""
        if not isinstance(node.left, ast.JoinedStr | ast.List | ast.Tuple):
            self.add_between("arithmetic", node.left, node.right, OPERATIONS)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Drop a `not` or a sign."""
        start, _ = self.span(node)
        sign = {ast.Not: "not", ast.USub: "-", ast.Invert: "~"}.get(type(node.op))
        if sign:
            self.add(f"dropped {sign}", start, start + len(sign), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Put another number or truth value."""
        value = node.value
        if isinstance(value, bool):
            self.add("constant", *self.span(node), str(not value))
        elif isinstance(value, int):
            self.add("constant", *self.span(node), str(value + 1))
        elif isinstance(value, float):
            self.add("constant", *self.span(node), repr(2.0 * value if value else 1.0))

    def visit_keyword(self, node: ast.keyword) -> None:
        """Leave `strict` alone, which guards against our own mistakes."""
        if node.arg != "strict":
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Drop an argument, or call the function's opposite."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in NAMES:
            _, end = self.span(node.func)
            self.add("opposite", end - len(name), end, NAMES[name])
        arguments: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        arguments.sort(key=self.span)
        for before, argument in pairwise(arguments):
            if isinstance(argument, ast.keyword) and argument.arg != "strict":
                self.add("dropped argument", self.span(before)[1], self.span(argument)[1], "")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """Drop a call that is made for its effect; a docstring stays."""
        if isinstance(node.value, ast.Call):
            self.add("dropped statement", *self.span(node), "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Drop the change of a variable."""
        self.add("dropped statement", *self.span(node), "pass")
        self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        """Go on where the rest was to be left out."""
        self.add("dropped statement", *self.span(node), "pass")

    def visit_Raise(self, node: ast.Raise) -> None:
        """Accept what was to be refused; the message is left alone."""
        self.add("dropped statement", *self.span(node), "pass")

    def visit_If(self, node: ast.If) -> None:
        """Take the other branch."""
        if ast.unparse(node.test) != "TYPE_CHECKING":
            start, end = self.span(node.test)
            self.add("condition", start, end, f"not ({self.text[start:end]})")
            self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Let everything through a filter."""
        for test in node.ifs:
            self.add("filter", *self.span(test), "True")
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Look at the value and not at the annotation."""
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Look at the defaults and the body, not at annotations and decorators."""
        for part in [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body]:
            self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Look at the body, not at decorators."""
        for part in node.body:
            self.visit(part)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave texts alone: their columns are not to be trusted before Python 3.12."""


def mutants(paths: Iterable[Path]) -> list[Mutant]:
    """Return every change of every file; each leaves something that Python can read."""
    found = []
    for path in paths:
        text = path.read_text()
        for mutant in Finder(str(path.relative_to(ROOT)), text).found:
            try:
                ast.parse(mutant.applied(text))
            except SyntaxError:
                continue
            found.append(mutant)
    return found


# Processes that have Keras at hand, which takes long to import. They begin anew otherwise, with each change.
READY = multiprocessing.get_context("forkserver")
READY.set_forkserver_preload(["keras"])


def _run(module: str, words: Sequence[str], folder: str, output: str) -> None:
    # What such a process does.
    os.setsid()  # whoever kills it kills what it started, too
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = sys.path[0] = folder
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        del sys.modules[name]  # those of the copy count
    warnings.resetwarnings()
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class Copy:
    """A copy of the checkout in which the tests run; nothing is written to the checkout itself."""

    def __init__(self, folder: Path) -> None:
        """Copy what git knows and what it does not ignore."""
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],  # noqa: S607 - git is on the path
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(lambda name: (ROOT / name).is_file(), listed.stdout.splitlines()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)

    def run(self, module: str, words: Sequence[str], timeout: float = PATIENCE) -> tuple[int, str]:
        """Run a module in the copy; a run that hangs is killed and gives -1."""
        output = self.folder / "output.txt"
        process = READY.Process(target=_run, args=(module, words, str(self.folder), str(output)))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            assert process.pid is not None
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            return -1, ""
        return process.exitcode, output.read_text(errors="replace")

    def probe(self) -> str:
        """Return everything that PROBE prints and writes; all digits are in what it writes."""
        report = self.folder / "probe.json"
        found = []
        for words in PROBE:
            report.unlink(missing_ok=True)
            code, output = self.run(PACKAGE, [*words.split(), "--json", str(report)])
            found.append(f"{code}\n{output}\n{report.read_text() if report.exists() else ''}")
        return "\n".join(found)


@dataclass(frozen=True)
class Reach:
    """Which tests reach which line, and how long each takes, by `file::function`."""

    tests: Mapping[tuple[str, int], frozenset[str]]
    seconds: Mapping[str, float]

    def first(self, mutant: Mutant) -> list[str]:
        """Return the first of the tests that reach a mutant's line, as many as QUICK seconds allow."""
        known = self.all(mutant)
        total = accumulate(self.seconds.get(test, 0.0) for test in known)
        return [test for test, seconds in zip(known, total, strict=True) if seconds <= QUICK]

    def all(self, mutant: Mutant) -> list[str]:
        """Return the tests that reach a mutant's line: the quickest of each file, then the next of each."""
        # What runs when a file is imported belongs to no test: those that reach any of its lines count.
        reaching = self.tests.get((mutant.path, mutant.line)) or self._reaching_file(mutant.path)
        ranks: Counter[str] = Counter()
        ordered = []
        for seconds, test in sorted((self.seconds.get(test, 0.0), test) for test in reaching):
            file = test.partition("::")[0]
            ordered.append((ranks[file], seconds, test))
            ranks[file] += 1
        return [test for *_, test in sorted(ordered)]

    def _reaching_file(self, path: str) -> frozenset[str]:
        return frozenset().union(*(tests for (reached, _), tests in self.tests.items() if reached == path))


def reach(copies: Sequence[Copy], tests: Sequence[str]) -> Reach:
    """Run the tests unchanged, a share of their files in each copy.

    Raises:
        SystemExit: they fail.
    """
    files = [*tests] or sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("test_*.py"))
    shares = [share for share in (files[number :: len(copies)] for number in range(len(copies))) if share]
    with ThreadPoolExecutor(len(copies)) as pool:
        found = list(pool.map(_reach_of_share, copies, shares))
    reaching: dict[tuple[str, int], frozenset[str]] = {}
    for each in found:
        for line, names in each.tests.items():
            reaching[line] = reaching.get(line, frozenset()) | names
    return Reach(reaching, {test: seconds for each in found for test, seconds in each.seconds.items()})


def _reach_of_share(copy: Copy, tests: Sequence[str]) -> Reach:
    settings = copy.folder / "coverage.toml"
    settings.write_text(f'[tool.coverage.run]\nsource_pkgs = ["{PACKAGE}"]\ndynamic_context = "test_function"\n')
    words = ["run", f"--rcfile={settings}", "-m", "pytest", "-q", "--junitxml=times.xml", *tests]
    code, output = copy.run("coverage", words, timeout=6 * PATIENCE)
    if code:
        raise SystemExit(f"the tests fail without any change:\n{output[-2000:]}")
    seconds: dict[str, float] = {}
    for case in ET.parse(copy.folder / "times.xml").iter("testcase"):  # noqa: S314 - pytest wrote it
        name = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name'].partition('[')[0]}"
        seconds[name] = seconds.get(name, 0.0) + float(case.attrib["time"])
    return Reach(dict(_reaching(copy.folder, set(seconds))), seconds)


def _reaching(folder: Path, known: set[str]) -> Iterator[tuple[tuple[str, int], frozenset[str]]]:
    data = coverage.CoverageData(str(folder / ".coverage"))
    data.read()
    for file in data.measured_files():
        path = str(Path(file).relative_to(folder))
        for line, contexts in data.contexts_by_lineno(file).items():
            # A context is `test_cells.test_name`, the function without its parameters.
            names = (context.split(".") for context in contexts if context)
            yield (path, line), frozenset(f"tests/{n[0]}.py::{n[-1]}" for n in names) & known


def examine(mutant: Mutant, copy: Copy, tests: Sequence[str], reached: Reach, expected: str) -> Result:
    """Make a change, run the tests until one fails, and take the change back."""
    path = copy.folder / mutant.path
    text = path.read_text()
    begun = time.monotonic()
    path.write_text(mutant.applied(text))
    try:
        outcome, by = _outcome(mutant, copy, tests, reached, expected)
    finally:
        path.write_text(text)
    before, after = (each.splitlines()[mutant.line - 1].strip() for each in (text, mutant.applied(text)))
    return Result(mutant, before, after, outcome, by, round(time.monotonic() - begun, 1))


def _outcome(mutant: Mutant, copy: Copy, tests: Sequence[str], reached: Reach, expected: str) -> tuple[Outcome, str]:
    quick = reached.first(mutant)
    if quick and (by := _failure(copy, quick, QUICK_PATIENCE)):
        return "killed", by
    if copy.probe() == expected:
        return "looks equivalent", ""
    slower = reached.all(mutant)[len(quick) :]
    if quick and not slower:
        return "survived", ""
    by = _failure(copy, slower or [*tests] or ["tests"])
    return ("killed" if by else "survived"), by


def _failure(copy: Copy, tests: Sequence[str], patience: float = PATIENCE) -> str:
    # The first of the tests that fails; empty where none does.
    code, output = copy.run("pytest", ["-q", "-x", "-p", "no:cacheprovider", *tests], patience)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return failed[1] if failed else "a run that hangs" if code == -1 else "a crash" if code else ""


def main() -> int:
    """Print what became of every mutant, keep it, and fail if fewer than 95 % of those that matter were noticed."""
    parser = argparse.ArgumentParser(description="Change the package at random and see whether the tests notice.")
    parser.add_argument("--count", type=int, default=150, help="how many changes")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument("--only", default=PACKAGE, help="a folder or file of the package")
    parser.add_argument("--tests", nargs="*", default=[], help="test files; all but the long tests if none is given")
    options = parser.parse_args()
    only = ROOT / options.only
    state = _state()
    found = kept_results(state)
    candidates = mutants(sorted(only.rglob("*.py")) if only.is_dir() else [only])
    chosen = random.Random(options.seed).sample(candidates, min(options.count, len(candidates)))  # noqa: S311
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        copies: SimpleQueue[Copy] = SimpleQueue()
        made = [Copy(Path(folder, str(number))) for number in range(WORKERS)]
        reached = reach(made, options.tests)
        expected, again = (copy.probe() for copy in made)
        if expected != again:
            raise SystemExit("PROBE does not print the same twice; expected it to")
        for copy in made:
            copies.put(copy)

        def examined(mutant: Mutant) -> Result:
            copy = copies.get()
            try:
                return examine(mutant, copy, options.tests, reached, expected)
            finally:
                copies.put(copy)

        running = [pool.submit(examined, mutant) for mutant in chosen if mutant not in found]
        for done in as_completed(running):
            each = found[done.result().mutant] = done.result()
            keep(state, found.values())
            where = f"{each.mutant.path}:{each.mutant.line}"
            print(f"{len(found)} of {len(chosen)}: {each.outcome}: {where}", each.by, file=sys.stderr, flush=True)
    return report([found[mutant] for mutant in chosen])


def _state() -> str:
    # What results are of: the package and the tests.
    digest = hashlib.sha256()
    for path in sorted((*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "tests").rglob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kept_results(state: str) -> dict[Mutant, Result]:
    """Return the results that an interrupted run left, by the change; none of another state of the package."""
    kept = records.read("mutation") if records.exists("mutation") else {}
    results = kept["results"] if kept.get("of") == state else []
    found = [Result(**{**each, "mutant": Mutant(**each["mutant"])}) for each in results]
    return {each.mutant: each for each in found}


def keep(state: str, found: Iterable[Result]) -> None:
    """Keep results."""
    records.write("mutation", {"of": state, "results": [asdict(each) for each in found]})


def report(found: Sequence[Result]) -> int:
    """Print the survivors and the share of those that were noticed."""
    counts = {outcome: sum(each.outcome == outcome for each in found) for outcome in ("killed", "survived")}
    for each in sorted(found, key=lambda each: (each.outcome, each.mutant.path, each.mutant.line)):
        if each.outcome != "killed":
            print(f"{each.outcome}: {each.mutant.path}:{each.mutant.line} ({each.mutant.operator})")
            print(f"  - {each.before}\n  + {each.after}")
    share = counts["killed"] / max(1, sum(counts.values()))
    equivalent = len(found) - sum(counts.values())
    print(f"{counts['killed']} killed, {counts['survived']} survived ({share:.0%}), {equivalent} look equivalent")
    return share < 0.95


if __name__ == "__main__":
    sys.exit(main())
