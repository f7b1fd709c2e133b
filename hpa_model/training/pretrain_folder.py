"""Opening the folder of a pre-training: everything is checked, then it is created or opened to resume, and locked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store
from hpa_data.system.atomic import write_atomic
from hpa_data.system.files import MAX_TABLE_BYTES
from hpa_data.system.outputs import check_output_folder
from hpa_data.system.progress import Progress
from hpa_model import nets
from hpa_model.backend import describe_device
from hpa_model.config import DEFAULTS, TrainConfig, list_unused, read_environment
from hpa_model.config.pretraining import UNUSED_SETTINGS, PretrainSettings
from hpa_model.nets.autoencoder import build_autoencoder, find_encoder
from hpa_model.runs.folder import CONFIG_FILE, refuse_damage
from hpa_model.runs.hold import (
    compare_backends,
    compare_parts,
    hold_folder,
    is_unused,
    list_longer,
    refuse_differences,
)
from hpa_model.runs.origin import read_origin, read_versions
from hpa_model.runs.pretraining import (
    DESCRIPTION_FILE,
    REMEDY,
    SAMPLES_FILE,
    TRAINING,
    VALIDATION,
    PretrainDescription,
    UsedSample,
    encode_samples,
    is_pretraining,
    read_pretraining,
)
from hpa_model.runs.seal import read_file
from hpa_model.training.network import seed_fold
from hpa_model.training.pretrain_data import Indices, open_unlabeled, split_samples
from hpa_model.training.run import list_surroundings


@dataclass(frozen=True, kw_only=True)
class OpenPretraining:
    """A pre-training whose folder is locked, with the images that it is trained on."""

    folder: Path
    description: PretrainDescription

    reader: Reader
    """Shows no labels."""

    training: Indices
    validation: Indices

    is_new: bool
    """Whether the folder was created, not opened to resume."""


@contextmanager
def open_pretraining(
    store: Store,
    config: TrainConfig,
    settings: PretrainSettings,
    out: Path,
    *,
    overwrite: bool,
    cache_bytes: int,
    progress: Progress,
) -> Iterator[OpenPretraining]:
    """Check images, settings and folder of a pre-training, then create its folder or open it to resume, and lock it.

    Raises
    ------
    InputError
        If the store or the settings cannot be used, or `out` is of something else; nothing is written then.
    """
    config = replace(config, **{name: getattr(DEFAULTS, name) for name in UNUSED_SETTINGS})
    if config.keep == "highest_macro_f1":  # in a recipe that is meant for training, too
        config = replace(config, keep=DEFAULTS.keep)
    with open_unlabeled(store, config, cache_bytes=cache_bytes) as reader:
        description = describe_pretraining(store, config, settings, reader)
        build_untrained(description)
        is_new = check_folder(out, description, overwrite=overwrite)
        check_output_folder(out)
        training, validation = split_samples(
            store, config.parts, reader, share=settings.validation_share, seed=config.seed
        )
        begun = None if is_new else read_pretraining(out).environment
        for notice in list_surroundings(begun, description.environment):
            progress.note(str(notice))
        samples = encode_samples(
            [
                UsedSample(part=reader.parts[index], id=reader.ids[index], use=use)
                for use, indices in ((TRAINING, training), (VALIDATION, validation))
                for index in indices.tolist()
            ]
        )
        with hold_folder(
            out,
            what="pre-training",
            description_file=DESCRIPTION_FILE,
            must_create=lambda: check_folder(out, description, overwrite=overwrite),
            write=lambda: description.write(out),
        ):
            if (out / SAMPLES_FILE).exists():
                _check_samples(out, samples)
            write_atomic(out / SAMPLES_FILE, samples)
            _record_length(out, config)
            yield OpenPretraining(
                folder=out,
                description=description,
                reader=reader,
                training=training,
                validation=validation,
                is_new=is_new,
            )


def describe_pretraining(
    store: Store, config: TrainConfig, settings: PretrainSettings, reader: Reader
) -> PretrainDescription:
    """Gather what `pretraining.json` records."""
    manifests = {name: store.part(name).manifest for name in config.parts}
    imports = {name: manifest.import_settings for name, manifest in manifests.items()}
    location = store.location
    return PretrainDescription(
        config=config,
        settings=settings,
        store=str(location.absolute()) if isinstance(location, Path) else location,
        dataset=reader.dataset,
        n_left_out=int((~is_readable(reader.status)).sum()),
        fingerprints={name: manifest.fingerprint for name, manifest in manifests.items()},
        versions=read_versions() | {"backend": str(keras.backend.backend())},
        origin=read_origin(describe_device(config.devices)),
        environment=read_environment(),
        imports={name: found for name, found in imports.items() if found is not None},
    )


def build_network(description: PretrainDescription) -> keras.Model:
    """Build the network whose encoder is trained, with a head of one class; its weights are a function of the seed."""
    config = description.config
    seed_fold(config, 0)
    return nets.build(
        config.model,
        description.dataset.image_shape,
        1,
        image_size=config.image_size or None,
        bn_momentum=config.bn_momentum,
        precision=config.precision,
        options=config.options,
    )


def build_untrained(description: PretrainDescription) -> keras.Model:
    """Build the autoencoder of a pre-training; InputError if the network has no encoder, or cannot take the images."""
    settings, end = description.settings, find_encoder(description.config.model)
    return build_autoencoder(
        build_network(description), end, mask=settings.mask, patch=settings.mask_patch, noise=settings.noise
    )


def check_folder(out: Path, description: PretrainDescription, *, overwrite: bool) -> bool:
    """Return whether the folder of a pre-training has to be created; false to resume it.

    Raises
    ------
    InputError
        If it is of something else, or of a pre-training with other settings.
    """
    if is_unused(out):
        return True
    if (out / CONFIG_FILE).exists():
        raise InputError(f"Cannot pre-train into {out}: it is a run of `hpa train`. Name another folder.")
    if not is_pretraining(out):
        raise InputError(
            f"Cannot pre-train into {out}: it has no {DESCRIPTION_FILE}, so it is of something else. Name a new folder."
        )
    existing = read_pretraining(out, compares_seal=not overwrite)
    if overwrite:
        return True
    refuse_differences(out, _compare(existing, description))
    return False


def _compare(existing: PretrainDescription, wanted: PretrainDescription) -> list[str]:
    """List the differences between two pre-trainings that would change the weights."""
    differences = []
    same = set(list_longer(existing.config, wanted.config))
    same |= list_unused(existing.config).keys() & list_unused(wanted.config).keys()
    for old, new in ((existing.config, wanted.config), (existing.settings, wanted.settings)):
        for name, value in asdict(old).items():
            other = getattr(new, name)
            if value != other and name not in same:
                differences.append(f"{name} ({value} there, {other} here)")
    differences += compare_parts(existing.fingerprints, wanted.fingerprints)
    return differences + compare_backends(existing.versions, wanted.versions)


def _check_samples(out: Path, samples: bytes) -> None:
    """Refuse to go on with other samples than those that were trained on."""
    path = out / SAMPLES_FILE
    with refuse_damage(path, REMEDY):
        recorded = read_file(path, max_bytes=MAX_TABLE_BYTES)
    if recorded != samples:
        raise InputError(
            f"Cannot resume {out}: the samples of the store differ from those in {SAMPLES_FILE}, because one failed or "
            "was repaired since. Name another folder, or pass --overwrite."
        )


def _record_length(out: Path, config: TrainConfig) -> None:
    """Record that an autoencoder is trained for longer than before, if it is."""
    existing = read_pretraining(out)
    longer = replace(existing.config, epochs=config.epochs, stop_epochs=config.stop_epochs)
    if existing.config != longer:
        replace(existing, config=longer).write(out)
