"""Networks by name: uint8 images in, one sigmoid probability a class out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import keras

from hpa_data.errors import InputError
from hpa_model.nets.deepyeast import build_deepyeast
from hpa_model.nets.densenet import build_densenet121
from hpa_model.nets.gapnet import build_gapnet
from hpa_model.nets.gapnet_pl import ZScore, build_gapnet_pl
from hpa_model.nets.mcnn import build_mcnn
from hpa_model.nets.resize import AreaResize


@dataclass(frozen=True, kw_only=True)
class Net:
    """A network that can be built.

    Attributes
    ----------
    build : function
        Of image_shape (Y, X, C), n_classes, image_size and its options, to a model with fresh weights.
    summary : str
    min_size : int
        Pixels that an image must have, so that something is left of it before the last layer.
    image_size : int
        Pixels to which it has images resized unless told otherwise; 0: none.
    options : mapping of str to float, int or str
        What may be chosen, and the default of each.
    """

    build: Callable[..., keras.Model]
    summary: str
    min_size: int
    image_size: int = 0
    options: Mapping[str, float | int | str] = field(default_factory=dict)


NETS = {
    "gapnet": Net(
        build=build_gapnet,
        summary="three depths pooled, dense net; Madeira and Parreira 2018",
        min_size=76,
        options={"dropout": 0.4, "stride": 2, "padding": "valid"},
    ),
    "gapnet-pl": Net(
        build=build_gapnet_pl,
        summary="the original, self-normalising; Rumetshofer et al. 2018",
        min_size=16,
        options={"dropout": 0.3, "l1": 1e-7, "l2": 1e-5},
    ),
    "deepyeast": Net(
        build=build_deepyeast,
        summary="eight convolutions, large dense net; Pärnamaa and Parts 2017",
        min_size=8,
        image_size=192,
        options={"dropout": 0.5},
    ),
    "mcnn": Net(build=build_mcnn, summary="seven scales side by side; Godinez et al. 2017", min_size=128),
    "densenet121": Net(build=build_densenet121, summary="densely connected; Huang et al. 2016", min_size=32),
}
# Our own layers, which a saved model may have.
LAYERS: dict[str, type[keras.layers.Layer]] = {"AreaResize": AreaResize, "ZScore": ZScore}
# What an option may be, besides of its default's type.
OPTION_RULES: dict[str, tuple[str, Callable[[float | int | str], bool]]] = {
    "dropout": ("at least 0 and below 1", lambda value: 0 <= float(value) < 1),
    "stride": ("1 or 2", lambda value: value in {1, 2}),
    "padding": ("valid or same", lambda value: value in {"valid", "same"}),
    "l1": ("at least 0 and below 1", lambda value: 0 <= float(value) < 1),
    "l2": ("at least 0 and below 1", lambda value: 0 <= float(value) < 1),
}


def build(
    name: str,
    image_shape: tuple[int, int, int] = (512, 512, 4),
    n_classes: int = 28,
    *,
    image_size: int | None = None,
    bn_momentum: float = 0.99,
    options: Mapping[str, float | int | str] | None = None,
) -> keras.Model:
    """Build a network with fresh weights.

    Parameters
    ----------
    name : str
        One of `NETS`.
    image_shape : tuple of int
        (Y, X, C) of the images that will be fed.
    n_classes : int
        K.
    image_size : int, optional
        Rows and columns to which the images are resized on the device before anything else; by default the network's
        own, and for most they stay as they are.
    bn_momentum : float
        How much of the moving statistics of batch normalisation a step keeps, 0..1. 0.99 needs some hundred steps to
        settle.
    options : mapping, optional
        What differs from the network's own options, see `NETS`.

    Returns
    -------
    keras.Model
        From uint8 (B, Y, X, C) to float32 (B, K) in [0, 1]. Weights are drawn from Keras's seed.

    Raises
    ------
    InputError
        If the name or an option is unknown, or the images are too small for the network.
    """
    if name not in NETS:
        raise InputError(f"model must be one of {', '.join(NETS)}. Received: model={name!r}. Choose one of them.")
    net = NETS[name]
    if image_size and image_size > min(image_shape[:2]):
        raise InputError(
            f"image_size must be at most the images' own, {min(image_shape[:2])}. Received: image_size={image_size}. "
            "Leave it out for their own size."
        )
    size = image_size or min(net.image_size, *image_shape[:2])
    min_size = size or min(image_shape[:2])
    if min_size < net.min_size:
        raise InputError(
            f"image_size must be at least {net.min_size} for {name}. Received: image_size={min_size}. Take larger "
            "images."
        )
    chosen = _check_options(name, options or {})
    model = net.build(image_shape, n_classes, image_size=size, **chosen)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = bn_momentum
    return model


def _check_options(name: str, options: Mapping[str, float | int | str]) -> dict[str, float | int | str]:
    """Return options that a network has, of the right types; InputError otherwise."""
    known = NETS[name].options
    checked: dict[str, float | int | str] = {}
    for option, value in options.items():
        if option not in known:
            told = ", ".join(known) or "none"
            raise InputError(
                f"An option of {name} must be one of its own: {told}. Received: {option!r}. Correct its name."
            )
        wanted = type(known[option])
        given = float(value) if wanted is float and type(value) is int else value
        rule, holds = OPTION_RULES[option]
        if type(given) is not wanted or not holds(given):
            raise InputError(f"Option {option} of {name} must be {rule}. Received: {value!r}. Correct the value.")
        checked[option] = given
    return checked
