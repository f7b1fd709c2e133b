"""The commands of the how-to pages, run on small data."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018, HPA_2021
from hpa_data.store.store import Store, open_store
from tests.builders import Hpa
from tests.field.pictures import write_labels, write_planes

ROOT = Path(__file__).parents[1]
# Added to commands, so that each takes seconds.
SMALL = {
    "train": ("--folds", "2", "--epochs", "1", "--batch-size", "4", "--image-size", "80"),
    "augment": ("--min-count", "2"),
}


def _read_commands(page: str) -> list[list[str]]:
    """Read the commands of a page, without the word `hpa` and without comments."""
    blocks = re.findall(r"^```\n(.*?)^```$", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("hpa ") for line in lines)
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.slow  # a whole workflow
def test_the_commands_of_the_page_on_kaggle_2021_run(tmp_path: Path, hpa: Hpa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    write_planes(tmp_path / "train", "abcdef", size=1024)
    write_planes(tmp_path / "test", "gh", size=1728)
    labels = ("8|5|0", "14|16", "9", "18", "0", "16|0")
    write_labels(tmp_path / "train.csv", ("ID", "Label"), *zip("abcdef", labels, strict=True))
    write_planes(tmp_path / "train2018", "ijkl")
    write_labels(tmp_path / "train2018.csv", ("Id", "Target"), *zip("ijkl", ("8 25", "15", "11 0", "22"), strict=True))
    for words in _read_commands("kaggle-2021.md"):
        ended = hpa(*words, *SMALL.get(words[0], ()))
        assert ended.status == 0, (words, ended.out, ended.err)
    store = open_store("hpa2021.zarr")
    numbers = {
        part: [" ".join(map(str, row.nonzero()[0])) for row in store.part(part).labels]  # type: ignore[union-attr]
        for part in ("train", "train2018")
    }
    assert numbers == {"train": ["0 5 8", "14 16", "9", "18", "0", "0 16"], "train2018": ["16 17", "", "0 8", "13"]}
    assert store.part("train").manifest.dataset == HPA_2021.resized(1024, 1024)
    assert store.part("train").manifest.channels == HPA_2018.channel_names
    for name in ("classes.csv", "again.csv", "probs.csv"):
        assert (tmp_path / name).read_text().count("\n") == 3
    assert "Vesicles and punctate cytosolic patterns" in (tmp_path / "probs.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(("title", "module"), [("PyTorch", "torch"), ("JAX", "jax")])
def test_the_training_loops_of_the_page_on_python_run(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, title: str, module: str
) -> None:
    pytest.importorskip(module)
    (block,) = re.findall(rf"^## {title}\n\n```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text(), re.S | re.M)
    (tmp_path / "loop.py").write_text(block)
    (tmp_path / "hpa.zarr").symlink_to(store.path)
    monkeypatch.chdir(tmp_path)
    ended = runpy.run_path("loop.py")
    found = np.asarray(ended["weights"] if module == "jax" else ended["loss"].detach())
    assert np.isfinite(found).all()
    assert found.any()
