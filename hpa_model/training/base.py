"""The run that a fine-tuning starts from."""

from dataclasses import dataclass, replace
from pathlib import Path

import keras

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.training.network import check_model, hash_models, load_frozen


@dataclass(frozen=True, kw_only=True)
class BaseRun:
    """A finished run whose models are fine-tuned."""

    folder: Path
    description: RunDescription

    folds: tuple[int, ...]
    """The folds whose models are fine-tuned."""

    models: tuple[str, ...]
    """SHA-256 of the best models, in hexadecimal, one per fold."""

    def load(self, fold: int) -> keras.Model:
        """Load the network of a fold with a frozen backbone; InputError if it is another one than at the beginning."""
        check_model(self.folder, fold, self.models[fold], purpose="fine-tune")
        return load_frozen(self.folder, self.description, fold=fold, sha256=self.models[fold])

    def extend(self, description: RunDescription, store: Store) -> RunDescription:
        """Add to the description of a run that it is fine-tuned; InputError if it is of other data than the base."""
        if description.fingerprints != self.description.fingerprints:
            raise InputError(
                f"Cannot fine-tune {self.folder} on {store.location}: its parts have other fingerprints than when the "
                "run was trained. Pass --store with the store of the run."
            )
        return replace(
            description,
            finetuned_from=str(self.folder.absolute()),
            finetuned_folds=self.folds,
            base_models=self.models,
        )


def open_base(folder: Path, folds: tuple[int, ...]) -> BaseRun:
    """Check that all models of a run can be fine-tuned, before hours are spent on the first of them."""
    description = read_run(folder)
    models = hash_models(folder, description, purpose="fine-tune")
    return BaseRun(folder=folder, description=description, folds=folds, models=models)
