"""How a training differs from the one that its weights come from: what is refused, and what is told."""

import keras

from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_model.config import TrainConfig
from hpa_model.nets.catalog import NETS, TRAINING_OPTIONS, choose_input_size
from hpa_model.nets.channels import ChannelMatch, find_channel_layers
from hpa_model.runs.folder import RunDescription


def compare_networks(there: TrainConfig, here: TrainConfig) -> tuple[str, str]:
    """Say how the networks of two trainings differ in what they compute, and what to do about it.

    Returns
    -------
    (str, str)
        In a few words, and in one sentence. Both are empty if they do not differ.
    """
    if there.model != here.model:
        return f"it is {there.model}, the new one {here.model}", f"Pass --model {there.model}, or leave --weights out."
    # What the options of a network of another package do is not known.
    for name, default in NETS[here.model].options.items() if here.model in NETS else ():
        old, new = (config.options.get(name, default) for config in (there, here))
        if old != new and name not in TRAINING_OPTIONS:
            remedy = f"Pass --set options.{name}={old}, or leave --weights out."
            return f"it has options.{name}={old}, the new one {new}", remedy
    return "", ""


def describe_size(config: TrainConfig, image_shape: tuple[int, int, int]) -> str:
    """Say which size the network of a training sees."""
    height, width = choose_input_size(config.model, image_shape, config.image_size or None)
    return f"{height} x {width} pixels"


def match_channels(
    there: tuple[str, ...], description: RunDescription, networks: tuple[keras.Model, keras.Model], name: str
) -> ChannelMatch | None:
    """Decide which filters each channel starts with.

    Parameters
    ----------
    there : tuple of str
        Names of the channels that the weights were trained on.
    description : RunDescription
        Of the training that is to start from them.
    networks : (keras.Model, keras.Model)
        There and here.
    name : str
        Of what is started from, for messages.

    Returns
    -------
    ChannelMatch or None
        None if each starts with the filters of the one in its place.

    Raises
    ------
    InputError
        If they have other places, and the networks do not let filters be moved.
    """
    match = ChannelMatch(there=there, here=description.channels)
    if match.is_by_position:
        return None
    if all(find_channel_layers(network) for network in networks):
        return match
    in_store = set(there) <= set(description.full_store_dataset.channel_names)
    remedy = f"Pass --channels {','.join(there)}" if in_store else "Choose as many others by --channels"
    raise InputError(
        f"Cannot start from {name}: it was trained on the channels {', '.join(there)}, not on {', '.join(match.here)}, "
        f"and {description.config.model} does not treat all channels alike before its first convolution. {remedy}, or "
        "leave --weights out."
    )


def list_channel_notices(there: tuple[str, ...], here: tuple[str, ...], name: str) -> list[Notice]:
    """Tell which channels do not start with filters of their own, and which filters are not used."""
    match = ChannelMatch(there=there, here=here)
    taken = [
        f"{channel}, which starts with {'zeros' if source is None else f'those of {there[source]}'}"
        for channel, source in zip(here, match.sources, strict=True)
        if source is None or there[source] != channel
    ]
    unused = [channel for index, channel in enumerate(there) if index not in match.sources]
    notices = []
    if taken:
        notices.append(
            Notice(
                what=f"the weights of {name} have no filters for channels that are trained on here",
                n=len(taken),
                unit="channel",
                examples=tuple(taken[:N_EXAMPLES]),
                remedy=f"They are of {', '.join(there)}. If that is not meant, choose others by --channels, or leave "
                "--weights out.",
            )
        )
    if unused:
        notices.append(
            Notice(
                what=f"channels that the weights of {name} were trained on are not trained on here",
                n=len(unused),
                unit="channel",
                examples=tuple(unused[:N_EXAMPLES]),
                remedy="Their filters are left out.",
            )
        )
    return notices
