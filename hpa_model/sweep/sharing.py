"""How several processes share a study: it is begun or joined, and its trials are taken and recorded, under its lock."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError
from hpa_data.system.atomic import remove_abandoned, write_atomic
from hpa_data.system.files import refuse_linked_folders
from hpa_data.system.lock import LockedError, hold_store
from hpa_data.system.outputs import check_output_folder
from hpa_model.runs.folder import STUDY_FILE, TRIALS_FOLDER
from hpa_model.runs.hold import compare_backends, compare_parts, is_unused
from hpa_model.sweep.study import (
    TRIAL_FILE,
    Study,
    Trial,
    name_trial,
    read_study,
    trial_folder,
    write_study,
)


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
        write_study(out, study)
        (out / TRIALS_FOLDER).mkdir(exist_ok=True)
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
        write_study(out, study)
        return study, trial


def _claim(out: Path, number: int, held: contextlib.ExitStack) -> bool:
    """Claim a trial until `held` ends; false if a living process has claimed it."""
    try:
        held.enter_context(hold_store(out / TRIALS_FOLDER, what="trial", name=f".{name_trial(number)}.lock"))
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
        write_study(out, study)
    return study
