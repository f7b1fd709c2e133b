"""What a mirror downloads where no gate limits it."""

from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.store import mirror
from tests.web_server import web_server


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
