"""Commands refuse outputs that they could not write before they compute anything, and leave nothing behind.

What they would compute from is damaged: a command that began with it would tell of that.
"""

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from tests.builders import Hpa, assert_refused, make_rows, make_run

WRITERS = {
    "preview {store} --out": "a.png",
    "stats {store} --figure-dir": "figures",
    "compare {run} --out-csv": "a.csv",
    "compare {run} --out-figure": "a.svg",
}


@pytest.fixture
def damaged(store: Store, tmp_path: Path) -> dict[str, Path]:
    """Return a store without images, and a run without predictions."""
    shutil.copytree(store.path, tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "a.zarr" / "train" / "images" / "c")
    run = make_run(tmp_path / "run", make_rows())
    (run / "out_of_fold.npz").unlink()
    return {"store": tmp_path / "a.zarr", "run": run}


@pytest.fixture
def small_files(damaged: dict[str, Path]) -> Iterator[None]:
    """Let no file be larger than 10,000 bytes, as on a full disk or with a quota."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def list_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("place", ["file", "/sys", "dangling"])
@pytest.mark.parametrize("words", WRITERS)
def test_a_place_where_nothing_can_be_written_is_known_before(
    words: str, place: str, damaged: dict[str, Path], tmp_path: Path, hpa: Hpa
) -> None:
    if place == "/sys" and not Path("/sys").is_dir():
        pytest.skip("no folder in which nobody can create a file")
    (tmp_path / "file").write_text("before")
    (tmp_path / "dangling").symlink_to("nothing")
    before = list_files(tmp_path)
    out = tmp_path / place / WRITERS[words]  # /sys stays as it is
    assert_refused(hpa(*words.format(**damaged).split(), out), str(out))
    assert list_files(tmp_path) == before


@pytest.mark.parametrize("words", [words for words in WRITERS if "--figure-dir" not in words])
def test_a_folder_in_place_of_a_file_is_known_before(
    words: str, damaged: dict[str, Path], tmp_path: Path, hpa: Hpa
) -> None:
    (tmp_path / WRITERS[words]).mkdir()
    assert_refused(hpa(*words.format(**damaged).split(), tmp_path / WRITERS[words]), "must be a file. Received: ")


def test_two_outputs_of_a_comparison_are_two_files(damaged: dict[str, Path], tmp_path: Path, hpa: Hpa) -> None:
    out = tmp_path / "a.png"
    words = ("compare", damaged["run"], "--out-csv", out, "--out-figure", out)
    assert_refused(hpa(*words), "out-figure must not be the file of out-csv.")


@pytest.mark.parametrize("words", ["stats {store} --figure-dir {out}", "evaluate {run}"])
@pytest.mark.usefixtures("small_files")
def test_a_lack_of_space_is_known_before(words: str, damaged: dict[str, Path], tmp_path: Path, hpa: Hpa) -> None:
    before = list_files(tmp_path)
    ended = hpa(*words.format(out=tmp_path / "figures", **damaged).split())
    assert_refused(ended, ": it would be larger than is allowed. Raise the limit (ulimit -f)")
    assert list_files(tmp_path) == before


@pytest.mark.parametrize(("name", "message"), [("figures", "figures must be a folder"), ("report.html", "be a file")])
def test_a_run_that_cannot_take_its_evaluation_is_known_before(
    name: str, message: str, damaged: dict[str, Path], hpa: Hpa
) -> None:
    if name == "figures":
        (damaged["run"] / name).touch()
    else:
        (damaged["run"] / name).mkdir()
    assert_refused(hpa("evaluate", damaged["run"]), message)


def test_a_store_that_is_missing_is_known_before(damaged: dict[str, Path], hpa: Hpa) -> None:
    assert_refused(hpa("evaluate", damaged["run"], "--store", "nowhere"), "Cannot open the store nowhere")
    assert os.listdir(damaged["run"])
