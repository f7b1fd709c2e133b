"""Weights to start from: the models of another finished run, perhaps of other samples and other classes."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_data.folds.duplicates import find_uniform
from hpa_data.folds.plan import FoldPlan
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store, open_store
from hpa_model.nets.catalog import NETS, list_layers
from hpa_model.nets.channels import find_channel_layers
from hpa_model.nets.head import HEAD
from hpa_model.nets.matching import compare_layers, describe_scaling
from hpa_model.runs.folder import BEST_FILE, RunDescription, fold_folder, read_folds, read_run
from hpa_model.runs.models import load_model
from hpa_model.training.differences import compare_networks, describe_size, list_channel_notices, match_channels
from hpa_model.training.network import build_network, check_model, hash_models


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A finished run whose best models a training starts from, fold by fold."""

    folder: Path
    description: RunDescription

    models: tuple[str, ...]
    """SHA-256 of the best models, in hexadecimal, one per fold."""

    def build(self, description: RunDescription, *, fold: int) -> keras.Model:
        """Build the network of a fold with the weights of that fold's best model.

        The classification head is new where the classes differ, in number, name or order, or where it is of another
        image size. Channels keep their filters, by name, see `nets.channels`.

        Raises
        ------
        InputError
            If the networks differ.
        """
        network = build_network(description, fold=fold)
        start = min(fold, len(self.models) - 1)  # a run of one model is the start of all folds
        check_model(self.folder, start, self.models[start], purpose="start from")
        best = fold_folder(self.folder, start) / BEST_FILE
        source = load_model(best, self.description, sha256=self.models[start])
        match = match_channels(self.description.channels, description, (source, network), str(self.folder))
        scalings = [describe_scaling(list_layers(model)) for model in (source, network)]
        if scalings[0] != scalings[1]:
            raise self._differs(f"it scales images by {scalings[0]}, the new one by {scalings[1]}")
        of_channels = [] if match is None else find_channel_layers(network)
        is_head_new = bool(self._explain_head(description))
        of_both = [[layer for layer in list_layers(model) if layer.weights] for model in (network, source)]
        if len(of_both[0]) != len(of_both[1]):
            raise self._differs(f"it has {len(of_both[1])} layers with weights, the new one {len(of_both[0])}")
        for layer, other in zip(*of_both, strict=True):
            if layer.name.startswith(HEAD) and is_head_new:
                continue
            values = other.get_weights()
            if match is not None and layer in of_channels:
                values = match.fit(layer, values)
            difference = compare_layers(other, layer, values)
            if difference:
                raise self._differs(f"layer {layer.name} has {difference}")
            layer.set_weights(values)
        return network

    def extend(self, description: RunDescription) -> RunDescription:
        """Add to the description of a run what it starts from; InputError if it cannot, before anything is written."""
        folds = self.description.config.folds
        if description.config.folds > folds > 1:
            raise InputError(
                f"folds must be at most {folds} to start from {self.folder}, which has that many. Received: "
                f"folds={description.config.folds}. Pass --folds {folds}."
            )
        how, remedy = compare_networks(self.description.config, description.config)
        if how:
            raise self._differs(how, remedy)
        self.build(description, fold=0)
        return replace(description, weights=str(self.folder.absolute()), weights_models=self.models)

    def describe(self, description: RunDescription) -> list[str]:
        """Say what a run starts from, and what of it does not fit."""
        there = self.description
        head = self._explain_head(description)
        size = describe_size(there.config, there.image_shape)
        notices = list_channel_notices(there.channels, description.channels, str(self.folder))
        models = f"the models of {self.folder}, fold by fold, which were"
        if len(self.models) == 1:
            models = f"the model of {self.folder}, which was"
        return [
            f"Start: {models} trained on {', '.join(there.config.parts)} "
            f"at {size}; {head or 'the classification head is kept'}",
            *map(str, notices),
        ]

    def _explain_head(self, description: RunDescription) -> str:
        """Say why the classification head is new; empty if it is not."""
        there, net = self.description, NETS.get(description.config.model)
        if there.classes != description.classes:
            return "the classification head is new, because the classes differ"
        sizes = {describe_size(each.config, each.image_shape) for each in (there, description)}
        if net is not None and net.flattens and len(sizes) > 1:
            return "the classification head is new, because the image size differs"
        return ""

    def find_seen(self, store: Store, plan: FoldPlan, reader: Reader) -> list[str]:
        """List the ids of the samples that are validated here by a fold whose weights were trained on them.

        Samples are the same if their ids are, or their pixels, which are compared by checksums where the store of that
        run can still be read.
        """
        validated = {name: fold for _, name, fold in read_folds(self.folder)}
        known: dict[object, set[int]] = defaultdict(set)  # by id and by pixels, the folds that validated them there
        for name, fold in validated.items():
            known[name].add(fold)
        for name, key in read_pixels(self.description.store, self.description.fingerprints):
            if name in validated:
                known[key].add(validated[name])
        keys = dict(enumerate(key for _, key in list_pixels(store, list(dict.fromkeys(reader.parts)))))
        seen = []
        for index in np.flatnonzero(plan.folds >= 0).tolist():
            fold = int(plan.folds[index])
            # The model of a fold was trained on what other folds validate.
            if any(known.get(key, set()) - {fold} for key in (reader.ids[index], keys[index])):
                seen.append(reader.ids[index])
        return seen

    def _differs(self, how: str, remedy: str = "") -> InputError:
        remedy = remedy or "Train the same network on images of the same size, or leave --weights out."
        return InputError(f"Cannot start from {self.folder}: its network differs, {how}. {remedy}")


def open_weights(folder: Path) -> Weights:
    """Check that the models of all folds of a run can be loaded: InputError if one cannot."""
    description = read_run(folder)
    return Weights(
        folder=folder, description=description, models=hash_models(folder, description, purpose="start from")
    )


def describe_seen(seen: list[str], folder: str) -> Notice:
    """Tell that scores leak, because the weights to start from were trained on samples that are validated here."""
    return Notice(
        what=f"the models of {folder} were trained on samples that are validated here: the scores are inflated",
        n=len(seen),
        examples=tuple(seen[:N_EXAMPLES]),
        remedy="Train with the folds, the fold method and the seed of that run, on its part, or leave --weights out.",
    )


def read_pixels(location: str, fingerprints: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    """Yield what `list_pixels` does for parts of a store; nothing if it is gone, or a part has another fingerprint."""
    try:
        store = open_store(location)
        found = {name: store.part(name).manifest.fingerprint for name in fingerprints}
    except InputError:
        return
    if found == fingerprints:
        yield from list_pixels(store, list(found))


def list_pixels(store: Store, parts: list[str]) -> Iterator[tuple[str, object]]:
    """Yield id and a key of the pixels of each sample; a key of its own for one that shows nothing."""
    for name in parts:
        part = store.part(name)
        sums, shape = part.read_sums(), part.manifest.dataset.image_shape
        is_uniform = find_uniform(sums, pixels=shape[0] * shape[1])
        rows = zip(part.ids, part.read_checksums().tolist(), sums, is_uniform.tolist(), strict=True)
        for sample_id, checksum, of_sample, shows_nothing in rows:
            yield sample_id, object() if shows_nothing else (checksum, of_sample.tobytes())
