"""What is recorded after each epoch."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hpa_data.store.store import Store
from hpa_model.runs.history import read_history


def test_every_class_has_an_f1_after_every_epoch(run: Path, store: Store) -> None:
    with (run / "fold1" / "class_f1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {"epoch", *store.part("train").manifest.classes}
    history = read_history(run, 2)[1]
    for row, record in zip(rows, history, strict=True):
        values = [float(value) for name, value in row.items() if name != "epoch"]
        assert np.mean(values) == pytest.approx(record.val_macro_f1_best, abs=1e-5)
