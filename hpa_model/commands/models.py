"""The command `hpa models`: its options and its text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpa_data.commands.console import show
from hpa_data.commands.options import Json

if TYPE_CHECKING:
    from hpa_model.nets.sizes import NetSummary


def models(as_json: Json = False) -> None:
    """List the networks: input size, parameters, operations, options."""
    from hpa_model.nets.sizes import read_sizes

    nets = read_sizes()
    show(nets, as_json, describe_nets(nets))


def describe_nets(nets: "Sequence[NetSummary]") -> str:
    """Describe networks, one per line."""
    width = max(len(net.name) for net in nets) + 1
    lines = [
        f"{'model':<{width}}{'pixels':>7}{'parameters':>13}{'non-trainable':>15}{'GMAC/image':>12}   summary; options"
    ]
    for net in nets:
        options = ", ".join(f"{name}={value}" for name, value in net.options.items())
        starts = "; --weights imagenet" * net.has_imagenet + "; hpa pretrain" * net.has_encoder
        lines.append(
            f"{net.name:<{width}}{net.image_size:>7}{net.n_parameters:>13,}{net.n_frozen:>15,}"
            f"{net.n_macs / 1e9:>12.2f}   {net.summary}; from {net.min_size} pixels on{starts}"
            f"{'; ' + options if options else ''}"
        )
    lines += ["", "GMAC: billions of multiply-accumulates of convolutions and dense layers, at this number of pixels."]
    lines.append("hpa pretrain: it can be pre-trained without labels.")
    return "\n".join(lines)
