import json
import subprocess
import sys

import pytest

from hpa_data.errors import InputError
from hpa_data.sources.options import ImportOptions


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "cagle"}, "source must be one of kaggle, hpav18, stack"),
        ({"missing": "guess"}, "missing must be one of fail, fill, skip"),
        ({"intensity": "auto"}, "intensity must be one of full, bits=N, window=LOW:HIGH"),
        ({"fit": "squeeze"}, "fit must be one of pad, crop, stretch. Received: fit='squeeze'"),
        ({"z": "sum"}, "z must be one of max, mean, middle, or the number of a slice, from 0. Received: z='sum'"),
        ({"time": -1}, "time must be a number from 0. Received: time=-1"),
        ({"scene": -2}, "scene must be a number from 0. Received: scene=-2"),
        ({"rules": 3}, "rules must be 1 or 2. Received: rules=3. Install the newer version"),
        ({"channels": {"red": 0}}, "channels must come with the naming scheme stack"),
    ],
)
def test_an_option_of_another_value_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImportOptions(**settings)  # type: ignore[arg-type]


def test_options_come_back_from_the_settings_of_a_part() -> None:
    arrays = {"codec": "raw", "shard_samples": 64, "image_size": 512}
    stacks = ImportOptions(source="stack", channels={"red": 0, "blue": "B"}, z="max", time=3, scene=0, rules=1)
    scaled = ImportOptions(intensities={"red": "bits=12"}, windows={"blue": (1.5, 400)}, fit="pad", upscale=True)
    for options in (ImportOptions(), stacks, scaled):
        assert ImportOptions.decode(json.loads(json.dumps(options.encode())) | arrays) == options
    with pytest.raises(InputError, match="was not converted from files"):
        ImportOptions.decode({"codec": "raw"})


def test_an_option_of_a_newer_version_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="it has 'flatfield', which this version does not know"):
        ImportOptions.decode(ImportOptions().encode() | {"flatfield": True})


def test_the_keys_of_the_options_on_disk_stay() -> None:
    assert ImportOptions(missing="fill").encode() == {
        "source": "kaggle",
        "channels": None,
        "missing": "fill",
        "intensity": "full",
        "rules": 2,
    }


def test_a_part_of_version_0_1_0_is_read_by_its_rules() -> None:
    assert ImportOptions.decode({"source": "kaggle"}) == ImportOptions(rules=1)


def test_the_options_load_nothing_heavy() -> None:
    code = "import sys, hpa_data.sources.options; print(sorted({'numpy', 'zarr', 'cv2', 'PIL'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
