"""What the reader's tests compare with."""

import numpy as np
import pytest
import zarr

from hpa_data.store.store import Store


@pytest.fixture(scope="module")
def oracle(store: Store) -> np.ndarray:
    """Give the images of both parts as zarr-python reads them."""
    group = zarr.open_group(store.path, mode="r")
    return np.concatenate([group["train"]["images"][:], group["test"]["images"][:]])
