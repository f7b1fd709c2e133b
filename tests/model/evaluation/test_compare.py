"""Runs side by side."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018, HPA_2021
from hpa_data.errors import InputError
from hpa_model.evaluation.compare import compare_runs, write_comparison
from hpa_model.runs.folder import read_run
from hpa_model.runs.out_of_fold import OutOfFold
from tests.builders import Hpa, make_rows, make_run


def test_runs_are_compared_best_first(tmp_path: Path) -> None:
    good = make_run(tmp_path / "good", make_rows())
    rng = np.random.default_rng(1)
    rows = make_rows()
    blind = OutOfFold(ids=rows.ids, labels=rows.labels, probs=rng.random(rows.probs.shape), folds=rows.folds)
    bad = make_run(tmp_path / "bad", blind, model="mcnn", legacy_leak=True)
    done = compare_runs([bad, good])
    assert [row.run for row in done.rows] == ["good", "bad"]
    assert [row.paper for row in done.rows] == [0.433, 0.235]
    assert [row.legacy_leak for row in done.rows] == [False, True]
    assert done.same_data
    assert done.rows[0].images_per_s == 11
    write_comparison(done, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["run"] for row in table] == ["good", "bad"]
    assert float(table[0]["macro_f1_cross_fitted"]) == pytest.approx(done.rows[0].macro_f1_cross_fitted)


def test_runs_to_compare_are_named_once_and_finished(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    with pytest.raises(InputError, match="runs must be at least one, each named once. Received: none."):
        compare_runs([])
    with pytest.raises(InputError, match="runs must be at least one, each named once"):
        compare_runs([run, tmp_path / "." / "run"])
    with pytest.raises(InputError, match="Pass a folder that `hpa train` wrote"):
        compare_runs([run, tmp_path])


def test_runs_on_other_data_are_not_the_same_data(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, make_rows()) for name in ("one", "two")]
    described = read_run(runs[1])
    replace(described, fingerprints={"train": "another"}).write(runs[1])
    assert not compare_runs(runs).same_data


def test_runs_of_other_classes_are_said_to_be_incomparable(tmp_path: Path, hpa: Hpa) -> None:
    rows = make_rows()
    runs = [make_run(tmp_path / name, rows) for name in ("one", "two")]
    other = replace(read_run(runs[1]), classes=HPA_2021.classes[:4], dataset=None)
    other.write(runs[1])
    done = compare_runs(runs)
    assert not done.same_classes
    assert {row.dataset for row in done.rows} == {"unnamed"}
    assert "different classes, so that their scores cannot be compared. Data sets: " in hpa("compare", *runs).out
    assert "different classes" not in hpa("compare", runs[0]).out


def test_scores_of_the_paper_stand_only_beside_runs_of_its_classes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    described = read_run(run)
    replace(described, dataset=replace(described.full_dataset, name="mine")).write(run)
    assert [row.paper for row in compare_runs([run]).rows] == [None]


def test_scores_of_the_paper_stand_only_beside_runs_of_all_channels(tmp_path: Path) -> None:
    labels = np.eye(28, dtype=np.uint8)[np.arange(30) % 28]
    rows = OutOfFold(ids=[str(i) for i in range(30)], labels=labels, probs=labels * 0.5, folds=np.arange(30) % 3)
    found = []
    for channels in (("green",), ("yellow", "blue", "green", "red")):
        run = make_run(tmp_path / channels[0], rows)
        described = read_run(run)
        replace(
            described,
            config=replace(described.config, channels=channels),
            channels=channels,
            classes=HPA_2018.classes,
            dataset=HPA_2018.select(channels),
            store_dataset=HPA_2018,
            image_shape=(512, 512, len(channels)),
        ).write(run)
        found += [row.paper for row in compare_runs([run]).rows]
    assert found == [None, 0.433]
