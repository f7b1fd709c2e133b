"""Python's search for cyclic garbage: none while large libraries are loaded, nor among what they leave at the end."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Look for no garbage while libraries are loaded.

    They make half a million objects that stay, and to look through them again and again takes a third of the time.
    """
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()


def leave() -> None:
    """Look for no garbage among what there is as Python exits: it would take a second, and all memory is given back."""
    gc.freeze()
