import gc

import pytest

from hpa_data.system.memory import pause_collection


@pause_collection()
def fail() -> None:
    raise ValueError("no cycles are looked for" if not gc.isenabled() else "cycles are looked for")


def test_cycles_are_looked_for_again_after_a_pause_that_an_error_ends() -> None:
    with pytest.raises(ValueError, match="no cycles"):
        fail()
    assert gc.isenabled()


def test_a_pause_within_a_pause_does_not_end_it() -> None:
    with pause_collection():
        with pause_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
