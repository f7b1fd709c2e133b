"""Filters and orders, against plain computations; what no query can be."""

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_model.browse import describe
from hpa_model.browse.catalog import Catalog
from hpa_model.browse.query import Query, parse_query, select, spread
from tests.model.browse.pages import Browser, Pages, open_pages


def names(catalog: Catalog, query: Query) -> list[str]:
    return [catalog.ids[index] for index in select(catalog, query).tolist()]


def test_all_samples_are_selected_in_the_order_of_the_store(catalog: Catalog) -> None:
    assert catalog.part_names == ("train", "test", "augmented")
    assert select(catalog, Query()).tolist() == list(range(66))


def test_parts_kinds_and_letters_of_ids_select(catalog: Catalog) -> None:
    assert names(catalog, Query(part="test")) == ["new-0", "new-1", "sample-0009"]
    assert names(catalog, Query(kind="copies")) == ["copy-0", "copy-1", "copy-2"]
    assert len(select(catalog, Query(kind="originals"))) == 63
    assert names(catalog, Query(kind="unreadable")) == ["sample-0059"]
    assert names(catalog, Query(text="AMPLE-0009")) == ["sample-0009", "sample-0009"]
    assert names(catalog, Query(text="<img")) == ["<img src=x onerror=alert(1)>"]
    assert names(catalog, Query(text="nowhere")) == []


def test_relations_to_a_class_are_those_of_labels_and_thresholds(catalog: Catalog) -> None:
    found = catalog.predictions
    assert found is not None
    judged = np.arange(66) < 59
    for k, threshold in enumerate((0.5, 0.5, 0.6, 1.0)):
        labeled = catalog.labels[:, k]
        predicted = found.predicted[:, k]
        assert (predicted[judged] >= (found.probs[judged, k] > threshold)).all()
        expected = {
            "labeled": labeled,
            "predicted": predicted,
            "found": judged & labeled & predicted,
            "missed": judged & labeled & ~predicted,
            "wrong": judged & ~labeled & predicted,
            "any": np.ones(66, bool),
        }
        for relation, mask in expected.items():
            chosen = select(catalog, Query(label=k, relation=relation))  # type: ignore[arg-type]
            assert chosen.tolist() == np.flatnonzero(mask).tolist(), (k, relation)


def test_verdicts_are_of_labeled_samples_that_no_model_was_trained_on(catalog: Catalog) -> None:
    right, wrong = (select(catalog, Query(verdict=name)).tolist() for name in ("right", "wrong"))
    assert sorted(right + wrong) == list(range(59))
    assert right
    assert wrong
    assert names(catalog, Query(verdict="unpredicted")) == [
        *("sample-0059", "sample-0009", "copy-0", "copy-1", "copy-2"),
    ]


def test_folds_and_probabilities_select(catalog: Catalog) -> None:
    assert select(catalog, Query(fold=1)).tolist() == list(range(1, 59, 3))
    assert catalog.predictions is not None
    probs = catalog.predictions.probs[:, 2]
    chosen = select(catalog, Query(label=2, relation="any", low=0.4, high=0.8))
    assert chosen.tolist() == [i for i in range(66) if 0.4 <= probs[i] <= 0.8]
    # Features that were written with probabilities of 0.7 for samples without a fold.
    assert {60, 61} <= set(chosen.tolist())


@pytest.mark.parametrize("order", ["probability", "least probable", "threshold", "error", "id", "family"])
def test_orders_sort_by_what_they_say_and_lose_nobody(catalog: Catalog, order: str) -> None:
    chosen = select(catalog, Query(label=0, relation="any", order=order))  # type: ignore[arg-type]
    assert sorted(chosen.tolist()) == list(range(66))
    assert catalog.predictions is not None
    probs = catalog.predictions.probs[chosen, 0]
    known = (catalog.predictions.origins > 0)[chosen]
    ordered = {
        "probability": -probs[known],
        "least probable": probs[known],
        "threshold": np.abs(probs[known] - 0.5),
        "error": -catalog.losses[chosen],
        "family": catalog.families[chosen],
    }
    if order == "id":
        assert [catalog.ids[index] for index in chosen] == sorted(catalog.ids)
        return
    assert (np.diff(ordered[order]) >= 0).all()
    if order == "error":  # also what was embedded, whose labels are not known, comes last
        assert not catalog.is_judged[chosen][-7:].any()
    elif order != "family":
        assert not known[-5:].any()


def test_copies_stand_beside_their_parent(catalog: Catalog) -> None:
    listed = names(catalog, Query(order="family"))
    at = listed.index(catalog.ids[9])
    assert listed[at : at + 3] == [catalog.ids[9], "copy-0", "copy-1"]


@pytest.mark.parametrize(
    "query",
    [
        *("fold=x", "fold=1.5", "fold=inf", "label=4", "label=-2", "label=1e400", "low=nan", "high=inf", "part=other"),
        *("relation=all", "verdict=maybe", "order=size", "kind=x", "what=1", "meta.nothing=1", "first=-1", "n=501"),
        *("n=x", "first=99999999999999999999", "columns=1", "fold=٣x"),
        *(f"{name}={sign}{'9' * n}" for name in ("label", "fold") for sign in ("", "-") for n in (30, 5000)),
        *(f"{name}={'9' * n}" for name in ("low", "first", "n") for n in (30, 5000)),
    ],
)
def test_what_is_no_query_is_refused_with_a_line(browser: Browser, query: str) -> None:
    answer = browser.get("/api/samples", query)
    assert answer.status == 400
    assert answer.content.count(b"\n") == 1


def test_of_many_values_the_first_are_sent_with_their_number(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe, "MAX_VALUES", 1)
    told = describe.describe_catalog(catalog)
    assert (told["columns"], told["n_values"]) == ({"cell line": ["HeLa"]}, {"cell line": 2})


def test_metadata_of_the_features_file_select(catalog: Catalog, browser: Browser) -> None:
    told = browser.get("/api/catalog").json
    assert (told["columns"], told["n_values"]) == ({"cell line": ["HeLa", "U2OS"]}, {"cell line": 2})
    query = parse_query({"meta.cell line": "U2OS"}, catalog)
    assert select(catalog, query).tolist() == [*range(1, 59, 2), 60]
    assert browser.get("/api/samples", "meta.cell%20line=U2OS").json["total"] == 30
    assert browser.get("/api/sample/1").json["columns"] == {"cell line": "U2OS"}
    with pytest.raises(InputError, match="query must have names of filters"):
        parse_query({"meta.cell": "U2OS"}, catalog)


def test_a_page_of_some_samples_has_all_classes(catalog: Catalog) -> None:
    rows = np.arange(66)
    some = spread(catalog, rows, 9)
    assert len(some) == 9
    assert (np.diff(some) > 0).all()
    assert catalog.labels[some].any(axis=0).tolist() == [True, True, True, False]
    assert (~catalog.labels[some].any(axis=1)).any()
    assert spread(catalog, rows, 100).tolist() == rows.tolist()


def test_without_a_run_filters_of_predictions_select_nothing(pages: Pages) -> None:
    catalog, reader = open_pages(pages, run=False, embeddings=False)
    with reader:
        for query in (Query(verdict="right"), Query(fold=0), Query(low=0.5), Query(label=0, relation="predicted")):
            assert not len(select(catalog, query))
        assert len(select(catalog, Query(verdict="unpredicted", order="probability"))) == 66
