"""What the augmentation of a training draws for the samples of a batch, and the layer that applies it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.augment.operations import Choice, ReferenceChannel
from hpa_data.augment.transform import UNCHANGED
from hpa_data.dataset import Channel
from hpa_data.reader.batches import count_symmetries, draw_orientations
from hpa_model.augment.draw import Array, Parameter, Samples, Values, draw_parameter
from hpa_model.augment.kinds import Frame, Operation
from hpa_model.augment.operations import OPERATIONS
from hpa_model.augment.pairs import draw_share, find_partners
from hpa_model.augment.policies import Candidate, Policy, find_policy
from hpa_model.augment.symmetry import COMPOSED


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was drawn for a candidate of a policy in each sample of a batch."""

    candidate: Candidate
    is_done: npt.NDArray[np.bool_]
    """Shape (B,)."""
    values: Values

    def encode(self, frame: Frame) -> Array:
        """Return the columns of its operation, (B, n); where it is not done, those that change nothing."""
        operation = self.candidate.operation
        effective = {
            name: np.where(self.is_done[:, None], values, operation.neutral.get(name, 0))
            for name, values in self.values.items()
        }
        return operation.encode(effective, self.candidate.parameters, frame)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The augmentation of the training images of one fold."""

    policy: Policy
    frame: Frame
    seed: int

    devices: int = 1
    """Devices that share a batch: images are mixed within the share of one."""

    @cached_property
    def is_symmetry(self) -> bool:
        """Whether it only turns images, one of all symmetries for each, so that rows are codes, as `ApplySymmetry`."""
        candidates = [each for step in self.policy for each in step]
        return [(each.operation.name, each.p) for each in candidates] == [("symmetry", 1.0)]

    @cached_property
    def _units(self) -> list[tuple[Operation, Mapping[str, Parameter], tuple[int, int]]]:
        """What is applied, in order, and where in a row its columns are; without symmetries."""
        candidates = {each.operation.name: each for step in self.policy for each in step if self._is_useful(each)}
        units, at = [], int(self._has_symmetry)
        empty = Samples(keys=np.zeros(1, np.int64), seed=0, epoch=0)
        for name in OPERATIONS:
            if name in candidates and candidates[name].operation.kind != "symmetry":
                n = self._draw_one(candidates[name], np.ones(1, bool), "", empty).encode(self.frame).shape[1]
                units.append((candidates[name].operation, candidates[name].parameters, (at, at + n)))
                at += n
        return units

    @cached_property
    def _has_symmetry(self) -> bool:
        return any(each.operation.kind == "symmetry" for step in self.policy for each in step)

    @property
    def n_columns(self) -> int:
        """Numbers in a row."""
        return self._units[-1][2][1] if self._units else int(self._has_symmetry)

    def make_layer(self) -> Any:
        """Make the layer that applies rows to images of the size of the frame."""
        from hpa_model.augment.layer import ApplyRows

        return ApplyRows(self._units, self.frame, has_symmetry=self._has_symmetry)

    def draw(
        self, keys: npt.NDArray[np.int64], epoch: int, labels: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32] | None]:
        """Draw the rows of a batch, and mix the labels of images that are mixed.

        Parameters
        ----------
        keys : array of int64, shape (B,)
            The index of each sample, or another number where it is repeated in an epoch, see `BatchSampler.keys`.
        epoch : int
        labels : array of float32, shape (B, K), optional

        Returns
        -------
        rows : array of float32, shape (B, P), or of uint8, shape (B,)
            The row of a sample is a function of (seed, epoch, key) alone; what concerns a pair is one of the key of
            its first sample. Codes where `is_symmetry`.
        labels : array of float32, shape (B, K), or None
        """
        if self.is_symmetry:
            n = count_symmetries(self.frame.image_shape)
            return draw_orientations(keys, seed=self.seed, epoch=epoch, n_symmetries=n), labels
        rows = np.zeros((len(keys), self.n_columns), np.float32)
        places = {operation.name: slice(*place) for operation, _, place in self._units}
        codes: npt.NDArray[np.int64] = np.zeros(len(keys), np.int64)
        share = np.ones((len(keys), 1), np.float32)
        for drawn in self._draw(keys, epoch):
            operation = drawn.candidate.operation
            if operation.kind == "symmetry":
                codes = COMPOSED[codes, drawn.encode(self.frame)[:, 0].astype(np.int64)]
            elif operation.name in places:
                rows[:, places[operation.name]] = drawn.encode(self.frame)
                if operation.kind == "pair":
                    share *= rows[:, places[operation.name]][:, :1]
        if self._has_symmetry:
            rows[:, 0] = codes
        if labels is not None and (share < 1).any():
            labels = labels * share + labels[find_partners(len(keys), self.devices)] * (1 - share)
        return rows, labels

    def apply(self, images: npt.NDArray[np.uint8], rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Apply rows to images, uint8 (B, Y, X, C), outside of a training; gray levels are rounded."""
        from keras import ops

        from hpa_model.augment.symmetry import apply_symmetry

        if self.is_symmetry:
            return np.asarray(ops.convert_to_numpy(apply_symmetry(images, rows)))
        changed = ops.convert_to_numpy(self.make_layer()(images, rows))
        return np.asarray(changed).round().astype(np.uint8)

    def describe(self, keys: npt.NDArray[np.int64], epoch: int) -> list[str]:
        """Describe in words what is drawn for each sample of a batch."""
        words: list[list[str]] = [[] for _ in keys]
        for drawn in self._draw(keys, epoch):
            for row in np.flatnonzero(drawn.is_done).tolist():
                plain = {name: self._read(drawn, name, row) for name in drawn.values}
                words[row].append(drawn.candidate.operation.describe(plain))
        return ["; ".join(filter(None, each)) or UNCHANGED for each in words]

    def _read(self, drawn: Drawn, name: str, row: int) -> Any:
        """Return the value of a parameter of one sample as the words of its operation have it."""
        parameter, numbers = drawn.candidate.parameters.get(name), drawn.values[name][row].tolist()
        if isinstance(parameter, Choice):
            return parameter.values[int(numbers[0])]
        if isinstance(parameter, ReferenceChannel):
            return self.frame.channels[int(numbers[0])].name
        return numbers[0] if len(numbers) == 1 else numbers

    def list_idle(self) -> list[str]:
        """Name the operations of the policy that change nothing in these images, such as for want of a channel."""
        candidates = [each for step in self.policy for each in step]
        useful = {each.operation.name for each in candidates if each.p > 0 and self._is_useful(each)}
        return [name for name in dict.fromkeys(each.operation.name for each in candidates) if name not in useful]

    def _is_useful(self, candidate: Candidate) -> bool:
        operation = candidate.operation
        return operation.is_possible(self.frame.channels) and not operation.is_idle(candidate.parameters, self.frame)

    def _draw(self, keys: npt.NDArray[np.int64], epoch: int) -> list[Drawn]:
        """Draw what each candidate does in each sample, in the order of the policy."""
        samples = Samples(keys=keys, seed=self.seed, epoch=epoch)
        found = []
        for step in self.policy:
            if step[0].operation.kind == "pair":
                continue
            chosen = samples.uniform("one of")[:, 0] * len(step) if len(step) > 1 else np.zeros(len(keys))
            for number, candidate in enumerate(step):
                name = candidate.operation.name if len(step) == 1 else f"one of {candidate.operation.name}"
                if candidate.operation.is_possible(self.frame.channels):
                    is_done = (chosen.astype(np.int64) == number) & _is_drawn(candidate, name, samples)
                    found.append(self._draw_one(candidate, is_done, name, samples))
        return found + self._draw_pairs(samples)

    def _draw_one(self, candidate: Candidate, is_done: npt.NDArray[np.bool_], name: str, samples: Samples) -> Drawn:
        if candidate.operation.kind == "pair":
            return Drawn(candidate=candidate, is_done=is_done, values=draw_share(candidate.parameters, name, samples))
        n_symmetries = count_symmetries(self.frame.image_shape)
        values = {
            key: draw_parameter(parameter, f"{name}.{key}", samples, self.frame.channels, n_symmetries=n_symmetries)
            for key, parameter in candidate.parameters.items()
        }
        return Drawn(candidate=candidate, is_done=is_done, values=values)

    def _draw_pairs(self, samples: Samples) -> list[Drawn]:
        """Draw how pairs are mixed: at most one operation for each, drawn for the first of the two."""
        candidates = [each for step in self.policy for each in step if each.operation.kind == "pair"]
        if not candidates:
            return []
        positions = np.arange(len(samples.keys))
        partners = find_partners(len(positions), self.devices)
        firsts = replace(samples, keys=samples.keys[np.minimum(positions, partners)])
        which = firsts.uniform("pair")[:, 0]
        found, least = [], 0.0
        for each in candidates:
            is_done = (which >= least) & (which < least + each.p) & (partners != positions)
            found.append(self._draw_one(each, is_done, each.operation.name, firsts))
            least += each.p
        return found


def _is_drawn(candidate: Candidate, name: str, samples: Samples) -> npt.NDArray[np.bool_]:
    """Draw for each sample whether a candidate that was chosen is applied, (B,)."""
    return samples.uniform(f"p of {name}")[:, 0] < candidate.p


def plan_augmentation(
    augment: str | Mapping[str, Any],
    channels: Sequence[Channel],
    image_shape: tuple[int, int, int],
    size: tuple[int, int],
    *,
    seed: int,
    devices: int = 1,
) -> Augmentation | None:
    """Make the augmentation of a setting; None if there is none.

    Parameters
    ----------
    augment : str or mapping
        See `policies.find_policy`.
    channels : sequence of Channel, length C
    image_shape : (int, int, int)
        (Y, X, C) of the images in the store.
    size : (int, int)
        Rows and columns of the images that are changed.
    seed, devices : int

    Raises
    ------
    InputError
        If the setting cannot be used.
    """
    policy = find_policy(augment)
    if not policy:
        return None
    frame = Frame(channels=tuple(channels), image_shape=image_shape, size=size)
    return Augmentation(policy=policy, frame=frame, seed=seed, devices=devices)
