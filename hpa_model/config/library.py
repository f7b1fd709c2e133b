"""The recipes that come with the package, by name. Imports nothing heavy."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError
from hpa_model.config.recipes import merge_settings, read_recipe

# The folder `recipes` of the repository; a link here, so that it is part of what is installed.
SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe that comes with the package."""

    name: str

    summary: str
    """The beginning of its comment."""

    path: Path
    settings: dict[str, Any]


def list_recipes() -> list[Recipe]:
    """List the recipes that come with the package, by name."""
    return [
        Recipe(
            name=path.stem, summary=_summarize(path.read_text(encoding="utf-8")), path=path, settings=load_recipe(path)
        )
        for path in sorted(SHIPPED.glob("*.toml"))
    ]


def find_recipe(recipe: Path) -> Path:
    """Return the file of a recipe: a file, or the name of one that comes with the package.

    Raises
    ------
    InputError
        If it is neither.
    """
    named = SHIPPED / f"{recipe.name.removesuffix('.toml')}.toml"
    is_name = recipe.parent == Path() and named.is_file()
    # A run is often called as its recipe.
    if recipe.exists() and not (is_name and recipe.is_dir()):
        return recipe
    if not is_name:
        names = ", ".join(path.stem for path in sorted(SHIPPED.glob("*.toml")))
        raise InputError(f"recipe must be a file, or one of {names}. Received: {recipe}. See `hpa recipes`.")
    return named


def load_recipe(path: Path, *, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a recipe, with the settings of the one that it extends, if it names one.

    ``extends = "gapnet"`` takes the settings of that recipe; those of this one win. It names a file beside this one, or
    a recipe that comes with the package.

    Parameters
    ----------
    path : Path
    extending : tuple of Path
        Recipes that extend this one, directly or not.

    Raises
    ------
    InputError
        If a file cannot be read as TOML, or there is no such recipe, or one extends itself.
    """
    settings = read_recipe(path)
    extended = settings.pop("extends", None)
    if extended is None:
        return settings
    if not isinstance(extended, str) or Path(extended).name != extended:
        raise InputError(
            f"extends must be the name of a recipe, or of a file beside this one. Received: {extended!r} in {path}. "
            "Name one."
        )
    beside = path.parent / extended
    base = beside if beside.is_file() else find_recipe(Path(extended))
    chain = (*extending, path.resolve())
    if base.resolve() in chain:
        raise InputError(
            f"extends must name another recipe. Received: {extended!r} in {path}, which extends itself. Name "
            "another one."
        )
    return merge_settings(load_recipe(base, extending=chain), settings)


def _summarize(text: str) -> str:
    r"""Return the beginning of the comment at the top of a recipe, up to the first full stop or colon.

    Examples
    --------
    >>> _summarize("# A net (Doe et al. 2018) for\n# small images. Expect little.\nmodel = 'net'")
    'A net (Doe et al. 2018) for small images'
    """
    comment = re.match(r"(?:#[^\n]*\n)*", text)
    words = " ".join(line.strip("# ") for line in (comment.group() if comment else "").splitlines())
    return re.split(r"\. (?=[A-Z])|: ", words)[0].rstrip(".")
