"""What a mirror downloads where no gate limits it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hpa_data.errors import InputError
from hpa_data.reader.remote import Server
from hpa_data.store import mirror
from hpa_data.store.store import Store, open_store
from tests.web_server import web_server


def test_what_few_readers_need_is_fetched_when_it_is_read(store: Store) -> None:
    with web_server(store.path) as (url, paths):
        part = open_store(url).part("train")
        with open_store(url).reader():
            pass
        assert not [path for path in paths if re.search("/(note|note_file|sums|origin|filled)/c/", path)]
        local = store.part("train")
        assert (part.read_sums() == local.read_sums()).all()
        assert part.read_notes() == local.read_notes()
        n_paths = len(paths)
        assert (part.read_sums() == local.read_sums()).all()
        assert len(paths) == n_paths


def test_a_part_is_opened_in_two_rounds_of_requests(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []
    read = Server.read

    def count(server: Server, starts: Sequence[Any], *arguments: Any, **named: Any) -> list[Any]:
        rounds.append(len(starts))
        return read(server, starts, *arguments, **named)

    with web_server(store.path) as (url, paths):
        opened = open_store(url)
        n_paths = len(paths)
        monkeypatch.setattr(Server, "read", count)
        opened.part("train")
    assert len(rounds) == 2
    assert sum(rounds) == len(paths) - n_paths


def test_an_object_larger_than_the_metadata_allow_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MAX_METADATA_BYTES", 10)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("GCE_METADATA_ROOT", "127.0.0.1:9")
    with web_server(tmp_path, lambda handler: handler.answer(200, b"x" * 11, {"x-goog-generation": "1"})) as (url, _):
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        opened = mirror.Mirror("gs://hpa-bucket/a.zarr", tmp_path)
        with pytest.raises(
            InputError, match="Cannot read gs://hpa-bucket/a.zarr/zarr.json: it has 11 bytes, where at most 10"
        ):
            opened.fetch_root()
    assert list(tmp_path.iterdir()) == []
