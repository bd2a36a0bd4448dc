"""The command line: options in, one call, an exit code out; results on stdout, progress and diagnostics on stderr."""

from __future__ import annotations

import json
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click

from rnncheck.cases.array_files import FILES
from rnncheck.cases.case import OPTIONS, SIZES, Case
from rnncheck.cases.demo import write_demo
from rnncheck.cases.deviations import BACKENDS
from rnncheck.cases.grid import default_grid, product_of
from rnncheck.checks.end_to_end import Tolerance, make_tolerance
from rnncheck.equations.formats import FORMATS
from rnncheck.errors import InputError, RnncheckError, escaped
from rnncheck.frameworks.exports import EXPORTERS, RUNTIMES
from rnncheck.frameworks.keras.paths import PATHS
from rnncheck.frameworks.keras.session import configured_backend, load_keras
from rnncheck.jobs.backends import named_backends
from rnncheck.jobs.job import case_job, file_job, how_to_run
from rnncheck.jobs.judge import judge_files, run_and_judge
from rnncheck.report.console import (
    accept_any_output,
    print_result,
    print_text,
    silence_stdout,
    tell,
    telling,
    with_progress,
)
from rnncheck.report.entry import MOST_DIAGNOSED, count_cases
from rnncheck.report.files import STDOUT, as_csv, as_json, as_npz, check_targets, write
from rnncheck.report.github import annotation, is_github, tell_github
from rnncheck.report.markdown import to_markdown
from rnncheck.report.report import Report, require_plot
from rnncheck.startup import INTERRUPTED, interruptible
from rnncheck.version import __version__

_FILE = click.Path(path_type=Path)


def _once(_: click.Context, option: click.Parameter, given: Sequence[Path]) -> Path | None:
    """Return the one value of an option that other commands take several times."""
    if len(given) > 1:
        raise InputError(f"--{option.name}: got {len(given)} of them; expected one. Calls in a row are for compare.")
    return given[0] if given else None


# What goes with a file of weights.
_ARCHITECTURE = click.option(
    "--architecture", type=_FILE, help="Where MODEL has weights alone: a .keras, .h5 or JSON file that describes it."
)


_UNCHECKED = click.option(
    "--unchecked",
    type=click.Choice(["refuse", "allow"]),
    default="refuse",
    show_default=True,
    help="What becomes of a layer of MODEL that rnncheck does not replay; allow to check all others.",
)


def _numbers(text: str) -> list[int]:
    """Read a list such as 1,4,32."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        said = f"got {text!r}; expected whole numbers with commas between them, such as 1,4,32."
        raise click.BadParameter(said) from None


def _words(text: str) -> list[str]:
    """Read a list such as tanh,relu."""
    return [part.strip() for part in text.split(",")]


def _range(text: str) -> tuple[int | None, int | None]:
    """Read a range of steps such as 3:8, 3: or :8."""
    first, colon, end = text.partition(":")
    try:
        if colon:
            return int(first) if first else None, int(end) if end else None
    except ValueError:
        pass
    raise click.BadParameter(f"got {text!r}; expected the first step and the one behind the last, such as 3:8.")


def _case_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add one option for each field of a Case but the seed."""
    # The names of fields have underscores, those of options hyphens; a list gives every combination.
    lists = {int: {"type": _numbers, "metavar": "LIST"}, str: {"type": _words, "metavar": "LIST"}}
    kinds: dict[type, dict[str, Any]] = {bool: {}, **lists}
    for field in reversed(fields(Case)):
        name, option, dashed = field.name, OPTIONS[field.name], field.name.replace("_", "-")
        flag, text = f"--{dashed}", option.help
        if name in SIZES:
            flag, text = f"-{name}", f"{option.help}, one or several: 1,4"
        elif isinstance(field.default, bool):
            flag = f"--{dashed}/--no-{dashed}"
        if name != "seed":
            kind = kinds.get(type(field.default), {"type": float})
            command = click.option(flag, name, **kind, default=None, help=text)(command)
    return command


class _Target(NamedTuple):
    """A way to write a report: what it is, and what is written."""

    what: str
    text: Callable[[Report], str]


# The options that take a file, or - for stdout.
_TARGETS = {
    "json": _Target("the report as JSON", lambda report: as_json(report.to_dict())),
    "csv": _Target("one line for each row as CSV", as_csv),
    "summary": _Target("the report as Markdown", to_markdown),
    "html": _Target("a page with pictures", lambda report: report.to_html(shlex.join(["rnncheck", *sys.argv[1:]]))),
}


def _reporting(command: Callable[..., Report]) -> Callable[..., NoReturn]:
    """Add what every command that makes a report takes; write the report, print it, and end with its exit code."""

    @wraps(command)
    def run(
        rtol: float | None, atol: float | None, everything: bool, details: bool, quiet: bool, **given: Any
    ) -> NoReturn:
        tolerance = make_tolerance(rtol, atol)
        targets = {name: target for name in _TARGETS if (target := given.pop(name)) is not None}
        several = (value if isinstance(value, tuple) else (value,) for value in given.values())
        check_targets(targets.values(), [path for paths in several for path in paths if isinstance(path, Path)])
        if "html" in targets:
            require_plot("--html")
        # Reasons take a while to find: JSON has all of them, what people read the first few, CSV none.
        is_read = not quiet or targets.keys() - {"csv"} or is_github()
        most = None if "json" in targets else MOST_DIAGNOSED if is_read else 0
        with telling(quiet=quiet):
            tell("reading files")
            report = command(tolerance=tolerance, most_diagnosed=most, **given)
        if not report.interrupted:
            for name, target in targets.items():
                write(_TARGETS[name].text(report), target)
            if is_github():
                tell_github(report, with_summary="summary" not in targets, quiet=quiet)
        if report.entries and not quiet and STDOUT not in targets.values():
            from rnncheck.report.tables import print_report

            hint = "--all prints every line, --json and --csv write every row"
            how: dict[str, Any] = {"everything": everything, "details": details, "hint": hint}
            print_result(
                lambda console: print_report(
                    report.entries, console, report.differences, interrupted=report.interrupted, **how
                )
            )
        if report.interrupted:
            click.echo(f"interrupted after {count_cases(len(report.entries))}; nothing was written", err=True)
            raise SystemExit(INTERRUPTED)
        raise SystemExit(report.exit_code)

    options = (
        *(
            click.option(f"--{name}", metavar="FILE", help=f"Write {each.what}; - is stdout.")
            for name, each in _TARGETS.items()
        ),
        click.option("--rtol", type=float, help="Also check a relative tolerance; needs --atol."),
        click.option("--atol", type=float, help="Also check an absolute tolerance; needs --rtol."),
        click.option("--blind-spots", is_flag=True, help="Also list the faults that a match does not rule out."),
        click.option("--all", "everything", is_flag=True, help="Print every line of a long table."),
        click.option("--details", is_flag=True, help="Print also what only experts read."),
        click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells the result."),
    )
    # The last one that is added comes first in the help.
    for option in reversed(options):
        run = option(run)
    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Check whether a recurrent network computes what its equations say.

    rnncheck builds a Keras model, pulls out its weights, replays the recurrence in NumPy and compares: every number,
    against what rounding can explain.

    Exit codes: 0 everything matches, 1 a mismatch, 2 bad usage or input, 3 undecidable.
    """


@cli.command()
@click.argument("model", required=False, type=_FILE)
@click.option(
    "--inputs", type=_FILE, callback=_once, multiple=True, help=f"Inputs of MODEL: {FILES}; random ones if none."
)
@_ARCHITECTURE
@_case_options
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed for weights and inputs.")
@click.option(
    "--backend",
    type=_words,
    metavar="LIST",
    help=f"Keras' backends to run on, each in its own process: {', '.join(BACKENDS)}, or all that are installed.",
)
@click.option(
    "--paths",
    type=_words,
    metavar="LIST",
    default="predict",
    show_default=True,
    help=f"Compute paths of Keras: {', '.join(PATHS)}, or all.",
)
@_UNCHECKED
@click.option(
    "--against", type=_FILE, multiple=True, help=f"An export of MODEL to hold against it: {', '.join(RUNTIMES)}."
)
@click.option(
    "--export",
    type=click.Choice(list(EXPORTERS)),
    multiple=True,
    help="Let Keras export MODEL, and check the export against it.",
)
@click.option("--metamorphic", is_flag=True, help="Also run variants that must give the same numbers.")
@_reporting
def verify(
    model: Path | None,
    inputs: Path | None,
    architecture: Path | None,
    seed: int,
    backend: list[str] | None,
    paths: list[str],
    unchecked: str,
    against: Sequence[Path],
    export: Sequence[str],
    metamorphic: bool,
    tolerance: Tolerance | None,
    blind_spots: bool,
    most_diagnosed: int | None,
    **options: Any,
) -> Report:
    """Run models and check every number.

    Without arguments it runs the built-in grid. With options it runs Input (T, D) -> layer (M) -> Dense (K) for every
    combination of the values given. With MODEL, a .keras, .h5 or .onnx file, it runs that, on the inputs given or on
    random ones (-N and -T say how many samples and steps):

    \b
        rnncheck verify -N 1,4 -T 10,50 -D 3 -M 5,32 -K 2 --seed 7
        rnncheck verify --layer lstm,gru --activation relu,tanh --mask mixed --return-sequences
        rnncheck verify model.keras --inputs x.npy --against model.onnx
    """  # noqa: D301 - click keeps the lines after its mark as they are
    for option, value in {"--against": against, "--export": export}.items():
        if value and model is None:
            raise InputError(f"{option}: got it without MODEL; expected the model that is exported.")
    how = how_to_run(
        paths, metamorphic=metamorphic, tolerance=tolerance, blind_spots=blind_spots, against=against, export=export
    )
    backends = named_backends(backend or ())
    given = {name: value for name, value in options.items() if value is not None}
    if model is not None:
        sizes = _sizes(model, inputs, given)
        jobs = [file_job(model, inputs, architecture, unchecked, seed=seed, **sizes, **how)]
    else:
        without = {"--inputs": inputs, "--architecture": architecture, "--unchecked": unchecked == "allow"}
        for option in (name for name, value in without.items() if value):
            raise InputError(f"{option}: got it without MODEL; expected a .keras or .h5 file that it belongs to.")
        jobs = [case_job(case, **how) for case in _cases(given, seed, backends)]
    return run_and_judge(jobs, backends, most_diagnosed)


def _sizes(path: Path, inputs: Path | None, given: dict[str, Any]) -> dict[str, int | None]:
    """Return how many samples and steps to draw; no other option of a case applies to a model file."""
    foreign = sorted(set(given) - {"N", "T"})
    if inputs is not None and given and not foreign:
        raise InputError(f"{path}: got {', '.join(sorted(given))} with --inputs; expected one or the other.")
    if foreign or any(len(sizes) > 1 for sizes in given.values()):
        raise InputError(
            f"{path}: got {', '.join(foreign or sorted(given))} with a model file; expected at most one -N and one "
            "-T, for random inputs. The file says the rest."
        )
    return {"samples": given.get("N", [None])[0], "steps": given.get("T", [None])[0]}


@cli.command()
@click.argument("model", type=_FILE)
@click.option("--inputs", type=_FILE, required=True, multiple=True, help=f"What it was given: {FILES}.")
@click.option("--outputs", type=_FILE, required=True, multiple=True, help=f"What it computed: {FILES}.")
@click.option(
    "--states",
    type=_FILE,
    multiple=True,
    help=f"The state h after every step, (N, T, M), by recurrent layer: {FILES}.",
)
@_ARCHITECTURE
@_UNCHECKED
@click.option("--dtype", help="What numbers files of raw binary (.bin, .raw, ...) hold: float32, >f4, bfloat16, ...")
@click.option("--precision", help=f"The format that it computes in: {', '.join(FORMATS)}; that of MODEL if none.")
@_reporting
def compare(
    model: Path,
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    states: Sequence[Path],
    architecture: Path | None,
    unchecked: str,
    dtype: str | None,
    precision: str | None,
    most_diagnosed: int | None,
    **how: Any,
) -> Report:
    """Check what any other program computed, from the arrays that it recorded.

    MODEL, a .keras, .h5, .onnx or .safetensors file, has the equations and the weights. It is read without Keras, and
    nothing in it is executed. With --states every step is checked on its own. Without, the outputs decide, unless
    errors grow too large to tell. What unchecked layers put out stands among the states, by their names. Options that
    stand several times are calls in a row, for a stateful model.

    \b
        rnncheck compare model.keras --inputs x.npy --outputs y.npy --states h.npz
        rnncheck compare model.keras --inputs x.csv --outputs y.json --precision float16
    """  # noqa: D301 - click keeps the lines after its mark as they are
    how |= {"precision": precision, "diagnosed": most_diagnosed != 0}
    return judge_files(model, inputs, outputs, states, architecture, unchecked, dtype, **how)


# What the demo runs, and what it says to try next, in the folder that it writes.
_DEMO = "rnncheck compare sine.keras --inputs inputs.npy --outputs {0}outputs.csv --states {0}states.csv"
_NEXT = """\
Next, in that folder:
  rnncheck compare sine.keras --inputs inputs.npy --outputs wrong_outputs.csv  # the outputs alone
  rnncheck show sine.keras                                                     # its layers and equations
  rnncheck verify sine.keras --inputs inputs.npy                               # in Keras, if that is installed
  python -m pytest test_ports.py                                               # as tests
Then your own model: rnncheck compare MODEL --inputs FILE --outputs FILE
"""


@cli.command()
@click.option(
    "--into", "folder", type=_FILE, default="rnncheck-demo", show_default=True, help="The folder that it writes."
)
def demo(folder: Path) -> None:
    """Show a match and a mismatch, of a right and a wrong port of a small model.

    It writes their files into a folder, so that you can go on from there. It needs no framework.
    """
    from rnncheck.report.tables import print_report

    write_demo(folder)
    print_text(f"{escaped(str(folder))} has a model of Keras, inputs, and what a right and a wrong port computed.\n")
    for which, prefix in {"right": "", "wrong": "wrong_"}.items():
        outputs, states = ([folder / f"{prefix}{name}.csv"] for name in ("outputs", "states"))
        report = judge_files(folder / "sine.keras", [folder / "inputs.npy"], outputs, states)
        print_text(f"\nThe {which} port: {_DEMO.format(prefix)}\n")
        print_result(partial(print_report, report.entries))
    print_text(f"\n{_NEXT}")


@cli.command()
@click.argument("model", type=_FILE)
@_ARCHITECTURE
@_UNCHECKED
@click.option("--against", type=_FILE, multiple=True, help="An export of MODEL, to see where its weights are.")
def show(model: Path, architecture: Path | None, unchecked: str, against: Sequence[Path]) -> None:
    """Show what MODEL is made of, and the equations that will be checked.

    MODEL is a .keras, .h5 or .onnx file. It is read without Keras, and nothing in it is executed. With an export
    it also shows which operators that has, and where and how it holds each weight.
    """
    from rnncheck.frameworks.arrivals import arrivals
    from rnncheck.frameworks.exports import contents_of, open_export
    from rnncheck.frameworks.keras.config.entries import keras_defaults
    from rnncheck.frameworks.sources import Subject
    from rnncheck.report.network_table import print_export, print_network

    subject = Subject.of(model, architecture, unchecked=unchecked)
    network, exports = subject.equations, list(map(open_export, against))
    found = [(export.name, contents_of(export)) for export in exports]
    title = f"{subject.name}, {subject.origin}"

    def printed(console: Any) -> None:
        print_network(network, console, title, keras_defaults)
        for name, contents in found:
            print_export(name, contents, arrivals(network, contents.arrays), console)

    print_result(printed)


@cli.command()
@click.argument("model", type=_FILE)
@click.option(
    "--inputs", type=_FILE, callback=_once, multiple=True, help=f"Its inputs: {FILES}; random ones if none."
)
@click.option("--sample", type=int, help="Which sample; the first if none.")
@click.option("--steps", type=_range, metavar="A:B", help="Which steps: from A up to, without it, B.")
@click.option("--gates", is_flag=True, help="Also show every gate.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed for random inputs; 0 if none.")
@_ARCHITECTURE
@click.option("--emit", type=click.Choice(["numpy"]), help="Write the model as a program instead.")
@click.option("--output", type=_FILE, help="The program to write, FILE.py; its weights go to FILE.npz beside it.")
def walk(
    model: Path, inputs: Path | None, architecture: Path | None, emit: str | None, output: Path | None, **how: Any
) -> None:
    """Walk through MODEL step by step: by hand, and in its framework where that is installed.

    MODEL is a .keras, .h5 or .onnx file. For one sample, every state h is shown as its framework has it and as the
    equations give it, then the output. With --emit numpy, MODEL becomes a short program that needs NumPy
    alone, which is printed unless --output says where it goes:

    \b
        rnncheck walk model.keras --inputs x.npy --gates --steps 0:3
        rnncheck walk model.keras --emit numpy --output model.py
    """  # noqa: D301 - click keeps the lines after its mark as they are
    given = {name: value for name, value in how.items() if value}
    if emit is None:
        if output is not None:
            raise InputError("--output: got it without --emit; expected --emit numpy, which writes a program.")
        _print_walk(model, inputs, architecture, **given)
        return
    for option in ["inputs"] * (inputs is not None) + list(given):
        raise InputError(f"--{option}: got it with --emit; expected none, since a program takes any inputs.")
    _emit(model, architecture, output)


def _print_walk(
    model: Path, inputs: Path | None, architecture: Path | None, *, seed: int = 0, gates: bool = False, **how: Any
) -> None:
    from rnncheck.jobs.walking import walk_through
    from rnncheck.report.walk_table import print_walk

    with telling(quiet=False):
        found = walk_through(file_job(model, inputs, architecture, seed=seed), gates=gates, **how)
    print_result(lambda console: print_walk(found, console))


def _emit(model: Path, architecture: Path | None, output: Path | None) -> None:
    from rnncheck.frameworks.sources import Subject
    from rnncheck.report.program import numpy_program, weights_by_name

    if output is not None:
        if not output.stem.isidentifier() or output.suffix != ".py":
            raise InputError(f"{output}: got no name of a Python file; expected one such as model.py.")
        check_targets([str(output), str(output.with_suffix(".npz"))], [model])
    network = Subject.of(model, architecture).equations
    program = numpy_program(network, "model" if output is None else output.stem)
    if output is None:
        print_text(program)
    else:
        write(as_npz(weights_by_name(network)), str(output.with_suffix(".npz")))
        write(program, str(output))
        click.echo(f"{output}: the program; {output.with_suffix('.npz')}: its weights")


@cli.command()
@click.argument("model", type=_FILE)
@click.option("--to", "form", type=click.Choice(["npz", "json"]), required=True, help="The form of the file.")
@click.option(
    "--output",
    metavar="FILE",
    help="Where it goes. If none: .npz to MODEL's name with that suffix, JSON to stdout.",
)
@_ARCHITECTURE
def weights(model: Path, form: str, output: str | None, architecture: Path | None) -> None:
    """Write the weights of MODEL, each by the name layer/weight.

    MODEL is a .keras, .h5 or .onnx file. It is read without Keras, and nothing in it is executed.
    """
    from rnncheck.frameworks.sources import Subject
    from rnncheck.report.program import weights_by_name

    target = output or (STDOUT if form == "json" else f"{model.stem}.npz")
    if target == STDOUT and form == "npz":
        raise InputError("--output: got - with --to npz; expected a file, since it is binary. --to json is text.")
    check_targets([target], [model])
    found = weights_by_name(Subject.of(model, architecture).equations)
    if form == "npz":
        write(as_npz(found), target)
    else:
        write(json.dumps({name: array.tolist() for name, array in found.items()}) + "\n", target)
    if target != STDOUT:
        click.echo(f"{target}: {len(found)} arrays")


@cli.command("faults")
@click.argument("names", nargs=-1)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed for weights and inputs.")
@click.option("--json", "target", metavar="FILE", help="Write the results as JSON; - is stdout.")
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells the result.")
def try_faults(names: tuple[str, ...], seed: int, target: str | None, quiet: bool) -> None:
    """Prove that the checks can fail: catch every known fault, flag no correct run.

    With NAMES, only those faults, or those of a class such as masks or "gate order".

    The catalogue has the ways in which recurrent implementations have been wrong: gate orders, transposes, biases,
    masks, states, precision. Each is held against cases of the built-in grid, the smallest first. The controls are
    correct runs of other kinds, which must not be flagged.

    Exit codes: 0 every fault is caught and no control flagged, 1 otherwise.
    """
    from rnncheck.frameworks.keras.environment import environment
    from rnncheck.jobs.self_test import named_faults, self_test

    faults = named_faults(names)
    if target is not None:
        check_targets([target])
    with telling(quiet=quiet):
        tell("loading Keras")
        load_keras()
    found = self_test(faults, seed, with_progress)
    if target is not None:
        write(as_json(found.to_dict(environment())), target)
    if not quiet and target != STDOUT:
        from rnncheck.report.tables import print_self_test

        print_result(lambda console: print_self_test(found, console), width=150)
    raise SystemExit(not found.passed)


def _cases(given: dict[str, Any], seed: int, backends: Sequence[str]) -> list[Case]:
    if not given:  # the built-in grid, without the cases that are known to deviate on a backend
        return default_grid(seed, backends or (configured_backend(),))
    return product_of({name: value if isinstance(value, list) else [value] for name, value in given.items()}, seed)


def main() -> None:
    """Run the command line; a mistake of the user gives one message and exit code 2."""
    accept_any_output()
    # Without click's own handling, every mistake ends in the messages and codes below.
    stdout = sys.stdout
    try:
        with interruptible():
            cli(prog_name="rnncheck", standalone_mode=False)
    except SystemExit:
        # click replaced stdout if a reader of the help, such as `head`, has left.
        if sys.stdout is not stdout:
            sys.stdout = stdout
            raise SystemExit(0) from None
        raise
    except click.ClickException as error:
        error.show()
        _annotate(error.format_message())
        raise SystemExit(2) from None
    except RnncheckError as error:
        mistake = escaped(str(error))
        click.echo(f"rnncheck: {mistake}", err=True)
        _annotate(mistake)
        raise SystemExit(2) from None
    except (click.Abort, KeyboardInterrupt):
        click.echo("rnncheck: interrupted", err=True)
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        # Files have messages of their own; what is left is stdout.
        silence_stdout()
        advice = "" if error.filename else "; expected a stdout that takes the result. Use --json or --quiet."
        click.echo(f"rnncheck: {error}{advice}", err=True)
        raise SystemExit(2) from None
    except Exception:  # noqa: BLE001 - Python's own exit code would say that there is a mismatch
        traceback.print_exc()
        click.echo("rnncheck: this is a bug in rnncheck; please report it with the lines above.", err=True)
        raise SystemExit(2) from None


def _annotate(mistake: str) -> None:
    if is_github():
        click.echo(annotation("error", mistake), err=True)
