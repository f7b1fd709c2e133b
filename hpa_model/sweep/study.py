"""The study of a search: what is searched, and its trials; one file, which several processes may change.

Optuna's own files are not used. A process that is killed while it appends to a journal leaves half a line, and nothing
that is appended later can be read; a database would hold the same facts twice, here and in the folders of the trials.
So Optuna chooses settings in memory, from the trials of this file, which is replaced as a whole.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpa_data.errors import InputError, first_line
from hpa_data.folds.options import DuplicateSearch
from hpa_data.system.atomic import write_atomic
from hpa_data.system.files import read_text, refuse_unreadable
from hpa_data.system.records import decode_record, encode_record
from hpa_model.runs.folder import STUDY_FILE, TRIALS_FOLDER
from hpa_model.sweep.options import MINIMIZED, Method, Metric, Prune
from hpa_model.sweep.space import Varied, merge_varied

TRIAL_FILE = "trial.json"
BEST_RECIPE = "best.toml"

State = Literal["running", "finished", "pruned", "failed"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a search, and `trial.json` in its folder."""

    number: int
    """From 0."""

    settings: dict[str, Any]
    """Values of what is varied, as JSON, by its name."""

    state: State = "running"
    """A trial is running, too, if the process that ran it was stopped."""

    score: float | None = None
    """The metric. Of a pruned trial, what it was when it ended."""

    no_skill: float | None = None
    """The upper end of the band that holds 95 % of such scores without skill, mean over the folds; None if unknown."""

    epochs: int = 0
    """Of all folds together."""

    seconds: float = 0.0
    """Of these epochs, with validation."""

    reason: str = ""
    """Why it failed, or was pruned."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is searched, and the trials so far."""

    settings: dict[str, Any]
    """Those that all trials have in common and that differ from the defaults, as JSON."""

    space: tuple[Varied, ...]
    metric: Metric
    method: Method
    seed: int
    """Of the search; that of the trainings is one of the settings."""

    prune: Prune
    n_trials: int
    """How many there are to be, by the last command."""

    duplicates: DuplicateSearch
    """Duplicates that are looked for in all trials. What the setting ``auto`` means is decided once, as it depends on
    the time that a search takes: with other folds, scores could not be compared."""

    weights: str
    """What each training starts from, see `training.train`; empty for random weights."""

    store: str
    """Where the store was, by the first command."""

    fingerprints: dict[str, str]
    """The fingerprint of each part, by its name."""

    versions: dict[str, str]
    """Of the packages that began it, and Keras's backend."""

    trials: tuple[Trial, ...] = field(default=())
    """By number."""

    def __post_init__(self) -> None:
        """Check that the trials are of this study; ValueError if not."""
        names = {varied.name for varied in self.space}
        if not self.space or [trial.number for trial in self.trials] != list(range(len(self.trials))):
            raise ValueError("something must be varied, and trials must be numbered from 0")
        for trial in self.trials:
            if trial.settings.keys() != names:
                raise ValueError(f"trial {trial.number} must have {', '.join(names)}")
            if not math.isfinite(trial.score or 0) or (trial.state == "finished" and trial.score is None):
                raise ValueError(f"trial {trial.number} must have a score. Received: {trial.score}")

    def merge_settings(self, trial: Trial) -> dict[str, Any]:
        """Return the settings of a trial, as a recipe has them."""
        return merge_varied(self.settings | {"duplicates": self.duplicates}, trial.settings)

    @property
    def minimizes(self) -> bool:
        """Whether the lowest score is the best."""
        return self.metric in MINIMIZED

    @property
    def best(self) -> Trial | None:
        """The finished trial with the best score, the first of equal ones; None if there is none yet."""
        return min(self.list_finished(), key=self.rank, default=None)

    def list_finished(self) -> list[Trial]:
        """List the trials that were trained to their end, by number."""
        return [trial for trial in self.trials if trial.state == "finished"]

    def rank(self, trial: Trial) -> float:
        """Return a number that is lower for a better trial."""
        score = trial.score if trial.score is not None else float("-inf" if not self.minimizes else "inf")
        return score if self.minimizes else -score


def trial_folder(out: Path, number: int) -> Path:
    """Return the run folder of a trial."""
    return out / TRIALS_FOLDER / name_trial(number)


def name_trial(number: int) -> str:
    """Return the name of the folder of a trial."""
    return f"{number:03}"


def is_sweep(path: Path) -> bool:
    """Tell whether a folder is that of a search."""
    return (path / STUDY_FILE).is_file()


def read_study(out: Path) -> Study:
    """Read a study; InputError if the folder has none, or it is damaged."""
    path = out / STUDY_FILE
    remedy = "Put it back from a copy, or name another folder."
    try:
        raw = json.loads(read_text(path))
        if raw["sha256"] != _hash(raw["study"]):
            raise ValueError("it is not as it was written")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"Cannot read sweep {out}: it has no {STUDY_FILE}. Pass a folder that `hpa sweep` wrote."
        ) from error
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        refuse_unreadable(error, path)
        raise InputError(f"Cannot read {path}: {first_line(error)}. {remedy}") from error
    version = raw["study"].get("versions", {}).get("hpa", "") if isinstance(raw["study"], dict) else ""
    return decode_record(Study, raw["study"], name=str(path), version=str(version), remedy=remedy)


def write_study(out: Path, study: Study) -> None:
    """Write a study; only who holds its lock may call it."""
    raw = encode_record(study)
    write_atomic(out / STUDY_FILE, (json.dumps({"study": raw, "sha256": _hash(raw)}, indent=2) + "\n").encode())


def _hash(raw: Any) -> str:
    return hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()
