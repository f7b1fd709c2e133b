"""The folder of a pre-training: the names of its files, its description, and how they are read."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hpa_data.dataset import Dataset
from hpa_data.errors import InputError
from hpa_data.system.atomic import write_atomic
from hpa_data.system.files import MAX_TEXT_BYTES
from hpa_data.system.records import decode_record, encode_record
from hpa_data.tables import encode_table
from hpa_model.config import TrainConfig
from hpa_model.config.pretraining import PretrainSettings
from hpa_model.runs.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    HISTORY_FILE,
    LAST_FILE,
    PRETRAINING_FILE,
    read_table,
    refuse_damage,
)
from hpa_model.runs.history import read_reconstruction_epochs
from hpa_model.runs.origin import Origin
from hpa_model.runs.seal import read_file, unseal_files

DESCRIPTION_FILE = PRETRAINING_FILE
SAMPLES_FILE = "samples.csv"
ENCODER_FILE = "encoder.keras"
# Pictures for people; not sealed.
LOSS_FIGURE, RECONSTRUCTIONS_FIGURE = "loss.png", "reconstructions.png"

# Those of a training, in the order in which they are made; the encoder is last, and shows that all is finished.
TRAINED_FILES = (HISTORY_FILE, LAST_FILE, BEST_FILE, CHECKPOINT_FILE, ENCODER_FILE)
SEALED_FILES = (DESCRIPTION_FILE, SAMPLES_FILE, *TRAINED_FILES)
TRAINING, VALIDATION = "training", "validation"
REMEDY = "Put it back from a copy, or run `hpa pretrain` again with --overwrite."


@dataclass(frozen=True, kw_only=True)
class PretrainDescription:
    """What `pretraining.json` records, under the names of the fields."""

    config: TrainConfig
    """Settings that a training has, too; those that pre-training does without have their defaults."""

    settings: PretrainSettings

    store: str
    """The path or URL of the store."""

    dataset: Dataset
    """Channels and image size of the images that are trained on; the classes are not used."""

    n_left_out: int
    """Samples of the parts that could not be converted, and so were not used."""

    fingerprints: dict[str, str]
    """The fingerprint of each part, by its name."""

    versions: dict[str, str]
    """Versions of the packages that wrote it, and Keras's backend."""

    imports: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How the files of each part were read, by its name, as in its manifest. Parts of augmented copies have none."""

    origin: Origin | None = None
    """When, where and how it was begun. Says nothing about the results."""

    environment: dict[str, str] | None = None
    """Variables that may change the numbers, as they were when it was begun."""

    def __post_init__(self) -> None:
        """Check that the values fit together; ValueError if they do not."""
        if set(self.fingerprints) != set(self.config.parts):
            raise ValueError(f"fingerprints must be of the parts. Received: {', '.join(self.fingerprints)}")

    def write(self, folder: Path) -> None:
        """Write the description into the folder of a pre-training."""
        unseal_files(folder, [DESCRIPTION_FILE])
        write_atomic(folder / DESCRIPTION_FILE, (json.dumps(encode_record(self), indent=2) + "\n").encode())


@dataclass(frozen=True, kw_only=True)
class UsedSample:
    """A sample of a pre-training."""

    part: str
    id: str

    use: str
    """``training`` or ``validation``."""


def is_pretraining(folder: Path) -> bool:
    """Tell whether a folder is that of a pre-training, by its description."""
    return (folder / DESCRIPTION_FILE).is_file()


def read_pretraining(folder: Path, *, compares_seal: bool = True) -> PretrainDescription:
    """Read the description of a pre-training; InputError if the folder is not one, or its description is damaged."""
    path = folder / DESCRIPTION_FILE
    with refuse_damage(path, REMEDY):
        try:
            raw = json.loads(read_file(path, max_bytes=MAX_TEXT_BYTES, compares_seal=compares_seal))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                f"Cannot read pre-training {folder}: it has no {DESCRIPTION_FILE}. Pass a folder that `hpa pretrain` "
                "wrote."
            ) from error
        versions = raw.get("versions") if isinstance(raw, dict) else None
        version = str(versions.get("hpa", "")) if isinstance(versions, dict) else ""
    return decode_record(PretrainDescription, raw, name=str(path), version=version, remedy=REMEDY)


def encode_samples(samples: list[UsedSample]) -> bytes:
    """Encode the samples of a pre-training as a CSV table."""
    return encode_table(("part", "id", "use"), [(each.part, each.id, each.use) for each in samples])


def read_samples(folder: Path, *, compares_seal: bool = True) -> list[UsedSample]:
    """Read the samples of a pre-training; InputError if the table is damaged."""
    path = folder / SAMPLES_FILE
    with refuse_damage(path, REMEDY):
        rows = read_table(path, ("part", "id", "use"), compares_seal=compares_seal)
        samples = [UsedSample(part=row["part"], id=row["id"], use=row["use"]) for row in rows]
        if {each.use for each in samples} - {TRAINING, VALIDATION}:
            raise ValueError(f"a use is neither {TRAINING} nor {VALIDATION}")
        return samples


def list_pretraining_readers(folder: Path) -> dict[str, Callable[[], object]]:
    """List what reads each file of a pre-training that is sealed; see `readers.list_readers`."""

    def read_model(name: str) -> None:
        from hpa_model.runs.models import load_model

        load_model(folder / name, compares_seal=False)

    def read_checkpoint() -> None:
        from hpa_model.runs import checkpoint

        checkpoint.read_checkpoint(folder / CHECKPOINT_FILE, compares_seal=False)

    return {
        DESCRIPTION_FILE: lambda: read_pretraining(folder, compares_seal=False),
        SAMPLES_FILE: lambda: read_samples(folder, compares_seal=False),
        HISTORY_FILE: lambda: read_reconstruction_epochs(folder, compares_seal=False),
        CHECKPOINT_FILE: read_checkpoint,
        **{name: partial(read_model, name) for name in (BEST_FILE, LAST_FILE, ENCODER_FILE)},
    }
