"""`hpa evaluate` and `hpa compare`: what they print, write and refuse."""

import shutil
from pathlib import Path

import pytest

from tests.builders import Hpa, assert_refused, make_rows, make_run


def test_scores_are_printed_per_class_and_in_total_and_the_report_is_written(
    run: Path, tmp_path: Path, hpa: Hpa
) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    ended = hpa("evaluate", tmp_path / "run")
    assert ended.status == 0, ended.err
    assert " 8 Peroxisomes                        0      never" in ended.out
    assert "The worst classes, at the thresholds of the first score:" in ended.out
    assert ended.out.endswith(f"Report: {tmp_path / 'run' / 'report.html'}\n")
    assert (tmp_path / "run" / "report.html").exists()


def test_runs_are_compared_on_screen_in_a_table_and_in_a_figure(tmp_path: Path, hpa: Hpa) -> None:
    runs = [make_run(tmp_path / name, make_rows()) for name in ("one", "two")]
    table = tmp_path / "a.csv"
    ended = hpa("compare", *runs, "--csv", table, "--out-figure", tmp_path / "a.png")
    assert ended.status == 0, ended.err
    assert {line.split()[0] for line in ended.out.splitlines()[1:3]} == {"one", "two"}
    assert "one and two: no difference found, +0.000 (+0.000 to +0.000) on 90 samples." in ended.out
    assert table.read_text().count("\n") == 3
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("A.PDF", b"%PDF")])
def test_runs_are_compared_in_a_figure_for_a_paper(name: str, start: bytes, tmp_path: Path, hpa: Hpa) -> None:
    ended = hpa("compare", make_run(tmp_path / "one", make_rows()), "--out-figure", tmp_path / name)
    assert ended.status == 0, ended.err
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate {kaggle}", "Pass a folder that `hpa train` wrote."),
        ("compare {kaggle}", "Pass a folder that `hpa train` wrote."),
        ("compare {kaggle} --out-csv {kaggle}", "out-csv must be a file"),
        ("compare {kaggle} --out-figure a.gif", "must be a file of kind png, svg, pdf. Received: a.gif. Pass a.png."),
    ],
)
def test_what_cannot_be_evaluated_gets_one_line_and_status_2(words: str, message: str, kaggle: Path, hpa: Hpa) -> None:
    assert_refused(hpa(*words.format(kaggle=kaggle).split()), message)


def test_a_linked_folder_of_figures_is_refused_and_not_touched(run: Path, tmp_path: Path, hpa: Hpa) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("figures")))
    victim = tmp_path / "victim"
    victim.mkdir()
    (copied / "figures").symlink_to(victim)
    changed_ns = victim.stat().st_mtime_ns
    assert_refused(hpa("evaluate", copied), "it is a link to another folder")
    assert victim.stat().st_mtime_ns == changed_ns
