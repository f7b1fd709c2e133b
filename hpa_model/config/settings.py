"""The settings of a training. Imports nothing heavy."""

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from hpa_data.folds.options import DuplicateSearch, FoldMethod
from hpa_model.augment.options import settle_augment
from hpa_model.config.optimizers import OPTIMIZERS
from hpa_model.config.rules import as_tuple, check_settings
from hpa_model.losses import LOSSES

if TYPE_CHECKING:
    Loss = str
    Optimizer = str
else:
    Loss = Literal[tuple(LOSSES)]
    Optimizer = Literal[tuple(OPTIMIZERS)]
# How the losses of the classes make up the loss of a sample.
OverClasses = Literal["mean", "sum"]
# Which weights `weight_decay` shrinks.
Decayed = Literal["kernels", "all"]
# How the learning rate changes from epoch to epoch.
Schedule = Literal["constant", "plateau", "cosine"]
# Which epoch's model of a fold is kept.
Keep = Literal["lowest_loss", "highest_macro_f1", "last"]
# How much more the positive labels of rare classes weigh in the loss.
ClassWeights = Literal["none", "sqrt", "balanced"]
# How much more often samples of rare classes are drawn.
Sampling = Literal["none", "sqrt", "balanced"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
# Which folds' models are fine-tuned: the paper took the one that scored best.
FoldChoice = Literal["best", "all"]
# How an ensemble joins the probabilities of its members.
JoinMethod = Literal["mean", "weighted", "stacked"]
# Of the samples, which validate the model of one fold.
DEFAULT_SHARE = 0.1
# Of a plateau whose length is not set.
DEFAULT_PATIENCE = 5
# How the first convolution of a backbone for red, green and blue becomes one for other channels.
Stem = Literal["mean", "copy-red", "channel-map"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training; most defaults are the paper's.

    Its fields are what a recipe may set, and are recorded in `config.json` under these names. A setting that is added
    later takes its default in older runs; where that would change what they did, give the field
    ``metadata={"absent": …}``.
    """

    model: str = "gapnet"
    """A name in `nets.NETS`."""

    options: dict[str, float | int | str] = field(default_factory=dict)
    """Differences from the network's default options, see `nets.NETS`."""

    image_size: int | tuple[int, int] = 0
    """What the network sees: pixels of the shorter side, the ratio of the sides kept, or rows and columns,
    ``[256, 384]``. 0: the network's default, for most networks the size in the store."""

    stem: Stem = field(default="mean", metadata={"absent": "mean"})
    """How the first convolution is made from weights for red, green and blue where the images do not have three
    channels, see `nets.stem.mix_channels`. It has no effect on other weights to start from."""

    head_epochs: int = field(default=0, metadata={"absent": 0})
    """Epochs at the start in which the classification head alone is trained, over the backbone that a training starts
    from (``--weights``). Without weights to start from, there are none."""

    backbone_rate_factor: float = field(default=1.0, metadata={"absent": 1.0})
    """Factor of the learning rate in the epochs after those, in which all layers are trained; 1, which is allowed, too,
    without weights to start from."""

    bn_momentum: float = 0.99
    """Momentum of the moving averages in batch normalization. Lower it when an epoch has few steps."""

    parts: tuple[str, ...] = ("train",)
    """Parts of the store to train and validate on."""

    channels: tuple[str, ...] = field(default=(), metadata={"absent": ()})
    """Names of the channels to train on, in this order. None named: all channels of the store, in its order."""

    folds: int = 3
    """Number of folds. One model is trained per fold, and validated on that fold. 1: one model, which is validated on a
    share of the samples (`validation`). 0: one model of all samples, which nothing validates."""

    validation: float = field(default=DEFAULT_SHARE, metadata={"absent": DEFAULT_SHARE})
    """With one fold: the share of the samples in it."""

    fold_method: FoldMethod = "stratified"
    """See `hpa_data.folds.assign_folds`. Groups are duplicates, and samples of one antibody."""

    duplicates: DuplicateSearch = field(default="auto", metadata={"absent": "ignore"})
    """Duplicates that are looked for and kept in one fold: ``exact``, those with the same pixels; ``near``, also other
    exports of the same image; ``auto``, near ones where that takes less than a minute, else exact ones; ``ignore``,
    none, or near ones with ``grouped-stratified``. The run records what was looked for, and resumes with it."""

    legacy_leak: bool = False
    """Treat copies as independent samples and cut all into contiguous folds, as the paper probably did: optimistic."""

    epochs: int = 50
    batch_size: int = 20

    min_last_batch: int = field(default=4, metadata={"absent": 1})
    """Fewest images of the last batch of an epoch, on each device; fewer join the batch before it, so that each epoch
    has every image once. Batch normalization over one or two images has almost no variance to divide by, and the moving
    averages of the step before validation would be of those."""

    loss: Loss = "bce"
    """A name in `losses.LOSSES`."""

    loss_over_classes: OverClasses = field(default="mean", metadata={"absent": "mean"})
    """Whether the loss of a sample is the mean over the classes, or their sum: K times the loss and the gradients."""

    sampling: Sampling = field(default="none", metadata={"absent": "none"})
    """How often samples are drawn: each once in an epoch; or so that the images of an epoch are shared out among the
    classes equally (``balanced``), or by the square roots of their numbers of samples (``sqrt``). A sample counts for
    its rarest class, and those without a class are one of their own. An epoch keeps its number of images."""

    mix: dict[str, float] = field(default_factory=dict, metadata={"absent": {}})
    """Weights of the parts in an epoch, such as ``{train = 1, external = 1}`` for as many images of one as of the
    other; `sampling` then shares out the images of each part. Copies count with the part of their parents. None: each
    part has what its samples have."""

    class_weights: ClassWeights = field(default="none", metadata={"absent": "none"})
    """Weight of the positive labels of a class in the training loss: 1; or ``balanced``, the number of training samples
    without the class for each with it; or ``sqrt``, the square root of that, which rare classes bear better. With
    `sampling` or `mix`, images are counted as they are drawn. The validation loss has no weights."""

    label_smoothing: float = field(default=0.0, metadata={"absent": 0.0})
    """In the training loss, labels of 0 and 1 become this / 2 and 1 - this / 2. The validation loss has the labels."""

    optimizer: Optimizer = "adam"
    """A name in `optimizers.OPTIMIZERS`."""

    learning_rate: float = 1e-3
    """At the start."""

    schedule: Schedule = field(default="constant", metadata={"absent": "constant"})
    """Whether the learning rate stays, apart from `plateau_epochs`; or is multiplied by `plateau_factor` on a plateau,
    with 5 epochs where `plateau_epochs` does not say how many; or falls along half a cosine: in each epoch a little
    lower, in the last one near 0."""

    warmup_epochs: float = field(default=0.0, metadata={"absent": 0.0})
    """Epochs, or a share of one, in which the learning rate rises from step to step to what it would be, at the start
    and after `head_epochs`."""

    momentum: float = 0.9
    """Of SGD and Muon."""

    weight_decay: float = 0.0
    """Decoupled: per step, each weight loses this fraction of itself, times the learning rate."""

    weight_decay_of: Decayed = field(default="kernels", metadata={"absent": "all"})
    """The weights that `weight_decay` shrinks: kernels, or biases and the scales and offsets of batch normalization,
    too, as versions before 0.4.0 did."""

    l1: float = field(default=0.0, metadata={"absent": 0.0})
    """Factor of the L1 penalty on kernels: the sum of their absolute values, times this, is added to the loss."""

    l2: float = field(default=0.0, metadata={"absent": 0.0})
    """Factor of the L2 penalty on kernels: half the sum of their squares, times this, is added to the loss, so that
    each gradient grows by l2 times the weight, before clipping and momentum. What many frameworks call the weight decay
    of SGD."""

    clip_norm: float = 0.0
    """Maximum global norm of the gradients. 0: no clipping."""

    accumulate_batches: int = field(default=1, metadata={"absent": 1})
    """Batches whose gradients are averaged before the weights change, as if they were one batch, apart from batch
    normalization. The count goes on from epoch to epoch. Warm-up, clipping and averages of weights count such
    changes."""

    ema: float = field(default=0.0, metadata={"absent": 0.0})
    """Momentum of an exponential moving average of the weights, such as 0.99, over the changes of the weights. The
    averaged weights are validated and kept; batch normalization keeps its own averages. 0: none."""

    plateau_epochs: int = 0
    """Epochs without a lower validation loss after which the learning rate is multiplied by `plateau_factor`. 0: never.
    """

    plateau_factor: float = 0.5

    keep: Keep = field(default="lowest_loss", metadata={"absent": "lowest_loss"})
    """Which epoch's model of a fold predicts: that of the lowest validation loss, of the highest validation macro-F1 at
    the best thresholds, or the last. The last suits a cosine schedule, and is not chosen on samples that are scored.
    When a network grows overconfident, its loss rises while its macro-F1 rises, too, and the epoch of the lowest loss
    comes too early."""

    stop_epochs: int = field(default=0, metadata={"absent": 0})
    """Epochs without a better model, in the sense of `keep`, after which the training of a fold ends. 0: never."""

    symmetries: bool = False
    """Apply one of the eight flips and rotations of a square, or of the four of a rectangle, to each training image,
    drawn anew in each epoch, on the device: ``augment = "symmetries"``, as versions before 0.7.0 had it."""

    augment: str | dict[str, Any] = field(default="none", metadata={"absent": "none"})
    """How each training image is changed on the device, drawn anew in each epoch: a policy of `augment.POLICIES`, or a
    table of operations, see `augment.policies.find_policy`. `augmentation` has ``symmetries``, too."""

    precision: Precision = "float32"
    """Of the arithmetic; weights stay float32."""

    xla: bool = False
    """Compile with XLA. On CPUs it trains `gapnet` at less than half the speed."""

    devices: int = 1
    """GPUs of this machine (or logical devices) that share each batch equally. Up to `devices` - 1 images are skipped
    per epoch, different ones each time."""

    deterministic: bool = False
    """Use deterministic kernels, which are slower."""

    seed: int = 0
    """Of folds, weights, order, augmentation and dropout."""

    finetune_epochs: int | tuple[int, ...] = 0
    """Epochs of fine-tuning after the training, see `training.finetune`. 0: none. Several numbers, with as many losses:
    several fine-tunings of the same run, each with a run folder of its own."""

    finetune_loss: Loss | tuple[Loss, ...] = "bce"
    """The loss of the fine-tuning, or of each."""

    finetune_folds: FoldChoice = "best"

    def __post_init__(self) -> None:
        """Check each value; InputError if one cannot be used."""
        augment = settle_augment(self.augment)
        if augment == "symmetries":  # one form for both names, that of earlier versions
            object.__setattr__(self, "symmetries", True)
            augment = "none"
        object.__setattr__(self, "augment", augment)
        check_settings(self, CHOICES)

    def rate_in(self, epoch: int) -> float:
        """Return the scheduled learning rate of an epoch, counted from 0; a plateau may lower it further.

        Examples
        --------
        >>> [TrainConfig(schedule="cosine", learning_rate=0.1, epochs=2).rate_in(epoch) for epoch in (0, 1)]
        [0.1, 0.05]
        """
        rate = self.learning_rate
        if epoch >= self.head_epochs:
            rate *= self.backbone_rate_factor
        return rate * (1 + math.cos(math.pi * epoch / self.epochs)) / 2 if self.schedule == "cosine" else rate

    @property
    def augmentation(self) -> str | dict[str, Any]:
        """How training images are changed: `augment`, or ``symmetries``."""
        return "symmetries" if self.symmetries else self.augment

    @property
    def n_models(self) -> int:
        """Models that are trained: one per fold, and one without folds."""
        return max(self.folds, 1)

    @property
    def patience(self) -> int:
        """Epochs without a lower validation loss after which the learning rate is lowered; 0: never."""
        return self.plateau_epochs or (DEFAULT_PATIENCE if self.schedule == "plateau" else 0)

    @property
    def finetunings(self) -> tuple[tuple[Loss, int], ...]:
        """The loss and the epochs of each fine-tuning that follows the training."""
        losses: tuple[Loss, ...] = as_tuple(self.finetune_loss)
        pairs = zip(losses, as_tuple(self.finetune_epochs), strict=True)
        return tuple((loss, epochs) for loss, epochs in pairs if epochs)


def _list_choices(kind: Any) -> tuple[str, ...]:
    """List the words that a type allows, a `Literal` or a union with one; empty for other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((get_args(each) for each in get_args(kind) if get_origin(each) is Literal), ())


# The settings that are one of a few words, or several of them, from their types.
CHOICES: dict[str, tuple[str, ...]] = {
    each.name: _list_choices(each.type) for each in fields(TrainConfig) if _list_choices(each.type)
}


# For help texts.
DEFAULTS = TrainConfig()
