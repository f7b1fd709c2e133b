"""`hpa cache`, and the option `--cache disk:PATH` of the commands that read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpa_data.reader.disk_cache import DiskCache, set_disk_cache
from hpa_data.store.store import Store, open_store
from tests.builders import Hpa, assert_refused
from tests.web_server import web_server


@pytest.fixture(autouse=True)
def no_cache_after() -> Iterator[None]:
    yield
    set_disk_cache(None)


def test_a_cache_is_listed_and_removed_but_for_what_is_used(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    folder = tmp_path / "cache"
    set_disk_cache(DiskCache(folder))
    with web_server(store.path) as (url, _):
        remote = open_store(url)
        with remote.reader(["test", "train"]) as reader:
            reader.read(range(len(reader)))
        with remote.reader() as reader:
            reader.read([0])
            used = hpa("cache", folder, "--remove")
            assert used.status == 1
            assert f"Removed from {folder}: 1 parts, 0.00 GiB" in used.out
            assert "Left, a process uses them: 1 parts" in used.out
            assert f"now               train of {url}" in used.out
    (part,) = json.loads(hpa("cache", folder, "--json").out)["parts"]
    assert (part["name"], part["store"], part["is_used"]) == ("train", url, False)
    assert json.loads(hpa("cache", folder, "--part", "test", "--remove", "--json").out)["removed"] == []
    assert hpa("cache", folder, "--remove").status == 0
    assert hpa("cache", folder).out == f"{folder}: empty\n"
    assert_refused(hpa("cache", tmp_path), "it has no hpa-cache.json. Pass the PATH of --cache disk:PATH.")


@pytest.mark.slow  # it measures much else
def test_a_cache_on_a_disk_is_filled_by_commands_and_has_its_size(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    folder = tmp_path / "cache"
    words = ("--cache", f"disk:{folder}", "--cache-gib", 1, "--samples", 4, "--rounds", 1, "--json")
    with web_server(store.path) as (url, paths):
        for n_chunks in (4, 0):
            paths.clear()
            ended = hpa("bench", "io", url, *words)
            assert ended.status == 0, ended.err
            assert f"Cache on disk: {folder}, 0.0 of at most 1.0 GiB" in ended.err
            assert sum("/images/c/" in path for path in paths) == n_chunks + 1
    assert_refused(hpa("cache", folder / "no"), "Cannot list the cache")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("bench io {store} --cache-gib 3", "without --cache disk:PATH"),
        ("train {store} --out {tmp}/run --cache disk:{tmp}/c", "cache must be none or ram with a store in a folder"),
        ("bench io {store} --cache disk:{tmp}/c", "cache must be none with a store in a folder"),
        ("bench io http://127.0.0.1:9/a --cache disk:{store}", "Cannot keep a cache in .*: it holds something else"),
    ],
)
def test_a_cache_that_has_no_use_or_no_place_is_refused(
    words: str, message: str, store: Store, tmp_path: Path, hpa: Hpa
) -> None:
    ended = hpa(*words.format(store=store.path, tmp=tmp_path).split())
    assert ended.status == 2
    assert re.search(message, ended.err)
    assert list(tmp_path.iterdir()) == []
