"""What an ensemble records of its members, the runs that it was joined from."""

from dataclasses import dataclass

from hpa_data.errors import InputError
from hpa_model.config import JoinMethod

# In `TrainConfig.model` of an ensemble.
NAME = "ensemble"
# In the run folder: what each member adds.
MEMBERS_FILE = "members.json"


@dataclass(frozen=True, kw_only=True)
class Member:
    """A run that an ensemble was joined from."""

    run: str
    """Its folder, when the ensemble was made."""

    relative: str
    """The same, from the folder of the ensemble, for members that are moved together with it."""

    model: str
    """The network, or ``baseline``."""

    channels: tuple[str, ...]
    """Those that it was trained on."""

    models: tuple[str, ...]
    """SHA-256 of its models, in hexadecimal, one per fold."""

    probs: str
    """SHA-256 of its out-of-fold rows, in hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class EnsembleSettings:
    """How an ensemble was made; part of its `config.json`."""

    method: JoinMethod
    """How the probabilities of its members become one, see `joining.Joiner`."""

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        """Check that there are members, with as many models; ValueError if not."""
        if len(self.members) < 2 or len({len(member.models) for member in self.members}) > 1:
            raise ValueError("members must be at least two, with as many models")


def refuse_ensemble(settings: EnsembleSettings | None, run: object, *, purpose: str) -> None:
    """Refuse an ensemble where the models of one run are needed: InputError."""
    if settings is not None:
        raise InputError(
            f"Cannot {purpose} {run}: it is an ensemble of {len(settings.members)} runs, without models of its own. "
            f"Pass one of its members, such as {settings.members[0].run}."
        )


def compare_members(existing: EnsembleSettings | None, wanted: EnsembleSettings | None) -> list[str]:
    """List the differences between two ensembles, in words; none if one is not given."""
    if existing is None or wanted is None:
        return []
    differences = []
    if existing.method != wanted.method:
        differences.append(f"method ({existing.method} there, {wanted.method} here)")
    if len(existing.members) != len(wanted.members):
        differences.append(f"members ({len(existing.members)} there, {len(wanted.members)} here)")
        return differences
    for old, new in zip(existing.members, wanted.members, strict=True):
        if (old.models, old.probs) != (new.models, new.probs):
            differences.append(
                f"the models of {new.run} (they were trained again)"
                if old.run == new.run
                else f"members ({old.run} there, {new.run} here)"
            )
    return differences
