"""How a user writes scalings."""

import pytest

from hpa_data.errors import InputError
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.scaling import Scaling, parse_scaling, split_intensities


@pytest.mark.parametrize(
    ("text", "scaling"),
    [
        ("full", Scaling(method="full")),
        (" minmax ", Scaling(method="minmax")),
        ("bits=12", Scaling(method="bits", high=4095)),
        ("window=-100:2.5e3", Scaling(method="window", low=-100, high=2500)),
        ("percentile", Scaling(method="percentile", low=0.1, high=99.9)),
        ("dataset-percentile=1,99.5", Scaling(method="dataset-percentile", low=1, high=99.5)),
    ],
)
def test_a_scaling_is_read_from_its_text(text: str, scaling: Scaling) -> None:
    assert parse_scaling(text) == scaling


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("auto", "intensity must be one of full, bits=N, window=LOW:HIGH, .* Received: intensity='auto'"),
        ("bits", "must be one of"),
        ("bits=0", "a whole number of bits from 1 to 32. Received: intensity='bits=0'. Use bits=12"),
        ("bits=12.0", "a whole number of bits"),
        ("window=4000:200", "two numbers, the first one less"),
        ("window=0,255", "two numbers"),
        ("window=0:nan", "two numbers"),
        ("percentile=99.9,0.1", "two percentiles from 0 to 100, the first one less"),
        ("percentile=0,101", "two percentiles"),
        ("percentile=", "two percentiles"),
        ("full=1", "full without numbers"),
    ],
)
def test_another_scaling_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_scaling(text)
    with pytest.raises(InputError, match=message):
        ImportOptions(intensities={"green": text})


def test_channels_may_have_scalings_of_their_own() -> None:
    assert split_intensities(["green=window=200:4000", "bits=12", "ER = percentile=1,99"]) == (
        "bits=12",
        {"green": "window=200:4000", "ER": "percentile=1,99"},
    )
    options = ImportOptions(intensity="minmax", intensities={"green": "bits=12"})
    assert [options.scaling(name).method for name in ("red", "green")] == ["minmax", "bits"]
    options.check_channels(("red", "green"))
    with pytest.raises(InputError, match="a channel of the data set: red, blue. Received: intensity='green=bits=12'"):
        options.check_channels(("red", "blue"))


@pytest.mark.parametrize("values", [["full", "minmax"], ["red=full", "red=minmax"]])
def test_two_scalings_of_the_same_channels_are_refused(values: list[str]) -> None:
    with pytest.raises(InputError, match="intensity must be given once for"):
        split_intensities(values)


def test_the_windows_of_a_data_set_are_used_once_they_are_measured() -> None:
    options = ImportOptions(intensity="dataset-percentile", windows={"red": (3, 40)})
    assert options.scaling("red") == Scaling(method="window", low=3, high=40)
    assert options.scaling("green").method == "dataset-percentile"
    assert [options.describe_scaling(name) for name in ("red", "green")] == [
        "dataset-percentile (3 to 40)",
        "dataset-percentile",
    ]
