"""What facts about the machine mean. Pure."""

from collections.abc import Iterator

from hpa_model.bench.doctor.command_lines import list_parts, quote
from hpa_model.bench.doctor.facts import Finding, MachineFacts, RunFacts, Severity, StoreFacts

# A fold of the largest network of the catalog (78 million parameters) keeps its weights three times as float32, with
# the averages of Adam: 0.94 GB, beside two models.
MIN_DISK_BYTES = 2 * 10**9
# A batch of 20 images of 1 MiB, what a network of 512 pixels makes of them, and the libraries of TensorFlow.
MIN_MEMORY_BYTES = 3 * 10**9
# What hides GPUs from a framework, with the values that do.
_HIDING = {"CUDA_VISIBLE_DEVICES": ("", "-1", "none"), "JAX_PLATFORMS": ("cpu",)}
_INSTALL = {
    "tensorflow": ("pip", "install", "tensorflow[and-cuda]"),
    "jax": ("pip", "install", "jax[cuda12]"),
}


def judge_machine(machine: MachineFacts, store: StoreFacts | None, run: RunFacts | None) -> Iterator[Finding]:
    """Yield what should be done about the machine."""
    yield from _judge_packages(machine)
    yield from _judge_gpu(machine, run)
    yield from _judge_memory(machine, store)
    yield from _judge_settings(machine)


def _judge_packages(machine: MachineFacts) -> Iterator[Finding]:
    if machine.backend not in _INSTALL:
        yield Finding(
            severity=Severity.PROBLEM,
            name="other-backend",
            text=f"Keras is set to run on {machine.backend}, on which hpa does not train. Set another backend.",
            command="export KERAS_BACKEND=tensorflow",
            evidence={"backend": machine.backend},
        )
        return
    missing = [name for name in ("keras", machine.backend) if machine.versions.get(name) in {None, "not installed"}]
    if missing:
        extra = "train" if machine.backend == "tensorflow" else "jax"
        yield Finding(
            severity=Severity.PROBLEM,
            name="no-framework",
            text=f"{' and '.join(missing)} not installed: nothing can be trained or predicted. Install the extra "
            f"`{extra}`.",
            command=quote("pip", "install", f".[{extra}]"),
            evidence={"missing": ", ".join(missing)},
        )
    if "png" in machine.missing_extras:
        yield Finding(
            severity=Severity.ADVICE,
            name="slow-png",
            text="numba is not installed: PNG files are decoded at less than half the speed. Install the extra `png`.",
            command=quote("pip", "install", ".[png]"),
        )
    if "figures" in machine.missing_extras:
        yield Finding(
            severity=Severity.ADVICE,
            name="no-figures",
            text="matplotlib or jinja2 is not installed: runs get no report. Install the extra `figures`.",
            command=quote("pip", "install", ".[figures]"),
        )


def _judge_gpu(machine: MachineFacts, run: RunFacts | None) -> Iterator[Finding]:
    if not machine.gpus or machine.backend not in _INSTALL:
        return
    evidence: dict[str, float | str] = {"gpus": len(machine.gpus), "backend": machine.backend}
    hiding = [name for name, values in _HIDING.items() if machine.environment.get(name) in values]
    if machine.backend != "jax":
        hiding = [name for name in hiding if name != "JAX_PLATFORMS"]
    if hiding:
        yield Finding(
            severity=Severity.PROBLEM,
            name="hidden-gpu",
            text=f"{hiding[0]}={machine.environment[hiding[0]]} hides the GPU ({machine.gpus[0]}). Unset it.",
            command=quote("unset", hiding[0]),
            evidence=evidence,
        )
    elif not machine.has_gpu_packages:
        yield Finding(
            severity=Severity.PROBLEM,
            name="unused-gpu",
            text=f"There is a GPU ({machine.gpus[0]}), but not the packages that {machine.backend} needs for it: "
            "training would run on the CPU. Install them.",
            command=quote(*_INSTALL[machine.backend]),
            evidence=evidence,
        )
    elif run is not None and run.kind == "network" and run.device.startswith("CPU") and not run.error:
        yield Finding(
            severity=Severity.ADVICE,
            name="trained-on-cpu",
            text=f"The run was trained on the CPU ({run.device}); here is a GPU ({machine.gpus[0]}). Measure how fast "
            "it would train.",
            command=quote(
                *("hpa", "bench", "step", run.store, "--model", run.config.model), *list_parts(run.config.parts)
            ),
            evidence=evidence | {"device": run.device},
        )


def _judge_memory(machine: MachineFacts, store: StoreFacts | None) -> Iterator[Finding]:
    if machine.free_bytes < MIN_MEMORY_BYTES:
        limit = ", within the limit of its control group" if machine.is_memory_limited else ""
        yield Finding(
            severity=Severity.PROBLEM,
            name="little-memory",
            text=f"Only {machine.free_bytes / 1e9:.1f} GB of memory are free{limit}: training may be stopped by the "
            "system. End other programs, or ask for more.",
            command="top -o %MEM",
            evidence={"free_bytes": machine.free_bytes},
        )
    if store is not None and not store.error and not store.is_remote and store.disk_free_bytes < MIN_DISK_BYTES:
        yield Finding(
            severity=Severity.PROBLEM,
            name="little-disk",
            text=f"Only {store.disk_free_bytes / 1e9:.1f} GB are free on the disk of the store: a run with its "
            "checkpoints may not fit. Make room, or write runs to another disk.",
            command=quote("df", "-h", store.location),
            evidence={"disk_free_bytes": store.disk_free_bytes},
        )


def _judge_settings(machine: MachineFacts) -> Iterator[Finding]:
    tunables = machine.environment.get("GLIBC_TUNABLES")
    # Half of the time of a training step on a CPU goes into page faults without them, see `cli.GLIBC_SETTINGS`.
    if tunables is not None and "malloc" not in tunables and not machine.gpus and machine.system.startswith("Linux"):
        yield Finding(
            severity=Severity.PROBLEM,
            name="own-tunables",
            text=f"GLIBC_TUNABLES is set ({tunables or 'to nothing'}), so hpa does not set its own, without which "
            "training on a CPU may take twice as long. Unset it.",
            command="unset GLIBC_TUNABLES",
            evidence={"GLIBC_TUNABLES": tunables},
        )
    limits = [name for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS") if name in machine.environment]
    for name in limits[:1]:
        text = machine.environment[name]
        # Below half of the cores: some leave one or two of them to the reader on purpose.
        if text.isdecimal() and 2 * int(text) <= machine.usable_cores and not machine.gpus:
            yield Finding(
                severity=Severity.ADVICE,
                name="few-threads",
                text=f"{name}={text} limits libraries to {text} of {machine.usable_cores} cores. Unset it, unless "
                "other programs need them.",
                command=quote("unset", name),
                evidence={name: int(text), "usable_cores": machine.usable_cores},
            )
