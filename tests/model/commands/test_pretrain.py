"""`hpa pretrain`: the command that it names at the end."""

import shlex
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT
from hpa_model.commands.pretrain import advise
from hpa_model.config import TrainConfig
from hpa_model.config.pretraining import PretrainSettings
from hpa_model.training.pretrain_folder import open_pretraining
from tests.conftest import Hpa


def test_the_command_that_is_named_trains_the_same_network_on_the_same_images() -> None:
    def read(config: TrainConfig) -> list[str]:
        return shlex.split(advise("my stores/hpa.zarr", config, Path("ae")).partition(": ")[2])

    start, end = ["hpa", "train", "my stores/hpa.zarr"], ["--weights", "ae", "--out", "RUN"]
    assert read(TrainConfig(parts=("test",), epochs=3, optimizer="sgd")) == [*start, *end]
    config = TrainConfig(
        model="deepyeast", options={"scaling": "signed"}, channels=("green", "red"), image_size=(64, 96)
    )
    flags = "--model deepyeast --set options.scaling=signed --channels green,red --image-size 64x96"
    assert read(config) == [*start, *flags.split(), *end]


@pytest.mark.parametrize(
    "text",
    [
        "loss=f1",
        "class_weights=balanced",
        "label_smoothing=0.1",
        "keep=highest_macro_f1",
        "head_epochs=2",
        "augment=paper",
    ],
)
def test_a_setting_of_classes_is_refused_where_it_is_named(hpa: Hpa, store: Store, tmp_path: Path, text: str) -> None:
    ended = hpa("pretrain", store.path, "--out", tmp_path / "ae", "--set", text)
    assert ended.status == 2
    assert f"{text.partition('=')[0]} must not be set for `hpa pretrain`" in ended.err


def test_a_recipe_of_a_training_leaves_no_setting_of_classes_in_a_pre_training(store: Store, tmp_path: Path) -> None:
    config = TrainConfig(model="gapnet", image_size=76, keep="highest_macro_f1", class_weights="sqrt")
    out = tmp_path / "ae"
    with open_pretraining(
        store, config, PretrainSettings(), out, overwrite=False, cache_bytes=0, progress=SILENT
    ) as opened:
        kept = opened.description.config
    assert (kept.keep, kept.class_weights) == ("lowest_loss", "none")
