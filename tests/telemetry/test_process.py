"""Each number about the process has one meaning, and is None where the platform does not tell."""

from __future__ import annotations

import gc
import os
import platform
import socket
import sys
from pathlib import Path

import pytest

from relay_trio.telemetry import process

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


@linux_only
def test_memory_is_that_of_this_process() -> None:
    """Private memory is part of the resident memory, and a page that is written to counts."""
    before = process.memory()
    ballast = bytearray(os.urandom(1)) * (64 * process.MIB)  # above glibc's largest mmap threshold: new pages
    after = process.memory()
    assert before.alloc_mb is not None
    assert after.alloc_mb is not None
    assert after.rss_mb is not None
    assert after.sys_mb is not None
    assert after.alloc_mb - before.alloc_mb > 48
    assert after.alloc_mb < after.rss_mb
    assert after.sys_mb >= 64
    assert len(ballast) == 64 * process.MIB


def test_every_collection_counts() -> None:
    """num_gc grows with each run of the collector."""
    before = process.memory().num_gc
    gc.collect()
    assert process.memory().num_gc > before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim(3)")
def test_free_memory_is_given_back() -> None:
    """What the C library keeps below the last piece in use, and what only the collector finds, goes to the system."""
    circle: list[object] = [bytearray(2048) for _ in range(32 * 1024)]
    circle.append(circle)
    last = bytearray(2048)
    del circle
    full = process.memory().rss_mb
    process.give_back_memory()
    given_back = process.memory().rss_mb
    assert full is not None
    assert given_back is not None
    assert full - given_back > 48
    assert last


@linux_only
def test_descriptors_and_sockets_are_counted() -> None:
    """Opening two sockets and a pipe is four more descriptors, two of them sockets."""
    descriptors, sockets = process.descriptors().open, process.socket_descriptors()
    assert descriptors is not None
    assert sockets is not None
    left, right = socket.socketpair()
    read_fd, write_fd = os.pipe()
    assert process.descriptors().open == descriptors + 4
    assert process.socket_descriptors() == sockets + 2
    left.close()
    right.close()
    os.close(read_fd)
    os.close(write_fd)
    assert process.descriptors().open == descriptors == sum(map(is_open, range(4_096)))


@pytest.mark.skipif(not process._kernel_tells(), reason="this kernel does not tell it, and all other tests list them")
def test_descriptors_are_counted_alike_where_the_kernel_does_not_tell_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Linux tells it since 6.2; before, and elsewhere, they are listed."""
    told = process.descriptors().open
    old = os.uname_result(("Linux", "host", "4.19.0-gvisor", "", "x86_64"))
    with monkeypatch.context() as old_kernel:
        old_kernel.setattr(os, "uname", lambda: old)
        assert not process._kernel_tells()
        listed = process.descriptors().open
    assert told == listed


@linux_only
def test_sockets_are_looked_at_one_by_one_only_when_their_number_is_not_what_it_should_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And then the count is right, whatever was expected; also when a file has come or gone meanwhile."""
    looks: list[int | None] = []
    look_at_each = process.socket_descriptors

    def noted() -> int | None:
        looks.append(look_at_each())
        return looks[-1]

    monkeypatch.setattr(process, "socket_descriptors", noted)
    counter = process.SocketCounter()
    there = counter.count(0)
    assert there is not None
    assert (counter.count(there), len(looks)) == (there, 1)
    left, right = socket.socketpair()
    assert (counter.count(there + 2), len(looks)) == (there + 2, 1)
    assert (counter.count(there), len(looks)) == (there + 2, 2), "two that nobody expected"
    left.close()
    right.close()
    with open(os.devnull):  # noqa: PTH123 - a descriptor is all that is wanted
        assert (counter.count(there), len(looks)) == (there, 3), "a file more is no socket"
        assert (counter.count(there), len(looks)) == (there, 3)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@linux_only
def test_the_limit_is_raised_to_what_is_allowed() -> None:
    """The soft limit rises to the hard one; raising again changes nothing."""
    resource = process._resource()
    assert resource is not None
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 1, before[1]))
    assert process.descriptor_limit() == before[0] - 1
    assert process.raise_descriptor_limit() == (None if before[1] == resource.RLIM_INFINITY else before[1])
    assert process.raise_descriptor_limit() == process.descriptor_limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_an_unlimited_hard_limit_is_approached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hard limit is no number, the largest one that the kernel takes is set (macOS)."""

    class Resource:
        RLIMIT_NOFILE, RLIM_INFINITY = 7, -1
        limits = (256, -1)

        def getrlimit(self, _kind: int) -> tuple[int, int]:
            return self.limits

        def setrlimit(self, _kind: int, limits: tuple[int, int]) -> None:
            if limits[0] > 70_000:
                raise ValueError("not allowed to raise maximum limit")
            self.limits = limits

    monkeypatch.setitem(sys.modules, "resource", Resource())
    assert process.raise_descriptor_limit() == 65_536


def test_what_a_platform_lacks_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without /proc and without the resource module nothing fails and nothing is invented."""
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(process, "_STATM", tmp_path / "absent")
    monkeypatch.setattr(process, "_PROC_FD", str(tmp_path / "absent"))
    monkeypatch.setattr(process, "_LISTINGS", ())
    memory = process.memory()
    assert (memory.alloc_mb, memory.sys_mb, memory.rss_mb) == (None, None, None)
    assert process.descriptors() == process.Descriptors(None, None)
    assert process.socket_descriptors() is None
    assert process.SocketCounter().count(3) is None
    assert process.raise_descriptor_limit() is None


@linux_only
def test_without_proc_the_peak_is_what_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The highest value so far (getrusage) stands for the resident memory."""
    monkeypatch.setattr(process, "_STATM", tmp_path / "absent")
    peak = process.memory().rss_mb
    assert peak is not None
    assert peak > 1
