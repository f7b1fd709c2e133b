"""The networks by name, and how one is built."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import lazy_loader

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_model.backend import settle_keras
from hpa_model.nets.backbones import BACKBONES, SCALINGS, build_backbone
from hpa_model.nets.custom import guard_build, import_build, is_custom, read_options
from hpa_model.nets.deepyeast import build_deepyeast
from hpa_model.nets.gapnet import build_gapnet, find_min_size
from hpa_model.nets.gapnet_pl import build_gapnet_pl
from hpa_model.nets.mcnn import build_mcnn
from hpa_model.nets.resize import AreaResize, choose_size
from hpa_model.nets.scale import SCALINGS as GRAY_SCALINGS
from hpa_model.nets.scale import ZScore
from hpa_model.nets.stem import AppendOnes

# On first use, because it imports this package.
__getattr__ = lazy_loader.attach(__name__, submodules=("summary",))[0]


# Options that change how a network is trained, not what it computes.
TRAINING_OPTIONS = ("dropout", "dropout_place", "l1", "l2")
# What a value must be, in words, and whether it is.
OptionRule = tuple[str, Callable[[float | int | str], bool]]
TYPE_NAMES: dict[type, str] = {float: "a number", int: "a whole number", str: "a word"}


@dataclass(frozen=True, kw_only=True)
class Net:
    """A network that can be built."""

    build: Callable[..., keras.Model]
    """From image_shape (Y, X, C), n_classes, image_size and the options to a model with fresh weights."""

    summary: str
    """What it is, in a few words."""

    min_size: Callable[..., int]
    """From the options to the fewest rows and columns of which anything is left before the last layer."""

    image_size: int = 0
    """Pixels of the shorter side to which larger images are resized by default; 0: they are not."""

    options: Mapping[str, float | int | str] = field(default_factory=dict)
    """The options and their defaults."""

    rules: Mapping[str, OptionRule] = field(default_factory=dict)
    """What the value of an option must be, apart from the type of its default."""

    flattens: bool = False
    """Whether its classification head has weights for each place in the image, and so is of one image size."""

    encoder: str = ""
    """The last layer of the chain of convolutions, which `hpa pretrain` trains as an encoder; empty if none.
    Its layers with weights have names that do not depend on what else was built."""

    def __post_init__(self) -> None:
        """Check that each rule is of an option; ValueError if not."""
        if set(self.rules) - set(self.options):
            raise ValueError(f"rules must be of options. Received: {', '.join(set(self.rules) - set(self.options))}")


def one_of(*values: float | str) -> OptionRule:
    """Make the rule of an option that is one of some values."""
    return " or ".join(map(str, values)), lambda value: value in values


def use_backbone(name: str, summary: str, **more: Any) -> Net:
    """Make the entry of a network of `BACKBONES`."""
    min_size = BACKBONES[name].min_size
    build_it = partial(build_backbone, name=name, **more.get("options", {}))
    return Net(build=build_it, summary=summary, min_size=lambda **_: min_size, **more)


RATE: OptionRule = ("at least 0 and below 1", lambda value: 0 <= float(value) < 1)
NETS = {
    "gapnet": Net(
        build=build_gapnet,
        summary="features pooled at three depths; Madeira and Parreira 2018",
        min_size=find_min_size,
        options={"dropout": 0.4, "dropout_place": "inline", "stride": 2, "padding": "valid"},
        rules={
            "dropout": RATE,
            "dropout_place": one_of("inline", "tap"),
            "stride": one_of(1, 2),
            "padding": one_of("valid", "same"),
        },
        encoder="conv_7",
    ),
    "gapnet-pl": Net(
        build=build_gapnet_pl,
        summary="the original, self-normalizing; Rumetshofer et al. 2018",
        min_size=lambda **_: 11,
        options={"dropout": 0.3, "l1": 1e-7, "l2": 1e-5},
        rules={"dropout": RATE, "l1": RATE, "l2": RATE},
        encoder="conv_8",
    ),
    "deepyeast": Net(
        build=build_deepyeast,
        summary="eight convolutions, large dense layers; Pärnamaa and Parts 2017",
        min_size=lambda **_: 8,
        image_size=192,
        options={"dropout": 0.5, "scaling": "unit"},
        rules={"dropout": RATE, "scaling": one_of(*GRAY_SCALINGS)},
        flattens=True,
        encoder="relu_8",
    ),
    "mcnn": Net(
        build=build_mcnn,
        summary="seven scales in parallel; Godinez et al. 2017",
        min_size=lambda **_: 128,
        options={"scaling": "unit"},
        rules={"scaling": one_of(*GRAY_SCALINGS)},
        flattens=True,
    ),
    "densenet121": use_backbone(
        "densenet121",
        "densely connected; Huang et al. 2016",
        # As versions before 0.6.0 had it.
        options={"scaling": "unit"},
        rules={"scaling": one_of(*SCALINGS)},
    ),
    "resnet50v2": use_backbone("resnet50v2", "residual, normalized first; He et al. 2016"),
    "inceptionv3": use_backbone("inceptionv3", "factorized convolutions in parallel; Szegedy et al. 2015"),
    "convnext-tiny": use_backbone("convnext-tiny", "convolutions as in a vision transformer; Liu et al. 2022"),
    "efficientnetv2-b0": use_backbone("efficientnetv2-b0", "small and fast to train; Tan and Le 2021"),
}
# The custom layers that a saved model may have.
LAYERS: dict[str, type[keras.layers.Layer]] = {"AppendOnes": AppendOnes, "AreaResize": AreaResize, "ZScore": ZScore}


def find_net(name: str) -> Net:
    """Return a network by its name; one of another package is imported. InputError if there is none."""
    if is_custom(name):
        function = import_build(name)
        return Net(
            build=guard_build(name, function),
            summary=f"of {name}",
            min_size=lambda **_: 1,
            options=read_options(function),
        )
    if name not in NETS:
        raise InputError(
            f"model must be one of {', '.join(NETS)}. Received: model={name!r}. Choose one of them, or name "
            "a function of your own, package.module:function."
        )
    return NETS[name]


def build(
    name: str,
    image_shape: tuple[int, int, int] = HPA_2018.image_shape,
    n_classes: int = len(HPA_2018.classes),
    *,
    image_size: int | tuple[int, int] | None = None,
    bn_momentum: float = 0.99,
    precision: str | None = None,
    options: Mapping[str, float | int | str] | None = None,
) -> keras.Model:
    """Build a network with fresh weights.

    Parameters
    ----------
    name : str
        One of `NETS`, or ``package.module:function``, which is imported, see `custom`.
    image_shape : tuple of int
        (Y, X, C) of the input images.
    n_classes : int
        K.
    image_size : int or (int, int), optional
        To which the images are resized on the device first: pixels of the shorter side, the ratio of the sides kept, or
        rows and columns. By default `Net.image_size`; most networks take the images as they are.
    bn_momentum : float
        Momentum of the moving averages in batch normalization, 0..1. 0.99 needs some hundred steps to converge.
    precision : str, optional
        The dtype policy of the layers, for example ``mixed_bfloat16``. By default Keras's current one.
    options : mapping, optional
        Differences from the default options of the network, see `NETS`.

    Returns
    -------
    keras.Model
        From uint8 (B, Y, X, C) to float32 (B, K) in [0, 1]. The weights are a function of Keras's seed.

    Raises
    ------
    InputError
        If the name or an option is unknown, or the images are too small for the network.
    """
    settle_keras()
    net = find_net(name)
    chosen = check_options(name, net, options or {})
    size = choose_input_size(name, image_shape, image_size)
    _check_min_size(name, net, size, chosen, image_shape)
    with dtype_policy(precision):
        model = net.build(image_shape, n_classes, image_size=size, **chosen)
    for layer in list_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = bn_momentum
    return model


def choose_input_size(
    name: str, image_shape: tuple[int, int, int], image_size: int | tuple[int, int] | None
) -> tuple[int, int]:
    """Return the rows and columns that a network sees; arguments as in `build`."""
    return choose_size(image_size or min(find_net(name).image_size, *image_shape[:2]), image_shape)


def list_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """List the layers of a model, those of models inside it in place of them."""
    layers: list[keras.layers.Layer] = []
    for layer in model.layers:
        layers += list_layers(layer) if isinstance(layer, keras.Model) else [layer]
    return layers


def _check_min_size(
    name: str,
    net: Net,
    size: tuple[int, int],
    options: Mapping[str, float | int | str],
    image_shape: tuple[int, int, int],
) -> None:
    """Raise InputError if a network cannot take images of these rows and columns; it names what can."""
    n_pixels, min_size = min(size), net.min_size(**options)
    if n_pixels >= min_size:
        return
    remedies = [f"choose a larger image_size, up to {min(image_shape[:2])}"] if min(image_shape[:2]) >= min_size else []
    for option, value in (("stride", 1), ("padding", "same")):
        if option in net.options and net.min_size(**{**options, option: value}) <= n_pixels:
            remedies.append(f"set options.{option}={value}")
    others = [other for other, net in NETS.items() if other != name and net.min_size() <= n_pixels]
    if others:
        remedies.append(f"choose a model that takes it: {', '.join(others)}")
    remedy = "; or ".join(remedies) or "convert larger images"
    raise InputError(
        f"image_size must be at least {min_size} for {name}. Received: image_size={n_pixels}. "
        f"{remedy[0].upper()}{remedy[1:]}."
    )


@contextlib.contextmanager
def dtype_policy(name: str | None) -> Iterator[None]:
    """Set Keras's dtype policy for a while."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name or before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def check_options(name: str, net: Net, options: Mapping[str, float | int | str]) -> dict[str, float | int | str]:
    """Return options with the types of their defaults; InputError if the network does not have them."""
    checked: dict[str, float | int | str] = {}
    for option, value in options.items():
        if option not in net.options:
            raise InputError(
                f"An option of {name} must be one of: {', '.join(net.options) or 'none'}. Received: {option!r}. "
                "Correct its name."
            )
        wanted = type(net.options[option])
        given = float(value) if wanted is float and type(value) is int else value
        rule, holds = net.rules.get(option, (TYPE_NAMES[wanted], lambda _: True))
        if type(given) is not wanted or not holds(given):
            raise InputError(f"Option {option} of {name} must be {rule}. Received: {value!r}. Correct the value.")
        checked[option] = given
    return checked
