"""What all benchmarks take: a folder of planes, or none, in which case samples are made up."""

import argparse
from pathlib import Path

import cv2
from dask.system import CPU_COUNT

from hpa_data.synth import write_samples


def make_parser(text: str | None, *, n_samples: int) -> argparse.ArgumentParser:
    """Make a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="Kaggle's planes; made up if left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=CPU_COUNT)
    parser.add_argument("--samples", type=int, default=n_samples, help="samples to make up")
    return parser


def find_folder(options: argparse.Namespace, scratch: Path) -> Path:
    """Return the folder that was given, or make samples up."""
    cv2.setNumThreads(1)  # there is a thread a core already
    if options.folder is not None:
        return options.folder.resolve()
    write_samples(scratch / "samples", n_samples=options.samples)
    return scratch / "samples" / "train"


def repeat_files(folder: Path, into: Path, *, times: int) -> Path:
    """Link the planes of a folder under several names each."""
    into.mkdir()
    for path in folder.glob("*.png"):
        for number in range(times):
            (into / f"{number}-{path.name}").symlink_to(path.resolve())
    return into
