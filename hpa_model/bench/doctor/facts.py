"""What is measured of the machine, a store and a run, and what is found in it. Imports nothing heavy."""

from dataclasses import dataclass, field
from enum import StrEnum

from hpa_model.config import DEFAULTS, TrainConfig
from hpa_model.runs.history import EpochRecord


class Severity(StrEnum):
    """How bad a finding is, the worst first."""

    BROKEN = "broken"
    """Samples, files or models are lost or wrong: the command ends with status 1."""

    PROBLEM = "problem"
    """Results, or most of the speed, suffer."""

    ADVICE = "advice"
    """It could be better."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that was found, and what to do about it."""

    severity: Severity
    name: str
    """Of the rule, in a few words with hyphens: it stays the same from version to version."""

    text: str
    """What was found, with its numbers, and what to do: sentences with full stops."""

    command: str
    """To run next. Words in capitals are for the user to fill in."""

    evidence: dict[str, float | str] = field(default_factory=dict)
    """The numbers that it follows from, by name."""


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """The machine, and what is installed on it."""

    system: str
    python: str
    versions: dict[str, str]
    """Of the packages that results depend on, by name; ``not installed`` for those that are missing."""

    backend: str
    """What Keras would run on."""

    n_cores: int
    """Of the machine."""

    usable_cores: int
    """Within the limits of its control group and the affinity of this process."""

    load: float | None
    """Processes that wanted a core in the last minute, on average; None where the system does not tell."""

    memory_bytes: int
    free_bytes: int
    """Memory that this process may still use, within the limits of its control groups."""

    is_memory_limited: bool
    """Whether a control group leaves less than the machine has free."""

    gpus: tuple[str, ...]
    """Names of NVIDIA's GPUs, by their driver."""

    has_gpu_packages: bool
    """Whether the libraries that the backend needs for them are installed."""

    environment: dict[str, str]
    """Variables that change speed or numbers, as they are set."""

    missing_extras: tuple[str, ...]
    """Optional extras of which a package is not installed."""


@dataclass(frozen=True, kw_only=True)
class PartFacts:
    """One part of a store."""

    name: str
    error: str = ""
    """Why nothing else is known about it, in a sentence; empty if it could be read."""

    codec: str = ""
    image_shape: tuple[int, int, int] = (0, 0, 0)
    is_native: bool = True
    """Whether its images have the chunks and codecs that `hpa convert` writes."""

    is_sealed: bool = True
    """Whether all of it has a checksum."""

    is_copies: bool = False
    n_samples: int = 0
    n_bytes: int = 0
    """Of the images on disk."""

    n_pending: int = 0
    n_failed: int = 0
    n_filled: int = 0
    n_black: int = 0
    """Samples of which every pixel is 0, though no channel is filled."""

    black_example: str = ""
    """Its id."""

    channels: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    """Mean gray level of each channel, 0 to 255, over the readable samples; empty if there is none."""

    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] | None = None
    """Samples of each class; None without labels."""

    n_duplicates: int = 0
    """Samples with the same pixels as an earlier one."""

    n_contradictions: int = 0
    """Of these, samples with other labels than the earlier one."""

    duplicate_example: tuple[str, ...] = ()
    """The ids of two."""

    n_checked: int = 0
    """Samples, drawn at random, whose pixels were compared with their checksums."""

    n_damaged: int = 0
    """Of these."""

    damaged_example: str = ""
    """What reading one said."""

    @property
    def n_readable(self) -> int:
        """Samples that were converted."""
        return self.n_samples - self.n_pending - self.n_failed


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """A store."""

    location: str
    is_remote: bool = False
    """Whether it is at a URL: nothing of it is looked at."""

    error: str = ""
    """Why nothing else is known about it, in a sentence; empty if it could be opened."""

    parts: tuple[PartFacts, ...] = ()
    n_shared_ids: int = 0
    """Ids that are in several parts of originals."""

    shared_example: str = ""
    disk_free_bytes: int = 0
    disk_bytes_per_s: float | None = None
    """Shards, read past the page cache; None if the file system does not read so, or there is nothing to read."""

    cached_fraction: float | None = None
    """Of the bytes of the shards that were looked at, before anything was read; None if the system does not tell."""

    samples_per_s: float | None = None
    """Batches of samples in random order, from the page cache; None if nothing could be read."""

    @property
    def n_bytes(self) -> int:
        """Of the images on disk."""
        return sum(part.n_bytes for part in self.parts)

    @property
    def n_samples(self) -> int:
        """Of all parts."""
        return sum(part.n_samples for part in self.parts)

    @property
    def disk_samples_per_s(self) -> float | None:
        """What the disk gives, if nothing is in the page cache."""
        n_readable = sum(part.n_readable for part in self.parts)
        if self.disk_bytes_per_s is None or not self.n_bytes or not n_readable:
            return None
        return self.disk_bytes_per_s * n_readable / self.n_bytes

    @property
    def labeled(self) -> tuple[PartFacts, ...]:
        """The parts with labels."""
        return tuple(part for part in self.parts if part.class_counts is not None)


@dataclass(frozen=True, kw_only=True)
class FoldFacts:
    """One fold of a run."""

    number: int
    is_finished: bool
    epochs: tuple[EpochRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClassFacts:
    """The score of one class."""

    name: str
    support: int
    threshold: float
    """1 means never predicted."""

    f1: float


@dataclass(frozen=True, kw_only=True)
class ScoreFacts:
    """The scores of a run."""

    n_samples: int
    headline: float
    """Macro-F1 with thresholds that were fitted on other samples."""

    low: float | None = None
    high: float | None = None
    """Between which it lies with 95 %; None in scores of earlier versions."""

    in_sample: float
    no_skill_high: float | None = None
    """What 95 % of the scores without skill stay below."""

    folds: tuple[float, ...] = ()
    """The headline of each fold."""

    classes: tuple[ClassFacts, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run."""

    path: str
    error: str = ""
    """Why nothing else is known about it, in a sentence; empty if it could be read."""

    kind: str = "network"
    """``network``, ``baseline`` or ``ensemble``."""

    config: TrainConfig = DEFAULTS
    store: str = ""
    """Where it was trained from."""

    is_store_there: bool = True
    changed_parts: tuple[str, ...] = ()
    """Parts of the store that are not those that it was trained on."""

    image_pixels: int = 0
    """Of each channel of a sample of that store."""

    hpa_version: str = ""
    backend: str = ""
    device: str = ""
    """What it was trained on, in words; empty in runs of versions before 0.4.0."""

    command: str = ""
    """Which began it; empty if it was begun from Python."""

    recipe: str = ""
    """The file of its recipe; empty if it has none."""

    of_recipe: TrainConfig = DEFAULTS
    """The settings that this recipe alone makes."""

    weights: str = ""
    """What the training started from; empty for random weights."""

    is_finetuned: bool = False
    n_seen: int = 0
    """Validated samples that the models it started from were trained on."""

    searched: str = "near"
    """Which duplicates were looked for: ``near``, ``exact`` or ``nothing``."""

    folds: tuple[FoldFacts, ...] = ()
    scores: ScoreFacts | None = None
    has_report: bool = True
    n_compared: int = 0
    """Files that were compared with the seal."""

    n_not_compared: int = 0
    """Sealed files that were not, to keep this short."""

    is_sealed: bool = True
    damaged: tuple[str, ...] = ()
    """What is wrong with files, in sentences."""

    @property
    def is_finished(self) -> bool:
        """Whether all models are there, and scored if they have samples to be scored on."""
        return all(fold.is_finished for fold in self.folds) and (self.scores is not None or not self.config.folds)

    @property
    def images_per_s(self) -> float | None:
        """Median speed of training over all epochs but the first of each fold, which waits for compilation."""
        speeds = sorted(epoch.images_per_s for fold in self.folds for epoch in fold.epochs[1:])
        return speeds[len(speeds) // 2] if speeds else None
