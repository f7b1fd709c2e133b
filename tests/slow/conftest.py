"""A bench for the commands that are disturbed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slow.faults import Bench, build_library, can_build
from tests.slow.scenes import ATTACKS, Scene


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
