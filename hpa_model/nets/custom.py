"""Networks of other packages, named as ``package.module:function``.

To import a module is to run its code. So that is done for a name on the command line or in a recipe that is passed,
never for one in a run, a model or a store.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from hpa_data.errors import InputError, first_line
from hpa_model.nets.head import HEAD

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
# What `build` passes to every network; the other parameters of a function are its options.
PASSED = ("image_shape", "n_classes", "image_size")
# The layers of the modules that were imported, by the names that saved models have for them.
_layers: dict[str, type[keras.layers.Layer]] = {}


def is_custom(name: str) -> bool:
    """Return whether a network is named by a module and a function."""
    return ":" in name


def import_build(name: str) -> Callable[..., keras.Model]:
    """Import the function that builds a network, from the current folder or an installed package.

    Raises
    ------
    InputError
        If there is no such module or function, or the module cannot be imported.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"model must be a name, see `hpa models`, or package.module:function. Received: model={name!r}. Correct it."
        )
    module_name, _, function_name = name.partition(":")
    with _current_folder():
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:
            raise InputError(
                f"Cannot import {module_name}: {_explain(error)}. Run the command in the folder that holds it, or "
                "install its package."
            ) from error
    build = getattr(module, function_name, None)
    if not inspect.isfunction(build):
        raise InputError(f"model must name a function of {module_name}. Received: {function_name!r}. Correct its name.")
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, keras.layers.Layer) and kind.__module__ == module.__name__:
            _layers[kind.__name__] = kind
    return build


def list_custom_layers() -> dict[str, type[keras.layers.Layer]]:
    """Return the layers of the modules that were imported, by name."""
    return dict(_layers)


def read_options(build: Callable[..., keras.Model]) -> dict[str, float | int | str]:
    """Return the options of a function, and their defaults: its parameters with a number or a word as default."""
    parameters = inspect.signature(build).parameters.values()
    return {
        each.name: each.default
        for each in parameters
        if each.name not in PASSED and type(each.default) in {float, int, str}
    }


def guard_build(name: str, build: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Wrap a function so that what goes wrong in it, or is wrong with its network, is an InputError."""

    def build_checked(image_shape: tuple[int, int, int], n_classes: int, **options: Any) -> keras.Model:
        try:
            model = build(image_shape, n_classes, **options)
        except InputError:
            raise
        except Exception as error:
            raise _wrong(name, _explain(error)) from error
        _check(name, model, image_shape, n_classes)
        return model

    return build_checked


def _check(name: str, model: Any, image_shape: tuple[int, int, int], n_classes: int) -> None:
    """Refuse a network that could not be trained, saved or loaded: InputError."""
    if not isinstance(model, keras.Model):
        raise _wrong(name, f"it returns a {type(model).__name__}, not a keras.Model")
    shapes = (None, *image_shape), (None, n_classes)
    found = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if found != shapes:
        raise _wrong(name, f"its shapes are {found[0]} and {found[1]}, not {shapes[0]} and {shapes[1]}")
    if not any(layer.name.startswith(HEAD) and layer.weights for layer in model.layers):
        raise _wrong(name, f"no layer with weights is named {HEAD}…, as those of the classification head are")


def _wrong(name: str, reason: str) -> InputError:
    return InputError(f"Cannot build {name}: {reason}. Correct the function; CONTRIBUTING.md has an example.")


def _explain(error: BaseException) -> str:
    return f"{type(error).__name__}, {first_line(error)}" if str(error) else type(error).__name__


@contextmanager
def _current_folder() -> Iterator[None]:
    """Let modules be found in the current folder, after installed ones, for a while."""
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
