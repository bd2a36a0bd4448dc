"""The command line, as a user meets it: what it prints, where, what it writes and how it ends."""

import builtins
import contextlib
import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest
from conftest import Finished

import rnncheck
from rnncheck import Case, cli
from rnncheck.cases.grid import default_grid
from rnncheck.cases.memory import readable_bytes
from rnncheck.frameworks.keras import session
from rnncheck.report.console import tell, telling, with_progress

DEMO = Path(__file__).parent.parent / "rnncheck" / "demo"
SMALL = ("-N", "2", "-T", "5", "-D", "3", "-M", "4", "-K", "1")
NUMBER_FIELDS = ["expected", "actual", "difference", "allowed"]
ROW_FIELDS = [
    "layer",
    "output",
    "check",
    "shape",
    "max_abs_diff",
    "noise",
    "score_max",
    "score_rms",
    "bound_use",
    "worst",
    "first",
    "verdict",
    "unjudged",
]
ACTIVATIONS = (
    "celu, elu, exponential, gelu, glu, hard_shrink, hard_sigmoid, hard_silu, hard_swish, hard_tanh, leaky_relu, "
    "linear, log_sigmoid, log_softmax, mish, relu, relu6, selu, sigmoid, silu, soft_shrink, softmax, softplus, "
    "softsign, sparse_plus, sparse_sigmoid, sparsemax, squareplus, swish, tanh, tanh_shrink, threshold"
)
GLU = (
    "case: got activation='glu'; expected one that keeps the number of units, since the state is fed back. "
    "Use dense_activation='glu' instead."
)
FLATTEN = (
    "case: got flatten=True with return_sequences=False; expected return_sequences=True, since there is nothing to "
    "flatten in one step."
)
DTYPES = "bfloat16, float16, float32, float64, mixed_bfloat16, mixed_float16"


def in_a_process(*command):
    # A framework that this process has loaded may have asked for messages there, as JAX does.
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def read_json(path):
    """Read JSON, and accept nothing that the standard does not have."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(Path(path).read_text(), parse_constant=refuse)


# --- a run that matches, in a process of its own ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def several(folder):
    """Several cases, a batch that Keras cuts among them, with every kind of output written."""
    words = ("verify", "-N", "2,3,4,40", "-T", "5", "-D", "3", "-M", "4", "-K", "1", "--seed", "7")
    paths = ("--json", folder / "several.json", "--csv", folder / "several.csv")
    return in_a_process(sys.executable, "-m", "rnncheck", *words, *paths)


def test_run_that_matches_ends_with_0(several):
    assert several.code == 0


def test_run_puts_the_table_on_stdout_and_nothing_else(several):
    lines = [line.split() for line in several.out.splitlines()]

    assert several.out.startswith(
        "MATCH  4 cases: all 1,078 numbers agree with the equations; the largest difference"
    )
    names = [f"match simple_rnn N{n} T5 D3 M4 K1".split() for n in (2, 3, 4, 40)]
    assert [line[:7] for line in lines[3:7]] == names
    assert several.out.endswith("\n4 cases, 1,078 numbers compared: 4 match\n")
    assert len(lines) == 9


def test_run_leaves_stderr_empty_in_a_log(several):
    assert several.err == ""


def test_run_leaves_only_the_files_asked_for(several, folder):
    assert {"several.csv", "several.json"} == {path.name for path in folder.iterdir() if "several" in path.name}
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_json_of_a_run_has_the_contract_s_fields(several, folder):
    found = read_json(folder / "several.json")

    assert found["schema"] == 1
    assert {"rnncheck", "python", "numpy", "keras", "tensorflow", "backend", "device", "dtype", "platform"} <= set(
        found["environment"]
    )
    assert found["environment"]["rnncheck"] == rnncheck.__version__
    assert found["environment"]["backend"] == "tensorflow"
    assert (found["verdict"], found["proven"]) == ("match", False)
    assert [case["case"]["N"] for case in found["cases"]] == [2, 3, 4, 40]
    for case in found["cases"]:
        assert {"case", "seed", "verdict", "proven", "rows"} <= set(case)
        assert (case["seed"], case["verdict"], case["proven"]) == (7, "match", False)
        assert [list(row) for row in case["rows"]] == [[*ROW_FIELDS, "examples"]] * 3


def test_json_of_a_run_has_numbers_places_and_shapes(several, folder):
    step, _, end = read_json(folder / "several.json")["cases"][0]["rows"]

    assert (step["layer"], step["output"], step["check"], step["shape"]) == ("simple_rnn", "h", "step", [2, 5, 4])
    assert (end["layer"], end["output"], end["check"], end["shape"]) == ("dense", "output", "end_to_end", [2, 1])
    assert all(step[name] > 0.0 for name in ("max_abs_diff", "noise", "score_max", "score_rms", "bound_use"))
    assert (set(step["worst"]), set(end["worst"])) == ({"n", "t", "unit"}, {"n", "unit"})
    assert (step["first"], end["first"], end["bound_use"]) == (None, None, None)


def test_csv_of_a_run_has_the_rows_of_the_json(several, folder):
    rows = [row for case in read_json(folder / "several.json")["cases"] for row in case["rows"]]
    with (folder / "several.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))

    numbers = [f"{one}_{what}" for one in ("first", "worst") for what in NUMBER_FIELDS]
    assert [list(line) for line in lines] == [["case", "seed", *ROW_FIELDS, *numbers]] * len(rows)
    assert [float(line["worst_actual"]) for line in lines] == [row["examples"]["worst"]["actual"] for row in rows]
    assert [float(line["max_abs_diff"]) for line in lines] == [row["max_abs_diff"] for row in rows]
    assert [line["verdict"] for line in lines] == [row["verdict"] for row in rows]
    assert {line["seed"] for line in lines} == {"7"}


def test_script_and_module_give_the_same_result(folder):
    script = Path(sysconfig.get_path("scripts")) / "rnncheck"

    one = in_a_process(script, *COMPARE[1:], "--json", folder / "script.json")
    other = in_a_process(sys.executable, "-m", *COMPARE, "--json", folder / "module.json")

    assert one == other
    assert one.code == 0
    assert (folder / "script.json").read_bytes() == (folder / "module.json").read_bytes()


# --- exit codes and options of a run, in this process ---


def test_quiet_run_prints_nothing_and_writes_its_files(rnncheck_command, tmp_path):
    done = rnncheck_command("verify", *SMALL, "--quiet", "--json", tmp_path / "a.json")

    assert done == (0, "", "")
    assert read_json(tmp_path / "a.json")["verdict"] == "match"


def test_run_that_does_not_match_ends_with_1_and_says_where(rnncheck_command, tmp_path):
    paths = ("--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv")

    done = rnncheck_command("verify", *SMALL, "--activation", "sparsemax", *paths)

    assert (done.code, done.err) == (1, "")
    assert re.match(r"MISMATCH  simple_rnn N2 .*: Keras is known to deviate here: sparsemax sums", done.out)
    assert re.search(r"\n +first wrong at sample \d, step 0, unit \d of layer 'simple_rnn': expected ", done.out)
    assert re.search(r"\nmismatch, proven +simple_rnn h +step +2x5x4 ", done.out)
    again = "again: rnncheck verify --layer simple_rnn -N 2 -T 5 -D 3 -M 4 -K 1 --seed 0 --activation sparsemax"
    assert again in done.out.splitlines()
    (case,) = read_json(tmp_path / "a.json")["cases"]
    assert (case["verdict"], case["proven"]) == ("mismatch", True)
    assert case["rows"][0]["first"]["t"] == 0
    assert "mismatch" in (tmp_path / "a.csv").read_text()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("--activation exponential --recurrent-scale 50", id="exponential"),
        pytest.param("--activation relu --recurrent-scale 1e30", id="relu"),
        pytest.param("--dtype float16 --activation linear --recurrent-scale 1e4", id="float16"),
    ],
)
def test_run_that_overflows_ends_without_a_traceback(rnncheck_command, tmp_path, words):
    done = rnncheck_command("verify", *SMALL, *words.split(), "--json", tmp_path / "a.json")

    assert done.code in (0, 1, 2, 3)
    assert done.err == ""
    assert read_json(tmp_path / "a.json")["cases"][0]["verdict"] in ("match", "mismatch", "error", "undecidable")


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("rtol", "atol", "code", "verdict"),
    [("0", "1", 0, "match"), ("1e-3", "1e-3", 0, "match"), ("0", "1e-30", 1, "mismatch"), ("0", "0", 1, "mismatch")],
    ids=["wide", "both", "narrow", "zero"],
)
def test_tolerance_is_a_check_besides(rnncheck_command, tmp_path, rtol, atol, code, verdict):
    done = rnncheck_command("verify", *SMALL, "--rtol", rtol, "--atol", atol, "--json", tmp_path / "a.json")

    assert (done.code, done.err) == (code, "")
    rows = read_json(tmp_path / "a.json")["cases"][0]["rows"]
    assert [row["check"] for row in rows] == ["step", "step", "end_to_end", "tolerance"]
    assert [row["verdict"] for row in rows] == ["match", "match", "match", verdict]


def test_tolerance_does_not_forgive_a_mismatch(rnncheck_command):
    done = rnncheck_command("verify", "-K", "4", "--dense-activation", "sparsemax", "--rtol", "9", "--atol", "9")

    assert done.code == 1


# --- mistakes: one message, exit code 2, no traceback, nothing written ---


def refused(done, message):
    assert done == (2, "", f"rnncheck: {message}\n")


def refused_by_click(done, message):
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"Usage: rnncheck verify [OPTIONS] [MODEL]\nTry 'rnncheck verify --help' for help.\n\nError: {message}\n"
    )


@pytest.mark.parametrize("size", ["N", "T", "D", "M", "K"])
@pytest.mark.parametrize("value", ["0", "-3"])
def test_size_below_one_is_refused(rnncheck_command, size, value):
    done = rnncheck_command("verify", f"-{size}", value)

    refused(done, f"case: got {size}={value}; expected a whole number from 1 up.")


def test_size_below_one_in_a_list_is_refused_before_anything_runs(rnncheck_command):
    done = rnncheck_command("verify", "-N", "1,2,0")

    refused(done, "case: got N=0; expected a whole number from 1 up.")


@pytest.mark.parametrize("size", ["N", "T", "D", "M", "K"])
@pytest.mark.parametrize("value", ["many", "1.5", "", "1,,2", "1;2", "1e3"])
def test_size_that_is_no_number_is_refused(rnncheck_command, size, value):
    done = rnncheck_command("verify", f"-{size}", value)

    refused_by_click(
        done,
        f"Invalid value for '-{size}': got {value!r}; expected whole numbers with commas between them, "
        "such as 1,4,32.",
    )


@pytest.mark.parametrize(
    ("words", "sizes", "needed"),
    [
        ("-N 1000000000000", "N=1000000000000, T=10, D=3, M=5, K=2", "2.83 PiB"),
        ("-T 1000000000000", "N=4, T=1000000000000, D=3, M=5, K=2", "1.11 PiB"),
        ("-D 1000000000000", "N=4, T=10, D=1000000000000, M=5, K=2", "1.14 PiB"),
        ("-M 100000000", "N=4, T=10, D=3, M=100000000, K=2", "568 PiB"),
        ("-K 1000000000000", "N=4, T=10, D=3, M=5, K=1000000000000", "466 TiB"),
    ],
    ids=["N", "T", "D", "M", "K"],
)
def test_size_beyond_the_memory_is_refused_with_what_it_would_need(rnncheck_command, words, sizes, needed):
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2

    done = rnncheck_command("verify", *words.split())

    refused(
        done,
        f"case: got {sizes}, which needs about {needed}; expected at most {readable_bytes(half)}, half of this "
        "machine's memory. Use smaller sizes.",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--activation tnah", f"case: got activation='tnah'; expected one of {ACTIVATIONS}."),
        ("--activation tanh,tnah", f"case: got activation='tnah'; expected one of {ACTIVATIONS}."),
        ("--dense-activation tnah", f"case: got dense_activation='tnah'; expected one of {ACTIVATIONS}."),
        ("--activation glu", GLU),
        (
            "--dense-activation glu -K 3",
            "case: got dense_activation='glu' with K=3; expected an even K, since glu halves it.",
        ),
        ("--dtype int8", f"case: got dtype='int8'; expected one of {DTYPES}."),
        ("--mask some", "case: got mask='some'; expected one of all, both, holes, left, mixed, none, right."),
        ("--weights ones", "case: got weights='ones'; expected one of keras, random."),
        ("--flatten", FLATTEN),
        ("--rtol 1e-3", "rtol: got no atol beside it; expected both or neither. Add atol, 0 if need be."),
        ("--atol 1e-3", "atol: got no rtol beside it; expected both or neither. Add rtol, 0 if need be."),
        ("--rtol -1 --atol 0", "rtol: got -1.0; expected a finite number from 0 up."),
        ("--rtol 0 --atol nan", "atol: got nan; expected a finite number from 0 up."),
        ("--rtol 0 --atol inf", "atol: got inf; expected a finite number from 0 up."),
    ],
    ids=lambda value: value if value.startswith("--") else "",
)
def test_mistake_in_an_option_is_refused(rnncheck_command, words, message):
    refused(rnncheck_command("verify", *words.split()), message)


def test_unknown_layer_is_refused(rnncheck_command):
    done = rnncheck_command("verify", "--layer", "transformer")

    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(
        r"rnncheck: case: got layer='transformer'; expected one of .*simple_rnn, stacked\.\n", done.err
    )


@pytest.mark.parametrize(
    "words", ["--dropout nan", "--dropout 2", "--recurrent-dropout -1", "--recurrent-scale nan", "--seed 4294967296"]
)
def test_number_that_makes_no_sense_is_refused(rnncheck_command, words):
    option, value = words.split()

    done = rnncheck_command("verify", *SMALL, option, value, "--quiet")

    assert (done.code, done.out) == (2, "")
    assert option.strip("-").replace("-", "_") in done.err.replace("-", "_")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--seed -1", "Invalid value for '--seed': -1 is not in the range x>=0."),
        ("--seed one", "Invalid value for '--seed': 'one' is not a valid integer range."),
        ("--rtol much --atol 0", "Invalid value for '--rtol': 'much' is not a valid float."),
        ("--dropout half", "Invalid value for '--dropout': 'half' is not a valid float."),
    ],
    ids=lambda value: value if value.startswith("--") else "",
)
def test_value_of_the_wrong_kind_is_refused(rnncheck_command, words, message):
    refused_by_click(rnncheck_command("verify", *words.split()), message)


@pytest.mark.parametrize("words", ["verify --unknown", "unknown", "--unknown", ""])
def test_unknown_words_are_refused_with_the_usage(rnncheck_command, words):
    done = rnncheck_command(*words.split())

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: rnncheck ")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("option", ["--json", "--csv", "--summary"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "missing/a",
            "got the directory {folder}/missing, which does not exist; expected one that does. Create it first.",
        ),
        (".", "got a directory; expected the name of a file to write."),
        ("file/a", "got the directory {folder}/file, which does not exist; expected one that does. Create it first."),
    ],
    ids=["missing-folder", "folder", "below-a-file"],
)
def test_place_that_cannot_be_written_is_refused_at_once(rnncheck_command, tmp_path, option, name, message):
    (tmp_path / "file").write_text("old")

    done = rnncheck_command("verify", option, tmp_path / name)

    refused(done, f"{tmp_path / name}: {message.format(folder=tmp_path)}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_one_place_for_two_results_is_refused(rnncheck_command, tmp_path):
    done = rnncheck_command("verify", *SMALL, "--json", tmp_path / "a", "--csv", tmp_path / "a")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"rnncheck: {tmp_path}/a: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["-N 0", "-N many", "--rtol 1", "--layer transformer"])
def test_command_that_fails_leaves_existing_files_as_they_are(rnncheck_command, tmp_path, words):
    path = tmp_path / "a.json"
    path.write_text("old")

    done = rnncheck_command("verify", *words.split(), "--json", path)

    assert done.code == 2
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_mistake_reads_the_same_from_script_and_module():
    script = Path(sysconfig.get_path("scripts")) / "rnncheck"

    one = in_a_process(script, "verify", "-N", "many")
    other = in_a_process(sys.executable, "-m", "rnncheck", "verify", "-N", "many")

    assert one == other
    assert one.code == 2


# --- help ---


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_commands_and_the_exit_codes(rnncheck_command, option):
    done = rnncheck_command(option)

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: rnncheck [OPTIONS] COMMAND [ARGS]...")
    assert "verify Run models and check every number." in " ".join(done.out.split())
    assert "Exit codes: 0 everything matches, 1 a mismatch, 2 bad usage or input" in " ".join(done.out.split())


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_of_verify_shows_its_examples_as_they_are_typed(rnncheck_command, option):
    done = rnncheck_command("verify", option)

    assert (done.code, done.err) == (0, "")
    lines = [line.strip() for line in done.out.splitlines()]
    assert "rnncheck verify -N 1,4 -T 10,50 -D 3 -M 5,32 -K 2 --seed 7" in lines
    assert "rnncheck verify --layer lstm,gru --activation relu,tanh --mask mixed --return-sequences" in lines
    assert "\\b" not in done.out


def test_version_is_printed(rnncheck_command):
    assert rnncheck_command("--version") == (0, f"rnncheck, version {rnncheck.__version__}\n", "")


# --- a person at a terminal ---


def until(pattern, descriptor, seconds):
    """Read a terminal until a pattern appears; return what was read, or fail."""
    seen, end = b"", time.monotonic() + seconds
    while not re.search(pattern, seen):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{pattern} did not appear in {seen[-500:]}"
        seen += os.read(descriptor, 4096)
    return seen


def rest_of(descriptor):
    """Read a terminal to its end."""
    seen = b""
    while True:
        try:
            part = os.read(descriptor, 4096)
        except OSError:  # the other side is closed
            return seen
        if not part:
            return seen
        seen += part


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Interrupt the grid while a progress bar on a terminal says that it has done some cases."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "old.csv").write_text("old")
    words = ["verify", "--json", folder / "new.json", "--csv", folder / "old.csv"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "rnncheck", *words],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        try:
            shown = until(rb"[1-9]\d*%", ours, 60)
            # A terminal that nobody reads is full at some time, and a process that writes to it waits.
            with ThreadPoolExecutor(1) as reader:
                rest = reader.submit(rest_of, ours)
                process.send_signal(signal.SIGINT)
                out, _ = process.communicate(timeout=60)
            shown += rest.result()
        finally:  # a failure here must not wait for the rest of the grid
            process.kill()
    os.close(ours)
    return Finished(process.returncode, out, shown.decode()), folder


def test_interrupted_run_ends_with_130(interrupted):
    done, _ = interrupted

    assert done.code == 130


def test_interrupted_run_prints_the_rows_so_far(interrupted):
    done, _ = interrupted

    assert "simple_rnn N1 T10 D3 M5 K2 weights=keras" in done.out
    assert re.search(r"\d+ cases?, [\d,]+ numbers compared: \d+ match \(interrupted\)\n$", done.out)


def test_interrupted_run_says_so_without_a_traceback(interrupted):
    done, _ = interrupted

    assert re.search(r"interrupted after (1 case|\d\d+ cases|[02-9] cases); nothing was written", done.err)
    assert "Traceback" not in done.err + done.out
    assert "KeyboardInterrupt" not in done.err + done.out


def test_interrupted_run_writes_nothing(interrupted):
    _, folder = interrupted

    assert [path.name for path in folder.iterdir()] == ["old.csv"]
    assert (folder / "old.csv").read_text() == "old"


def test_progress_is_shown_on_a_terminal(interrupted):
    done, _ = interrupted

    assert "checking" in done.err
    assert "checking" not in done.out


def test_progress_moves_with_each_item_and_needs_no_thread(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    threads, before = set(), threading.active_count()
    with open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stderr", terminal)
        for done in with_progress([0, 25, 50, 75]):
            until(rb" %d%%" % done, ours, 60)
            threads.add(threading.active_count())
        until(rb"(?s)100%.*\x1b\[2K$", ours, 60)  # the last thing is that the line is cleared
    os.close(ours)

    assert threads == {before}


@contextlib.contextmanager
def on_a_terminal(monkeypatch, seconds=0.0):
    """Make stderr a terminal, on which a run says so soon what it does; yield a list that gets what was shown."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("rnncheck.report.console._PATIENCE", seconds)
    if not seconds:
        monkeypatch.setattr(threading, "Timer", AtOnce)
    ours, theirs = pty.openpty()
    shown = []
    with open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stderr", terminal)
        yield shown
        terminal.write("the end")
        terminal.flush()
        shown.append(until(rb"the end", ours, 60).decode().removesuffix("the end"))
    os.close(ours)


class AtOnce(threading.Timer):
    """A timer that does not wait for its thread."""

    def start(self):
        self.function()


CLEARED = "\r\x1b[2K"
PHASES = (
    "reading files", "loading Keras", "loading the model in Keras", "tracing and running the model in Keras",
    "checking every number", "looking for reasons",
)  # fmt: skip


def test_run_that_takes_long_says_what_it_does(monkeypatch):
    with on_a_terminal(monkeypatch) as shown, pytest.raises(SystemExit) as ended:
        cli.cli(["verify", str(DEMO / "sine.keras")], standalone_mode=False)

    assert ended.value.code == 0
    # The line is empty before and afterwards.
    assert shown == [CLEARED + "".join(CLEARED + phase for phase in (*PHASES, ""))]


@pytest.mark.parametrize(("words", "seconds"), [(["--quiet"], 0.0), ([], 60.0)], ids=["quiet", "soon_done"])
def test_run_that_is_quiet_or_soon_done_says_nothing(monkeypatch, words, seconds):
    with on_a_terminal(monkeypatch, seconds) as shown, pytest.raises(SystemExit):
        cli.cli([*map(str, COMPARE[1:]), *words], standalone_mode=False)

    assert shown == [""]


def test_line_that_says_what_is_done_gives_way_to_the_bar(monkeypatch):
    with on_a_terminal(monkeypatch) as shown, telling(quiet=False):
        tell("first")
        assert list(with_progress([1, 2])) == [1, 2]
        tell("second")

    assert shown[0].startswith(f"{CLEARED}{CLEARED}first{CLEARED}\x1b[?25l")
    assert "100%" in shown[0]
    assert "second" not in shown[0]


# --- trouble with stdout and with Keras ---

COMPARE = [
    "rnncheck", "compare", DEMO / "sine.keras", "--inputs", DEMO / "inputs.npy",
    "--outputs", DEMO / "outputs.csv",
]  # fmt: skip


def finished(words, **options):
    """Run a command of this environment in a process of its own."""
    path = Path(sys.executable).with_name("rnncheck")
    return subprocess.run([path, *words[1:]], check=False, stderr=subprocess.PIPE, text=True, **options)


def test_reader_that_leaves_changes_neither_exit_code_nor_files(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)

    done = finished([*COMPARE, "--json", tmp_path / "r.json"], stdout=writing)

    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] == "match"


def test_reader_of_the_help_that_leaves_is_no_mismatch():
    reading, writing = os.pipe()
    os.close(reading)

    done = finished(["rnncheck", "verify", "--help"], stdout=writing)

    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_one_file_for_both_reports_is_refused_however_it_is_called(tmp_path, rnncheck_command, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = rnncheck_command(*COMPARE[1:], "--json", "r", "--csv", tmp_path / "r")

    assert (done.code, done.out) == (2, "")
    assert "r: got it for two results; expected another place for each." in done.err


def test_stdout_that_takes_nothing_is_an_error_in_words(tmp_path):
    with Path("/dev/full").open("w") as full:
        done = finished([*COMPARE, "--json", tmp_path / "r.json"], stdout=full)

    assert done.returncode == 2
    assert done.stderr == (
        "rnncheck: [Errno 28] No space left on device; expected a stdout that takes the result. Use --json or "
        "--quiet.\n"
    )
    assert (tmp_path / "r.json").exists()


def test_reader_of_the_help_may_have_left():
    path = Path(sys.executable).with_name("rnncheck")
    script = '{ "$0" --help; echo "exit code $?" >&2; } | true'

    done = subprocess.run(["sh", "-c", script, path], check=False, stderr=subprocess.PIPE, text=True)

    assert done.stderr == "exit code 0\n"


def test_closed_stdout_leaves_the_exit_code():
    path = Path(sys.executable).with_name("rnncheck")
    command = ["sh", "-c", 'exec "$@" >&-', "sh", path, *COMPARE[1:]]

    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_encoding_that_lacks_a_sign_prints_another():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}

    done = finished(["rnncheck", "show", DEMO / "sine.keras"], stdout=subprocess.PIPE, env=environment)

    assert (done.returncode, done.stderr) == (0, "")
    assert "activation(x?kernel + bias)" in done.stdout


def test_backend_that_keras_does_not_have_is_an_error_in_words():
    environment = {**os.environ, "KERAS_BACKEND": "foo"}

    done = finished(["rnncheck", "verify", "-N", "2"], stdout=subprocess.PIPE, env=environment)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "rnncheck: Keras: got the backend 'foo'; expected one that is installed: tensorflow, jax, torch. Set "
        'KERAS_BACKEND to one of them, or run: pip install "rnncheck[tensorflow]"\n'
    )


@pytest.mark.parametrize("words", [[], ["-N", "2"]], ids=["grid", "case"])
def test_backend_that_is_not_installed_is_named_with_what_is(rnncheck_command, monkeypatch, words):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", "/nowhere")
    monkeypatch.setattr(session, "find_spec", lambda name: None if name == "tensorflow" else name)

    done = rnncheck_command("verify", *words)

    refused(
        done,
        "Keras: got the backend 'tensorflow'; expected one that is installed: jax, torch. Set KERAS_BACKEND to one "
        'of them, or run: pip install "rnncheck[tensorflow]"',
    )


@pytest.mark.parametrize(
    "words", [["verify"], ["verify", DEMO / "sine.keras"], ["faults"]], ids=["grid", "file", "faults"]
)
def test_command_that_needs_an_extra_names_it(rnncheck_command, monkeypatch, words):
    monkeypatch.setattr(session, "find_spec", lambda name: None)

    done = rnncheck_command(*words)

    refused(done, 'keras: got no such package; expected it, to run models. Run: pip install "rnncheck[tensorflow]"')


def test_backend_of_the_environment_has_a_grid_of_its_own(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")

    assert cli._cases({}, 0, ()) == default_grid(0, ["jax"])
    assert cli._cases({}, 0, ("torch",)) == default_grid(0, ["torch"])


@pytest.mark.parametrize(
    ("written", "backend"), [('{"backend": "torch"}', "torch"), ("{", "tensorflow"), ("[]", "tensorflow")]
)
def test_backend_of_the_configuration_file_is_known(monkeypatch, tmp_path, written, backend):
    (tmp_path / "keras.json").write_text(written)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    assert session.configured_backend() == backend


@pytest.mark.parametrize("backend", ["jax", None])
def test_keras_that_cannot_be_loaded_is_an_error_in_words(rnncheck_command, monkeypatch, backend):
    imported = builtins.__import__

    def broken(name, *rest):
        if name == "keras":
            raise RuntimeError("no such library\nand more")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    if backend:
        monkeypatch.setenv("KERAS_BACKEND", backend)
    else:
        monkeypatch.delenv("KERAS_BACKEND", raising=False)

    done = rnncheck_command("verify", "-N", "2")

    told = f" with KERAS_BACKEND={backend}" if backend else ""
    refused(
        done,
        f"Keras: it cannot be loaded{told} (RuntimeError: no such library); expected a backend that works. Set "
        "KERAS_BACKEND to one of tensorflow, jax, torch.",
    )


def test_what_is_held_back_on_stderr_is_shown_where_something_fails(capfd):
    def start(fails):
        with session.quiet_stderr():
            os.write(2, b"from a library\n")
            if fails:
                raise ZeroDivisionError

    start(fails=False)
    assert capfd.readouterr().err == ""

    with pytest.raises(ZeroDivisionError):
        start(fails=True)
    assert capfd.readouterr().err == "from a library\n"
    os.write(2, b"behind it\n")
    assert capfd.readouterr().err == "behind it\n"


def test_option_of_one_file_is_refused_twice(rnncheck_command):
    inputs = DEMO / "inputs.npy"

    done = rnncheck_command("verify", DEMO / "sine.keras", "--inputs", inputs, "--inputs", inputs)

    refused(done, "--inputs: got 2 of them; expected one. Calls in a row are for compare.")


def test_temporary_folder_that_is_missing_is_an_error_in_words(rnncheck_command, monkeypatch):
    def fails():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(session.tempfile, "TemporaryFile", fails)

    done = rnncheck_command("verify", "-N", "2")

    refused(
        done,
        "temporary files: got no folder for them (No usable temporary directory found); expected one that can be "
        "written. Set TMPDIR to such a folder.",
    )


@pytest.mark.parametrize("name", ["model", "inputs", "outputs", "states", "architecture"])
def test_options_for_files_say_that_they_take_a_path(name):
    found = [each for command in cli.cli.commands.values() for each in command.params if each.name == name]

    assert found
    assert all(each.type.name == "path" for each in found)


# By command: options without a value, those that may stand several times, those that must stand, and defaults.
REPORTING = {"blind_spots", "details", "everything", "quiet"}
SURFACE = {
    "verify": (
        {*REPORTING, "metamorphic"}, {"against", "export", "inputs"}, set(),
        {"seed": 0, "paths": "predict", "unchecked": "refuse"},
    ),
    "compare": (
        REPORTING, {"inputs", "outputs", "states"}, {"model", "inputs", "outputs"}, {"unchecked": "refuse"},
    ),
    "show": (set(), {"against"}, {"model"}, {"unchecked": "refuse"}),
    "faults": ({"quiet"}, set(), set(), {"seed": 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", SURFACE)
def test_options_take_values_as_they_say(name):
    flags, several, required, defaults = SURFACE[name]
    own = {each.name: each for each in cli.cli.commands[name].params}
    of_cases = {field.name for field in fields(Case)} - {"seed"}

    assert {each for each in own if getattr(own[each], "is_flag", False)} - of_cases == flags
    assert {each for each in own if own[each].multiple} == several
    assert {each for each in own if own[each].required} == required
    assert {each for each in own if getattr(own[each], "show_default", None)} == set(defaults)
    assert {each: own[each].default for each in defaults} == defaults
    assert all(own[each].type.name == "float" for each in own.keys() & {"rtol", "atol"})
    assert all(own[each].type.min == 0 for each in own.keys() & {"seed"})


def test_mistake_of_rnncheck_is_no_mismatch(monkeypatch, rnncheck_command):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("rnncheck.frameworks.sources.open_network", fail)

    done = rnncheck_command("show", DEMO / "sine.keras")

    assert done.code == 2
    assert "ZeroDivisionError" in done.err
    assert done.err.splitlines()[-1] == (
        "rnncheck: this is a bug in rnncheck; please report it with the lines above."
    )
