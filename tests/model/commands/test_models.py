"""`hpa models`: the list of networks."""

import json

from tests.builders import Hpa


def test_the_networks_are_listed_with_their_sizes(hpa: Hpa) -> None:
    ended = hpa("models")
    assert ended.status == 0, ended.err
    assert "gapnet           512      597,388          2,120        2.91" in ended.out
    assert "deepyeast        192   78,110,876" in ended.out
    nets = {net["name"]: net for net in json.loads(hpa("models", "--json").out)}
    assert nets["gapnet"]["n_parameters"] == 597_388
