"""Variables of the environment that may change the numbers that a network computes; a run records them."""

import os
from collections.abc import Mapping

from hpa_data.errors import N_EXAMPLES, Notice

# What TensorFlow, XLA, JAX, Keras and NVIDIA's and Intel's libraries call their variables.
_PREFIXES = ("TF_", "TF2_", "XLA_", "JAX_", "KERAS_", "ONEDNN_", "DNNL_", "MKL_", "CUDNN_", "CUBLAS_", "NVIDIA_TF32")
_OTHERS = {"OMP_NUM_THREADS"}
# Of these, the ones about memory, logs, caches and places. Keras's backend is recorded with its version.
_HARMLESS = (
    *("TF_CPP_", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR", "TF_CONFIG", "TF_PER_DEVICE_MEMORY_LIMIT"),
    *("XLA_PYTHON_CLIENT_", "JAX_COMPILATION_CACHE", "JAX_LOG", "JAX_PLATFORM", "JAX_TRACEBACK", "JAX_ENABLE_COMPIL"),
    *("KERAS_HOME", "KERAS_BACKEND", "KERAS_MAX_", "JAX_COORDINATOR", "JAX_PROCESS"),
    # Of Terraform, some of them secret.
    *("TF_TOKEN_", "TF_VAR_", "TF_CLI_", "TF_HTTP_", "TF_LOG", "TF_WORKSPACE", "TF_DATA_DIR", "TF_INPUT", "TF_PLUGIN_"),
    *("TF_IN_AUTOMATION", "TF_REGISTRY_", "TF_STATE_", "TF_IGNORE", "TF_ENCRYPTION", "TF_REATTACH_", "TF_CLOUD_"),
)
# Characters of a value that are recorded.
_MAX_VALUE = 500


def read_environment() -> dict[str, str]:
    """Return the variables that are set and may change the numbers, by name."""
    return {name: value[:_MAX_VALUE] for name, value in sorted(os.environ.items()) if _may_change_numbers(name)}


def _may_change_numbers(name: str) -> bool:
    return (name.startswith(_PREFIXES) or name in _OTHERS) and not name.startswith(_HARMLESS)


def compare_environments(begun: Mapping[str, str] | None, now: Mapping[str, str]) -> Notice | None:
    """Tell which variables differ from those with which a run was begun; None if none, or if it does not record them.

    Examples
    --------
    >>> print(compare_environments({}, {"TF_ENABLE_ONEDNN_OPTS": "0"}))
    Warning: environment variables that change the numbers differ from when the run was begun, 1 variable, for example \
TF_ENABLE_ONEDNN_OPTS (unset then, '0' now). Set them as they were, or the weights will differ.
    """
    if begun is None:
        return None
    recorded = filter(_may_change_numbers, sorted(begun.keys() | now.keys()))  # earlier versions recorded more
    changed = [name for name in recorded if begun.get(name) != now.get(name)]
    if not changed:
        return None
    return Notice(
        what="environment variables that change the numbers differ from when the run was begun",
        n=len(changed),
        unit="variable",
        examples=tuple(
            f"{name} ({_describe(begun.get(name))} then, {_describe(now.get(name))} now)"
            for name in changed[:N_EXAMPLES]
        ),
        remedy="Set them as they were, or the weights will differ.",
    )


def _describe(value: str | None) -> str:
    return "unset" if value is None else repr(value)
