"""What a conversion took its files and labels for, as its summary says it and the manifest keeps it. Pure.

The names of the fields are keys in stores.
"""

from dataclasses import dataclass

from hpa_data.errors import Notice


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Things that are alike: what they are, how many, and some of them."""

    what: str
    """Without a full stop: ``hidden``, ``PNG 512 x 512, 8 bit``."""

    n: int

    examples: tuple[str, ...] = ()
    """Names of files relative to the source, or ids; the first `errors.N_EXAMPLES`."""


@dataclass(frozen=True, kw_only=True)
class ChannelReading:
    """Where a channel comes from."""

    name: str

    source: str
    """Its files, or the planes in them, in words."""

    scaling: str
    """Which raw values become black and white; see `sources.scaling`."""

    n_filled: int = 0
    """Samples that lack it: it is black in them."""


@dataclass(frozen=True, kw_only=True)
class LabelReading:
    """How a label table was read."""

    how: str
    """Columns, and whether its labels are names or numbers of a data set, in words."""

    least: int
    """Classes of the sample that has fewest."""

    most: int

    mean: float
    """Classes per sample."""

    without_class: tuple[Tally, ...] = ()
    """Samples that have none, by reason."""

    dropped: tuple[Tally, ...] = ()
    """By name, labels that stand for no class of the data set."""


@dataclass(frozen=True, kw_only=True)
class Understanding:
    """What a conversion took its files and labels for."""

    dataset: str
    """Name of the data set."""

    image_size: str
    """Rows and columns of the images in the store, and how planes are fitted to it, in words."""

    channels: tuple[ChannelReading, ...]

    n_samples: int

    n_read: int
    """Samples that could be read: `files`, `ChannelReading.n_filled` and `sample_notices` are about these."""

    files: tuple[Tally, ...] = ()
    """Samples by what their files are like; see `dataset.Sample.origin`."""

    passed_over: tuple[Tally, ...] = ()
    """Files that belong to no sample, by reason."""

    left_out: tuple[Tally, ...] = ()
    """Samples with files that the part does not hold, or rows of the label table without files, by reason."""

    labels: LabelReading | None = None
    """None without a label table."""

    matched: tuple[Tally, ...] = ()
    """Ids of the label table that are not equal to those of their samples, by what differs."""

    notices: tuple[Notice, ...] = ()
    """What the user should know about files, ids and labels; see `errors.Notice`."""

    sample_notices: tuple[Notice, ...] = ()
    """What the user should know about the samples that could be read."""
