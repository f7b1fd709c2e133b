"""`hpa folds`: classes and leaks of a store, or of a label table."""

import json
from pathlib import Path

from hpa_data.store.store import Store
from tests.builders import Hpa


def test_the_folds_of_a_store_are_described(store: Store, hpa: Hpa) -> None:
    ended = hpa("folds", store.path, "--part", "train", "--folds", 2)
    assert ended.status == 0, ended.err
    assert "all validation samples                 12" in ended.out
    for relation in ("an exact duplicate", "a near duplicate", "any of these"):
        assert f"with {relation} in training " in ended.out


def test_a_label_table_shows_what_copies_would_leak(kaggle: Path, hpa: Hpa) -> None:
    words = ("folds", "--labels", kaggle / "train.csv", "--folds", 2, "--min-count", 9, "--json")
    kept, leaky = (json.loads(hpa(*words, *more).out)["leaks"] for more in ((), ("--legacy-leak",)))
    assert [leak["relation"] for leak in kept] == [leak["relation"] for leak in leaky]
    assert sum(kept[0]["leaked"]) == 0 < sum(leaky[0]["leaked"])


def test_the_former_spelling_of_the_method_still_works(kaggle: Path, hpa: Hpa) -> None:
    words = ("folds", "--labels", kaggle / "train.csv")
    assert hpa(*words, "--method", "contiguous").out == hpa(*words, "--fold-method", "contiguous").out
