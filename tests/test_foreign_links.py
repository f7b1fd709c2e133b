"""A lock file that is a link to a file of the user is refused by the commands that write, and the file is unchanged."""

from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from tests.builders import Hpa, build_store, draw_image, write_sample

SECRET = "a file of the user"


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "source", "a.zarr", "--part", "more", "--image-size", "32"),
        ("augment", "a.zarr", "--min-count", "3"),
        ("verify", "a.zarr", "--part", "train", "--source", "source", "--repair"),
        pytest.param(
            ("train", "a.zarr", "--out", "run", "--folds", "2", "--model", "gapnet-pl"), marks=pytest.mark.slow
        ),
    ],
)
def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_is_unchanged(
    hpa: Hpa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    build_store(Path("a.zarr"), HPA_2018.resized(32, 32), np.eye(28, dtype=np.uint8)[[0, 0, 1, 1]])
    write_sample(Path("source"), "s-000", draw_image(0))
    Path("victim").write_text(SECRET)
    Path("run").mkdir()
    for folder in ("a.zarr", "run"):
        Path(folder, ".lock").symlink_to(tmp_path / "victim")
    ended = hpa(*words)
    assert ended.status == 2
    assert ended.err.endswith(".lock is not a lock file of hpa, and is left as it is. Rename or remove it.\n")
    assert Path("victim").read_text() == SECRET
    assert Path("a.zarr/.lock").is_symlink()
