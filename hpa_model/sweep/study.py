"""The study of a search: what is searched, and its trials; one file, which several processes may change.

Optuna's own files are not used. A process that is killed while it appends to a journal leaves half a line, and nothing
that is appended later can be read; a database would hold the same facts twice, here and in the folders of the trials.
So Optuna chooses settings in memory, from the trials of this file, which is replaced as a whole.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hpa_data.errors import InputError, first_line
from hpa_data.folds.options import DuplicateSearch
from hpa_data.system.atomic import remove_abandoned, write_atomic
from hpa_data.system.files import read_text, refuse_linked_folders, refuse_unreadable
from hpa_data.system.lock import LockedError, hold_store
from hpa_data.system.outputs import check_output_folder
from hpa_data.system.records import decode_record, encode_record
from hpa_model.config import merge_settings
from hpa_model.runs.hold import compare_backends, compare_parts, is_unused
from hpa_model.sweep.options import MINIMIZED, Method, Metric, Prune
from hpa_model.sweep.space import Varied, nest_settings

STUDY_FILE = "study.json"
TRIAL_FILE = "trial.json"
BEST_RECIPE = "best.toml"
_TRIALS = "trials"

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

    def merge_settings(self, trial: Trial) -> dict[str, Any]:
        """Return the settings of a trial, as a recipe has them."""
        return merge_settings(self.settings | {"duplicates": self.duplicates}, nest_settings(trial.settings))

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
    return out / _TRIALS / _name(number)


def _name(number: int) -> str:
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


def _write_study(out: Path, study: Study) -> None:
    raw = encode_record(study)
    write_atomic(out / STUDY_FILE, (json.dumps({"study": raw, "sha256": _hash(raw)}, indent=2) + "\n").encode())


def _hash(raw: Any) -> str:
    return hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()


def open_study(out: Path, wanted: Study, *, retries_failed: bool = False, given_up: Sequence[int] = ()) -> Study:
    """Begin a study, or join one that was begun with the same settings.

    Parameters
    ----------
    out : Path
        The folder to make, or that of the study.
    wanted : Study
        Without trials.
    retries_failed : bool
        Whether trials that failed run again.
    given_up : sequence of int
        Trials that are not resumed, such as one that takes all memory, so that the system kills its process each time.

    Raises
    ------
    InputError
        If the folder is of something else, or of a study that differs, or a trial cannot be given up; nothing is
        written then.
    """
    check_output_folder(out)
    with _hold_study(out):
        if not (out / STUDY_FILE).exists():
            if not is_unused(out):
                raise InputError(
                    f"Cannot write a sweep into {out}: it has no {STUDY_FILE}, so it is of something else. Name a new "
                    "folder."
                )
            study = wanted
        else:
            study = read_study(out)
            _refuse_differences(out, study, wanted)
            study = replace(study, n_trials=wanted.n_trials)
            if retries_failed:
                again = [replace(t, state="running", reason="") if t.state == "failed" else t for t in study.trials]
                study = replace(study, trials=tuple(again))
        study = _give_up(out, study, given_up)
        refuse_linked_folders(out)
        remove_abandoned(out)
        _write_study(out, study)
        (out / _TRIALS).mkdir(exist_ok=True)
    return study


def _give_up(out: Path, study: Study, numbers: Sequence[int]) -> Study:
    """Let trials fail that were begun and that nobody works on."""
    trials = list(study.trials)
    for number in numbers:
        if not 0 <= number < len(trials) or trials[number].state != "running":
            state = trials[number].state if 0 <= number < len(trials) else "not begun"
            raise InputError(
                f"give-up must be a trial that was begun and has not ended. Received: {number}, which is {state}. `hpa "
                f"sweep {out}` lists the trials."
            )
        with contextlib.ExitStack() as held:
            if not _claim(out, number, held):
                raise InputError(
                    f"Cannot give up trial {number}: another process works on it. Stop that process first."
                )
        trials[number] = replace(trials[number], state="failed", reason="It was given up, by --give-up.")
    return replace(study, trials=tuple(trials))


@contextlib.contextmanager
def _hold_study(out: Path) -> Iterator[None]:
    """Lock a study for a change that takes a moment; other processes wait for it."""
    with hold_store(out, what="sweep", wait_s=math.inf):
        yield


def _refuse_differences(out: Path, study: Study, wanted: Study) -> None:
    differences = []
    for name in sorted(study.settings.keys() | wanted.settings.keys()):
        there, here = (each.settings.get(name, "the default") for each in (study, wanted))
        if there != here:
            differences.append(f"{name} ({there} there, {here} here)")
    spaces = [{varied.name: varied.describe() for varied in each.space} for each in (study, wanted)]
    for name in sorted(spaces[0].keys() | spaces[1].keys()):
        there, here = (space.get(name, f"no {name}") for space in spaces)
        if there != here:
            differences.append(f"--vary ({there} there, {here} here)")
    for name in ("metric", "method", "seed", "prune", "weights"):
        there, here = (str(getattr(each, name)) or "none" for each in (study, wanted))
        if there != here:
            differences.append(f"--{name} ({there} there, {here} here)")
    differences += compare_parts(study.fingerprints, wanted.fingerprints)
    differences += compare_backends(study.versions, wanted.versions)
    if differences:
        raise InputError(
            f"Cannot go on with the sweep {out}: it differs in {', '.join(differences)}. Use the same settings, or "
            "name another folder."
        )


def take_trial(
    out: Path, held: contextlib.ExitStack, choose: Callable[[Study], dict[str, Any]]
) -> tuple[Study, Trial] | None:
    """Take a trial that no living process works on, or add one; None if none is left to take.

    Parameters
    ----------
    out : Path
        The folder of the study.
    held : ExitStack
        Holds the claim on the trial, which ends with the process even if that is killed.
    choose : function of Study
        Returns the settings of a further trial.
    """
    with _hold_study(out):
        study = read_study(out)
        for trial in study.trials:
            if trial.state == "running" and _claim(out, trial.number, held):
                return study, trial
        number = len(study.trials)
        if number >= study.n_trials:
            return None
        trial = Trial(number=number, settings=choose(study))
        if not _claim(out, number, held):
            raise InputError(
                f"Cannot begin trial {number} of {out}: another process works on it, but {STUDY_FILE} lacks it. Stop "
                "that process; the file was replaced by an older copy."
            )
        study = replace(study, trials=(*study.trials, trial))
        _write_study(out, study)
        return study, trial


def _claim(out: Path, number: int, held: contextlib.ExitStack) -> bool:
    """Claim a trial until `held` ends; false if a living process has claimed it."""
    try:
        held.enter_context(hold_store(out / _TRIALS, what="trial", name=f".{_name(number)}.lock"))
    except LockedError:
        return False
    return True


def record_trial(out: Path, trial: Trial) -> Study:
    """Write how a trial ended, into the study and into its folder; return the study."""
    folder = trial_folder(out, trial.number)
    if folder.is_dir():
        write_atomic(folder / TRIAL_FILE, (json.dumps(asdict(trial), indent=2) + "\n").encode())
    with _hold_study(out):
        study = read_study(out)
        trials = list(study.trials)
        trials[trial.number] = trial
        study = replace(study, trials=tuple(trials))
        _write_study(out, study)
    return study
