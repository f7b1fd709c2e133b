"""Commands that are killed at random moments, each time followed by the same command (`make test-slow`)."""

import random
import time

import pytest

from tests.slow.scenes import ATTACKS, Scene

KILLS = {"train": 10, "finetune": 5, "augment": 18, "verify --repair": 13, "evaluate": 6, "predict": 4}


@pytest.mark.slow
@pytest.mark.parametrize("scene", KILLS, indirect=True)
def test_kills_at_random_moments_change_no_byte(scene: Scene) -> None:
    name = next(name for name, attack in ATTACKS.items() if attack is scene.attack)
    rng = random.Random(name)
    scene.bench.reset(scene.template)
    started = time.monotonic()
    scene.bench.run(*scene.attack.words)
    whole_s = time.monotonic() - started
    n_killed = 0
    while n_killed < KILLS[name]:
        scene.bench.reset(scene.template)
        # Several in a row, as when somebody loses patience.
        for _ in range(rng.choice((1, 1, 3))):
            ended = scene.bench.run(*scene.attack.words, kill_after_s=rng.random() * whole_s)
            n_killed += ended.status == -9
        assert scene.finish() == ""
    print(f"{name}: {n_killed} kills")
