"""Trainings that start from a file of Keras's, or from ImageNet's weights."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.config import TrainConfig
from hpa_model.nets.backbones import BACKBONES
from hpa_model.nets.catalog import list_layers
from hpa_model.nets.stem import IMAGENET, mix_channels, mix_kernel
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.runs.seal import hash_file
from hpa_model.training.network import build_network
from hpa_model.training.run import describe_run
from hpa_model.training.start import open_start
from hpa_model.training.train import train
from tests.builders import Hpa, assert_refused, build_store, randomise
from tests.model.backbone import NAME, apply_small, known, save_random
from tests.model.stopping import Killed, assert_same_models, stop_at

TINY = Dataset(name="tiny", channels=HPA_2018.channels, classes=("a", "b", "c"), height=24, width=24)
RGB = dataclasses.replace(TINY, channels=HPA_2018.channels[:3])
LABELS = [[1, row % 2, row % 3 == 0] for row in range(12)]
CONFIG = TrainConfig(model=NAME, folds=2, epochs=2, batch_size=2, bn_momentum=0.5, seed=7, deterministic=True)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with known(monkeypatch):
        yield


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_store(tmp_path_factory.mktemp("four") / "four.zarr", TINY, LABELS)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_store(tmp_path_factory.mktemp("three") / "three.zarr", RGB, LABELS)


def build(weights: Path | str, store: Store, config: TrainConfig = CONFIG, fold: int = 0) -> keras.Model:
    start = open_start(weights, config, Path("no such run"), overwrite=False)
    assert start is not None
    return start.build(describe(store, config), fold=fold)


def describe(store: Store, config: TrainConfig) -> RunDescription:
    with store.reader(config.parts) as reader:
        return describe_run(store, config, reader)


def list_weights(model: keras.Model) -> list[list[np.ndarray]]:
    return [layer.get_weights() for layer in list_layers(model) if layer.weights]


@pytest.mark.parametrize("include_top", [False, True])
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_each_layer_starts_from_the_file_and_the_head_is_new(
    three: Store, tmp_path: Path, suffix: str, include_top: bool
) -> None:
    saved = save_random(f"{tmp_path}/w", include_top=include_top)
    networks = [build(tmp_path / f"w{suffix}", three, fold=fold) for fold in range(2)]
    for network in networks:
        found, expected = list_weights(network), list_weights(saved)
        assert len(found) == 5
        for ours, theirs in zip(found[:-1], expected, strict=False):
            assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))
    heads = [list_weights(network)[-1][0] for network in networks]
    assert heads[0].shape == (12, 3)
    assert (heads[0] != heads[1]).any()


@pytest.mark.parametrize("rule", ["mean", "copy-red", "channel-map"])
def test_the_first_convolution_for_four_channels_is_made_by_the_rule(
    four: Store, three: Store, tmp_path: Path, rule: str
) -> None:
    saved = save_random(f"{tmp_path}/w")
    network = build(tmp_path / "w.weights.h5", four, dataclasses.replace(CONFIG, stem=rule))  # type: ignore[arg-type]
    shares = mix_channels(rule, [channel.rgb for channel in HPA_2018.channels])
    found, expected = list_weights(network), list_weights(saved)
    assert (found[0][0] == mix_kernel(expected[0][0], shares, IMAGENET)).all()
    for ours, theirs in zip(found[1:-1], expected[1:], strict=True):
        assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))
    # A gray image has the features that it has with three channels.
    gray = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 1), np.uint8)
    rgb = build(tmp_path / "w.weights.h5", three)
    features = [keras.Model(model.input, model.layers[-1].input) for model in (network, rgb)]
    of_four, of_three = (np.asarray(f(gray.repeat(n, axis=-1))) for f, n in zip(features, (4, 3), strict=True))
    assert of_four == pytest.approx(of_three, abs=1e-5)


def test_a_saved_network_of_ours_starts_one_with_as_many_channels_as_it_is(four: Store, tmp_path: Path) -> None:
    first = build_network(describe(four, CONFIG), fold=0)
    randomise(first)
    first.save(tmp_path / "ours.keras")
    first.save_weights(tmp_path / "ours.weights.h5")
    for name in ("ours.keras", "ours.weights.h5"):
        again = build(tmp_path / name, four)
        for ours, theirs in zip(list_weights(again)[:-1], list_weights(first)[:-1], strict=True):
            assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def test_a_saved_model_with_another_input_scaling_is_refused(four: Store, three: Store, tmp_path: Path) -> None:
    colors = keras.Input((24, 24, 3), dtype="uint8")
    scalings = {
        "other.keras": layers.Rescaling(1 / 127.5, offset=-1),
        "same.keras": layers.Normalization(
            mean=[255 * mean for mean in IMAGENET.means], variance=[(255 * std) ** 2 for std in IMAGENET.stds]
        ),
    }
    for name, scaling in scalings.items():
        model = apply_small(include_top=False, input_tensor=scaling(colors))
        keras.Model(colors, model.output).save(tmp_path / name)
    for store in (three, four):
        with pytest.raises(
            InputError, match=r"it scales images by 0\.00784 and -1, the new one by 0\.0171 and -2\.12; "
        ):
            build(tmp_path / "other.keras", store)
        build(tmp_path / "same.keras", store)


def test_a_run_records_the_file_and_goes_on_without_it_where_it_has_a_checkpoint(four: Store, tmp_path: Path) -> None:
    file, out = tmp_path / "w.weights.h5", tmp_path / "run"
    save_random(f"{tmp_path}/w")
    start = open_start(file, CONFIG, out, overwrite=False)
    assert start is not None
    description = start.extend(describe(four, CONFIG))
    assert (description.weights, description.weights_models) == (str(file), (hash_file(file),))
    (out / "fold0").mkdir(parents=True)
    description.write(out)
    assert read_run(out) == description
    (out / "fold0" / "checkpoint.npz").touch()
    file.unlink()
    gone = open_start(file, CONFIG, out, overwrite=False)
    assert gone is not None
    assert gone.extend(describe(four, CONFIG)).weights_models == description.weights_models
    assert gone.build(description, fold=0).name == NAME
    with pytest.raises(InputError, match=r"Cannot begin fold 1 of .*: weights must be none, .* does not exist"):
        gone.build(description, fold=1)
    for weights, folder, overwrite in ((file, tmp_path / "new", False), (file, out, True), ("elsewhere", out, False)):
        with pytest.raises(InputError, match="does not exist"):
            open_start(weights, CONFIG, folder, overwrite=overwrite)
    save_random(f"{tmp_path}/w", include_top=True)
    with pytest.raises(InputError, match="it is another file than when this command began"):
        start.build(description, fold=0)
    with pytest.raises(InputError, match=r"Cannot resume .*: it differs in the weights to start from"):
        train(four, CONFIG, out, weights=file)
    with pytest.raises(InputError, match=r"differs in the weights to start from \(of .* there, none here\)"):
        train(four, CONFIG, out, weights="none")


@pytest.mark.slow
def test_a_stopped_run_ends_as_one_that_was_not_and_needs_no_file_for_a_checkpoint(four: Store, tmp_path: Path) -> None:
    file = tmp_path / "w.weights.h5"
    save_random(f"{tmp_path}/w")
    whole, out = tmp_path / "whole", tmp_path / "run"
    train(four, CONFIG, whole, weights=file)
    with pytest.raises(Killed):
        train(four, CONFIG, out, weights=file, progress=stop_at(5))  # in the second epoch of fold 0
    file.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"Cannot begin fold 1 of .*: weights must be none, .* does not exist"):
        train(four, CONFIG, out, weights=file)
    with pytest.raises(InputError, match=r"does not exist"):
        train(four, CONFIG, tmp_path / "new", weights=file)
    (tmp_path / "elsewhere").rename(file)
    train(four, CONFIG, out, weights=file)
    assert_same_models(whole, out)
    file.unlink()
    train(four, CONFIG, out, weights=file)  # nothing to train


def test_what_is_no_weights_of_this_network_is_refused_in_one_line(
    four: Store, three: Store, tmp_path: Path, hpa: Hpa
) -> None:
    save_random(f"{tmp_path}/w")
    save_random(f"{tmp_path}/five", n_channels=5)
    content = (tmp_path / "w.weights.h5").read_bytes()
    other = keras.Sequential([keras.Input((24, 24, 3)), keras.layers.Conv2D(4, 3), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    other.save(tmp_path / "other.keras")
    deeper = apply_small(include_top=False, input_shape=(24, 24, 3))
    deeper = keras.Model(deeper.input, keras.layers.Conv2D(3, 3)(deeper.output))
    deeper.save(tmp_path / "deeper.keras")
    (tmp_path / "short.weights.h5").write_bytes(content[: len(content) // 2])
    (tmp_path / "short.keras").write_bytes((tmp_path / "w.keras").read_bytes()[:2000])
    (tmp_path / "empty.weights.h5").write_bytes(b"")
    (tmp_path / "text.txt").write_text("weights")
    (tmp_path / "folder").mkdir()
    nan = apply_small(include_top=False, input_shape=(24, 24, 3))
    nan.layers[1].set_weights([np.full((3, 3, 3, 8), np.nan, np.float32)])
    nan.save_weights(tmp_path / "nan.weights.h5")
    words = ("train", three.path, "--model", NAME, "--folds", 2, "--epochs", 1, "--out", tmp_path / "run", "--weights")
    for name, message in (
        ("none.weights.h5", "weights must be none, imagenet, a file of weights, or the folder of a run. Received: "),
        ("other.weights.h5", "its arrays are not those of small; "),
        ("other.keras", "its network differs, it has 2 layers with weights, the new one 4 before its head. Pass"),
        ("deeper.keras", "its network differs, it has more layers, such as conv2d"),
        ("five.weights.h5", "its arrays are not those of small; "),
        ("five.keras", "its network differs, it takes 5 channels, the new one 3. Pass"),
        ("short.weights.h5", "it cannot be read as HDF5, Unable to synchronously open file (truncated file"),
        ("short.keras", "it is missing or incomplete. Copy or save it again."),
        ("empty.weights.h5", "it cannot be read as HDF5, "),
        ("text.txt", "it is no file of weights. Pass one of Keras: .keras, .weights.h5 or .h5."),
        ("folder", "it has no config.json. Pass a folder that `hpa train` wrote."),
        ("nan.weights.h5", "stem/kernel is not in it, or has NaN or infinity. Save it again."),
    ):
        assert_refused(hpa(*words, tmp_path / name), message)
    assert not (tmp_path / "run").exists()


def test_a_hostile_file_is_refused(three: Store, tmp_path: Path) -> None:
    def change(name: str, do: Callable[[h5py.File], object]) -> Path:
        save_random(f"{tmp_path}/{name}")
        with h5py.File(tmp_path / f"{name}.weights.h5", "a") as file:
            del file["layers/conv2d/vars/0"]
            do(file)
        return tmp_path / f"{name}.weights.h5"

    def link(file: h5py.File) -> None:
        file["layers/conv2d/vars/0"] = h5py.ExternalLink("/etc/passwd", "x")

    def refer(file: h5py.File) -> None:
        file.create_dataset("layers/conv2d/vars/0", (3, 3, 3, 8), "f4", external=[("/etc/passwd", 0, 864)])

    def promise(file: h5py.File) -> None:
        file.create_dataset("layers/conv2d/vars/0", (10**6, 10**6), "f4", chunks=(1, 1))

    for name, do, message in (
        ("link", link, "it cannot be read as HDF5, 0 leads elsewhere"),
        ("refer", refer, "it cannot be read as HDF5, the content of 0 is elsewhere"),
        ("promise", promise, "it cannot be read as HDF5, it promises arrays of 4000000"),
    ):
        with pytest.raises(InputError, match=message):
            build(change(name, do), three)
    # Of a lambda, Keras would run the code.
    inputs = keras.Input((24, 24, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save(tmp_path / "code.keras")
    with pytest.raises(
        InputError, match=r"Cannot read model .*code.keras: it holds a Lambda layer, whose code is not run. Copy"
    ):
        build(tmp_path / "code.keras", three)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize("name", ["densenet121", "resnet50v2", "inceptionv3", "convnext-tiny", "efficientnetv2-b0"])
def test_weights_saved_from_keras_applications_are_taken_layer_by_layer(
    three: Store, four: Store, tmp_path: Path, name: str, suffix: str
) -> None:
    keras.utils.set_random_seed(3)
    saved = BACKBONES[name].application(include_top=True, weights=None, classes=7)
    file = tmp_path / f"w{suffix}"
    (saved.save_weights if suffix == ".weights.h5" else saved.save)(file)
    size = BACKBONES[name].min_size
    shape = {"height": size, "width": size}
    options = {"scaling": "imagenet"} if name == "densenet121" else {}
    config = dataclasses.replace(CONFIG, model=name, options=options)  # type: ignore[arg-type]
    expected = list_weights(saved)
    for store in (three, four):
        description = describe(store, CONFIG)
        assert description.dataset is not None
        description = dataclasses.replace(
            description,
            config=config,
            image_shape=(size, size, description.image_shape[2]),
            dataset=dataclasses.replace(description.dataset, **shape),  # type: ignore[arg-type]
        )
        start = open_start(file, config, Path("no such run"), overwrite=False)
        assert start is not None
        found = list_weights(start.build(description, fold=0))
        assert len(found) == len(expected)
        for ours, theirs in zip(
            found[1 if store is four else 0 : -1], expected[1 if store is four else 0 :], strict=False
        ):
            assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("part", ["_notop", ""])
def test_the_published_file_is_known_by_its_name_so_that_its_scaling_is_asked_for(part: str, tmp_path: Path) -> None:
    path = tmp_path / f"densenet121_weights_tf_dim_ordering_tf_kernels{part}.h5"
    path.touch()
    config = dataclasses.replace(CONFIG, model="densenet121")
    with pytest.raises(InputError, match=r"must be imagenet to start from .* Pass --set options\.scaling=imagenet"):
        open_start(path, config, tmp_path, overwrite=False)
    assert open_start(path, dataclasses.replace(config, options={"scaling": "imagenet"}), tmp_path, overwrite=False)


def test_without_a_network_the_weights_of_imagenet_are_named_with_their_place(
    three: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hpa: Hpa
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    words = ("train", three.path, "--folds", 2, "--epochs", 1, "--out", tmp_path / "run", "--weights", "imagenet")
    ended = hpa(*words, "--model", NAME)
    assert ended.status == 2
    assert "Error: Cannot download the ImageNet weights of small: " in ended.err
    place = tmp_path / "home" / "models" / "small_notop.h5"
    assert f"Download http://127.0.0.1:9/models/small_notop.h5 where there is a network, and put it at {place}." in (
        ended.err
    )
    assert_refused(hpa(*words, "--model", "gapnet"), "to start from ImageNet's weights. Received: model=gapnet.")
    message = "Option scaling of densenet121 must be imagenet to start from ImageNet's weights. Received: 'unit'. Pass "
    assert_refused(hpa(*words, "--model", "densenet121"), f"{message}--set options.scaling=imagenet.")
    # A file that is there is refused, not replaced and not removed, if it is another one.
    for leave in (lambda: place.write_bytes(b"damaged"), lambda: (place.unlink(), place.symlink_to(place.name))):
        leave()  # type: ignore[no-untyped-call]
        with pytest.raises(InputError, match=f"Cannot start from {place}: it "):
            build("imagenet", three)
        assert os.path.lexists(place)
    place.unlink()
    place.write_bytes(b"damaged")
    assert_refused(
        hpa(*words, "--model", NAME), "Remove it, to download it again; or pass it as --weights FILE, if you"
    )
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    # Once it is there, no network is needed.
    saved = save_random(f"{tmp_path}/w")
    _write_old_form(saved, place)
    monkeypatch.setitem(BACKBONES, NAME, dataclasses.replace(BACKBONES[NAME], file_hash=hash_file(place)))
    network = build("imagenet", three)
    assert all((a == b).all() for a, b in zip(list_weights(network)[0], list_weights(saved)[0], strict=True))
    start = open_start("imagenet", CONFIG, tmp_path, overwrite=False)
    assert start is not None
    assert start.extend(describe(three, CONFIG)).weights == "imagenet"


def _write_old_form(model: keras.Model, path: Path) -> None:
    """Save weights as Keras 2 did, and as those of `keras.applications` are."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.1"
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group.create_dataset(name, data=value)
