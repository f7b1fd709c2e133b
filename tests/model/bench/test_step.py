"""The benchmark of training."""

from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.bench.step import measure_step
from tests.builders import convert_unreadable


def test_steps_from_the_store_and_on_the_device_are_timed(store: Store) -> None:
    steps: list[int] = []
    progress = Progress(advance=steps.append)
    done = measure_step(store, model="gapnet-pl", image_size=32, batch_size=4, n_steps=2, progress=progress)
    assert (done.precision, done.batch_size, done.n_steps) == ("float32", 4, 2)
    assert sum(steps) == 8  # two of each kind, and two before them that do not count
    assert 0 <= done.wait_fraction < 1


def test_a_part_without_labels_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="must have labels. Received: test"):
        measure_step(store, ("test",))


def test_a_part_without_readable_samples_is_refused(tmp_path: Path) -> None:
    store = convert_unreadable(tmp_path)
    with pytest.raises(InputError, match="no sample of train was converted"):
        measure_step(store)
