"""Stores at a URL: on an S3 server, and behind a plain web server."""

import contextlib
import functools
import gc
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
import zarr
from moto.server import ThreadedMotoServer

from hpa_data.augment.plan import plan_augmentation
from hpa_data.errors import InputError
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.sampler import BatchSampler
from hpa_data.stats.measure import measure_store
from hpa_data.store.store import Store, open_store
from hpa_data.verify.check import verify_store

BUCKET = "hpa-bucket"


@pytest.fixture(scope="module")
def s3_url(store: Store) -> Iterator[str]:
    """Serve the store from an S3 server."""
    settings = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Not the settings of the user who runs the tests.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=settings["AWS_ENDPOINT_URL"])
        client.create_bucket(Bucket=BUCKET)
        for path in sorted(store.path.rglob("*")):
            if path.is_file():
                client.upload_file(str(path), BUCKET, f"data/hpa.zarr/{path.relative_to(store.path)}")
        yield f"s3://{BUCKET}/data/hpa.zarr"
    server.stop()


def test_a_store_on_s3_gives_the_same_bytes(s3_url: str, store: Store, oracle: np.ndarray) -> None:
    remote = open_store(s3_url)
    assert remote.parts() == ["test", "train"]
    assert remote.part("train").manifest == store.part("train").manifest
    with remote.reader(["train", "test"]) as reader, store.reader(["train", "test"]) as local:
        assert reader.engine == "ranges"
        assert reader.ids == local.ids
        assert (reader.status == local.status).all()
        indices = np.random.default_rng(0).permutation(15)
        assert (reader.read(indices) == oracle[indices]).all()
    with remote.reader() as reader, store.reader() as local:
        sampler = BatchSampler(np.arange(12), 5, seed=4)
        for far, near in zip(
            iter_batches(reader, sampler, epochs=1), iter_batches(local, sampler, epochs=1), strict=True
        ):
            assert (far.images == near.images).all()
            assert np.array_equal(far.labels, near.labels)  # type: ignore[arg-type]


def test_a_store_on_s3_has_the_statistics_of_the_local_one(s3_url: str, store: Store) -> None:
    far, near = (measure_store(open_store(location)) for location in (s3_url, str(store.path)))
    assert far.store == s3_url
    assert far.parts == near.parts
    assert [repr(one) for one in far.intensities] == [repr(one) for one in near.intensities]
    assert repr(far.labels) == repr(near.labels)


def test_a_store_at_a_url_is_neither_written_to_nor_verified(s3_url: str) -> None:
    with pytest.raises(InputError, match="Cannot write to s3://.*: only stores in a folder"):
        plan_augmentation(open_store(s3_url), min_count=5)
    with pytest.raises(InputError, match="Cannot verify s3://.*: it is not in a folder"):
        verify_store(s3_url)


def test_the_folder_of_downloaded_metadata_is_removed_with_the_store(s3_url: str) -> None:
    remote = open_store(s3_url)
    part, folder = remote.part("train"), remote.path
    del remote
    ids = part.ids
    assert ids[0] == "sample-11"
    assert folder.exists()
    del part
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"s3://{BUCKET}/nothing", "it has no zarr.json, as `hpa convert` writes it"),
        ("s3://no-such-bucket/a", "it has no zarr.json, as `hpa convert` writes it"),
        ("ftp://host/a", "A URL must begin with one of s3://"),
        ("s3://", "A URL must name a bucket or host and a path"),
        ("http://127.0.0.1:9/a.zarr", "Cannot read the store http"),
    ],
)
def test_a_url_without_a_store_is_refused(s3_url: str, url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_store(url)


def test_a_part_that_is_not_at_the_url_is_refused(s3_url: str) -> None:
    for name in ("nope", "../train", "train/images"):
        with pytest.raises(InputError, match="part must be in the store.*has test, train"):
            open_store(s3_url).part(name)


@pytest.fixture(scope="module")
def http_url(store: Store) -> Iterator[str]:
    """Serve the store by a plain web server."""
    with serve(store.path.parent) as url:
        yield f"{url}/{store.path.name}"


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder by a plain web server."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def list_directory(self, path: object) -> None:
            self.send_error(403)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_changed_name_in_a_store_at_a_url_is_refused(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.path, tmp_path / "a.zarr")
    names = zarr.open_array(tmp_path / "a.zarr" / "train" / "class", mode="r+")
    names[:] = np.asarray(names[:])[::-1]
    with serve(tmp_path) as url, pytest.raises(InputError, match=f"of {url}/a.zarr: class/c/0 fails its checksum"):
        open_store(f"{url}/a.zarr").part("train")


def test_a_store_behind_a_web_server_is_read_though_its_parts_are_not_listed(http_url: str, store: Store) -> None:
    remote = open_store(http_url)
    with pytest.raises(InputError, match="Cannot list the parts of http.*Name the part"):
        remote.parts()
    with remote.reader() as reader, store.reader() as local:
        assert reader.ids == local.ids
