"""A training that starts from a run or an encoder of other data: channels, classes, image size, options."""

import dataclasses
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.config import TrainConfig
from hpa_model.config.pretraining import PretrainSettings
from hpa_model.nets.autoencoder import cut_encoder, find_encoder
from hpa_model.runs.folder import RunDescription
from hpa_model.runs.models import save_model
from hpa_model.runs.pretraining import PretrainDescription
from hpa_model.training.network import build_network
from hpa_model.training.pretrained import EncoderWeights, open_encoder
from hpa_model.training.run import describe_run
from hpa_model.training.weights import Weights, open_weights
from tests.builders import build_store, randomise
from tests.model.backbone import NAME, known

SMALL = Dataset(name="small", channels=HPA_2018.channels, classes=("a", "b", "c"), height=32, width=32)
CONFIG = TrainConfig(model="gapnet-pl", folds=2)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_store(tmp_path_factory.mktemp("four") / "four.zarr", SMALL, [[1, 0, 1]] * 4)


def describe(store: Store, **changes: object) -> RunDescription:
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    with store.reader(config.parts, channels=config.channels or None) as reader:
        return describe_run(store, config, reader)


def make_run(folder: Path, description: RunDescription) -> Weights:
    """Write what a training starts from, with weights at random."""
    for fold in range(2):
        (folder / f"fold{fold}").mkdir(parents=True)
        network = build_network(description, fold=fold)
        randomise(network)
        save_model(network, folder / f"fold{fold}" / "best.keras")
        (folder / f"fold{fold}" / "probs.npz").touch()
    description.write(folder)
    return open_weights(folder)


def make_encoder(folder: Path, description: RunDescription) -> EncoderWeights:
    folder.mkdir()
    network = build_network(description, fold=0)
    randomise(network)
    save_model(cut_encoder(network, find_encoder(description.config.model)), folder / "encoder.keras")
    PretrainDescription(
        config=description.config,
        settings=PretrainSettings(),
        store=description.store,
        dataset=description.full_dataset,
        n_left_out=0,
        fingerprints=description.fingerprints,
        versions=description.versions,
    ).write(folder)
    return open_encoder(folder)


def read_kernel(network: keras.Model) -> np.ndarray:
    return np.asarray(network.get_layer("conv_1").get_weights()[0])


@pytest.mark.parametrize("make", [make_run, make_encoder])
def test_each_channel_keeps_its_filters_by_name_and_what_does_not_is_told(
    make: object, four: Store, tmp_path: Path
) -> None:
    source = make(tmp_path / "source", describe(four))  # type: ignore[operator]
    kernel = read_kernel(source.build(describe(four), fold=0))
    none = np.zeros_like(kernel[:, :, :1])
    assert len(source.describe(describe(four))) == 1
    turned = describe(four, channels=("yellow", "green", "red", "blue"))
    assert (read_kernel(source.build(turned, fold=0)) == kernel[:, :, [3, 1, 0, 2]]).all()
    assert len(source.describe(turned)) == 1
    fewer = describe(four, channels=("blue", "green"))
    assert (read_kernel(source.build(fewer, fold=0)) == kernel[:, :, [2, 1]]).all()
    assert source.describe(fewer)[1] == (
        f"Warning: channels that the weights of {source.folder} were trained on are not trained on here, 2 channels, "
        "for example red. Their filters are left out."
    )
    other = make(tmp_path / "other", describe(four, channels=("green",)))  # type: ignore[operator]
    kernel = read_kernel(other.build(describe(four, channels=("green",)), fold=0))
    red = describe(four, channels=("red",))
    assert (read_kernel(other.build(red, fold=0)) == kernel).all()
    assert other.describe(red)[1] == (
        f"Warning: the weights of {other.folder} have no filters for channels that are trained on here, 1 channel, for "
        "example red, which starts with those of green. They are of green. If that is not meant, choose others by "
        "--channels, or leave --weights out."
    )
    more = describe(four, channels=("red", "green"))
    assert (read_kernel(other.build(more, fold=0)) == np.concatenate([none, kernel], axis=2)).all()
    assert "1 channel, for example red, which starts with zeros." in other.describe(more)[1]


@pytest.mark.parametrize("make", [make_run, pytest.param(make_encoder, marks=pytest.mark.slow)])
def test_a_network_that_computes_something_else_with_the_same_weights_is_refused_with_the_option_to_pass(
    make: object, four: Store, tmp_path: Path
) -> None:
    config = {"model": "deepyeast", "options": {"scaling": "signed"}}
    source = make(tmp_path / "source", describe(four, **config))  # type: ignore[operator]
    free = describe(four, model="deepyeast", options={"scaling": "signed", "dropout": 0.1})
    assert source.extend(free).weights == str(source.folder)
    for changes, message in (
        (
            {"model": "deepyeast"},
            "it has options.scaling=signed, the new one unit. Pass --set options.scaling=signed, ",
        ),
        ({"model": "gapnet-pl"}, "it is deepyeast, the new one gapnet-pl. Pass --model deepyeast, or leave --weights "),
    ):
        with pytest.raises(InputError, match=message):
            source.extend(describe(four, **changes))


def test_a_head_of_another_image_size_is_new_and_so_is_one_of_other_classes(four: Store, tmp_path: Path) -> None:
    source = make_run(tmp_path / "source", describe(four, model="deepyeast", image_size=16))
    start = "Start: the models of .*, fold by fold, which were trained on train at 16 x 16 pixels; the classification "
    networks = []
    for size, head in ((16, "head is kept"), (32, "head is new, because the image size differs")):
        description = describe(four, model="deepyeast", image_size=size)
        networks.append(source.build(description, fold=1))
        (line,) = source.describe(description)
        assert re.fullmatch(start + head, line)
    assert (read_kernel(networks[0]) == read_kernel(networks[1])).all()
    others = dataclasses.replace(SMALL, classes=("a", "c", "b"))
    store = build_store(tmp_path / "others.zarr", others, [[1, 0, 1]] * 4)
    assert source.describe(describe(store, model="deepyeast", image_size=16))[0].endswith("because the classes differ")


def test_channels_that_the_network_knows_by_their_place_are_not_moved(
    four: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known(monkeypatch):  # scaled as ImageNet: red, green and blue each in its own way
        rgb = describe(four, model=NAME, channels=("red", "green", "blue"))
        source = make_run(tmp_path / "source", rgb)
        assert source.extend(rgb).weights == str(source.folder)
        for channels in (("blue", "green", "red"), ("red", "green", "blue", "yellow")):
            description = describe(four, model=NAME, channels=channels)
            with pytest.raises(
                InputError, match=r"not treat all channels alike .*\. Pass --channels red,green,blue, or"
            ):
                source.extend(description)
        # Other numbers of channels are scaled alike, with a plane of ones.
        source = make_run(tmp_path / "of_four", describe(four, model=NAME))
        two = describe(four, model=NAME, channels=("yellow", "red"))
        kernel, found = (
            source.build(each, fold=0).get_layer("stem").kernel for each in (describe(four, model=NAME), two)
        )
        assert (np.asarray(found) == np.asarray(kernel)[:, :, [3, 0, 4]]).all()
