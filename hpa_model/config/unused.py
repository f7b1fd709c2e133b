"""Settings that have no effect beside others, in one table. Imports nothing heavy."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from hpa_model.config.optimizers import OPTIMIZERS
from hpa_model.config.settings import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Unused:
    """When some settings have no effect."""

    names: tuple[str, ...]
    """The settings."""

    decided_by: tuple[str, ...]
    """The settings that say whether they have one."""

    is_unused: Callable[[TrainConfig], bool]

    reason: str
    """For messages, after "it has no effect"; fields of the settings in braces."""


# To add a setting that counts beside others alone, add a row.
UNUSED = (
    Unused(
        names=("momentum",),
        decided_by=("optimizer",),
        is_unused=lambda config: "momentum" not in OPTIMIZERS[config.optimizer].arguments.values(),
        reason="with optimizer={optimizer}",
    ),
    Unused(
        names=("weight_decay_of",),
        decided_by=("weight_decay",),
        is_unused=lambda config: not config.weight_decay,
        reason="without weight_decay",
    ),
    Unused(
        names=("plateau_factor",),
        decided_by=("schedule", "plateau_epochs"),
        is_unused=lambda config: not config.patience,
        reason="without schedule=plateau",
    ),
    Unused(
        names=("finetune_loss", "finetune_folds"),
        decided_by=("finetune_epochs",),
        is_unused=lambda config: not config.finetunings,
        reason="without finetune_epochs",
    ),
    Unused(
        names=("validation",),
        decided_by=("folds",),
        is_unused=lambda config: config.folds != 1,
        reason="without --folds 1",
    ),
    Unused(
        names=("fold_method", "duplicates"),
        decided_by=("legacy_leak",),
        is_unused=lambda config: config.legacy_leak,
        reason="with --legacy-leak",
    ),
    Unused(
        names=("fold_method", "duplicates", "legacy_leak"),
        decided_by=("folds",),
        is_unused=lambda config: not config.folds,
        reason="with --folds 0",
    ),
)
# They count only where a training starts from weights, which is no setting.
OF_WEIGHTS = ("stem", "head_epochs", "backbone_rate_factor")


def list_unused(config: TrainConfig, *, has_weights: bool = True, varied: Collection[str] = ()) -> dict[str, str]:
    """List the settings that have no effect beside the others, each with the reason, whatever their values.

    Parameters
    ----------
    config : TrainConfig
    has_weights : bool
        Whether the training starts from weights.
    varied : collection of str
        Settings that may get other values. What they decide is left out.

    Examples
    --------
    >>> list_unused(TrainConfig(optimizer="sgd", weight_decay=0.1, schedule="plateau", finetune_epochs=5))
    {'validation': 'without --folds 1'}
    """
    found = {} if has_weights else dict.fromkeys(OF_WEIGHTS, "without --weights")
    for each in UNUSED:
        if each.is_unused(config) and not set(each.decided_by) & set(varied):
            found |= dict.fromkeys(each.names, each.reason.format_map(vars(config)))
    return found
