"""Pre-training: what an autoencoder is trained on, how it resumes, what it leaves, and what it refuses."""

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_data.augment.execute import augment_store, plan_augmentation
from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import Progress
from hpa_model.config import Precision, TrainConfig
from hpa_model.config.pretraining import PretrainSettings
from hpa_model.runs.check import verify_run
from hpa_model.runs.folder import RunDescription, read_folds, read_run
from hpa_model.runs.history import read_reconstruction_epochs
from hpa_model.runs.models import load_model
from hpa_model.runs.pretraining import read_pretraining, read_samples
from hpa_model.runs.seal import hash_file
from hpa_model.training.network import build_network
from hpa_model.training.pretrain import pretrain
from hpa_model.training.pretrain_data import open_unlabeled, split_samples
from hpa_model.training.pretrained import open_encoder
from hpa_model.training.run import check_run_folder, describe_run
from tests.builders import Hpa, assert_refused, build_store, unseal_run
from tests.model.stopping import Killed, stop_at

TINY = Dataset(name="tiny", channels=HPA_2018.channels[:2], classes=("a", "b"), height=16, width=16)
PARTS = ("train", "external")
CONFIG = TrainConfig(
    model="gapnet-pl",
    parts=PARTS,
    epochs=2,
    batch_size=4,
    bn_momentum=0.5,
    learning_rate=3e-3,
    symmetries=True,
    deterministic=True,
    seed=3,
    folds=2,
)
SETTINGS = PretrainSettings(mask=0.3, mask_patch=4, noise=0.05, validation_share=0.2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 10 labeled samples of 16 x 16 pixels in `train`, and 7 without a class in `external`."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.zarr"
    build_store(path, TINY, [[1, row % 2] for row in range(10)])
    return build_store(path, TINY, np.zeros((7, 2)), part="external")


@pytest.fixture(scope="module")
def encoder(tiny: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a pre-training on both parts; not to be changed."""
    out = tmp_path_factory.mktemp("encoder") / "ae"
    pretrain(tiny, CONFIG, out, settings=SETTINGS)
    return out


def read_weights(folder: Path, name: str) -> list[np.ndarray]:
    return [np.asarray(value) for value in load_model(folder / name).get_weights()]


def describe(store: Store, **changes: object) -> RunDescription:
    config = dataclasses.replace(CONFIG, **{"parts": ("train",), **changes})  # type: ignore[arg-type]
    with store.reader(config.parts) as reader:
        return describe_run(store, config, reader)


def test_a_pretraining_leaves_encoder_history_pictures_and_a_seal(encoder: Path) -> None:
    found = verify_run(encoder)
    assert (found.findings, found.unsealed, found.n_files) == ((), (), 7)
    assert [record.epoch for record in read_reconstruction_epochs(encoder)] == [1, 2]
    for name in ("reconstructions.png", "loss.png"):
        assert cv2.imread(str(encoder / name)).std() > 10
    # Two samples a row, each as it is, with mask and noise, and reconstructed.
    assert cv2.imread(str(encoder / "reconstructions.png")).shape[1] == 6 * 260
    samples = read_samples(encoder)
    assert len(samples) == 17
    assert sum(each.use == "validation" for each in samples) == 3
    assert {each.part for each in samples} == {"train", "external"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "options"), [("gapnet-pl", {}), ("gapnet", {"stride": 1, "padding": "same"}), ("deepyeast", {})]
)
def test_a_killed_pretraining_goes_on_to_the_same_weights_whatever_the_labels(
    model: str, options: dict[str, float | int | str], tiny: Store, tmp_path: Path
) -> None:
    build_store(tmp_path / "a.zarr", TINY, [[row % 3 == 0, 1] for row in range(10)])
    other = build_store(tmp_path / "a.zarr", TINY, [[1, 1]] * 7, part="external")
    assert (other.part("train").labels != tiny.part("train").labels).any()  # type: ignore[operator, union-attr]
    config = dataclasses.replace(CONFIG, model=model, options=options)
    pretrain(tiny, config, tmp_path / "whole", settings=SETTINGS)
    with pytest.raises(Killed):
        pretrain(other, config, tmp_path / "ae", settings=SETTINGS, progress=stop_at(5))
    assert not (tmp_path / "ae" / "encoder.keras").exists()
    with pytest.raises(InputError, match="Cannot start from .*: the pre-training is not finished. Run the same `hpa"):
        open_encoder(tmp_path / "ae")
    notes: list[str] = []
    pretrain(other, config, tmp_path / "ae", settings=SETTINGS, progress=Progress(note=notes.append))
    assert f"Resuming {tmp_path / 'ae'} at epoch 2, step 1" in notes
    for name in ("encoder.keras", "last.keras"):
        for a, b in zip(read_weights(tmp_path / "whole", name), read_weights(tmp_path / "ae", name), strict=True):
            assert (a == b).all()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_pretraining_in_lower_precision_has_about_the_same_loss_and_resumes(
    precision: Precision, tiny: Store, tmp_path: Path
) -> None:
    losses = []
    for each in ("float32", precision):
        config = dataclasses.replace(CONFIG, model="gapnet", options={"stride": 1, "padding": "same"}, precision=each)  # type: ignore[arg-type]
        pretrain(tiny, config, tmp_path / each)
        losses.append(read_reconstruction_epochs(tmp_path / each)[0].loss)
    # Later ones, and those of validation, differ more: each batch is normalized over four images.
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]
    with pytest.raises(Killed):
        pretrain(tiny, config, tmp_path / "ae", progress=stop_at(5))
    pretrain(tiny, config, tmp_path / "ae")
    for a, b in zip(
        read_weights(tmp_path / precision, "last.keras"), read_weights(tmp_path / "ae", "last.keras"), strict=True
    ):
        assert (a == b).all()


def test_each_fold_starts_from_the_encoder_weight_by_weight_with_the_head_of_a_training_from_scratch(
    encoder: Path, tiny: Store
) -> None:
    description = describe(tiny)
    start = open_encoder(encoder)
    files = [load_model(encoder / name) for name in ("encoder.keras", "best.keras")]
    of_encoder = {layer.name for layer in files[0].layers if layer.weights}
    for fold in range(2):
        network, scratch = start.build(description, fold=fold), build_network(description, fold=fold)
        weighted = [layer for layer in network.layers if layer.weights and "dropout" not in layer.name]
        heads = [layer for layer in weighted if layer.name not in of_encoder]
        assert len(weighted) == len(of_encoder) + len(heads)
        assert all(layer.name.startswith("head_") for layer in heads)
        for layer in weighted:
            for source in [scratch] if layer in heads else files:
                for a, b in zip(layer.get_weights(), source.get_layer(layer.name).get_weights(), strict=True):
                    assert (np.asarray(a) == np.asarray(b)).all(), layer.name


@pytest.mark.slow
def test_a_training_from_an_encoder_reads_no_other_part_and_records_what_it_started_from(
    encoder: Path, tiny: Store, tmp_path: Path, hpa: Hpa
) -> None:
    # The parts that it is not trained on are gone.
    shutil.copytree(tiny.path / "train", tmp_path / "a.zarr" / "train")
    shutil.copy(tiny.path / "zarr.json", tmp_path / "a.zarr")
    run = tmp_path / "run"
    settings = ("--model", "gapnet-pl", "--folds", 2, "--epochs", 1, "--batch-size", 4, "--out", run)
    ended = hpa("train", tmp_path / "a.zarr", *settings, "--weights", encoder)
    assert ended.status == 0, ended.err
    seen = {each.id for each in read_samples(encoder) if (each.part, each.use) == ("train", "training")}
    assert "Warning: the encoder of " in ended.err
    assert f"Seen in pre-training, without labels: {len(seen)} of the samples scored here" in ended.out
    description = read_run(run)
    assert description.weights == str(encoder)
    assert description.weights_models == (hash_file(encoder / "encoder.keras"),)
    assert (description.n_seen, description.n_seen_unlabeled) == (0, len(seen))
    assert len(read_folds(run)) == 10
    assert "without their labels" in (run / "report.html").read_text()
    # Another encoder is another start.
    shutil.copytree(encoder, tmp_path / "ae")
    shutil.copy(encoder / "last.keras", unseal_run(tmp_path / "ae") / "encoder.keras")
    ended = hpa("train", tmp_path / "a.zarr", *settings, "--weights", tmp_path / "ae")
    assert_refused(ended, f"differs in the weights to start from (of {encoder}")


def test_an_encoder_of_another_network_or_a_changed_one_is_refused_in_one_line(
    encoder: Path, tiny: Store, tmp_path: Path
) -> None:
    def refuse(folder: Path, match: str, **changes: object) -> None:
        with pytest.raises(InputError, match=match):
            open_encoder(folder).extend(describe(tiny, **changes))

    padded = {"stride": 1, "padding": "same"}
    refuse(encoder, "does not fit, it is gapnet-pl, the new one gapnet", model="gapnet", options=padded)
    shutil.copytree(encoder, tmp_path / "ae")
    start = open_encoder(tmp_path / "ae")
    with (tmp_path / "ae" / "encoder.keras").open("r+b") as file:
        file.truncate(5000)
    refuse(tmp_path / "ae", "the pre-training is not finished")
    with pytest.raises(InputError, match="it is another file than when this run was begun"):
        start.build(describe(tiny), fold=1)
    assert verify_run(tmp_path / "ae").findings == ("encoder.keras is not as it was sealed",)
    shutil.copy(encoder / "last.keras", tmp_path / "ae" / "encoder.keras")
    refuse(tmp_path / "ae", "Cannot use .*encoder.keras: it is not as it was sealed")


def test_a_pretraining_is_resumed_with_its_settings_alone(encoder: Path, tiny: Store, tmp_path: Path) -> None:
    def refuse(out: Path, match: str, settings: PretrainSettings = SETTINGS, **changes: object) -> None:
        config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=match):
            pretrain(tiny, config, out, settings=settings)

    refuse(encoder, r"differs in mask \(0.3 there, 0.0 here\)", dataclasses.replace(SETTINGS, mask=0.0))
    refuse(encoder, r"differs in seed \(3 there, 4 here\)", seed=4)
    refuse(encoder, r"differs in epochs \(2 there, 1 here\)", epochs=1)
    refuse(tmp_path / "ae", "model must be one of gapnet, gapnet-pl, deepyeast", model="mcnn")
    assert not (tmp_path / "ae").exists()
    (tmp_path / "ae").mkdir()
    (tmp_path / "ae" / "config.json").write_text("{}")
    refuse(tmp_path / "ae", "Cannot pre-train into .*: it is a run of `hpa train`. Name another folder.")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    refuse(tmp_path / "mine", "it has no pretraining.json, so it is of something else. Name a new folder.")
    # What a training alone has makes no difference.
    recorded = read_pretraining(encoder).config
    assert (recorded.folds, recorded.loss) == (3, "bce")


@pytest.mark.slow
def test_a_pretraining_that_ended_early_is_finished_and_goes_on_with_more_patience(tiny: Store, tmp_path: Path) -> None:
    # So high a learning rate that the first epochs are the best.
    impatient = dataclasses.replace(CONFIG, epochs=8, learning_rate=0.1, optimizer="sgd", stop_epochs=1)
    out, notes = tmp_path / "ae", []
    done = pretrain(tiny, impatient, out, settings=SETTINGS)
    assert done.n_epochs < 8
    begun = hash_file(out / "encoder.keras")
    pretrain(tiny, impatient, out, settings=SETTINGS, progress=Progress(note=notes.append))
    assert f"Nothing to train: {out} is finished." in notes
    assert hash_file(out / "encoder.keras") == begun
    patient = dataclasses.replace(impatient, stop_epochs=0)
    assert pretrain(tiny, patient, out, settings=SETTINGS).n_epochs == 8
    pretrain(tiny, patient, tmp_path / "whole", settings=SETTINGS)
    for a, b in zip(read_weights(tmp_path / "whole", "last.keras"), read_weights(out, "last.keras"), strict=True):
        assert (a == b).all()


def test_a_pretraining_is_no_run(encoder: Path, tiny: Store) -> None:
    with pytest.raises(InputError, match="it is a pre-training, without classes. Pass a folder that `hpa train` wrote"):
        read_run(encoder)
    with pytest.raises(InputError, match=r"Cannot write a run into .*: it has no config.json, so it is of something"):
        check_run_folder(encoder, describe(tiny), overwrite=True)


def test_samples_that_are_held_out_have_no_relatives_among_those_that_are_trained_on(tmp_path: Path) -> None:
    labels = [[1, row < 2] for row in range(12)]
    store = build_store(tmp_path / "a.zarr", TINY, labels)
    build_store(tmp_path / "a.zarr", TINY, labels, part="same")  # the same pixels under the same ids
    augment_store(plan_augmentation(store, min_count=6))
    parts = ("train", "same", "augmented")
    with open_unlabeled(open_store(store.path), dataclasses.replace(CONFIG, parts=parts)) as reader:
        sides = [split_samples(store, parts, reader, share=0.25, seed=seed) for seed in (0, 0, 1)]
        assert reader.labels is not None
        assert not reader.labels.any()
        for training, validation in sides:
            held_out = {reader.ids[index] for index in validated} if (validated := validation.tolist()) else set()
            assert len(validation) == 6
            trained = {reader.ids[index] for index in training.tolist() if reader.parts[index] != "augmented"}
            parents = {reader.ids[reader.parents[i]] for i in training.tolist() if reader.parts[i] == "augmented"}
            assert not held_out & (trained | parents)
            assert "augmented" not in {reader.parts[index] for index in validated}
        assert (sides[0][0] == sides[1][0]).all()
        assert (sides[0][1] != sides[2][1]).any()
    with (
        open_unlabeled(store, dataclasses.replace(CONFIG, parts=("augmented",))) as reader,
        pytest.raises(InputError, match="there are copies without the part of their parents. Name that part by --part"),
    ):
        split_samples(store, ("augmented",), reader, share=0.25, seed=0)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("mask", 1.0, "at least 0 and below 1"),
        ("noise", float("nan"), "at least 0 and below 10"),
        ("validation_share", 0.0, "above 0 and below 1"),
        ("mask_patch", 0, "from 1 to 32768"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float, rule: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be {rule}. Received: {name}={value}. Pass another number."):
        PretrainSettings(**{name: value})  # type: ignore[arg-type]
