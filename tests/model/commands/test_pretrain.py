"""`hpa pretrain`: the command that it names at the end."""

import shlex
from pathlib import Path

from hpa_model.commands.pretrain import advise
from hpa_model.config import TrainConfig


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
