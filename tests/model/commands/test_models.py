"""`hpa models`: the list of networks."""

import json
import subprocess
import sys

import pytest

from hpa_model.nets import NETS
from hpa_model.nets.backbones import BACKBONES
from hpa_model.nets.sizes import read_sizes
from hpa_model.nets.summary import list_nets
from tests.builders import Hpa


def test_the_networks_are_listed_with_their_sizes(hpa: Hpa) -> None:
    ended = hpa("models")
    assert ended.status == 0, ended.err
    header, *rows = ended.out.splitlines()[: len(NETS) + 1]
    assert rows[0].split()[:5] == ["gapnet", "512", "597,388", "2,120", "2.91"]
    for name, row in zip(NETS, rows, strict=True):
        # Numbers end where the names of their columns do, however long the name of a network is.
        assert row.startswith(f"{name} ")
        cells = [row[: header.index(end) + len(end)].split()[-1] for end in ("pixels", "parameters", "GMAC/image")]
        assert cells == [row.split()[index] for index in (1, 2, 4)], row
        assert ("--weights imagenet" in row, "hpa pretrain" in row) == (name in BACKBONES, bool(NETS[name].encoder))
    nets = {net["name"]: net for net in json.loads(hpa("models", "--json").out)}
    assert nets["gapnet"]["n_parameters"] == 597_388


def test_the_recorded_sizes_are_those_of_the_networks() -> None:
    names = ("gapnet", "gapnet-pl", "deepyeast", "mcnn", "densenet121")
    recorded = {size.name: size for size in read_sizes()}
    assert list(recorded) == list(NETS)
    assert [recorded[name] for name in names] == list_nets(names), "Run: python -m hpa_model.nets.summary"


@pytest.mark.slow
def test_the_recorded_sizes_are_those_of_all_networks() -> None:
    assert read_sizes() == list_nets(), "Run: python -m hpa_model.nets.summary"


def test_listing_the_networks_loads_no_framework() -> None:
    code = (
        "import sys, cli; sys.argv = ['hpa', 'models']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
