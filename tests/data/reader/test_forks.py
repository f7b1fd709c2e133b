"""Readers in other processes: sent there, and forked."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.reader.tensorstore_engine import TensorStoreImages
from hpa_data.store.store import Store, open_store
from tests.builders import convert


def read_bytes(reader: Reader, indices: list[int]) -> bytes:
    return reader.read(indices).tobytes()


def test_a_reader_works_in_a_process_that_it_was_sent_to(store: Store, oracle: np.ndarray) -> None:
    with store.reader(threads=2) as reader, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(read_bytes, reader, [3, 1]).result() == oracle[[3, 1]].tobytes()


def test_a_reader_works_after_a_fork(store: Store, oracle: np.ndarray) -> None:
    with store.reader(threads=2) as reader:
        reader.read([0, 1])
        child = os.fork()
        if child == 0:
            os._exit(0 if (reader.read([3, 1]) == oracle[[3, 1]]).all() else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("cache_bytes", [0, 5 * 2**20])
def test_processes_do_not_share_their_batches_after_a_fork(store: Store, oracle: np.ndarray, cache_bytes: int) -> None:
    with store.reader(threads=2, cache_bytes=cache_bytes) as reader:
        reader.read([0, 1])  # leaves memory to be reused, in both processes
        child = os.fork()
        for _ in range(20):
            order = [4, 5] if child == 0 else [2, 3]
            if not (reader.read(order) == oracle[order]).all():
                os._exit(1)
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert (reader.read(range(12)) == oracle[:12]).all()


def test_a_batch_requested_before_a_fork_is_refused_after_it(store: Store) -> None:
    with store.reader(threads=2) as reader:
        pending = reader.read_async([0, 1])
        child = os.fork()
        if child == 0:
            with pytest.raises(ValueError, match="it was requested before the fork"):
                pending.result()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        pending.result()


def test_tensorstore_after_a_fork_is_refused(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test")
    with open_store(tmp_path / "a.zarr").reader(["test"]) as mapped:
        specs = mapped.__reduce__()[1][0]
    engine = TensorStoreImages(specs, threads=1)
    child = os.fork()
    if child == 0:
        with pytest.raises(InputError, match="Cannot read through TensorStore in a forked process"):
            engine.read_one(0, np.empty((512, 512, 4), np.uint8))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
