"""Every call of a command to the operating system fails once, or is the last before a kill; then it runs again.

Each call that opens, makes, writes, syncs, renames or removes a file or a folder of the store, or of the run, is such a
site. `make test-slow` runs nearly all, see `scenes.OF_FILE`; the normal tests run a few of them.
"""

import random

import pytest

from tests.slow.faults import Mode
from tests.slow.scenes import WITH_SITES, Scene

MODES: tuple[Mode, ...] = ("EIO", "ENOSPC", "full", "kill")


@pytest.mark.slow
@pytest.mark.parametrize("scene", WITH_SITES, indirect=True)
@pytest.mark.parametrize("mode", MODES)
def test_every_call_may_fail_or_be_the_last(scene: Scene, mode: Mode) -> None:
    wrong = []
    for site in scene.sites:
        if line := scene.disturb(site, mode):
            print(line, flush=True)  # it takes long until the end
            wrong.append(line)
    print(f"{scene.attack.words[0]}, {mode}: {len(scene.sites)} of {scene.n_sites} sites, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("scene", ["convert"], indirect=True)
def test_some_calls_may_fail_or_be_the_last(scene: Scene) -> None:
    written = [site for site in scene.sites if site.call not in {"open", "mkdir"}]
    chosen = random.Random(0).sample(written, len(MODES))
    wrong = [scene.disturb(site, mode) for site, mode in zip(chosen, MODES, strict=True)]
    assert not any(wrong), "\n".join(wrong)
