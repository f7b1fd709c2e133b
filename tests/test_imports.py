"""What `import hpa_data, hpa_model` offers, and what it does not load."""

import ast
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("hpa_data", "hpa_model")
STUBS = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("__init__.pyi"))
# Each takes longer to import than everything that is needed.
HEAVY = {"cv2", "dask", "jax", "keras", "matplotlib", "numpy", "scipy", "tensorflow", "tensorstore", "zarr"}


def run_python(script: str) -> str:
    """Run a script in a new process; return what it printed."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=True).stdout


def list_modules(folder: Path) -> set[str]:
    """List the modules and packages directly in a folder."""
    return {module.name for module in pkgutil.iter_modules([str(folder)])}


def read_stub(path: Path) -> tuple[set[str], set[str]]:
    """Return the modules that a stub imports, and the modules that it imports names from."""
    modules, sources = set(), set()
    for statement in ast.parse(path.read_text()).body:
        assert isinstance(statement, ast.ImportFrom), path
        assert statement.level == 1, path
        if statement.module is None:
            modules |= {alias.name for alias in statement.names}
        else:
            sources.add(statement.module.split(".")[0])
    return modules, sources


def test_importing_both_packages_loads_nothing_heavy() -> None:
    loaded = json.loads(run_python("import hpa_data, hpa_model, json, sys; print(json.dumps(sorted(sys.modules)))"))
    assert not HEAVY & set(loaded)


def test_every_public_module_is_an_attribute_of_its_package() -> None:
    names = [
        module.name
        for package in PACKAGES
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
        if not any(part.startswith("_") for part in module.name.split("."))
    ]
    assert len(names) > 90
    # Nothing is imported but the two packages: each attribute must lead to the next.
    script = f"""
import functools, hpa_data, hpa_model, operator, sys
packages = {{"hpa_data": hpa_data, "hpa_model": hpa_model}}
for name in {names}:
    package, *rest = name.split(".")
    try:
        functools.reduce(getattr, rest, packages[package])
    except AttributeError as error:
        print(name, error)
    if name not in sys.modules:
        print(name, "is not imported by its attribute")
"""
    assert run_python(script).splitlines() == []


@pytest.mark.parametrize("path", STUBS, ids=lambda path: path.parent.relative_to(ROOT).as_posix())
def test_a_stub_lists_the_modules_of_its_package(path: Path) -> None:
    modules, sources = read_stub(path)
    assert modules == list_modules(path.parent)
    assert sources <= modules


@pytest.mark.parametrize(("package", "most"), [("hpa_data", 17), ("hpa_model", 19)])
def test_a_package_has_few_entries(package: str, most: int) -> None:
    assert len([path for path in (ROOT / package).iterdir() if path.name != "__pycache__"]) <= most


def test_each_package_has_an_exhaustive_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    covered = {name for each in contracts if each.get("exhaustive") for name in each["containers"]}
    folders = [path.parent for package in (*PACKAGES, "benchmarks") for path in (ROOT / package).rglob("__init__.py")]
    assert covered == {".".join(folder.relative_to(ROOT).parts) for folder in folders}


def test_the_command_is_the_only_module_at_the_top() -> None:
    assert [path.name for path in ROOT.glob("*.py")] == ["cli.py"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_its_modules(package: str) -> None:
    listed = json.loads(run_python(f"import json, {package}; print(json.dumps({package}.__all__))"))
    assert list_modules(ROOT / package) <= set(listed)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_tables_of_the_design_have_the_order_of_the_import_contracts(package: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["name"] == f"The packages of {package}")
    table = (ROOT / "DESIGN.md").read_text().split(f"\n`{package}`:\n")[1].split("|---|---|\n")[1].split("\n\n")[0]
    rows = [set(re.findall(r"`(\w+)`", line.split("|")[1])) for line in table.splitlines()]
    assert rows == [set(layer.split(" | ")) for layer in layers]
