"""The text of what a conversion took its files and labels for."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hpa_data.commands.console import abbreviate, escape

if TYPE_CHECKING:
    from hpa_data.errors import Notice
    from hpa_data.format.understood import LabelReading, Tally, Understanding


def describe_understanding(understood: "Understanding") -> str:
    """Describe what was understood, in few lines; ``--json`` has all of it."""
    scalings = {channel.scaling for channel in understood.channels}
    of_all = f", intensity {next(iter(scalings))}" if len(scalings) == 1 else ""
    lines = [f"Data set {understood.dataset}: images {understood.image_size}{of_all}"]
    for channel in understood.channels:
        scaling = f", intensity {channel.scaling}" if not of_all else ""
        filled = f", filled with zeros in {channel.n_filled} of {understood.n_read} samples" if channel.n_filled else ""
        lines.append(f"  {channel.name}: {channel.source}{scaling}{filled}")
    lines += _describe_tallies("Files", understood.files, "sample")
    lines += _describe_tallies("Passed over", understood.passed_over, "file")
    lines += _describe_tallies("Left out", understood.left_out)
    if understood.labels is not None:
        lines += _describe_labels(understood.labels)
    lines += _describe_tallies("Ids matched loosely", understood.matched)
    return "\n".join([*map(escape, lines), *describe_notices([*understood.notices, *understood.sample_notices])])


def describe_notices(notices: Iterable["Notice"]) -> list[str]:
    """Describe warnings, one a line."""
    return abbreviate([str(notice) for notice in notices])


def list_findings(understood: "Understanding") -> list[str]:
    """List, in one line each, what makes a strict conversion fail: what was passed over or left out, and warnings."""
    return [
        *_describe_tallies("Passed over", understood.passed_over, "file"),
        *_describe_tallies("Left out", understood.left_out),
        *map(str, [*understood.notices, *understood.sample_notices]),
    ]


def _describe_tallies(title: str, tallies: Sequence["Tally"], unit: str = "") -> list[str]:
    lines = []
    for tally in tallies:
        example = f", for example {tally.examples[0]}" if tally.examples else ""
        counted = f" {unit}{'s' * (tally.n != 1)}" if unit else ""
        lines.append(f"{title}, {tally.what}: {tally.n}{counted}{example}")
    return abbreviate(lines, limit=8)


def _describe_labels(labels: "LabelReading") -> list[str]:
    spread = f"{labels.least}" if labels.least == labels.most else f"{labels.least} to {labels.most}"
    mean = "" if labels.least == labels.most else f", {labels.mean:.2f} on average"
    return [f"Labels: {labels.how}", f"Classes per sample: {spread}{mean}"]
