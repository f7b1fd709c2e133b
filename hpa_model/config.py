"""How a run is described: settings, recipes of differences from their defaults, and what a run folder says of both."""

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

from hpa_data.errors import InputError
from hpa_data.folds import Method

CONFIG_FILE = "config.json"
# Whose versions decide what a run computes.
RECORDED_PACKAGES = ("hpa", "keras", "tensorflow", "numpy", "zarr", "numcodecs")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training; the defaults are the paper's.

    Attributes
    ----------
    model : str
        A name in `nets.NETS`.
    parts : tuple of str
        Parts of the store whose samples are trained and validated on.
    folds : int
        One model is trained for each; each validates on its own fold.
    fold_method : {"stratified", "contiguous", "grouped-stratified"}
        See `hpa_data.folds.assign_folds`. Groups are duplicates, and samples of one antibody.
    legacy_leak : bool
        Take copies for samples and cut all into contiguous folds, as the paper probably did: scores flatter.
    epochs, batch_size : int
    learning_rate : float
        Of Adam.
    image_size : int
        Rows and columns that the network sees.
    bn_momentum : float
        See `nets.build`.
    symmetries : bool
        Turn each training image in one of the eight ways, by chance and anew in each epoch, on the device.
    seed : int
        Decides folds, weights, order, turns and dropout.
    """

    model: str = "gapnet"
    parts: tuple[str, ...] = ("train",)
    folds: int = 3
    fold_method: Method = "stratified"
    legacy_leak: bool = False
    epochs: int = 50
    batch_size: int = 20
    learning_rate: float = 1e-3
    image_size: int = 512
    bn_momentum: float = 0.99
    symmetries: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check each value on its own."""
        if self.fold_method not in get_args(Method):
            raise InputError(
                f"fold_method must be one of {', '.join(get_args(Method))}. Received: fold_method="
                f"{self.fold_method!r}. Choose one of them."
            )
        for name, lowest in (("folds", 2), ("epochs", 1), ("batch_size", 1), ("image_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < lowest:
                raise InputError(f"{name} must be at least {lowest}. Received: {name}={value}. Pass another number.")
        if self.seed >= 2**32:
            raise InputError(f"seed must be below 2**32. Received: seed={self.seed}. Pass another number.")
        if not self.parts or len(set(self.parts)) < len(self.parts):
            # A part given twice would put each of its samples into training and validation.
            raise InputError(f"parts must be named, each once. Received: parts={self.parts}. Name each part once.")
        if not 0 < self.learning_rate < 1 or not 0 <= self.bn_momentum < 1:
            raise InputError(
                "learning_rate must lie between 0 and 1, bn_momentum must be at least 0 and below 1. Received: "
                f"learning_rate={self.learning_rate}, bn_momentum={self.bn_momentum}. Pass other numbers."
            )


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What a run folder says of itself in `config.json`.

    Attributes
    ----------
    config : TrainConfig
    channels, classes : tuple of str
        Of the data it was trained on.
    image_shape : tuple of int
        (Y, X, C) of the images it was fed.
    n_left_out : int
        Samples of the parts that could not be converted and so took no part.
    fingerprints : dict of str to str
        Of each part it was trained on.
    versions : dict of str to str
        Of the packages that made it.
    """

    config: TrainConfig
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    n_left_out: int
    fingerprints: dict[str, str]
    versions: dict[str, str]

    def write(self, run: Path) -> None:
        """Write the description into a run folder."""
        (run / CONFIG_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")


def read_run(run: Path) -> RunDescription:
    """Read the description of a run folder; InputError if it has none that can be used."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"A run must be a folder written by `hpa train`. Received: {run}. Check the path.")
    try:
        raw = json.loads(path.read_text())
        return RunDescription(
            config=make_config(raw["config"]),
            channels=tuple(raw["channels"]),
            classes=tuple(raw["classes"]),
            image_shape=tuple(raw["image_shape"]),
            n_left_out=int(raw["n_left_out"]),
            fingerprints=dict(raw["fingerprints"]),
            versions=dict(raw["versions"]),
        )
    except InputError as error:
        raise InputError(f"{path} must hold settings that can be used. {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} must be as `hpa train` wrote it. Received: a fault at {error}. Train again."
        ) from error


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe, a TOML file of settings that differ from the defaults.

    Raises
    ------
    InputError
        If the file is missing or no TOML. Names and types are checked by `make_config`.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise InputError(f"A recipe must be a TOML file. Received: {path}: {error}. Check the file.") from error


def make_config(settings: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from plain values, such as a recipe's or a JSON file's.

    Raises
    ------
    InputError
        If a name is unknown, or a value has another type than its default.
    """
    values: dict[str, Any] = {}
    fields = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    for name, given in settings.items():
        value = given
        if name not in fields:
            raise InputError(f"A setting must be one of {', '.join(fields)}. Received: {name!r}. Correct its name.")
        if isinstance(fields[name], tuple) and isinstance(value, list | tuple):
            value = tuple(map(str, value))
        elif isinstance(fields[name], float) and type(value) is int:
            value = float(value)
        if type(value) is not type(fields[name]):
            wanted = type(fields[name]).__name__
            raise InputError(f"Setting {name} must be of type {wanted}. Received: {name}={value!r}. Correct the value.")
        values[name] = value
    return TrainConfig(**values)


def read_versions() -> dict[str, str]:
    """Look up the versions of the packages that decide what a run computes."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
