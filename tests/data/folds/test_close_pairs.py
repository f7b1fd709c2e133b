from itertools import combinations, product
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.dataset import HPA_2018
from hpa_data.folds import close_pairs
from hpa_data.folds.close_pairs import Band, find_close_pairs, plan_bands
from hpa_data.folds.duplicates import perceptual_hash
from hpa_data.system.threads import ThreadTeam

Hashes = npt.NDArray[np.uint64]

N_BITS = 63


def draw_hashes(rng: np.random.Generator, n: int, n_channels: int, *, n_centers: int, bias: float) -> Hashes:
    """Draw hashes that are alike in groups, differ by up to 40 bits, and whose bits are mostly 1 with some bias."""
    centers = rng.random((n_centers, n_channels, N_BITS)) < 0.5 + bias
    flips = rng.random((n, n_channels * N_BITS)).argsort(axis=1) < rng.integers(0, 40, n)[:, None]
    bits = centers[rng.integers(n_centers, size=n)] ^ flips.reshape(n, n_channels, N_BITS)
    packed = np.packbits(np.concatenate([np.ones((n, n_channels, 1), bool), bits], axis=2), axis=2)
    return packed.view(">u8")[..., 0].astype(np.uint64)


def measure_distances(rows: Hashes, columns: Hashes) -> npt.NDArray[np.int64]:
    return np.bitwise_count(rows[:, None] ^ columns).sum(axis=-1, dtype=np.int64)


def search(rows: Hashes, columns: Hashes | None, limit: int, max_pairs: int = 10**7) -> list[list[int]]:
    with ThreadTeam(2) as pool:
        found = list(find_close_pairs(rows, columns, limit=limit, max_pairs=max_pairs, pool=pool))
    return sorted(np.concatenate(found).tolist()) if found else []


def use_bands_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the index for any number of hashes, however much alike they are."""
    monkeypatch.setattr(close_pairs, "PAIR_S", 1.0)


def check_pairs(data: st.DataObject, *, n_rows: int) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_columns = data.draw(st.sampled_from([0, 1, n_rows]))
    n_centers = data.draw(st.sampled_from([1, 3, n_rows, 2 * n_rows]))
    drawn = draw_hashes(
        rng,
        n_rows + n_columns,
        data.draw(st.integers(1, 5)),
        n_centers=n_centers,
        bias=data.draw(st.sampled_from([0.0, 0.3, 0.5])),
    )
    limit = data.draw(st.integers(0, 40))
    rows, columns = drawn[:n_rows], drawn[n_rows:] if n_columns else None
    is_close = measure_distances(rows, rows if columns is None else columns) <= limit
    expected = np.argwhere(np.triu(is_close, 1) if columns is None else is_close).tolist()
    assert search(rows, columns, limit) == expected
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_bands_always(monkeypatch)
        monkeypatch.setattr(close_pairs, "BLOCK", data.draw(st.sampled_from([7, 50, 1 << 18])))
        assert search(rows, columns, limit) == expected


@settings(deadline=None, max_examples=12)
@given(data=st.data())
def test_the_index_finds_the_pairs_of_a_comparison_of_all(data: st.DataObject) -> None:
    check_pairs(data, n_rows=30)


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(data=st.data())
def test_the_index_finds_the_pairs_of_a_comparison_of_all_among_more(data: st.DataObject) -> None:
    check_pairs(data, n_rows=200)


@settings(deadline=None, max_examples=40)
@given(n_bits=st.integers(0, 640), limit=st.integers(0, 80), n_hashes=st.integers(1, 10**8))
def test_hashes_within_the_limit_are_close_in_some_band(n_bits: int, limit: int, n_hashes: int) -> None:
    bands = plan_bands(n_bits, limit, n_hashes=n_hashes, n_pairs=n_hashes**2 // 2)
    assert not bands or sum(band.radius + 1 for band in bands) == limit + 1
    assert sum(band.n_bits for band in bands) <= n_bits
    assert all(1 <= band.n_bits <= 22 and band.radius >= 0 for band in bands)


def test_a_band_lists_each_change_of_up_to_its_radius_once() -> None:
    for n_bits, radius in product(range(1, 8), range(4)):
        changes = Band(n_bits=n_bits, radius=radius).list_changes()
        assert sorted(changes) == [number for number in range(2**n_bits) if number.bit_count() <= radius]


@pytest.mark.parametrize("is_indexed", [True, False])
def test_thousands_of_hashes_give_the_pairs_of_a_comparison_of_all(
    is_indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = draw_hashes(np.random.default_rng(0), 1500, 4, n_centers=400, bias=0.1)
    is_close = np.concatenate([measure_distances(rows, hashes) <= 28 for rows in np.split(hashes, 6)])
    expected = np.argwhere(np.triu(is_close, 1)).tolist()
    monkeypatch.setattr(close_pairs, "PAIR_S", 1.0 if is_indexed else 1e-15)
    assert search(hashes, None, 28) == expected
    assert len(expected) > 500


def test_a_search_ends_soon_after_too_many_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    use_bands_always(monkeypatch)
    monkeypatch.setattr(close_pairs, "BLOCK", 100)
    hashes = draw_hashes(np.random.default_rng(0), 2000, 4, n_centers=1, bias=0)
    with ThreadTeam(2) as pool:
        first = next(find_close_pairs(hashes, limit=80, max_pairs=500, pool=pool))
    assert 500 < len(first) <= 500 + 2000


@pytest.mark.realdata
def test_real_samples_have_the_pairs_of_a_comparison_of_all(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = real_data / "kaggle" / "train"
    hashes = []
    for path in sorted(folder.glob("*_red.png")):
        planes = [cv2.imread(str(path).replace("_red", f"_{name}"), -1)[::2, ::2] for name in HPA_2018.channel_names]
        image = np.stack(planes, axis=-1)
        # Whole, moved by up to 12 pixels, and in the other orientations.
        hashes += [perceptual_hash(np.roll(image, shift, axis=1)) for shift in (0, 2, 6, 12)]
        hashes += [perceptual_hash(np.ascontiguousarray(np.rot90(image, turn))) for turn in (1, 2, 3)]
    words = np.stack(hashes)
    distances = measure_distances(words, words)
    for limit in (14, 28, 60):
        expected = [[i, j] for i, j in combinations(range(len(words)), 2) if distances[i, j] <= limit]
        assert search(words, None, limit) == expected
        with monkeypatch.context() as patch:
            use_bands_always(patch)
            assert search(words, None, limit) == expected
    assert len(expected) > 100
