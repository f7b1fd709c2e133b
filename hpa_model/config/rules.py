"""Which values of settings can be used, and which do not go together."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from hpa_data.errors import InputError
from hpa_data.format.layout import MAX_PIXELS
from hpa_model.augment.options import check_name
from hpa_model.config.optimizers import OPTIMIZERS
from hpa_model.losses import LOSSES

if TYPE_CHECKING:
    from hpa_model.config.settings import TrainConfig

Item = TypeVar("Item")

# The lowest and the highest value of the settings that have both.
RANGES: tuple[tuple[str, float, float], ...] = (
    *(("folds", 0, 1000), ("epochs", 1, 10**6), ("batch_size", 1, 10**5), ("devices", 1, 1000)),
    ("min_last_batch", 1, 10**5),
    *(("seed", 0, 2**32 - 1), ("plateau_epochs", 0, 10**6), ("head_epochs", 0, 10**6)),
    *(("finetune_epochs", 0, 10**6), ("clip_norm", 0, 10**9)),
    *(("accumulate_batches", 1, 10**5), ("stop_epochs", 0, 10**6), ("warmup_epochs", 0, 10**6)),
)
# Of a part in `mix`; more could not be told from infinite.
MAX_WEIGHT = 1e9
# Settings from 0 to below 1, and those between 0 and 1.
SHARES = ("bn_momentum", "momentum", "weight_decay", "l1", "l2", "ema", "label_smoothing")
FACTORS = ("learning_rate", "plateau_factor", "backbone_rate_factor", "validation")


def check_settings(config: "TrainConfig", choices: Mapping[str, tuple[str, ...]]) -> None:
    """Check each value of settings, the words among them by `choices`; InputError if one cannot be used."""
    for name, words in choices.items():
        check_choice(name, getattr(config, name), words)
    _check_numbers(config)
    _check_lists(config)
    _check_combinations(config)
    _check_augment(config)


def check_choice(name: str, value: object, words: tuple[str, ...]) -> None:
    """Check that a setting is one of these words, or several of them; InputError if not."""
    if any(each not in words for each in (value if isinstance(value, list | tuple) else [value])):
        raise InputError(f"{name} must be one of {', '.join(words)}. Received: {name}={value!r}. Choose one of them.")


def as_tuple(value: Item | tuple[Item, ...]) -> tuple[Item, ...]:
    """Return the values of a setting that is one value or several."""
    return value if isinstance(value, tuple) else (value,)


def _check_numbers(config: "TrainConfig") -> None:
    for name, lowest, highest in RANGES:
        value = getattr(config, name)
        if not all(lowest <= number <= highest for number in as_tuple(value)):  # so that NaN is refused, too
            raise InputError(
                f"{name} must be from {lowest} to {highest}. Received: {name}={value}. Pass another number."
            )
    for name in FACTORS:
        value = getattr(config, name)
        if not (0 < value < 1 or (name == "backbone_rate_factor" and value == 1)):
            raise InputError(f"{name} must lie between 0 and 1. Received: {name}={value}. Pass another number.")
    for name in SHARES:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise InputError(f"{name} must be at least 0 and below 1. Received: {name}={value}. Pass another number.")
    for part, weight in config.mix.items():
        if not 0 < weight <= MAX_WEIGHT:
            raise InputError(
                f"mix must give each part a weight above 0, up to {MAX_WEIGHT:g}. Received: {part}={weight:g}. Leave a "
                "part that is not to be trained on out of parts and of mix."
            )
    least, most = (0, MAX_PIXELS) if isinstance(config.image_size, int) else (1, MAX_PIXELS)
    sides = (config.image_size,) if isinstance(config.image_size, int) else config.image_size
    if not all(least <= side <= most for side in sides):
        raise InputError(
            f"image_size must be from {least} to {most}. Received: image_size={config.image_size}. Pass another size."
        )


def _check_lists(config: "TrainConfig") -> None:
    epochs, losses = as_tuple(config.finetune_epochs), as_tuple(config.finetune_loss)
    if len(epochs) != len(losses) or len(set(losses)) < len(losses):
        raise InputError(
            "finetune_loss must be different losses, as many as finetune_epochs has numbers. Received: "
            f"finetune_loss={config.finetune_loss}, finetune_epochs={config.finetune_epochs}. Give each fine-tuning a "
            "loss and its epochs."
        )
    repeated = [name for name in ("parts", "channels") if len(set(getattr(config, name))) < len(getattr(config, name))]
    if repeated or not config.parts:
        # A part given twice would put each of its samples into training and validation.
        name = repeated[0] if repeated else "parts"
        raise InputError(
            f"{name} must be different names. Received: {name}={getattr(config, name)}. Name each {name[:-1]} once."
        )


def _check_combinations(config: "TrainConfig") -> None:
    if config.batch_size % config.devices:
        raise InputError(
            f"batch_size must be a multiple of devices. Received: batch_size={config.batch_size}, "
            f"devices={config.devices}. Change one of them."
        )
    if config.schedule == "cosine" and config.plateau_epochs:
        raise InputError(
            f"plateau_epochs must be 0 with schedule=cosine. Received: plateau_epochs={config.plateau_epochs}. Pass "
            "--set plateau_epochs=0, or another schedule."
        )
    _check_validation(config)
    if config.stop_epochs and config.keep == "last":
        raise InputError(
            f"stop_epochs must be 0 with keep=last. Received: stop_epochs={config.stop_epochs}. Keep lowest_loss or "
            "highest_macro_f1."
        )
    if OPTIMIZERS[config.optimizer].needs_decay and not config.weight_decay:
        raise InputError(
            f"weight_decay must be above 0 with optimizer={config.optimizer}. Received: weight_decay=0. Set it, to "
            "0.01 for example."
        )
    of_labels = [name for name in ("class_weights", "label_smoothing") if getattr(config, name) not in {"none", 0}]
    if of_labels and not LOSSES[config.loss].is_per_label:
        raise InputError(
            f"{of_labels[0]} must be left out with loss={config.loss}. Received: {of_labels[0]}="
            f"{getattr(config, of_labels[0])}. Use another loss."
        )


def _check_augment(config: "TrainConfig") -> None:
    if isinstance(config.augment, str):
        check_name(config.augment)
    else:
        from hpa_model.augment.policies import find_policy  # imports NumPy

        find_policy(config.augment)
    if config.symmetries and config.augment != "none":
        raise InputError(
            f"symmetries must be false with augment. Received: symmetries=true, augment={config.augment!r}. Leave it "
            f'out; or write policy = "symmetries" into a table of operations.'
        )


def _check_validation(config: "TrainConfig") -> None:
    """Check that what is asked of a validation has one."""
    default = type(config).__dataclass_fields__["validation"].default
    if config.folds != 1 and config.validation != default:
        raise InputError(
            f"validation must be left out unless folds is 1. Received: validation={config.validation}, "
            f"folds={config.folds}. Pass --folds 1, or leave it out."
        )
    if config.folds:
        return
    if config.keep != "last":
        raise InputError(
            f"keep must be last with folds=0, which validates nothing. Received: keep={config.keep}. Pass --set "
            "keep=last."
        )
    # What needs a validation, and what to set in its place: a recipe may have it.
    needs = {
        "schedule=constant": config.schedule == "plateau",
        "plateau_epochs=0": config.plateau_epochs > 0,
        "stop_epochs=0": config.stop_epochs > 0,
        "finetune_epochs=0 --set finetune_loss=bce": any(as_tuple(config.finetune_epochs)),
    }
    for remedy, is_needed in needs.items():
        if is_needed:
            name = remedy.partition("=")[0]
            raise InputError(
                f"{name} must be left out with folds=0, as it needs samples for validation. Received: "
                f"{name}={getattr(config, name)}. Pass --set {remedy}, or --folds 1."
            )
