import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.dataset import HPA_2018, HPA_2021, PRESETS, Channel, Dataset, decode_labels
from hpa_data.errors import InputError
from hpa_data.tables import encode_labels

multi_hot = hnp.arrays(np.uint8, st.tuples(st.integers(0, 20), st.just(28)), elements=st.integers(0, 1))


@given(multi_hot)
def test_labels_come_back_from_their_strings(labels: np.ndarray) -> None:
    assert (encode_labels(decode_labels(labels)) == labels).all()


@pytest.mark.parametrize("target", ["28", "-1", "x", "1.5", "1_0", "³", "9" * 5000])
def test_a_label_that_is_not_a_class_number_is_refused_with_its_row(target: str) -> None:
    with pytest.raises(InputError, match=r"from 0 to 27\. Received: .* in row 2"):
        encode_labels(["0", f"5 {target}"])


def test_class_names_and_their_synonyms_are_numbers() -> None:
    names = ["Nucleus; Cytosol", "midbody ring|cleavage  furrow", "Vesicles", "RODS & RINGS,Golgi apparatus", ";"]
    assert decode_labels(encode_labels(names)) == ["0 25", "16", "", "7 27", ""]
    assert decode_labels(encode_labels(HPA_2018.classes)) == [str(number) for number in range(28)]
    assert {name for name in HPA_2018.synonyms.values() if name} <= set(HPA_2018.classes)


def test_numbers_may_be_separated_by_commas_semicolons_or_bars() -> None:
    assert decode_labels(encode_labels(["14|0", "3, 5", "3 5;7"])) == ["0 14", "3 5", "3 5 7"]


def test_there_are_28_different_classes() -> None:
    assert len(set(HPA_2018.classes)) == 28


def test_a_preset_is_read_back_as_it_was_written() -> None:
    for preset in PRESETS.values():
        assert Dataset.decode(json.loads(json.dumps(preset.encode()))) == preset


def test_the_classes_of_2021_are_those_of_2018_joined() -> None:
    joined = {
        **{number: (number,) for number in range(8)},
        **{8: (11,), 9: (12, 13), 10: (14,), 11: (17,), 12: (19,), 13: (21, 22), 14: (23,), 15: (24,), 16: (25,)},
        17: (8, 9, 10, 20, 26),
    }
    for number, of_2018 in joined.items():
        names = [HPA_2018.classes[other] for other in of_2018]
        assert decode_labels(encode_labels(names, HPA_2021)) == [str(number)] * len(names)
    rest = sorted(set(range(28)) - {other for numbers in joined.values() for other in numbers})
    assert [HPA_2018.classes[other] for other in rest] == [
        *("Microtubule ends", "Cytokinetic bridge", "Microtubule organizing center", "Rods & rings")
    ]
    assert not encode_labels([HPA_2018.classes[other] for other in rest], HPA_2021).any()
    assert HPA_2021.classes[18] == "Negative"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ()}, "classes of data set 'hpa2018' must be 1 to 65536"),
        ({"classes": ("A", "a ")}, "with different names. Received: 2, A, a "),
        ({"channels": (Channel(name="red"), Channel(name="RED"))}, "channels of data set 'hpa2018' must be 1 to 64"),
        ({"synonyms": {"B": "C"}}, "must stand for a class, or for none if empty. Received: 'B' for 'C'"),
        ({"height": 0}, "height and width must be from 1 to 32768"),
    ],
)
def test_a_data_set_that_contradicts_itself_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(HPA_2018, **change)


def test_a_channel_needs_a_name_and_a_color() -> None:
    with pytest.raises(InputError, match="name of a channel must be a word without = or commas"):
        Channel(name="a=b")
    with pytest.raises(InputError, match="color of a channel must be of the form #rrggbb"):
        Channel(name="a", color="red")
