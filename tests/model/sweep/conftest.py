"""A network of a few layers to search with, and a study of it."""

from collections.abc import Callable
from typing import Any

import pytest

from hpa_data.store.store import Store
from hpa_model.sweep.plan import plan_study
from hpa_model.sweep.study import Study
from tests.model.training.conftest import tiny_network as tiny_network  # noqa: PLC0414 - pytest finds it here

SETTINGS = {
    **{"model": "tiny", "folds": 2, "epochs": 1, "batch_size": 3, "image_size": 16},
    **{"min_last_batch": 1, "deterministic": True},
}
Plan = Callable[..., Study]


@pytest.fixture
def plan(store: Store) -> Plan:
    """Plan a study of `tiny`, of two learning rates where nothing else is said."""

    def plan_it(*vary: str, settings: dict[str, Any] | None = None, **asked: Any) -> Study:
        return plan_study(store, SETTINGS | (settings or {}), vary or ("learning_rate=0.01,0.1",), **asked)

    return plan_it
