"""What a training can be logged with: the package of each, and the extra that installs it. Imports nothing heavy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True, kw_only=True)
class LogKind:
    """A tool that draws what is measured after each epoch."""

    title: str
    """What messages call it."""

    package: str
    """The package that writes its logs."""

    extra: str
    """The extra of this package that installs it."""


# To add one, add a row, and how its logs are opened to `training.loggers.OPENERS`.
LOGS: dict[str, LogKind] = {
    "tensorboard": LogKind(title="TensorBoard", package="tensorboardX", extra="tensorboard"),
    "wandb": LogKind(title="Weights & Biases", package="wandb", extra="wandb"),
    "mlflow": LogKind(title="MLflow", package="mlflow", extra="mlflow"),
}
if TYPE_CHECKING:
    Log = str
else:
    Log = Literal[tuple(LOGS)]
