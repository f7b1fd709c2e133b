"""What was done but should be known has one form."""

from hpa_data.errors import Notice


def test_a_notice_is_one_line_with_what_how_many_an_example_and_a_remedy() -> None:
    notice = Notice(what="a channel is nearly black", n=3, examples=("a", "b"), remedy="Pass --intensity minmax.")
    assert str(notice) == ("Warning: a channel is nearly black, 3 samples, for example a. Pass --intensity minmax.")
    assert str(Notice(what="lost", n=1, unit="row", remedy="Look.")) == "Warning: lost, 1 row. Look."
