"""The results of the loader benchmark: what is kept of a row, the table, the chart."""

import os
import platform
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hpa_model.bench.timing import summarize

# The limit that the rows of each codec are compared with.
LIMIT_OF = {"raw": "copy raw", "cached": "memcpy"} | {codec: f"decode {codec}" for codec in ("lz4hc", "lz4", "zstd")}
# Packages whose versions are reported with the results.
PACKAGES = (
    *("numpy", "numcodecs", "zarr", "tensorflow", "tensorstore", "opencv-python-headless", "h5py", "hdf5plugin"),
    *("lmdb", "array_record", "webdataset", "insitubatch", "annbatch", "zarrs"),
)
COLORS = {"hpa": "#d1495b", "others": "#4f7cac", "limits of the machine": "#b9b9b9"}


@dataclass(kw_only=True)
class Result:
    """The rounds of a row so far."""

    name: str
    description: str
    shuffle: str
    """Empty for a limit."""

    state: str = "ok"
    """``ok``, or why there are no figures."""

    rates: list[float] = field(default_factory=list)
    """Samples per second in each round, files in the page cache."""

    cpu_s: list[float] = field(default_factory=list)
    """CPU seconds of all cores per 1,000 samples in each round."""

    peak_mb: float = 0.0
    """Peak memory of the process, including pages of mapped files."""

    first_s: float = 0.0
    """From opening to the first batch, including imports, in a process that has just started."""

    disk_mb: float = 0.0
    """Size of the files that the row reads."""

    cold_rate: float | None = None
    """Samples per second in one epoch without the page cache."""

    @property
    def kind(self) -> str:
        """The color of its bar."""
        if not self.shuffle:
            return "limits of the machine"
        return "hpa" if self.name.startswith("hpa ") else "others"


def find_limit(result: Result, results: list[Result]) -> Result | None:
    """Find the limit that one of our rows is compared with."""
    if result.kind != "hpa":
        return None
    name = LIMIT_OF[result.name.split()[1].rstrip(",")]
    return next((other for other in results if other.name == name and other.state == "ok"), None)


def describe(results: list[Result]) -> str:
    """Make the table."""
    heads = f"{'row':<26}{'samples/s':>10}{'lowest':>8}{'highest':>8}{'limit':>7}{'cold':>8}{'CPU s':>7}{'first s':>8}"
    lines = [f"{heads}{'peak MB':>9}{'disk MB':>9}  order, or what it shows"]
    for row in results:
        if row.state != "ok":
            lines.append(f"{row.name:<26}{row.state}")
            continue
        limit = find_limit(row, results)
        timing = summarize(
            row.name, row.description, rates=row.rates, cpu_s=row.cpu_s, baseline=limit.rates if limit else None
        )
        fraction = "" if timing.fraction is None else f"{timing.fraction:.2f}"
        cold = "" if row.cold_rate is None else f"{row.cold_rate:.0f}"
        lines.append(
            f"{row.name:<26}{timing.rate:>10.0f}{timing.lowest:>8.0f}{timing.highest:>8.0f}{fraction:>7}{cold:>8}"
            f"{timing.cpu_s:>7.2f}{row.first_s:>8.2f}{row.peak_mb:>9.0f}{row.disk_mb:>9.0f}"
            f"  {row.shuffle or row.description}"
        )
    return "\n".join(lines)


def read_versions() -> dict[str, str]:
    """Look up the versions that the results depend on."""
    found = {"python": platform.python_version(), "machine": f"{os.cpu_count()} cores, {platform.machine()}"}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def draw(results: list[Result], path: Path, title: str) -> None:
    """Draw one bar per row, the limits in a color of their own."""
    from matplotlib.figure import Figure

    rates = {row.name: summarize(row.name, "", rates=row.rates, cpu_s=row.cpu_s).rate for row in results if row.rates}
    rows = sorted((row for row in results if row.rates), key=lambda row: rates[row.name])
    figure = Figure(figsize=(9, 1.4 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.barh([row.name for row in rows], [rates[row.name] for row in rows], color=[COLORS[row.kind] for row in rows])
    for position, row in enumerate(rows):
        order = f"  (shuffled: {row.shuffle})" if row.shuffle not in {"", "permutation"} else ""
        rate = rates[row.name]
        axes.text(rate, position, f" {rate:,.0f}{order}", va="center", fontsize=8)
    axes.set_xlabel("samples of 512 x 512 x 4 per second; shuffled over all samples unless noted")
    axes.set_title(title, loc="left", fontsize=10)
    axes.margins(y=0.01)
    axes.set_xlim(right=1.1 * max(rates.values()))
    axes.spines[["top", "right"]].set_visible(False)
    for label, color in COLORS.items():
        axes.barh([0], [0], color=color, label=label)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)
