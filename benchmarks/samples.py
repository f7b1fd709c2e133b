"""The options that all benchmarks share, and their samples: a folder of planes, or synthetic ones."""

import argparse
import os
import shutil
from pathlib import Path
from typing import get_args

import cv2
from dask.system import CPU_COUNT

from hpa_data.format.options import CodecName
from hpa_data.synth import write_samples

CODEC_NAMES: tuple[CodecName, ...] = get_args(CodecName)


def make_parser(
    text: str | None, *, n_samples: int, rounds: int = 5, positional: tuple[str, ...] = ()
) -> argparse.ArgumentParser:
    """Make a parser with the options that all benchmarks share, behind further paths."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in positional:
        parser.add_argument(name, type=Path)
    parser.add_argument("folder", type=Path, nargs="?", help="Kaggle's planes; synthetic samples if left out")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=CPU_COUNT)
    parser.add_argument("--samples", type=int, default=n_samples, help="samples to synthesize")
    return parser


def find_folder(options: argparse.Namespace, scratch: Path) -> Path:
    """Return the given folder, or synthesize samples."""
    cv2.setNumThreads(1)  # there is one thread per core already
    if options.folder is not None:
        return Path(options.folder).resolve()
    write_samples(scratch / "samples", n_samples=options.samples)
    return scratch / "samples" / "train"


def repeat_files(folder: Path, target: Path, *, times: int) -> Path:
    """Copy the planes of a folder, and give each several names."""
    target.mkdir()
    for path in folder.glob("*.png"):
        first = target / f"0-{path.name}"
        shutil.copyfile(path, first)
        for number in range(1, times):
            os.link(first, target / f"{number}-{path.name}")  # symbolic links would take longer to read than files
    return target
