"""The settings of pre-training an encoder that a training does not have. Imports nothing heavy."""

from dataclasses import dataclass

from hpa_data.errors import InputError

# Settings of a training that pre-training does without: those of classes, folds, other weights and what follows.
UNUSED_SETTINGS = (
    *("folds", "validation", "fold_method", "duplicates", "legacy_leak", "loss", "loss_over_classes"),
    *("class_weights", "label_smoothing", "sampling", "mix"),
    *("stem", "augment", "head_epochs", "backbone_rate_factor"),
    *("finetune_epochs", "finetune_loss", "finetune_folds"),
)


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """How an autoencoder is trained, apart from what `TrainConfig` says; part of its `pretraining.json`."""

    mask: float = 0.0
    """Share of each training image that is masked, in square patches, and has to be filled in."""

    mask_patch: int = 16
    """Pixels of the side of a patch, of the images that the network sees."""

    noise: float = 0.0
    """Standard deviation of the noise that is added to training images and has to be removed, as a share of the range
    of gray levels; in a network that standardizes its images, of their standard deviation."""

    validation_share: float = 0.1
    """Share of the samples that are not trained on, but validated after each epoch."""

    def __post_init__(self) -> None:
        """Check each value."""
        for name, lowest, below in (("mask", 0, 1), ("noise", 0, 10), ("validation_share", 0, 1)):
            value = getattr(self, name)
            is_low = value <= lowest if name == "validation_share" else value < lowest
            if is_low or not value < below:  # so that NaN is refused, too
                least = "above" if name == "validation_share" else "at least"
                raise InputError(
                    f"{name} must be {least} {lowest} and below {below}. Received: {name}={value}. Pass another number."
                )
        if not 1 <= self.mask_patch <= 2**15:
            raise InputError(
                f"mask_patch must be from 1 to {2**15}. Received: mask_patch={self.mask_patch}. Pass another number."
            )
