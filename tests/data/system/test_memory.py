"""How much memory there is, and how it is copied."""

from pathlib import Path

import pytest

from hpa_data.system.memory import copies_past_cache, find_free_memory, list_group_memory


def write_group(folder: Path, names: tuple[str, str], limit: str, used: int, stat: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"memory.{names[0]}").write_text(f"{limit}\n")
    (folder / f"memory.{names[1]}").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(stat)


VERSION_1, VERSION_2 = ("limit_in_bytes", "usage_in_bytes"), ("max", "current")


def test_the_limit_of_a_group_around_the_group_of_a_process_counts(tmp_path: Path) -> None:
    write_group(tmp_path / "slurm" / "job", VERSION_2, "max", 700, "active_file 0\n")
    write_group(tmp_path / "slurm", VERSION_2, "1000", 700, "anon 400\nactive_file 100\ninactive_file 200\n")
    assert list_group_memory("0::/slurm/job\n", tmp_path) == [600]


def test_of_a_container_the_group_is_the_root_of_what_it_sees(tmp_path: Path) -> None:
    write_group(tmp_path, VERSION_2, "500", 600, "")
    assert list_group_memory("0::/docker/1234\n", tmp_path) == [0]


def test_groups_of_version_1_count_too(tmp_path: Path) -> None:
    stat = "inactive_file 1\ntotal_inactive_file 50\ntotal_active_file 30\n"
    write_group(tmp_path / "memory" / "a" / "b", VERSION_1, "300", 200, stat)
    write_group(tmp_path / "memory", VERSION_1, "9223372036854771712", 200, "")
    groups = "9:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n"
    assert list_group_memory(groups, tmp_path)[0] == 180


def test_there_is_free_memory() -> None:
    assert find_free_memory() > 2**20


@pytest.mark.parametrize(
    ("tunables", "n_bytes", "expected"),
    [
        ("", 2**30, False),
        ("glibc.malloc.arena_max=1:glibc.cpu.x86_non_temporal_threshold=524288", 2**20, True),
        ("glibc.cpu.x86_non_temporal_threshold=0x80000", 2**19, True),
        ("glibc.cpu.x86_non_temporal_threshold=524288", 2**18, False),
        ("glibc.cpu.x86_non_temporal_threshold=many", 2**30, False),
    ],
)
def test_whether_copies_bypass_the_cache_is_what_the_process_was_started_with(
    tunables: str, n_bytes: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    assert copies_past_cache(n_bytes) is expected
