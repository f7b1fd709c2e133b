"""All pairs of hashes that differ in few bits, without comparing every pair.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index hashing", 2012). The
bits are divided into bands, each with a radius, so that the radii, each plus one, add up to d + 1. Two hashes that
differ in at most d bits then differ in some band in at most its radius: otherwise they would differ in d + 1 bits or
more. So only pairs are compared that are that close in a band, and sorting by the bits of a band finds them. Of a
million hashes with d = 28 of 252 bits, these are 1 of 600 pairs: 14 bands of 18 bits, the radius of one is 2, of the
others 1. The pairs found are those of a comparison of all, whatever the bands.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from hpa_data.system.threads import ThreadTeam

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int32]

# Hashes that are compared at a time where all pairs are, 1 MB of them; NumPy takes 1.5 times as long for fewer columns.
ROWS, COLUMNS = 16, 8192
# Sorted rows that are looked up at a time, and pairs that are compared at a time, where only those close in a band are;
# fewer take up to 1.2 times as long.
BLOCK = 1 << 18
# Bits of a band that are sorted by; a table has a number for each of their values. The others need not be looked at.
MAX_KEY_BITS = 22
# Of a band. From 4 on, listing what may differ takes longer than it saves.
MAX_RADIUS = 3
# Hashes from which the correlations of bits are measured, and rows whose bits are unpacked at a time.
MEASURED, UNPACKED = 2000, 4096
# Seconds of two cores for each pair of all, for each that is close in a band, for looking a changed key up, and for
# sorting a hash by a band (benchmarks/RESULTS.md, near duplicates).
PAIR_S, CANDIDATE_S, LOOKUP_S, SORT_S = 3.5e-9, 9e-9, 8e-9, 1.5e-7


@dataclass(frozen=True, kw_only=True)
class Band:
    """Some of the bits."""

    n_bits: int

    radius: int
    """In how many of them two hashes may differ to be compared."""

    def list_changes(self) -> list[int]:
        """List all changes of up to `radius` bits, to combine with a key by exclusive or."""
        bits = [1 << bit for bit in range(self.n_bits)]
        return [sum(chosen) for count in range(self.radius + 1) for chosen in combinations(bits, count)]


def plan_bands(n_bits: int, limit: int, *, n_hashes: int, n_pairs: int) -> tuple[Band, ...]:
    """Divide bits into those bands with which the search takes the least time; none if comparing all pairs does.

    Parameters
    ----------
    n_bits : int
    limit : int
        How many bits may differ.
    n_hashes, n_pairs : int
        How many hashes are searched, and how many pairs of them there are.

    Examples
    --------
    >>> bands = plan_bands(252, 28, n_hashes=10**6, n_pairs=10**12 // 2)
    >>> len(bands), bands[0], bands[1]
    (14, Band(n_bits=18, radius=2), Band(n_bits=18, radius=1))
    """
    least = -(-(limit + 1) // (MAX_RADIUS + 1))
    plans = [_divide(n_bits, limit, count) for count in range(least, min(n_bits, limit + 1) + 1)]
    return min([(), *plans], key=lambda bands: estimate_s(bands, n_hashes=n_hashes, n_pairs=n_pairs))


def _divide(n_bits: int, limit: int, n_bands: int) -> tuple[Band, ...]:
    """Divide bits evenly into bands, those with a larger radius first."""
    radius, rest = divmod(limit + 1 - n_bands, n_bands)
    sizes = [n_bits // n_bands + (number < n_bits % n_bands) for number in range(n_bands)]
    return tuple(
        Band(n_bits=min(size, MAX_KEY_BITS), radius=radius + (number < rest)) for number, size in enumerate(sizes)
    )


def estimate_s(bands: Sequence[Band], *, n_hashes: int, n_pairs: int) -> float:
    """Estimate the seconds of a search on two cores, if all bits are random; without bands, all pairs are compared."""
    if not bands:
        return PAIR_S * n_pairs
    n_changes = [sum(comb(band.n_bits, count) for count in range(band.radius + 1)) for band in bands]
    n_candidates = sum(changes / 2**band.n_bits for changes, band in zip(n_changes, bands, strict=True)) * n_pairs
    return CANDIDATE_S * n_candidates + n_hashes * (LOOKUP_S * sum(n_changes) + SORT_S * len(bands))


def find_close_pairs(
    rows: Hashes, columns: Hashes | None = None, *, limit: int, max_pairs: int, pool: ThreadTeam
) -> Iterator[Indices]:
    """Find all pairs of hashes that differ in at most `limit` bits.

    Parameters
    ----------
    rows : array of uint64, shape (R, C)
        Hashes of 64 C bits; at least one.
    columns : array of uint64, shape (M, C), optional
        What they are compared with; by default each other.
    limit : int
    max_pairs : int
        The search may stop where it has found more: the caller refuses them.
    pool : ThreadTeam

    Yields
    ------
    array of int64, shape (P, 2)
        Row and column of each pair, each pair once, in any order. Of rows that are compared with each other, the row
        is the smaller number. For a million rows of four channels, memory stays below 400 MB beside the pairs.
    """
    others = rows if columns is None else columns
    n_pairs = len(rows) * (len(rows) - 1) // 2 if columns is None else len(rows) * len(columns)
    n_hashes = len(rows) if columns is None else len(rows) + len(columns)
    varying = np.bitwise_or.reduce(rows ^ rows[0], axis=0) | np.bitwise_or.reduce(others ^ rows[0], axis=0)
    bits = np.flatnonzero(_unpack(varying[None])[0])
    bands = plan_bands(len(bits), limit, n_hashes=n_hashes, n_pairs=n_pairs)
    if bands:
        bits_of = _assign_bits(rows, bits, bands)
        keys = _make_keys(rows, bits_of)
        index = _Index(
            bands=bands,
            rows=rows,
            columns=others,
            row_keys=keys,
            column_keys=keys if columns is None else _make_keys(columns, bits_of),
            is_same=columns is None,
            limit=limit,
            max_pairs=max_pairs,
        )
        # Of images that are alike, too many are close in a band.
        if CANDIDATE_S * index.estimate_candidates() <= PAIR_S * n_pairs:
            for number in range(len(bands)):
                yield from index.search_band(number, pool)
            return
    compare = partial(_compare_all, rows, np.ascontiguousarray(others.T), limit=limit, is_same=columns is None)
    yield from pool.map(compare, range(0, len(rows), ROWS))


def _unpack(hashes: Hashes) -> npt.NDArray[np.uint8]:
    """Return the bits of hashes, uint8 (N, 64 C)."""
    return np.unpackbits(np.ascontiguousarray(hashes, ">u8").view(np.uint8), axis=1)


def _assign_bits(hashes: Hashes, bits: Indices, bands: Sequence[Band]) -> list[Indices]:
    """Choose the bits of each band so that they depend little on each other: then few pairs agree in them by chance.

    Low frequencies of one channel depend on each other, and channels do. The choice decides the time, not the result.
    """
    sample = hashes[:: -(-len(hashes) // MEASURED)]
    signs = _unpack(sample)[:, bits] * np.float32(2) - 1  # (samples, bits)
    # How far two samples agree in both bits or in none, beyond chance; also for bits that are mostly the same.
    related = (signs.T @ signs / len(signs)) ** 2
    chosen: list[list[int]] = [[] for _ in bands]
    for bit in np.argsort(-related.sum(axis=0), kind="stable").tolist():
        free = [number for number, band in enumerate(bands) if len(chosen[number]) < band.n_bits]
        if free:
            best = min(free, key=lambda number: float(related[bit, chosen[number]].sum()))
            chosen[best].append(bit)
    return [bits[members] for members in chosen]


def _make_keys(hashes: Hashes, bits_of: Sequence[Indices]) -> Keys:
    """Return the bits of each band as a number, uint32 (bands, N)."""
    keys = np.zeros((len(bits_of), len(hashes)), np.uint32)
    for start in range(0, len(hashes), UNPACKED):
        bits = _unpack(hashes[start : start + UNPACKED])
        padded = np.zeros((len(bits_of), len(bits), 32), np.uint8)
        for number, members in enumerate(bits_of):
            padded[number, :, 32 - len(members) :] = bits[:, members]
        keys[:, start : start + len(bits)] = np.packbits(padded, axis=2).view(">u4")[..., 0]
    return keys


def _compare_all(rows: Hashes, columns: Hashes, first: int, *, limit: int, is_same: bool) -> Indices:
    """Compare `ROWS` rows from `first` on with all columns, of shape (C, M); int64 (P, 2)."""
    hashes = rows[first : first + ROWS]
    pairs: list[Indices] = []
    for start in range(first if is_same else 0, columns.shape[1], COLUMNS):
        others = columns[:, start : start + COLUMNS]
        distance = np.zeros((len(hashes), others.shape[1]), np.uint16)  # (rows, columns)
        for channel, other in enumerate(others):
            distance += np.bitwise_count(hashes[:, channel, None] ^ other)
        row, column = np.divmod(np.flatnonzero(distance <= limit), others.shape[1])
        found = np.column_stack([first + row, start + column])
        pairs.append(found[found[:, 0] < found[:, 1]] if is_same else found)
    return np.concatenate(pairs)


@dataclass(frozen=True, kw_only=True)
class _Index:
    """Hashes with their keys, one for each band."""

    bands: tuple[Band, ...]

    rows: Hashes
    """Shape (R, C)."""

    columns: Hashes
    """Shape (M, C)."""

    row_keys: Keys
    """Shape (bands, R)."""

    column_keys: Keys
    """Shape (bands, M)."""

    is_same: bool
    """Whether rows are compared with each other."""

    limit: int

    max_pairs: int

    def estimate_candidates(self) -> float:
        """Estimate, from some rows, how many pairs are close in a band, counted once for each such band."""
        total = 0.0
        for band, row_keys, column_keys in zip(self.bands, self.row_keys, self.column_keys, strict=True):
            counts = np.bincount(column_keys, minlength=2**band.n_bits)
            sample = row_keys[:: -(-len(row_keys) // MEASURED)]
            total += sum(float(counts[sample ^ np.uint32(change)].mean()) for change in band.list_changes())
        n_candidates = total * len(self.rows)
        return n_candidates / 2 if self.is_same else n_candidates

    def search_band(self, number: int, pool: ThreadTeam) -> Iterator[Indices]:
        """Yield the pairs that are close in a band and in none before it, int64 (P, 2)."""
        row_order = np.argsort(self.row_keys[number], kind="stable")
        column_order = row_order if self.is_same else np.argsort(self.column_keys[number], kind="stable")
        counts = np.bincount(self.column_keys[number], minlength=2 ** self.bands[number].n_bits)
        join = _Join(
            row_order=row_order,
            column_order=column_order,
            row_keys=self.row_keys[number][row_order],
            firsts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            row_words=np.ascontiguousarray(self.rows[row_order].T),
            column_words=np.ascontiguousarray(self.columns[column_order].T),
            is_same=self.is_same,
            limit=self.limit,
            max_pairs=self.max_pairs,
        )
        for found in pool.map(join.run, self.bands[number].list_changes()):
            pairs = found[self._is_first(number, found)]
            yield np.sort(pairs, axis=1) if self.is_same else pairs

    def _is_first(self, number: int, pairs: Indices) -> npt.NDArray[np.bool_]:
        """Tell which pairs are close in none of the bands before, bool (P,)."""
        is_first = np.ones(len(pairs), np.bool_)
        for before in range(number):
            differing = self.row_keys[before][pairs[:, 0]] ^ self.column_keys[before][pairs[:, 1]]
            is_first &= np.bitwise_count(differing) > self.bands[before].radius
        return is_first


@dataclass(frozen=True, kw_only=True)
class _Join:
    """All hashes, sorted by their keys in one band."""

    row_order: Indices
    """The number of each sorted row, shape (R,)."""

    column_order: Indices
    """Shape (M,)."""

    row_keys: Keys
    """Shape (R,), ascending."""

    firsts: Numbers
    """For each key, the first sorted column that has it, and M at the end."""

    row_words: Hashes
    """Shape (C, R)."""

    column_words: Hashes
    """Shape (C, M)."""

    is_same: bool

    limit: int

    max_pairs: int

    def run(self, change: int) -> Indices:
        """Find the pairs whose keys differ by `change` exactly and whose hashes are close, int64 (P, 2)."""
        pairs: list[Indices] = [np.empty((0, 2), np.int64)]
        n_found = 0
        for first in range(0, len(self.row_keys), BLOCK):
            rows, starts, counts = self._look_up(change, first)
            ends = np.cumsum(counts)
            done = 0
            while done < len(rows) and n_found <= self.max_pairs:
                n_before = int(ends[done - 1]) if done else 0
                stop = max(done + 1, int(np.searchsorted(ends, n_before + BLOCK, side="right")))
                found = self._compare(rows[done:stop], starts[done:stop], counts[done:stop])
                pairs.append(found)
                n_found += len(found)
                done = stop
        return np.concatenate(pairs)

    def _look_up(self, change: int, first: int) -> tuple[Numbers, Numbers, Numbers]:
        """Find the sorted columns with the changed key of sorted rows from `first` on.

        Returns rows, the first column of each, and how many; int32 (n,).
        """
        keys = self.row_keys[first : first + BLOCK]
        rows: Numbers = np.arange(first, first + len(keys), dtype=np.int32)
        if self.is_same and change:  # each pair once, from the key without the highest bit that is changed
            chosen = np.flatnonzero((keys & np.uint32(1 << (change.bit_length() - 1))) == 0)
            keys, rows = keys[chosen], rows[chosen]
        keys = keys ^ np.uint32(change)
        stops = self.firsts[1:][keys]
        # Of rows with the same key, each is compared with those behind it.
        starts = rows + np.int32(1) if self.is_same and not change else self.firsts[keys]
        return rows, starts, stops - starts

    def _compare(self, rows: Numbers, starts: Numbers, counts: Numbers) -> Indices:
        """Compare each sorted row with `counts` sorted columns from its start on; int64 (P, 2)."""
        ends = np.cumsum(counts, dtype=np.int32)
        column = np.repeat(starts - ends + counts, counts)
        column += np.arange(len(column), dtype=np.int32)
        # Four of five different hashes differ by more than the limit in one channel already.
        differing = np.repeat(self.row_words[0][rows], counts)
        differing ^= self.column_words[0][column]
        in_one = np.bitwise_count(differing)
        close = np.flatnonzero(in_one <= self.limit)
        row, column, distance = np.repeat(rows, counts)[close], column[close], in_one[close].astype(np.uint16)
        for row_word, column_word in zip(self.row_words[1:], self.column_words[1:], strict=True):
            distance += np.bitwise_count(row_word[row] ^ column_word[column])
        close = np.flatnonzero(distance <= self.limit)
        return np.column_stack([self.row_order[row[close]], self.column_order[column[close]]])
