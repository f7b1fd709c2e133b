"""The settings of a training, and recipes: files of what differs from their defaults."""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from hpa_data.errors import InputError
from hpa_data.folds.options import FoldMethod

Loss = Literal["bce", "f1", "focal"]
Optimizer = Literal["adam", "sgd"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
# Rows or columns; no store has larger images.
MAX_PIXELS = 2**15
# Which folds' models are fine-tuned: the paper took the one that scored best.
FoldChoice = Literal["best", "all"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training; the defaults are the paper's.

    Attributes
    ----------
    model : str
        A name in `nets.NETS`.
    options : dict of str to float, int or str
        What differs from the network's own options, see `nets.NETS`.
    image_size : int
        Rows and columns that the network sees; 0: the network's own, for most those of the store.
    bn_momentum : float
        See `nets.build`.
    parts : tuple of str
        Parts of the store whose samples are trained and validated on.
    folds : int
        One model is trained for each; each validates on its own fold.
    fold_method : {"stratified", "contiguous", "grouped-stratified"}
        See `hpa_data.folds.assign_folds`. Groups are duplicates, and samples of one antibody.
    legacy_leak : bool
        Take copies for samples and cut all into contiguous folds, as the paper probably did: scores flatter.
    epochs, batch_size : int
    loss : {"bce", "f1", "focal"}
        See `losses`.
    optimizer : {"adam", "sgd"}
    learning_rate : float
        To begin with.
    momentum : float
        Of SGD.
    weight_decay : float
        Share of each weight, times the learning rate, that a step takes off it.
    clip_norm : float
        The largest norm that all gradients together may have; 0: any.
    plateau_epochs : int
        After so many epochs without a lower validation loss, the learning rate is multiplied by `plateau_factor`; 0:
        never.
    plateau_factor : float
    symmetries : bool
        Turn each training image in one of the eight ways, by chance and anew in each epoch, on the device.
    precision : {"float32", "mixed_bfloat16", "mixed_float16"}
        Of the arithmetic; weights stay float32.
    xla : bool
        Compile with XLA. On CPUs it trains `gapnet` at less than half the speed.
    devices : int
        GPUs of this machine (or logical devices) that share each batch equally: `devices` - 1 images an epoch at most,
        other ones each time, are left out for that.
    deterministic : bool
        Let sums of threads round the same way each time, at some cost.
    seed : int
        Decides folds, weights, order, turns and dropout.
    finetune_epochs : int
        Fine-tune for so many epochs afterwards, see `finetune`; 0: not.
    finetune_loss : {"bce", "f1", "focal"}
    finetune_folds : {"best", "all"}
    """

    model: str = "gapnet"
    options: dict[str, float | int | str] = field(default_factory=dict)
    image_size: int = 0
    bn_momentum: float = 0.99
    parts: tuple[str, ...] = ("train",)
    folds: int = 3
    fold_method: FoldMethod = "stratified"
    legacy_leak: bool = False
    epochs: int = 50
    batch_size: int = 20
    loss: Loss = "bce"
    optimizer: Optimizer = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    plateau_epochs: int = 0
    plateau_factor: float = 0.5
    symmetries: bool = False
    precision: Precision = "float32"
    xla: bool = False
    devices: int = 1
    deterministic: bool = False
    seed: int = 0
    finetune_epochs: int = 0
    finetune_loss: Loss = "bce"
    finetune_folds: FoldChoice = "best"

    def __post_init__(self) -> None:
        """Check each value on its own."""
        for name, choice in (
            ("fold_method", FoldMethod),
            ("loss", Loss),
            ("optimizer", Optimizer),
            ("precision", Precision),
            ("finetune_loss", Loss),
            ("finetune_folds", FoldChoice),
        ):
            value = getattr(self, name)
            if value not in get_args(choice):
                allowed = ", ".join(get_args(choice))
                raise InputError(f"{name} must be one of {allowed}. Received: {name}={value!r}. Choose one of them.")
        for name, lowest, highest in (
            *(("folds", 2, 1000), ("epochs", 1, 10**6), ("batch_size", 1, 10**5), ("devices", 1, 1000)),
            *(("image_size", 0, MAX_PIXELS), ("seed", 0, 2**32 - 1), ("plateau_epochs", 0, 10**6)),
            *(("finetune_epochs", 0, 10**6), ("clip_norm", 0, 10**9)),
        ):
            value = getattr(self, name)
            if not lowest <= value <= highest:  # so that NaN is refused, too
                raise InputError(
                    f"{name} must be at least {lowest}, and {highest} at most. Received: {name}={value}. Pass another "
                    "number."
                )
        if self.batch_size % self.devices:
            raise InputError(
                f"batch_size must be a multiple of devices. Received: batch_size={self.batch_size}, "
                f"devices={self.devices}. Pass another number."
            )
        if not self.parts or len(set(self.parts)) < len(self.parts):
            # A part given twice would put each of its samples into training and validation.
            raise InputError(f"parts must be named, each once. Received: parts={self.parts}. Name each part once.")
        for name in ("learning_rate", "plateau_factor"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise InputError(f"{name} must lie between 0 and 1. Received: {name}={value}. Pass another number.")
        for name in ("bn_momentum", "momentum", "weight_decay"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InputError(
                    f"{name} must be at least 0 and below 1. Received: {name}={value}. Pass another number."
                )


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


def parse_setting(text: str) -> dict[str, Any]:
    """Parse one setting as a line of a recipe has it; a word needs no quotes.

    Raises
    ------
    InputError
        If there is no name, or the value is none of TOML's.

    Examples
    --------
    >>> parse_setting("optimizer=sgd"), parse_setting("options.stride = 1")
    ({'optimizer': 'sgd'}, {'options': {'stride': 1}})
    """
    name, equals, value = (piece.strip() for piece in text.partition("="))
    quoted = f'"{value}"' if value.replace("_", "").replace("-", "").isalnum() and value[:1].isalpha() else value
    for line in (f"{name} = {value}", f"{name} = {quoted}"):
        try:
            if equals and "\n" not in text:
                return tomllib.loads(line)
        except (ValueError, RecursionError):
            continue
    raise InputError(f"A setting must be NAME=VALUE, as in a recipe. Received: {text!r}. Write loss=f1, for example.")


def merge_settings(settings: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings over others; options of the network are merged one by one."""
    merged = dict(settings) | dict(other)
    both = [given["options"] for given in (settings, other) if isinstance(given.get("options"), Mapping)]
    if len(both) == 2:
        merged["options"] = dict(both[0]) | dict(both[1])
    return merged


def make_config(settings: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from plain values, such as a recipe's or a JSON file's.

    Raises
    ------
    InputError
        If a name is unknown, or a value has another type than its default.
    """
    values: dict[str, Any] = {}
    default = TrainConfig()
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    for name, given in settings.items():
        value = given
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f" ({near[0]}?)" if near else ""
            raise InputError(
                f"A setting must be one of {', '.join(names)}. Received: {name!r}. Correct its name{hint}."
            )
        kind = type(getattr(default, name))
        if kind is tuple and isinstance(value, list | tuple):
            value = tuple(map(str, value))
        elif kind is float and type(value) is int:
            value = float(value)
        elif kind is dict and isinstance(value, Mapping):
            value = dict(value)
        if type(value) is not kind:
            raise InputError(
                f"Setting {name} must be of type {kind.__name__}. Received: {name}={value!r}. Correct the value."
            )
        values[name] = value
    return TrainConfig(**values)


def check_finetuning(loss: str, folds: str) -> None:
    """Refuse a loss or a choice of folds that fine-tuning does not know."""
    make_config({"finetune_loss": loss, "finetune_folds": folds})
