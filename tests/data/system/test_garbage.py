"""While libraries are loaded no garbage is looked for, and afterwards as before."""

import contextlib
import gc
from typing import Any

import pytest

from hpa_data.commands.console import quiet
from hpa_data.system.garbage import loading


@pytest.mark.parametrize("context", [loading, quiet])
@pytest.mark.parametrize("is_enabled", [True, False])
def test_no_garbage_is_looked_for_within_the_block_and_the_setting_comes_back(context: Any, is_enabled: bool) -> None:
    looked: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        looked.append(phase)

    before = gc.isenabled()
    (gc.enable if is_enabled else gc.disable)()
    gc.callbacks.append(note)
    try:
        with contextlib.suppress(ImportError), context():
            looked.clear()
            kept = [[] for _ in range(20_000)]  # as a library that makes many objects
            assert looked == []
            raise ImportError
        assert gc.isenabled() == is_enabled
        assert len(kept) == 20_000
    finally:
        gc.callbacks.remove(note)
        (gc.enable if before else gc.disable)()
