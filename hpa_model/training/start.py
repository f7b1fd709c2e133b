"""What a training starts from: a run, an encoder, a file, ImageNet's weights; or on resuming, what is gone since."""

from dataclasses import dataclass, replace
from pathlib import Path

import keras

from hpa_data.errors import InputError
from hpa_data.folds.plan import FoldPlan
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store
from hpa_model.config import TrainConfig
from hpa_model.runs.folder import CHECKPOINT_FILE, CONFIG_FILE, RunDescription, fold_folder, read_run
from hpa_model.runs.pretraining import is_pretraining
from hpa_model.training.from_file import IMAGENET, FileWeights, open_file_weights, open_imagenet
from hpa_model.training.network import build_network
from hpa_model.training.pretrained import EncoderWeights, open_encoder
from hpa_model.training.weights import Weights, open_weights


@dataclass(frozen=True, kw_only=True)
class GoneWeights:
    """Weights that a run began with and that cannot be read now; folds with a checkpoint go on without them."""

    run: Path
    recorded: RunDescription

    reason: InputError
    """Why they cannot be read."""

    def build(self, description: RunDescription, *, fold: int) -> keras.Model:
        """Build the network of a fold for its checkpoint; InputError if it has none."""
        if not (fold_folder(self.run, fold) / CHECKPOINT_FILE).exists():
            raise InputError(f"Cannot begin fold {fold} of {self.run}: {self.reason}")
        return build_network(description, fold=fold)

    def extend(self, description: RunDescription) -> RunDescription:
        """Add to the description of a run what it started from."""
        return replace(description, weights=self.recorded.weights, weights_models=self.recorded.weights_models)

    def describe(self, description: RunDescription) -> list[str]:
        """Say nothing: it was told when the run was begun."""
        return []

    def find_seen(self, store: Store, plan: FoldPlan, reader: Reader) -> list[str]:
        """Return no ids: they were told when the run was begun."""
        return []


Start = Weights | EncoderWeights | FileWeights | GoneWeights


def open_start(weights: str | Path | None, config: TrainConfig, out: Path, *, overwrite: bool) -> Start | None:
    """Look at what a training starts from.

    Parameters
    ----------
    weights : str or Path, optional
        ``none``, ``imagenet``, the path of a file of weights, or of the folder of a finished run or pre-training.
    config : TrainConfig
    out : Path
        The run folder. What its run started from may be gone, if it is to be resumed.
    overwrite : bool

    Raises
    ------
    InputError
        If it is none of them, or cannot be started from.
    """
    if weights is None or str(weights) == "none":
        return None
    try:
        if str(weights) == IMAGENET:
            return open_imagenet(config)
        path = Path(weights)
        if path.is_dir():
            return open_encoder(path) if is_pretraining(path) else open_weights(path)
        if not path.exists():
            raise InputError(
                "weights must be none, imagenet, a file of weights, or the folder of a run. Received: "
                f"weights={weights}, which does not exist. Correct the path."
            )
        return open_file_weights(path, config)
    except InputError as error:
        is_gone = str(weights) == IMAGENET or not Path(weights).exists()
        if overwrite or not is_gone or not (out / CONFIG_FILE).exists():
            raise
        recorded = read_run(out)
        if recorded.weights != (IMAGENET if str(weights) == IMAGENET else str(Path(weights).absolute())):
            raise
        return GoneWeights(run=out, recorded=recorded, reason=error)
