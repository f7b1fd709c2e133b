"""What a user may choose about reading image files. Imports nothing heavy, so that the command line can offer it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from hpa_data.errors import InputError
from hpa_data.format.options import ARRAY_SETTINGS
from hpa_data.sources.scaling import Scaling, parse_scaling
from hpa_data.system.records import decode_record, encode_record

Naming = Literal["kaggle", "hpav18", "stack", "pattern"]
MissingPolicy = Literal["fail", "fill", "skip"]
Fit = Literal["pad", "crop", "stretch"]

# How the slices of a Z axis become one plane: their highest pixel, their mean, or the slice in the middle.
PROJECTIONS = ("max", "mean", "middle")


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How image files are read; part of what decides a store's bytes.

    The names of the fields are keys in the manifest of a part.
    """

    source: Naming = "kaggle"
    """How files are named; see `schemes.NAMING_SCHEMES`."""

    pattern: str | None = field(default=None, metadata={"absent": None})
    """For ``pattern``: the naming pattern; see `patterns`."""

    channels: Mapping[str, int | str] | None = None
    """For files that hold whole samples: the plane of each channel, by its number from 0 or by its name in the file.
    For a pattern with a field of the channel: what stands there in the file names."""

    expected_names: Mapping[str, str] | None = field(default=None, metadata={"absent": None})
    """For planes that are mapped by number: the name that most files give each, by channel. A sample whose file calls
    the plane otherwise fails. Found when a part is planned; see `mapping`."""

    missing: MissingPolicy = "fail"
    """What to do with a sample that lacks a channel: ``fail`` lists it as failed, ``fill`` makes the channel black,
    ``skip`` leaves the sample out."""

    intensity: str = "full"
    """Which raw values become black and white, in one of `scaling.FORMS`."""

    intensities: Mapping[str, str] | None = field(default=None, metadata={"absent": None})
    """The same for channels with a scaling of their own, by their names."""

    windows: Mapping[str, tuple[float, float]] | None = field(default=None, metadata={"absent": None})
    """For the channels with ``dataset-percentile``: the raw values that were found, by their names."""

    fit: Fit | None = field(default=None, metadata={"absent": None})
    """What is done with planes of another aspect ratio than the images; see `fitting.scaled_shape`."""

    upscale: bool = field(default=False, metadata={"absent": False})
    """Whether planes that are smaller than the images are enlarged."""

    native: bool = field(default=False, metadata={"absent": False})
    """Whether the images have the size of the files, which must be alike; see `measure.find_native_size`."""

    z: str | None = field(default=None, metadata={"absent": None})
    """What becomes of the slices of a Z axis: a name in `PROJECTIONS`, or the number of a slice, from 0, as text.
    None: a file with several slices is refused."""

    time: int | None = field(default=None, metadata={"absent": None})
    """The time point, from 0. None: a file with several is refused."""

    scene: int | None = field(default=None, metadata={"absent": None})
    """Which of a file's images of the same size, from 0. None: a file with several is refused."""

    rules: int = field(default=2, metadata={"absent": 1})
    """By which rules files are read. 1: those of version 0.1.0, for the parts that it made: white is the highest value
    of the data type, orientation is ignored, a stack has one axis of planes whatever its name. 2: those of today."""

    def __post_init__(self) -> None:
        """Check each option."""
        for name, choices in (("source", Naming), ("missing", MissingPolicy), ("fit", Fit)):
            value = getattr(self, name)
            if value not in get_args(choices) and (name, value) != ("fit", None):
                raise InputError(
                    f"{name} must be one of {', '.join(get_args(choices))}. Received: {name}={value!r}. Choose one."
                )
        for text in (self.intensity, *(self.intensities or {}).values()):
            parse_scaling(text)
        if self.native and (self.fit or self.upscale):
            raise InputError(
                "native must not be combined with fit or upscale: no plane is scaled. Received: native=True, "
                f"fit={self.fit!r}, upscale={self.upscale}. Leave them out, or pass a number as --image-size."
            )
        self._check_axes()
        if self.channels is not None and self.source not in {"stack", "pattern"}:
            raise InputError(
                f"channels must come with the naming scheme stack or a pattern. Received: source={self.source!r}. Pass "
                "--naming stack or --pattern, or leave the channels out."
            )
        if (self.pattern is None) == (self.source == "pattern"):
            raise InputError(
                "pattern must come with the naming scheme pattern, and only with it. Received: "
                f"source={self.source!r}, pattern={self.pattern!r}. Pass, for example, --pattern '{{id}}_{{channel}}'."
            )

    def _check_axes(self) -> None:
        if self.z is not None and self.z not in PROJECTIONS and not (self.z.isascii() and self.z.isdigit()):
            raise InputError(
                f"z must be one of {', '.join(PROJECTIONS)}, or the number of a slice, from 0. Received: z={self.z!r}. "
                "Choose one."
            )
        for name, number in (("time", self.time), ("scene", self.scene)):
            if number is not None and number < 0:
                raise InputError(
                    f"{name} must be a number from 0. Received: {name}={number}. Count from 0, or leave it out."
                )
        if self.rules not in {1, 2}:
            raise InputError(
                f"rules must be 1 or 2. Received: rules={self.rules}. Install the newer version of hpa that has them."
            )

    def scaling(self, channel: str) -> Scaling:
        """Return which raw values of a channel become black and white; a window once that is measured."""
        scaling = parse_scaling((self.intensities or {}).get(channel, self.intensity))
        if scaling.method == "dataset-percentile" and channel in (self.windows or {}):
            low, high = (self.windows or {})[channel]
            return Scaling(method="window", low=low, high=high)
        return scaling

    def describe_scaling(self, channel: str) -> str:
        """Return the scaling of a channel as it was chosen, with the window that was measured for it."""
        text = (self.intensities or {}).get(channel, self.intensity)
        if parse_scaling(text).method != "dataset-percentile" or channel not in (self.windows or {}):
            return text
        low, high = (self.windows or {})[channel]
        return f"{text} ({low:g} to {high:g})"

    def check_channels(self, names: Collection[str]) -> None:
        """Refuse scalings of channels that the data set does not have: InputError."""
        unknown = [name for name in self.intensities or {} if name not in names]
        if unknown:
            raise InputError(
                f"intensity must be for a channel of the data set: {', '.join(names)}. Received: intensity="
                f"{f'{unknown[0]}={(self.intensities or {})[unknown[0]]}'!r}. Correct the name."
            )

    def encode(self) -> dict[str, Any]:
        """Return the options as JSON values; `decode` is the inverse."""
        return encode_record(self)

    @staticmethod
    def decode(settings: Mapping[str, Any]) -> "ImportOptions":
        """Read the options from the settings of a part; InputError if the part was not converted from files."""
        if "source" not in settings:
            raise InputError(
                "Cannot find out how the part's files were read: its settings are those of a part that was not "
                f"converted from files ({', '.join(settings)}). Convert its source again."
            )
        options = {name: value for name, value in settings.items() if name not in ARRAY_SETTINGS}
        return decode_record(ImportOptions, options, name="the settings of the part")
