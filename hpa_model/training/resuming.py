"""Whether a run folder is created or resumed: what may differ from the run that is there, and what may not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.folds.options import DuplicateSearch
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.records import list_absent
from hpa_model.baseline.settings import compare_settings
from hpa_model.config import DEFAULTS, TrainConfig, list_unused
from hpa_model.runs.folder import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    PROBS_FILE,
    RunDescription,
    fold_folder,
    read_run,
)
from hpa_model.runs.hold import (
    BEGIN_S,
    compare_backends,
    compare_parts,
    hold_folder,
    is_unused,
    list_holders,
    list_longer,
    refuse_differences,
    refuse_trained,
)
from hpa_model.runs.membership import compare_members


@contextmanager
def hold_run(out: Path, description: RunDescription, *, overwrite: bool, progress: Progress = SILENT) -> Iterator[bool]:
    """Create a run folder, or open one to resume, and lock it; yield whether it was created."""
    is_whole = description.baseline is not None or description.ensemble is not None  # the lock is held for long
    with hold_folder(
        out,
        what="run",
        description_file=CONFIG_FILE,
        must_create=lambda: check_run_folder(out, description, overwrite=overwrite),
        write=lambda: description.write(out),
        wait_s=0.0 if is_whole else BEGIN_S,
        progress=progress,
    ) as is_new:
        yield is_new


def check_run_folder(out: Path, description: RunDescription, *, overwrite: bool) -> bool:
    """Return whether a run folder has to be created; false to resume it. InputError if it is of another run."""
    if is_unused(out):
        return True
    if not (out / CONFIG_FILE).exists():
        raise InputError(
            f"Cannot write a run into {out}: it has no {CONFIG_FILE}, so it is of something else. Name a new folder."
        )
    existing = read_run(out, compares_seal=not overwrite)
    if overwrite:
        return True
    longer = list_longer(existing.config, description.config)
    same_length = replace(description, config=replace(description.config, **longer))
    _refuse_longer_cosine(out, existing, same_length)
    if _compare(existing, same_length):
        refuse_differences(out, _compare(existing, description))
    if longer:
        _check_checkpoints(out, description)
    return False


def _refuse_longer_cosine(out: Path, existing: RunDescription, wanted: RunDescription) -> None:
    """Refuse more epochs of a training whose learning rates were spread over fewer: InputError."""
    epochs = existing.config.epochs
    more = wanted.config.epochs - epochs
    if more > 0 and not _compare(existing, replace(wanted, config=replace(wanted.config, epochs=epochs))):
        raise InputError(
            f"Cannot train {out} for more epochs: with schedule=cosine, the learning rate of each epoch depends on how "
            f"many there are, and in the last one it is near 0. To train {more} more with a cosine of their own, start "
            f"another run from its models: --weights {out} --epochs {more}; or pass --overwrite to train "
            f"{wanted.config.epochs} from the start."
        )


def _check_checkpoints(out: Path, description: RunDescription) -> None:
    """Check that all finished folds of a run can be trained for more epochs: InputError if one cannot."""
    for number in description.trained_folds:
        folder = fold_folder(out, number)
        if (folder / PROBS_FILE).exists() and not (folder / CHECKPOINT_FILE).exists():
            raise InputError(
                f"Cannot train {out} for more epochs: fold {number} has no {CHECKPOINT_FILE}; versions before 0.4.0 "
                f"removed it from a finished fold. Pass --overwrite to train {description.config.epochs} epochs from "
                f"the start, or start another run from its models: --weights {out}."
            )


def record_length(out: Path, config: TrainConfig) -> None:
    """Record that a run is trained for longer than before, if it is."""
    existing = read_run(out)
    longer = replace(existing.config, epochs=config.epochs, stop_epochs=config.stop_epochs)
    if existing.config != longer:
        refuse_trained(out, list_holders(out), " for longer")
        replace(existing, config=longer).write(out)


def keep_older_settings(out: Path, wanted: RunDescription) -> RunDescription:
    """Let a run that an earlier version began go on as it did where this version has a setting that it lacked.

    Only a setting that `wanted` leaves at its default: another value is a difference that is refused.
    """
    if not (out / CONFIG_FILE).exists():
        return wanted
    existing = read_run(out).config
    kept = {
        name: value
        for name, value in list_absent(TrainConfig).items()
        if getattr(existing, name) == value and getattr(wanted.config, name) == getattr(DEFAULTS, name)
    }
    return replace(wanted, config=replace(wanted.config, **kept))


def _compare(existing: RunDescription, wanted: RunDescription) -> list[str]:
    """List the differences between two runs that would change the weights; settings of later steps do not."""
    kinds = [(run.baseline is None, run.ensemble is None) for run in (existing, wanted)]
    if kinds[0] != kinds[1]:  # nearly all differs then
        return [f"model ({existing.config.model} there, {wanted.config.model} here)"]
    differences = compare_settings(existing.baseline, wanted.baseline)
    differences += compare_members(existing.ensemble, wanted.ensemble)
    no_effect = list_unused(existing.config).keys() & list_unused(wanted.config).keys()
    if existing.ensemble is not None:  # they follow from its members
        no_effect |= {"channels", "batch_size", "keep"}
    for name in TrainConfig.__dataclass_fields__:
        old, new = getattr(existing.config, name), getattr(wanted.config, name)
        if name.startswith("finetune_") or name in no_effect:
            continue
        if old != new:
            differences.append(f"{name} ({old} there, {new} here)")
    differences += compare_parts(existing.fingerprints, wanted.fingerprints)
    if existing.base_models != wanted.base_models:
        differences.append("the models to fine-tune (they were trained again, or are of another run)")
    if existing.weights_models != wanted.weights_models:
        there, here = (f"of {run.weights}" if run.weights else "none" for run in (existing, wanted))
        differences.append(f"the weights to start from ({there} there, {here} here)")
    if existing.finetuned_folds != wanted.finetuned_folds:
        differences.append(f"finetuned_folds ({existing.finetuned_folds} there, {wanted.finetuned_folds} here)")
    return differences + ([] if wanted.baseline else compare_backends(existing.versions, wanted.versions))


def repeat_search(description: RunDescription) -> DuplicateSearch:
    """Return what to look for so that samples come into the folds that they are in."""
    check = description.known_leak_check
    if check.searched == "nothing":
        return "ignore"
    # Without the time that near duplicates take, if there were none.
    return check.searched if description.leak_check is None or check.n_groups else "exact"
