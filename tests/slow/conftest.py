"""A bench for the commands that are disturbed, and the demo."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpa_model.demo import Demo, run_demo
from tests.slow.faults import Bench, build_library, can_build
from tests.slow.scenes import ATTACKS, Scene


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run the demo; its store is beside its runs."""
    return run_demo(tmp_path_factory.mktemp("demo") / "demo")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not can_build():
        pytest.skip("needs Linux and a C compiler")
    return build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def scene(library: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Set the scene for the command that the test names."""
    with Bench(tmp_path, library, *ATTACKS[request.param].modules) as bench:
        yield Scene.set(request.param, bench, tmp_path)
