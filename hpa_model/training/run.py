"""Opening a run for training: everything is checked, then its folder is created or opened, and locked."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError, Notice
from hpa_data.folds.options import DuplicateSearch
from hpa_data.folds.plan import FoldPlan, plan_training
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store
from hpa_data.system.atomic import write_atomic
from hpa_data.system.files import MAX_TABLE_BYTES
from hpa_data.system.outputs import check_output_folder
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.records import list_absent
from hpa_data.tables import encode_table, first_duplicate
from hpa_model.backend import check_devices, describe_device, list_overridden, make_deterministic, settle_keras
from hpa_model.baseline.settings import BaselineSettings, compare_settings
from hpa_model.config import DEFAULTS, TrainConfig, compare_environments, read_environment
from hpa_model.runs.folder import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    FOLDS_FILE,
    PROBS_FILE,
    RunDescription,
    fold_folder,
    read_run,
    refuse_damage,
)
from hpa_model.runs.hold import compare_backends, compare_parts, hold_folder, is_unused, list_longer, refuse_differences
from hpa_model.runs.membership import compare_members
from hpa_model.runs.origin import read_origin, read_versions
from hpa_model.runs.seal import read_file
from hpa_model.training.balance import check_mix, check_strata
from hpa_model.training.base import BaseRun
from hpa_model.training.data import summarize_data
from hpa_model.training.network import build_network
from hpa_model.training.pretrained import EncoderWeights, describe_seen_unlabeled
from hpa_model.training.start import Start
from hpa_model.training.weights import describe_seen


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run whose folder is locked, with the data that it is trained on."""

    folder: Path
    description: RunDescription
    plan: FoldPlan
    reader: Reader

    is_new: bool
    """Whether the folder was created, not opened to resume."""


def prepare_backend(config: TrainConfig) -> None:
    """Set up Keras, devices and determinism, before anything is computed; InputError if that is not possible."""
    settle_keras()
    check_devices(config.devices)
    if config.deterministic:
        make_deterministic()


@contextmanager
def open_run(
    store: Store,
    config: TrainConfig,
    out: Path,
    *,
    overwrite: bool,
    cache_bytes: int,
    base: BaseRun | None = None,
    weights: Start | None = None,
    baseline: BaselineSettings | None = None,
    allow_unlabeled: bool = False,
    progress: Progress = SILENT,
) -> Iterator[OpenRun]:
    """Check data, settings and folder of a run, then create its folder or open it to resume, and lock it.

    Raises
    ------
    InputError
        If the store or the settings cannot be used, or `out` is of another run; nothing is written then.
    """
    with store.reader(config.parts, cache_bytes=cache_bytes, channels=config.channels or None) as reader:
        description = replace(describe_run(store, config, reader), baseline=baseline)
        if base is not None:
            description = base.extend(description, store)
        elif weights is not None:
            description = weights.extend(description)
        elif baseline is None:
            build_network(description, fold=0)
        if not overwrite:
            description = _keep_older_settings(out, description)
        is_new = check_run_folder(out, description, overwrite=overwrite)
        check_output_folder(out)  # before every image is read to find duplicates
        before = base.description if base is not None else None if is_new else read_run(out)
        duplicates = config.duplicates if before is None else _repeat_search(before)
        check_mix(config, reader)
        plan = _plan(store, config, reader, duplicates, progress)
        check_strata(config, reader, plan)
        description = replace(description, leak_check=plan.leak_check if before is None else before.leak_check)
        if is_new and base is None and not allow_unlabeled:  # earlier versions trained on such parts
            summarize_data(store, config.parts).refuse_empty_parts()
        if base is not None:
            check_folds(base.folder, plan, reader)
        begun = None if is_new else read_run(out).environment
        for notice in [] if baseline is not None else list_surroundings(begun, description.environment):
            progress.note(str(notice))
        progress.note(description.known_leak_check.describe())
        if before is None and config.duplicates == "auto":
            for notice in plan.leak_check.list_notices():
                progress.note(str(notice))
        if weights is not None:
            description = _tell_start(weights, description, store, plan, reader, progress)
        elif base is not None:
            seen = base.description.n_seen, base.description.n_seen_unlabeled
            description = replace(description, n_seen=seen[0], n_seen_unlabeled=seen[1])
        with hold_run(out, description, overwrite=overwrite):
            if (out / FOLDS_FILE).exists():
                check_folds(out, plan, reader)
            write_atomic(out / FOLDS_FILE, _encode_folds(plan, reader))
            _record_length(out, config)
            yield OpenRun(folder=out, description=description, plan=plan, reader=reader, is_new=is_new)


def _tell_start(  # noqa: PLR0917 - one call, with names beside it
    weights: Start,
    description: RunDescription,
    store: Store,
    plan: FoldPlan,
    reader: Reader,
    progress: Progress,
) -> RunDescription:
    """Tell what a run starts from; record how many validated samples it was trained on, and tell of them, too."""
    for line in weights.describe(description):
        progress.note(line)
    seen = weights.find_seen(store, plan, reader)
    if seen:
        progress.note(str(describe_seen(seen, description.weights)))
    unlabeled = weights.find_seen_unlabeled(store, plan, reader) if isinstance(weights, EncoderWeights) else []
    if unlabeled:
        progress.note(str(describe_seen_unlabeled(unlabeled, description.weights)))
    return replace(description, n_seen=len(seen), n_seen_unlabeled=len(unlabeled))


def _plan(
    store: Store, config: TrainConfig, reader: Reader, duplicates: DuplicateSearch, progress: Progress
) -> FoldPlan:
    """Assign the samples to folds, whichever channels are trained on: duplicates are alike in all of them."""
    with store.reader(config.parts) if config.channels else nullcontext(reader) as whole:
        return plan_training(
            store,
            config.parts,
            whole,
            config.folds,
            method=config.fold_method,
            seed=config.seed,
            legacy_leak=config.legacy_leak,
            duplicates=duplicates,
            progress=progress,
        )


def list_surroundings(begun: dict[str, str] | None, wanted: dict[str, str] | None) -> list[Notice]:
    """Tell what of the user's surroundings is not used, and what differs from when a run was begun."""
    changed = compare_environments(begun, wanted or {})
    return list_overridden() + ([] if changed is None else [changed])


def _repeat_search(description: RunDescription) -> DuplicateSearch:
    """Return what to look for so that samples come into the folds that they are in."""
    check = description.known_leak_check
    if check.searched == "nothing":
        return "ignore"
    # Without the time that near duplicates take, if there were none.
    return check.searched if description.leak_check is None or check.n_groups else "exact"


def describe_run(store: Store, config: TrainConfig, reader: Reader) -> RunDescription:
    """Gather what `config.json` records."""
    manifests = {name: store.part(name).manifest for name in config.parts}
    first = manifests[config.parts[0]]
    imports = {name: manifest.import_settings for name, manifest in manifests.items()}
    location = store.location
    return RunDescription(
        config=config,
        store=str(location.absolute()) if isinstance(location, Path) else location,
        channels=reader.dataset.channel_names,
        classes=first.classes,
        image_shape=reader.image_shape,
        n_left_out=int((~is_readable(reader.status)).sum()),
        fingerprints={name: manifest.fingerprint for name, manifest in manifests.items()},
        versions=read_versions() | {"backend": str(keras.backend.backend())},
        dataset=reader.dataset,
        store_dataset=first.dataset if config.channels else None,
        origin=read_origin(describe_device(config.devices)),
        environment=read_environment(),
        imports={name: settings for name, settings in imports.items() if settings is not None},
    )


@contextmanager
def hold_run(out: Path, description: RunDescription, *, overwrite: bool) -> Iterator[None]:
    """Create a run folder, or open one to resume, and lock it against other writers."""
    with hold_folder(
        out,
        what="run",
        description_file=CONFIG_FILE,
        must_create=lambda: check_run_folder(out, description, overwrite=overwrite),
        write=lambda: description.write(out),
    ):
        yield


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
    refuse_differences(out, _compare(existing, same_length))
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


def _record_length(out: Path, config: TrainConfig) -> None:
    """Record that a run is trained for longer than before, if it is."""
    existing = read_run(out)
    longer = replace(existing.config, epochs=config.epochs, stop_epochs=config.stop_epochs)
    if existing.config != longer:
        replace(existing, config=longer).write(out)


def _keep_older_settings(out: Path, wanted: RunDescription) -> RunDescription:
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
    no_effect = set()
    if existing.config.legacy_leak and wanted.config.legacy_leak:  # then all settings give contiguous folds
        no_effect = {"fold_method", "duplicates"}
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


def check_folds(run: Path, plan: FoldPlan, reader: Reader) -> None:
    """Refuse a run whose validation folds differ from a plan: a model would be scored on what it was trained on."""
    path = run / FOLDS_FILE
    with refuse_damage(path, "Train again."):
        recorded = read_file(path, max_bytes=MAX_TABLE_BYTES)
    if recorded != _encode_folds(plan, reader):
        raise InputError(
            f"Cannot use run {run}: samples of the store are in other folds now than in {FOLDS_FILE}, because one "
            "failed or was repaired since. Train into another folder, or pass --overwrite."
        )


def name_parts(plan: FoldPlan, reader: Reader) -> list[str] | None:
    """Return the part of each sample that is in a fold; None if their ids alone tell them apart.

    Files of a run name parts only where they are needed, so that those of earlier versions stay as they are.
    """
    validated = np.flatnonzero(plan.folds >= 0).tolist()
    if first_duplicate(reader.ids[index] for index in validated) is None:
        return None
    return [reader.parts[index] for index in validated]


def _encode_folds(plan: FoldPlan, reader: Reader) -> bytes:
    """Encode the validation fold of each sample as a CSV table."""
    validated = np.flatnonzero(plan.folds >= 0).tolist()
    columns = {"id": [reader.ids[index] for index in validated], "fold": plan.folds[validated].tolist()}
    parts = name_parts(plan, reader)
    if parts is not None:
        columns["part"] = parts
    return encode_table(list(columns), zip(*columns.values(), strict=True))
