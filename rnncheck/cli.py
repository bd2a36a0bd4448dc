"""The command line: `rnncheck verify`, and what all commands share.

stdout carries the result, stderr progress and diagnostics. Exit codes: 0 everything matches, 1 a mismatch, 2 bad
usage, bad input or something unsupported, 3 undecidable and nothing worse, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from rnncheck.arrays import FILES
from rnncheck.backends import BACKENDS, named_backends, run_side_by_side
from rnncheck.case import (
    GATES,
    LAYERS,
    MASK_SOURCES,
    MASKS,
    MERGE_MODES,
    PADDINGS,
    POLICIES,
    SIZES,
    WEIGHTS,
    WRAPPERS,
    Case,
)
from rnncheck.end_to_end import Tolerance
from rnncheck.errors import InputError, RnncheckError
from rnncheck.files import check_writable, write_csv, write_json
from rnncheck.formats import FORMATS
from rnncheck.paths import PATHS
from rnncheck.report import Entry, Report
from rnncheck.tasks import How, Work, described
from rnncheck.verify import case_work, how_to_run, make_tolerance, read_comparison, read_verification
from rnncheck.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130

_Item = TypeVar("_Item")

_SIZE_HELP = {"N": "samples", "T": "steps", "D": "input features", "M": "hidden units", "K": "output units"}

# The options of a case that take a value, and what the help says of them.
_CHOICE_HELP = {
    "layer": f"recurrent layer: {', '.join(LAYERS)}",
    "cell": f"cell of rnn, lowest cell of stacked: {', '.join(GATES)}",
    "wrapper": f"what stands around the layer: {', '.join(WRAPPERS)}",
    "merge_mode": f"how Bidirectional merges its two outputs: {', '.join(MERGE_MODES)}",
    "activation": "of the recurrent layer, by Keras' name",
    "recurrent_activation": "of its gates, by Keras' name",
    "dense_activation": "of Dense, by Keras' name",
    "dtype": f"dtype policy: {', '.join(POLICIES)}",
    "padding": f"of a convolution: {', '.join(PADDINGS)}",
    "mask": f"which steps count: {', '.join(MASKS)}",
    "mask_from": f"where the mask comes from: {', '.join(MASK_SOURCES)}",
    "weights": f"where weights come from: {', '.join(WEIGHTS)}",
}
_COUNT_HELP = {
    "cells": "cells of stacked",
    "layers": "recurrent layers on top of each other",
    "kernel_size": "of a convolution along its first axis",
    "strides": "of a convolution",
    "dilation_rate": "of a convolution",
}
_NUMBER_HELP = {
    "recurrent_scale": "largest singular value of each gate's recurrent kernel; chaotic above about 1.5",
    "dropout": "rate on the inputs, inactive at inference",
    "recurrent_dropout": "rate on the states, inactive at inference",
}
_FLAG_HELP = {
    "own_backward": "give Bidirectional a backward layer of its own",
    "use_bias": "give both layers a bias",
    "unit_forget_bias": "start an LSTM's forget gate at bias 1",
    "reset_after": "reset a GRU's state after the product",
    "return_sequences": "let Dense see every step",
    "return_state": "return the final state too",
    "go_backwards": "take the steps last to first",
    "stateful": "call twice, keeping the state",
    "unroll": "let Keras unroll the loop",
    "initial_state": "start from a given state",
    "zero_output_for_mask": "put out zero where a step does not count",
    "flatten": "put Flatten between the recurrent layer and Dense",
}


class _Numbers(click.ParamType[list[int]]):
    """A list such as 1,4,32."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return [int(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} came; expected whole numbers with commas between them, such as 1,4,32.", param, ctx)


class _Words(click.ParamType[list[str]]):
    """A list such as tanh,relu."""

    name = "list"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ARG002 - click's signature
        return [part.strip() for part in str(value).split(",")]


def _case_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add one option for each field of a Case."""
    for name, text in reversed(_FLAG_HELP.items()):
        flag = name.replace("_", "-")
        command = click.option(f"--{flag}/--no-{flag}", name, default=None, help=text)(command)
    for name, text in reversed(_NUMBER_HELP.items()):
        command = click.option("--" + name.replace("_", "-"), name, type=float, help=text)(command)
    for name, text in reversed(_COUNT_HELP.items()):
        command = click.option("--" + name.replace("_", "-"), name, type=_Numbers(), help=text)(command)
    for name, text in reversed(_CHOICE_HELP.items()):
        command = click.option("--" + name.replace("_", "-"), name, type=_Words(), help=text)(command)
    for size in reversed(SIZES):
        command = click.option(f"-{size}", size, type=_Numbers(), help=f"{_SIZE_HELP[size]}, one or several: 1,4")(
            command
        )
    return command


def _common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every command that makes a report takes."""
    path = click.Path(path_type=Path)
    options = (
        click.option("--json", "json_path", type=path, help="Write the report as JSON."),
        click.option("--csv", "csv_path", type=path, help="Write one line for each row as CSV."),
        click.option("--rtol", type=float, help="Check a relative tolerance besides; needs --atol."),
        click.option("--atol", type=float, help="Check an absolute tolerance besides; needs --rtol."),
        click.option("--all", "everything", is_flag=True, help="Print every line of a long table."),
        click.option("--quiet", is_flag=True, help="Print nothing; the exit code says it."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Check whether a recurrent network computes what its equations say.

    rnncheck builds a Keras model, pulls out its weights, replays the recurrence in NumPy and compares: every number,
    against what rounding can explain.

    Exit codes: 0 everything matches, 1 a mismatch, 2 bad usage or input, 3 undecidable.
    """


@cli.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--inputs", type=click.Path(path_type=Path), help=f"Inputs of MODEL: {FILES}; random if none.")
@_case_options
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and inputs.")
@click.option(
    "--backend",
    type=_Words(),
    help=f"Keras' backends to run on, each in its own process: {', '.join(BACKENDS)}, or all (that are installed).",
)
@click.option(
    "--paths",
    type=_Words(),
    default="predict",
    show_default=True,
    help=f"The ways of Keras to compute a model: {', '.join(PATHS)}, or all.",
)
@click.option("--metamorphic", is_flag=True, help="Make runs besides that must give the same numbers.")
@_common_options
def verify(
    model: Path | None,
    inputs: Path | None,
    seed: int,
    backend: list[str] | None,
    paths: list[str],
    metamorphic: bool,
    json_path: Path | None,
    csv_path: Path | None,
    rtol: float | None,
    atol: float | None,
    everything: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Run models in Keras and check every number.

    Without arguments it runs the built-in grid. With options it runs Input (T, D) -> layer (M) -> Dense (K) for every
    combination of the values given. With MODEL, a .keras or .h5 file, it runs that, on the inputs given or on random
    ones (-N and -T say how many samples and steps):

    \b
        rnncheck verify -N 1,4 -T 10,50 -D 3 -M 5,32 -K 2 --seed 7
        rnncheck verify --layer lstm,gru --activation relu,tanh --mask mixed --return-sequences
        rnncheck verify model.keras --inputs x.npy
    """  # noqa: D301 - click keeps the lines after its mark as they are
    tolerance = make_tolerance(rtol, atol)
    _check_targets(json_path, csv_path, (model, inputs))
    backends = named_backends(backend or ())
    how = how_to_run(paths, metamorphic=metamorphic)
    given = {name: value for name, value in options.items() if value is not None}
    if model is not None:
        works = [_read_verification(model, inputs, seed, given, tolerance, how)]
    elif inputs is not None:
        raise InputError("--inputs: it came without MODEL; expected a .keras or .h5 file to feed them to.")
    else:
        works = [case_work(case, tolerance, how) for case in _cases(given, seed, backends)]
    report = _run(works) if not backends else _run_everywhere(works, backends)
    _deliver(report, json_path, csv_path, everything=everything, quiet=quiet)


def _check_targets(json_path: Path | None, csv_path: Path | None, read: Iterable[Path | None]) -> None:
    """See that reports can be written before they are worked for, and over nothing that is read."""
    sources = {path.resolve() for path in read if path is not None}
    for path in (json_path, csv_path):
        if path is not None:
            check_writable(path)
            if path.resolve() in sources:
                raise InputError(f"{path}: it is read and was to be written; expected another file for the report.")
    if json_path is not None and csv_path is not None and json_path.resolve() == csv_path.resolve():
        raise InputError(f"{json_path}: it is asked for twice; expected one file for --json and another for --csv.")


def _deliver(
    report: Report, json_path: Path | None, csv_path: Path | None, *, everything: bool, quiet: bool
) -> NoReturn:
    """Write a report where asked, print it, and end with its exit code."""
    from rnncheck.render import print_report

    if json_path is not None and not report.interrupted:
        write_json(report, json_path)
    if csv_path is not None and not report.interrupted:
        write_csv(report, csv_path)
    if report.entries and not quiet:
        _print(lambda console: print_report(report, console, everything=everything))
    if report.interrupted:
        click.echo(f"interrupted after {len(report.entries)} cases; nothing was written", err=True)
        raise SystemExit(INTERRUPTED)
    raise SystemExit(report.exit_code)


def _read_verification(
    path: Path, inputs: Path | None, seed: int, given: dict[str, Any], tolerance: Tolerance | None, how: How
) -> Work:
    """Read a model file; of the options that describe a case only the number of samples and of steps apply."""
    foreign = sorted(set(given) - {"N", "T"})
    if inputs is not None and given and not foreign:
        raise InputError(f"{path}: {', '.join(sorted(given))} came with --inputs; expected one or the other.")
    if foreign or any(len(sizes) > 1 for sizes in given.values()):
        said = ", ".join(foreign or sorted(given))
        raise InputError(
            f"{path}: {said} came with a model file; expected at most one -N and one -T, for random inputs. "
            "The file says the rest."
        )
    sizes = {name: given.get(name, [None])[0] for name in ("N", "T")}
    return read_verification(
        path, inputs, seed=seed, samples=sizes["N"], steps=sizes["T"], tolerance=tolerance, how=how
    )


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--inputs", type=click.Path(path_type=Path), required=True, help=f"What it was given: {FILES}.")
@click.option("--outputs", type=click.Path(path_type=Path), required=True, help=f"What it computed: {FILES}.")
@click.option(
    "--states",
    type=click.Path(path_type=Path),
    help=f"The state h after every step, (N, T, M), by recurrent layer: {FILES}.",
)
@click.option("--precision", help=f"What it computes in: {', '.join(FORMATS)}; what MODEL says if none.")
@_common_options
def compare(
    model: Path,
    inputs: Path,
    outputs: Path,
    states: Path | None,
    precision: str | None,
    json_path: Path | None,
    csv_path: Path | None,
    rtol: float | None,
    atol: float | None,
    everything: bool,
    quiet: bool,
) -> None:
    """Check what any other program computed, from the arrays that it recorded.

    MODEL, a .keras or .h5 file, has the equations and the weights. It is read without Keras, and nothing in it is
    executed. With --states every step is checked on its own; without, the outputs decide, unless errors grow so far
    that nobody can tell.

    \b
        rnncheck compare model.keras --inputs x.npy --outputs y.npy --states h.npz
        rnncheck compare model.keras --inputs x.csv --outputs y.json --precision float16
    """  # noqa: D301 - click keeps the lines after its mark as they are
    from rnncheck.environment import environment

    tolerance = make_tolerance(rtol, atol)
    _check_targets(json_path, csv_path, (model, inputs, outputs, states))
    check = read_comparison(model, inputs, outputs, states, precision=precision, tolerance=tolerance)
    report = Report(environment(), (check(),))
    _deliver(report, json_path, csv_path, everything=everything, quiet=quiet)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
def show(model: Path) -> None:
    """Show what MODEL is made of, and the equations that will be checked.

    MODEL is a .keras or .h5 file. It is read without Keras, and nothing in it is executed.
    """
    from rnncheck.rehearsal import open_network
    from rnncheck.show import print_network

    file, network = open_network(model)
    title = f"{model.name}, written by Keras {file.keras_version or 'of an unknown version'}"
    _print(lambda console: print_network(network, console, title))


@cli.command("faults")
@click.argument("names", nargs=-1)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and inputs.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write what was found as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code says it.")
def try_faults(names: tuple[str, ...], seed: int, json_path: Path | None, quiet: bool) -> None:
    """Prove that the checks can fail: catch every known fault, flag no correct run.

    With NAMES, only those faults, or those of a class such as masks or "gate order".

    The catalogue has the ways in which recurrent implementations have been wrong: gate orders, transposes, biases,
    masks, states, precision. Each is held against cases of the built-in grid, the smallest first. The controls are
    correct runs of other kinds, which must not be flagged.

    Exit codes: 0 every fault is caught and no control flagged, 1 otherwise.
    """
    from rnncheck.environment import environment
    from rnncheck.selftest import named_faults, self_test

    faults = named_faults(names)
    if json_path is not None:
        check_writable(json_path)
    _load_keras()
    found = self_test(faults, seed, _with_progress)
    if json_path is not None:
        write_json(found.to_dict(environment()), json_path)
    if not quiet:
        from rnncheck.render import print_self_test

        _print(lambda console: print_self_test(found, console), width=150)
    raise SystemExit(not found.passed)


def _cases(given: dict[str, Any], seed: int, backends: Sequence[str]) -> list[Case]:
    from rnncheck.grid import default_grid, product_of

    if not given:
        return default_grid(seed, backends or ("tensorflow",))
    return product_of({name: v if isinstance(v, list) else [v] for name, v in given.items()}, seed)


def _run(works: Sequence[Work]) -> Report:
    """Run few in this process, many in several; an interrupt ends the run and keeps what was found."""
    from rnncheck.environment import environment

    processes = min(_MOST_PROCESSES, os.cpu_count() or 1) if len(works) > _FEW else 1
    entries: list[Entry] = []
    said: Mapping[str, str] = {}
    interrupted = False
    try:
        for found, said in _with_progress(works, _verified(works, processes)):  # noqa: B007 - the last one is kept
            entries += found
    except KeyboardInterrupt:
        interrupted = True
    return Report(said or environment(), tuple(entries), interrupted)


# So many cases are worth the start of further processes, which share the cores with each other.
_FEW = 12
_MOST_PROCESSES = 4


def _verified(works: Sequence[Work], processes: int) -> Iterator[tuple[tuple[Entry, ...], Mapping[str, str]]]:
    """Yield the entries of each, with what another process that ran it says of itself."""
    if processes > 1:
        with contextlib.closing(run_side_by_side([work.task for work in works], processes)) as answers:
            for work, answer in zip(works, answers, strict=True):
                yield work.judge(answer), answer.environment
        return
    _load_keras()
    for work in works:
        yield work.verify(), {}


def _run_everywhere(works: Sequence[Work], backends: Sequence[str]) -> Report:
    """Run everything on several backends; an interrupt ends the run and keeps what was found."""
    from rnncheck.crosscheck import CrossCheck

    cross_check = CrossCheck(backends)
    interrupted = False
    try:
        for _ in _with_progress(works, cross_check.run(works)):
            pass
    except KeyboardInterrupt:
        interrupted = True
    return cross_check.report(interrupted=interrupted)


def _with_progress(items: Sequence[Any], results: Iterable[_Item] | None = None) -> Iterator[_Item]:
    """Yield the items, or as many results, with a progress bar where a person is watching."""
    results = items if results is None else results
    if len(items) == 1 or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(results, "checking", len(items), console=Console(stderr=True), transient=True)


def _print(show: Callable[[Console], None], width: int = 118) -> None:
    """Print something; a reader that has left, such as `head`, has seen what it wanted.

    Args:
        show: prints it to a console.
        width: in columns, where no terminal has one.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    rendered = io.StringIO()
    columns = shutil.get_terminal_size().columns if terminal else width
    show(Console(file=rendered, force_terminal=terminal or None, width=columns, highlight=False))
    try:
        sys.stdout.write(rendered.getvalue())
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()


def _silence_stdout() -> None:
    """Send stdout nowhere, so that what could not be written is not tried again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _load_keras() -> None:
    """Load Keras where its start-up messages can be held back.

    Raises:
        InputError: it cannot be loaded, such as with a backend that is not installed.
    """
    try:
        with quiet_stderr():
            import keras  # noqa: F401 - for its own sake
    except Exception as error:
        backend = os.environ.get("KERAS_BACKEND")
        told = f" with KERAS_BACKEND={backend}" if backend else ""
        raise InputError(
            f"Keras: it cannot be loaded{told} ({described(error)}); expected a backend that is installed. Set "
            f"KERAS_BACKEND to one of {', '.join(BACKENDS)}."
        ) from error


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what C++ libraries write to stderr at start-up; show it if something goes wrong."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def main() -> None:
    """Run the command line; a user's mistake becomes one message and exit code 2."""
    _accept_any_output()
    stdout = sys.stdout
    try:
        cli(prog_name="rnncheck", standalone_mode=False)
    except SystemExit:
        if sys.stdout is not stdout:  # click has put another in its place, since a reader of the help has left
            sys.stdout = stdout
            _silence_stdout()
            raise SystemExit(0) from None
        raise
    except click.ClickException as error:
        error.show()
        raise SystemExit(2) from None
    except RnncheckError as error:
        click.echo(f"rnncheck: {error}", err=True)
        raise SystemExit(2) from None
    except (click.Abort, KeyboardInterrupt):
        click.echo("rnncheck: interrupted", err=True)
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:  # what is read and written is looked after where it is; what is left is stdout
        _silence_stdout()
        besides = "" if error.filename else "; expected a stdout that takes the result. Use --json or --quiet."
        click.echo(f"rnncheck: {error}{besides}", err=True)
        raise SystemExit(2) from None
    except Exception:  # noqa: BLE001 - Python's own exit code would say that there is a mismatch
        traceback.print_exc()
        click.echo("rnncheck: this is a mistake of rnncheck's own; please report it with the lines above.", err=True)
        raise SystemExit(2) from None


def _accept_any_output() -> None:
    """Print signs that the encoding of stdout lacks as `?`, and nothing where there is no stdout."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - closed with the process
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


if __name__ == "__main__":
    main()
