"""Networks of other packages: how they are named, imported, checked, trained; and who may not have one imported."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model import nets
from hpa_model.runs.folder import read_run
from hpa_model.runs.models import load_model
from tests.builders import Hpa, assert_refused, build_store, make_rows, make_run, unseal_run

ROOT = Path(__file__).parents[3]
TINY = Dataset(name="tiny", channels=HPA_2018.channels, classes=("a", "b", "c"), height=24, width=24)
LAYERED = """
import keras
from hpa_model.nets.head import add_outputs
class Double(keras.layers.Layer):
    def call(self, x):
        return 2 * keras.ops.cast(x, "float32") / 255
def build(image_shape, n_classes, *, image_size):
    inputs = keras.Input(image_shape, dtype="uint8")
    return keras.Model(inputs, add_outputs(keras.layers.GlobalAveragePooling2D()(Double()(inputs)), n_classes))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in an empty folder, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


def read_example() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return next(code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "def build" in code)


def test_the_example_of_the_documentation_has_ten_lines_and_its_options(folder: Path) -> None:
    example = read_example()
    assert sum(bool(line) for line in example.splitlines()) <= 10
    (folder / "mynets.py").write_text(example)
    model = nets.build("mynets:build", (20, 24, 4), 5, image_size=10, options={"width": 7})
    assert (model.input_shape, model.output_shape) == ((None, 20, 24, 4), (None, 5))
    assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] == [7]
    probs = np.asarray(model(np.zeros((2, 20, 24, 4), np.uint8)))
    assert probs.shape == (2, 5)
    for options, message in (
        ({"height": 3}, "An option of mynets:build must be one of: width. Received: 'height'"),
        ({"width": 0.5}, "Option width of mynets:build must be a whole number. Received: 0.5"),
        (
            {"width": -1},
            "Cannot build mynets:build: ValueError, .*Correct the function; CONTRIBUTING.md has",
        ),
    ):
        with pytest.raises(InputError, match=message):
            nets.build("mynets:build", (20, 24, 4), 5, options=options)


def test_what_is_no_network_is_refused_in_one_line(folder: Path) -> None:
    (folder / "broken.py").write_text("1 / 0")
    (folder / "leaves.py").write_text("raise SystemExit(3)")
    (folder / "wrong.py").write_text(
        "import keras\nlist_it = [].append\n"
        "def number(image_shape, n_classes, *, image_size):\n    return 3\n"
        "def shape(image_shape, n_classes, *, image_size):\n"
        "    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])\n"
        "def headless(image_shape, n_classes, *, image_size):\n"
        "    pool = keras.layers.GlobalAveragePooling2D()\n"
        "    return keras.Sequential([keras.Input(image_shape), pool, keras.layers.Dense(n_classes)])\n"
    )
    for name, message in (
        (
            "no_such_module:build",
            "Cannot import no_such_module: ModuleNotFoundError, No module named ",
        ),
        ("broken:build", "Cannot import broken: ZeroDivisionError, division by zero. Run the command in the folder"),
        ("leaves:build", "Cannot import leaves: SystemExit, 3. "),
        ("wrong:build", "model must name a function of wrong. Received: 'build'. Correct its name."),
        ("wrong:list_it", "model must name a function of wrong. Received: 'list_it'."),
        (
            "os;x:build",
            "model must be a name, see `hpa models`, or package.module:function. Received: ",
        ),
        ("wrong:number", "Cannot build wrong:number: it returns a int, not a keras.Model. Correct the function"),
        ("wrong:shape", r"its shapes are \(None, 4\) and \(None, 2\), not \(None, 8, 8, 4\) and \(None, 5\)"),
        ("wrong:headless", "no layer with weights is named head_…, as those of the classification head are"),
    ):
        with pytest.raises(InputError, match=message):
            nets.build(name, (8, 8, 4), 5)


def test_an_installed_module_goes_before_one_of_the_current_folder(folder: Path) -> None:
    (folder / "colorsys.py").write_text("def build(): pass")
    sys.modules.pop("colorsys", None)
    with pytest.raises(InputError, match="model must name a function of colorsys"):
        nets.build("colorsys:build", (8, 8, 4), 5)
    assert str(folder) not in sys.path


def test_a_run_or_a_model_of_a_stranger_imports_nothing(folder: Path) -> None:
    (folder / "evil.py").write_text("open('imported', 'w')\n" + LAYERED)
    (folder / "layered.py").write_text(LAYERED)
    nets.build("layered:build", (24, 24, 4), 3).save("model.keras")
    make_run(folder / "run", make_rows(), model="evil:build")
    shutil.copy(folder / "model.keras", folder / "run" / "fold0" / "best.keras")
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from hpa_model.runs.folder import read_run\n"
        "from hpa_model.runs.models import load_model\n"
        "try: load_model(Path('run/fold0/best.keras'), read_run(Path('run')))\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    assert "is imported only if it is named: pass --model evil:build, if you trust its code." in done.stdout
    assert not (folder / "imported").exists()


def test_verifying_takes_a_module_for_a_run_alone(store: Store, hpa: Hpa) -> None:
    message = f"--model must be given for a run alone. Received: a store, {store.location}. Leave it out."
    assert_refused(hpa("verify", store.location, "--model", "a:b"), message)


@pytest.mark.slow
def test_a_network_of_another_package_is_trained_resumed_predicted_and_fine_tuned(folder: Path, hpa: Hpa) -> None:
    store = build_store(folder / "tiny.zarr", TINY, [[1, row % 2, row % 3 == 0] for row in range(12)])
    (folder / "mynets.py").write_text(read_example())
    (folder / "layered.py").write_text(LAYERED)
    words = ("train", store.path, "--folds", 2, "--epochs", 1, "--batch-size", 4, "--out")
    ended = hpa(*words, "run", "--model", "mynets:build", "--set", "options.width=3")
    assert ended.status == 0, ended.err
    assert "Network: mynets:build" in ended.err
    assert read_run(folder / "run").config.options == {"width": 3}
    assert hpa(*words, "run", "--model", "mynets:build", "--set", "options.width=3").status == 0
    (folder / "mynets.py").unlink()
    del sys.modules["mynets"]
    predict = ("predict", "run", store.path, "--part", "train")
    assert hpa(*predict).status == 0  # Keras's own layers need no module
    assert_refused(hpa(*words, "other", "--model", "mynets:build"), "Cannot import mynets: ModuleNotFoundError")
    assert hpa(*words, "layered", "--model", "layered:build").status == 0
    code = "import sys, cli; sys.argv = ['hpa', *sys.argv[1:]]; cli.main()"

    def hpa_anew(*words: object) -> subprocess.CompletedProcess[str]:
        """Run the command in a process that has imported no module."""
        command = [sys.executable, "-c", code, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)

    predict = ("predict", "layered", store.path, "--part", "train")
    done = hpa_anew(*predict)
    assert done.returncode == 2
    assert "pass --model layered:build, if you trust its code." in done.stderr
    assert hpa_anew(*predict, "--model", "layered:build").returncode == 0
    unseal_run(folder / "layered")  # then its models are read
    done = hpa_anew("verify", "layered")
    assert done.returncode == 1
    assert "pass --model layered:build, if you trust its code." in done.stdout
    assert hpa_anew("verify", "layered", "--model", "layered:build").returncode == 0
    tune = ("finetune", "layered", "--epochs", 1)
    assert hpa_anew(*tune, "--model", "layered:build").returncode == 0
    assert load_model(folder / "layered" / "fold0" / "best.keras").output_shape == (None, 3)
