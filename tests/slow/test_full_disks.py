"""Commands on a disk that is full before they are done; needs the right to mount (`make test-slow`)."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slow.contents import digest_folder, is_true_seal
from tests.slow.scenes import ATTACKS, Scene

# Of the space that a command takes, what there is.
FRACTIONS = {
    "train": (0.02, 0.3, 0.6, 0.95),
    **dict.fromkeys(("convert", "augment", "finetune", "verify --repair"), (0.1, 0.7)),
    **dict.fromkeys(("evaluate", "predict", "preview", "compare"), (0.01, 0.6)),
}
LARGE = "2g"

WHOLE = ("train", "evaluate", "predict", "preview", "compare")
"""Those that leave each file that there was as it was, or finished."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk where the bench is."""
    folder = tmp_path / "bench"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", folder], check=False).returncode:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def resize(folder: Path, size: int | str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("scene", FRACTIONS, indirect=True)
def test_a_full_disk_is_one_line_and_loses_nothing(small_disk: Path, scene: Scene) -> None:
    name = next(name for name, attack in ATTACKS.items() if attack is scene.attack)
    scene.bench.reset(scene.template)
    before = shutil.disk_usage(small_disk).used
    scene.bench.run(*scene.attack.words)
    taken = shutil.disk_usage(small_disk).used - before
    n_full = 0
    for fraction in FRACTIONS[name]:
        scene.bench.reset(scene.template)
        resize(small_disk, before + int(fraction * taken))
        ended = scene.bench.run(*scene.attack.words)
        n_full += ended.status == 2
        assert scene.judge(ended, "full") == "", (fraction, taken)
        if name in WHOLE:
            old, now = digest_folder(scene.template), digest_folder(small_disk)
            changed = [path for path in old if now.get(path) not in {old[path], scene.wanted[path]}]
            # What would have been written next is not sealed any more.
            assert not [path for path in changed if not is_true_seal(small_disk / path)], fraction
        resize(small_disk, LARGE)
        assert scene.finish() == "", fraction
    assert n_full
    print(f"{name}: {n_full} times full")
