"""What a comparison of ideas consists of."""

from collections.abc import Sequence
from dataclasses import dataclass

STORE, EXTERNAL = "hpa.zarr", "external.zarr"


@dataclass(frozen=True)
class Step:
    """A command of `hpa`, without its ``--out``, which is `name`."""

    name: str
    command: str
    needs: tuple[str, ...] = ()
    """Names of the steps whose folders it reads."""


@dataclass(frozen=True)
class Row:
    """A line of the table: what was tried, and the step whose scores it shows."""

    title: str
    step: str

    reference: str
    """The step whose scores it is compared with."""

    predict: str = ""
    """Options of `hpa predict` for the held-out samples. With any, the row has no scores out of fold: those are of the
    row without."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Steps in an order that works, and the table of their scores."""

    steps: tuple[Step, ...]
    rows: tuple[Row, ...]

    n_samples: int
    """With labels; as many of an external set."""

    n_test: int
    """Held out, without labels."""

    scores_test: bool
    """Whether the held-out samples are predicted and scored."""

    preparations: tuple[str, ...] = ()
    """Commands of `hpa` that follow the conversion; each does nothing when it is repeated."""

    def step(self, name: str) -> Step:
        """Return the step of a name."""
        return next(step for step in self.steps if step.name == name)

    def select(self, rows: Sequence[Row]) -> list[Step]:
        """Return the steps that rows show, and those that they need, in the order in which they run."""
        wanted = {row.step for row in rows} | {row.reference for row in rows}
        while more := {needed for name in wanted for needed in self.step(name).needs} - wanted:
            wanted |= more
        return [step for step in self.steps if step.name in wanted]
