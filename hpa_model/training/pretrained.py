"""Starting from a pre-trained encoder: the convolutions have its weights, the classification head is new."""

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_data.folds.plan import FoldPlan
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store
from hpa_model.nets.autoencoder import copy_encoder, find_encoder
from hpa_model.runs.folder import RunDescription
from hpa_model.runs.models import is_complete, load_model
from hpa_model.runs.pretraining import (
    ENCODER_FILE,
    TRAINING,
    PretrainDescription,
    read_pretraining,
    read_samples,
)
from hpa_model.runs.seal import hash_file
from hpa_model.training.differences import compare_networks, describe_size, list_channel_notices, match_channels
from hpa_model.training.network import build_network
from hpa_model.training.weights import list_pixels, read_pixels


@dataclass(frozen=True, kw_only=True)
class EncoderWeights:
    """A finished pre-training whose encoder all folds of a training start from."""

    folder: Path
    description: PretrainDescription

    sha256: str
    """Of the file of the encoder, in hexadecimal."""

    def build(self, description: RunDescription, *, fold: int) -> keras.Model:
        """Build the network of a fold with the weights of the encoder; its head is that of a training from scratch.

        Raises
        ------
        InputError
            If the encoder is of another network, or its file is another one than at the beginning.
        """
        network = build_network(description, fold=fold)
        path = self.folder / ENCODER_FILE
        if not is_complete(path) or hash_file(path) != self.sha256:
            raise InputError(
                f"Cannot start from {path}: it is another file than when this run was begun. Put it back from a copy, "
                "or begin again with --overwrite."
            )
        encoder = load_model(path, sha256=self.sha256)
        match = match_channels(self._channels, description, (encoder, network), str(self.folder))
        difference = copy_encoder(encoder, network, find_encoder(description.config.model), match)
        if difference:
            raise self._differs(difference)
        return network

    def extend(self, description: RunDescription) -> RunDescription:
        """Add to the description of a run what it starts from; InputError if it cannot, before anything is written."""
        how, remedy = compare_networks(self.description.config, description.config)
        if how:
            raise self._differs(how, remedy)
        self.build(description, fold=0)
        return replace(description, weights=str(self.folder.absolute()), weights_models=(self.sha256,))

    def describe(self, description: RunDescription) -> list[str]:
        """Say what a run starts from, and what of it does not fit."""
        there = self.description
        size = describe_size(there.config, there.dataset.image_shape)
        notices = list_channel_notices(self._channels, description.channels, str(self.folder))
        return [
            f"Start: the encoder of {self.folder}, which was trained on {', '.join(there.config.parts)} at {size}; the "
            "classification head is new",
            *map(str, notices),
        ]

    @property
    def _channels(self) -> tuple[str, ...]:
        return self.description.dataset.channel_names

    def find_seen(self, store: Store, plan: FoldPlan, reader: Reader) -> list[str]:
        """Return no ids: the encoder was trained on no label of any sample."""
        return []

    def find_seen_unlabeled(self, store: Store, plan: FoldPlan, reader: Reader) -> list[str]:
        """List the ids of the samples that are validated here and that the encoder was trained on, without labels.

        Samples are the same if their ids are, or their pixels, as for `Weights.find_seen`.
        """
        known: set[object] = {each.id for each in read_samples(self.folder) if each.use == TRAINING}
        description = self.description
        pixels = read_pixels(description.store, description.fingerprints)
        known |= {key for name, key in pixels if name in known}
        keys = [key for _, key in list_pixels(store, list(dict.fromkeys(reader.parts)))]
        validated = np.flatnonzero(plan.folds >= 0).tolist()
        return [reader.ids[index] for index in validated if {reader.ids[index], keys[index]} & known]

    def _differs(self, how: str, remedy: str = "") -> InputError:
        remedy = remedy or "Pre-train the same network, or leave --weights out."
        return InputError(f"Cannot start from {self.folder}: its encoder does not fit, {how}. {remedy}")


def open_encoder(folder: Path) -> EncoderWeights:
    """Check that the encoder of a pre-training can be loaded: InputError if not."""
    description = read_pretraining(folder)
    path = folder / ENCODER_FILE
    if not is_complete(path):
        raise InputError(
            f"Cannot start from {folder}: the pre-training is not finished. Run the same `hpa pretrain` command again; "
            "it resumes."
        )
    sha256 = hash_file(path)
    load_model(path, sha256=sha256)
    return EncoderWeights(folder=folder, description=description, sha256=sha256)


def describe_seen_unlabeled(seen: list[str], folder: str) -> Notice:
    """Tell that an encoder has seen samples that are validated here, without their labels."""
    return Notice(
        what=f"the encoder of {folder} was trained on images of samples that are validated here, without their labels",
        n=len(seen),
        examples=tuple(seen[:N_EXAMPLES]),
        remedy="No label leaks; to score on images that no weight has seen, leave their part out of `hpa pretrain`.",
    )
