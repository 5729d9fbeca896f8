"""Promises of the count of cores."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay_trio.settings.cores import usable_cores

MANY = 10**6 * 100_000


@pytest.mark.parametrize(
    ("quota", "at_most"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("1000 100000", 1)]
)
def test_a_containers_quota_counts(tmp_path: Path, quota: str, at_most: int) -> None:
    """A container of two CPUs gets two workers, however many cores the machine has."""
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert 1 <= usable_cores(tmp_path / "cpu.max") <= at_most


def test_without_a_quota_the_scheduler_decides(tmp_path: Path) -> None:
    """No cgroup, no quota, a huge quota or nonsense: the cores that may run us, all the same number."""
    texts = {"none": "max 100000\n", "huge": f"{MANY} 100000\n", "nonsense": "x\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    counts = {usable_cores(tmp_path / name) for name in [*texts, "absent"]}
    assert len(counts) == 1
    assert counts.pop() >= 1
