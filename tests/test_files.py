"""A result file is there whole, or not at all."""

import csv
import json
import math
import os
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from rows import MATCH

from rnncheck import Entry, InputError, Report
from rnncheck.checks.verdicts import failed_row
from rnncheck.report.files import as_csv, as_json, check_targets, write

ROW = replace(MATCH, bound_use=None)
REPORT = Report({"keras": "3.15"}, (Entry("a case", (ROW,), seed=7, case={"N": 2, "recurrent_scale": None}),))


def write_json(report, path):
    write(as_json(report.to_dict()), str(path))


def write_csv(report, path):
    write(as_csv(report), str(path))


WRITERS = pytest.mark.parametrize("write_report", [write_json, write_csv], ids=["json", "csv"])


def strictly(path):
    """Read JSON, and accept nothing that the standard does not have."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def written_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_json_file_is_the_report_s_dictionary(tmp_path):
    write_json(REPORT, tmp_path / "a.json")

    assert strictly(tmp_path / "a.json") == REPORT.to_dict()


def test_json_file_ends_with_a_newline(tmp_path):
    write_json(REPORT, tmp_path / "a.json")

    assert (tmp_path / "a.json").read_text().endswith("}\n")


def test_json_of_what_could_not_be_compared_is_strict(tmp_path):
    row = failed_row("gru", "it crashed")

    write_json(Report({}, (Entry("a case", (row,)),)), tmp_path / "a.json")

    (found,) = strictly(tmp_path / "a.json")["cases"][0]["rows"]
    assert [found[name] for name in ("max_abs_diff", "noise", "score_max", "score_rms")] == ["NaN"] * 4


def test_json_of_a_case_with_an_infinite_option_is_strict(tmp_path):
    write_json(Report({}, (Entry("a case", (ROW,), case={"recurrent_scale": math.inf}),)), tmp_path / "a.json")

    assert strictly(tmp_path / "a.json")["cases"][0]["case"] == {"recurrent_scale": "Infinity"}


def test_csv_file_has_one_line_for_each_row(tmp_path):
    write_csv(REPORT, tmp_path / "a.csv")

    assert written_csv(tmp_path / "a.csv") == [
        {
            "case": "a case",
            "seed": "7",
            "layer": "simple_rnn",
            "output": "h",
            "check": "step",
            "shape": "2x5x4",
            "max_abs_diff": "8.1e-08",
            "noise": "7.2e-08",
            "score_max": "1.37",
            "score_rms": "0.5",
            "bound_use": "",
            "worst": "n=0 t=4 unit=3",
            "first": "",
            "verdict": "match",
            "unjudged": "0",
            **dict.fromkeys(("first_expected", "first_actual", "first_difference", "first_allowed"), ""),
            "worst_expected": "0.5",
            "worst_actual": "0.75",
            "worst_difference": "0.25",
            "worst_allowed": "1e-06",
        }
    ]


def test_csv_file_keeps_a_name_with_commas_quotes_and_newlines_whole(tmp_path):
    name = 'a, "b"\nc'

    write_csv(Report({}, (Entry(name, (ROW,)),)), tmp_path / "a.csv")

    assert [line["case"] for line in written_csv(tmp_path / "a.csv")] == [name]


@WRITERS
def test_written_file_is_alone_in_its_folder(tmp_path, write_report):
    write_report(REPORT, tmp_path / "a")

    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@WRITERS
def test_existing_file_is_replaced_and_keeps_its_mode(tmp_path, write_report):
    path = tmp_path / "a"
    path.write_text("old, and longer than what comes" * 1000)
    path.chmod(0o604)

    write_report(REPORT, path)

    assert "old" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o604


@WRITERS
def test_new_file_has_the_mode_of_any_new_file(tmp_path, write_report):
    other = tmp_path / "other"
    other.touch()

    write_report(REPORT, tmp_path / "a")

    assert (tmp_path / "a").stat().st_mode == other.stat().st_mode


@WRITERS
def test_link_stays_a_link_and_its_target_is_written(tmp_path, write_report):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)

    write_report(REPORT, link)

    assert link.is_symlink()
    assert target.read_text() != "old"


@WRITERS
def test_file_with_a_long_name_is_written(tmp_path, write_report):
    path = tmp_path / ("a" * 250)

    write_report(REPORT, path)

    assert path.stat().st_size > 0


@WRITERS
def test_file_is_first_written_beside_its_place(tmp_path, write_report, monkeypatch):
    # From another file system it could not be moved into place at once.
    folders, made = [], tempfile.TemporaryDirectory
    monkeypatch.setattr(
        "rnncheck.report.files.tempfile.TemporaryDirectory",
        lambda **options: folders.append(options["dir"]) or made(**options),
    )

    write_report(Report({}, ()), tmp_path / "report.json")

    assert folders == [tmp_path.resolve()]


def test_failed_json_leaves_the_existing_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    unwritable = Report({}, (Entry("a case", (ROW,), case={"N": object()}),))

    with pytest.raises(TypeError):
        write_json(unwritable, path)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_csv_leaves_the_existing_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    unwritable = Report({}, (Entry("a case", (ROW,)), Entry("\udc80", (ROW,))))

    with pytest.raises(UnicodeEncodeError):
        write_csv(unwritable, path)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@WRITERS
def test_file_in_a_missing_folder_is_refused(tmp_path, write_report):
    path = tmp_path / "missing" / "a"

    with pytest.raises(InputError) as refused:
        write_report(REPORT, path)

    assert (
        str(refused.value)
        == f"{path}: got an error while writing (No such file or directory); expected a writable place."
    )


def device(folder, name, minor):
    """A device for a test: one of its own where it is run as root, who could write over the machine's."""
    if os.geteuid():
        return Path("/dev", name)
    path = folder / name
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    return path


@WRITERS
def test_full_device_is_refused_and_stays_a_device(write_report, tmp_path):
    path = device(tmp_path, "full", 7)

    with pytest.raises(InputError) as refused:
        write_report(REPORT, path)

    assert (
        str(refused.value)
        == f"{path}: got an error while writing (No space left on device); expected a writable place."
    )
    assert path.is_char_device()


@pytest.mark.parametrize("name", ["new", "old", "a b", ".hidden"])
def test_writable_place_is_accepted_and_left_as_it_is(tmp_path, name):
    (tmp_path / "old").write_text("old")

    check_targets([str(tmp_path / name)])

    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_folder_is_no_place_for_a_file(tmp_path):
    with pytest.raises(InputError) as refused:
        check_targets([str(tmp_path)])

    assert str(refused.value) == f"{tmp_path}: got a directory; expected the name of a file to write."


def test_missing_folder_is_no_place_for_a_file(tmp_path):
    with pytest.raises(InputError) as refused:
        check_targets([str(tmp_path / "missing" / "a.json")])

    assert str(refused.value) == (
        f"{tmp_path}/missing/a.json: got the directory {tmp_path}/missing, which does not exist; expected one that "
        "does. Create it first."
    )


def test_file_is_no_folder_for_another(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(InputError) as refused:
        check_targets([str(tmp_path / "file" / "a.json")])

    assert str(refused.value) == (
        f"{tmp_path}/file/a.json: got the directory {tmp_path}/file, which does not exist; expected one that does. "
        "Create it first."
    )


@pytest.mark.parametrize("exists", [True, False], ids=["file", "folder"])
def test_place_without_permission_is_refused(tmp_path, monkeypatch, exists):
    path = tmp_path / "a.json"
    if exists:
        path.touch()
    asked = []
    monkeypatch.setattr(os, "access", lambda place, mode: bool(asked.append((place, mode))))

    with pytest.raises(InputError) as refused:
        check_targets([str(path)])

    assert str(refused.value) == f"{path}: got a place without write permission; expected one with it."
    assert asked == [(path if exists else tmp_path, os.W_OK)]


@WRITERS
def test_device_is_written_to_and_stays_a_device(write_report, tmp_path):
    path = device(tmp_path, "null", 3)

    write_report(REPORT, path)

    assert path.is_char_device()


@WRITERS
def test_pipe_is_written_to_and_stays_a_pipe(tmp_path, write_report):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    write_report(REPORT, tmp_path / "pipe")

    assert b"simple_rnn" in os.read(reader, 2**16)
    assert (tmp_path / "pipe").is_fifo()
    os.close(reader)


def test_name_that_no_file_can_have_is_refused(tmp_path):
    path = tmp_path / ("a" * 300)

    with pytest.raises(InputError) as refused:
        check_targets([str(path)])

    assert str(refused.value) == f"{path}: got a name longer than 255 bytes; expected a shorter one."


@pytest.mark.parametrize("place", ["/proc/a.json", "/sys/a.json"])
def test_file_system_that_takes_no_files_is_refused_before_and_after(place):
    for write_report in (lambda: check_targets([place]), lambda: write_json(REPORT, place)):
        with pytest.raises(InputError) as refused:
            write_report()

        assert str(refused.value).startswith(f"{place}: got an error while writing (")


def test_stdout_is_a_target(capsys):
    check_targets(["-"])
    write(as_json(REPORT.to_dict()), "-")

    assert json.loads(capsys.readouterr().out) == REPORT.to_dict()


@pytest.mark.parametrize(("one", "other"), [("-", "-"), ("a", "a"), ("a", "./b/../a"), ("a", "link")])
def test_two_results_for_one_target_are_refused(tmp_path, monkeypatch, one, other):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a")

    with pytest.raises(InputError) as refused:
        check_targets([one, other])

    assert str(refused.value) == f"{other}: got it for two results; expected another place for each."


def test_target_that_is_read_is_refused(tmp_path):
    with pytest.raises(InputError) as refused:
        check_targets([str(tmp_path / "a")], [tmp_path / "b", tmp_path / "." / "a"])

    assert str(refused.value) == f"{tmp_path}/a: got a file that is read; expected another one for the report."
