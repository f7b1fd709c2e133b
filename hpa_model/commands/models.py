"""The command `hpa models`: its options and its text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpa_data.commands.console import Json, quiet, show

if TYPE_CHECKING:
    from hpa_model.nets.summary import NetSummary


def models(as_json: Json = False) -> None:
    """List the networks: input, parameters, arithmetic an image, options."""
    with quiet():
        from hpa_model.nets.summary import list_nets

        done = list_nets()
    show(done, as_json, describe_nets(done))


def describe_nets(nets: "Sequence[NetSummary]") -> str:
    """List networks."""
    lines = [
        f"{'model':<13}{'pixels':>7}{'parameters':>13}{'not trained':>13}{'GMAC/image':>12}   what it is; its options"
    ]
    for net in nets:
        options = ", ".join(f"{name}={value}" for name, value in net.options.items())
        lines.append(
            f"{net.name:<13}{net.image_size:>7}{net.n_parameters:>13,}{net.n_frozen:>13,}"
            f"{net.n_macs / 1e9:>12.2f}   {net.summary}{'; ' + options if options else ''}"
        )
    return "\n".join(
        [
            *lines,
            "",
            "GMAC: billions of multiply-adds of convolutions and dense layers, at that size in pixels.",
        ]
    )
