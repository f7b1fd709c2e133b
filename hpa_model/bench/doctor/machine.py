"""What the machine is, and what is installed on it. No framework is imported: that would take seconds."""

import contextlib
import ctypes.util
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from dask.system import CPU_COUNT

from hpa_data.system.files import read_text
from hpa_data.system.memory import find_free_memory
from hpa_model.bench.doctor.facts import MachineFacts
from hpa_model.config import read_environment
from hpa_model.runs.origin import read_versions

# The modules of the optional extras, of which a missing one makes a command slower or end.
EXTRAS = {
    "augment": ("imgaug",),
    "baseline": ("skimage", "sklearn", "threadpoolctl"),
    "bioimageio": ("bioimageio.core", "pydantic"),
    "browse": ("starlette", "uvicorn"),
    "embed": ("anndata", "umap"),
    "export": ("ai_edge_litert", "onnx", "onnxruntime", "openvino", "tf2onnx"),
    "figures": ("jinja2", "matplotlib"),
    "png": ("numba",),
    "remote": ("tensorstore",),
    "sweep": ("optuna",),
    "tables": ("openpyxl", "pyarrow"),
}
# Of each backend, distributions that bring CUDA's libraries to it, of which one is enough.
GPU_DISTRIBUTIONS = {
    "tensorflow": ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
    "jax": ("jax-cuda12-plugin", "jax-cuda13-plugin"),
}
# Variables beside those that change numbers: memory, what is seen of the GPUs, and threads.
VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "GLIBC_TUNABLES", "JAX_PLATFORMS", "KERAS_BACKEND", "LD_PRELOAD", "MALLOC_ARENA_MAX"),
    *("MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS", "TF_FORCE_GPU_ALLOW_GROWTH", "XLA_PYTHON_CLIENT_MEM_FRACTION"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "XLA_PYTHON_CLIENT_PREALLOCATE"),
)
# TensorFlow sets it itself.
_NOT_OF_THE_USER = {"TF2_BEHAVIOR"}
# A driver that hangs must not let this hang.
NVIDIA_S = 3.0


def examine_machine() -> MachineFacts:
    """Measure the machine; it takes less than a second."""
    backend = find_backend()
    available, free = int(psutil.virtual_memory().available), find_free_memory()
    return MachineFacts(
        system=platform.system(),
        python=platform.python_version(),
        versions=read_versions(),
        backend=backend,
        n_cores=os.cpu_count() or CPU_COUNT,
        usable_cores=CPU_COUNT,
        load=_find_load(),
        memory_bytes=int(psutil.virtual_memory().total),
        free_bytes=free,
        is_memory_limited=free < 0.95 * available,  # both change from moment to moment
        gpus=list_gpus(),
        has_gpu_packages=_has_gpu_packages(backend),
        environment=find_variables(os.environ),
        missing_extras=tuple(name for name, modules in EXTRAS.items() if not all(map(_is_installed, modules))),
    )


def find_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that change speed or numbers, by name."""
    names = (set(read_environment()) | set(VARIABLES)) - _NOT_OF_THE_USER
    return {name: environ[name] for name in sorted(names) if name in environ}


def find_backend() -> str:
    """Return what Keras will run on, as it decides it: a variable, then its file of settings, then TensorFlow."""
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    home = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))  # as it is where there is no home
    with contextlib.suppress(OSError, ValueError, TypeError, LookupError):
        return str(json.loads(read_text(home / "keras.json"))["backend"])
    return "tensorflow"


def list_gpus() -> tuple[str, ...]:
    """Return the names of NVIDIA's GPUs, as their driver tells them; empty without one."""
    program = shutil.which("nvidia-smi")
    if program is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
            done = subprocess.run(
                [program, "-L"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=NVIDIA_S, check=True
            )
            return parse_gpus(done.stdout)
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            models = [line.partition(":")[2].strip() for line in path.read_text().splitlines() if "Model:" in line]
            found += models or ["unknown"]
    return tuple(found)


def parse_gpus(text: str) -> tuple[str, ...]:
    """Return the names of GPUs in the list of ``nvidia-smi -L``, without the parts that one may be divided into."""
    return tuple(re.findall(r"^GPU \d+: (.+?) \(UUID", text, re.MULTILINE))


def _has_gpu_packages(backend: str) -> bool:
    for name in GPU_DISTRIBUTIONS.get(backend, ()):
        with contextlib.suppress(PackageNotFoundError):
            return bool(version(name))
    # TensorFlow also takes the libraries of the system; JAX needs its plug-in.
    return backend == "tensorflow" and ctypes.util.find_library("cudnn") is not None


def _find_load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
