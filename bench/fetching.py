"""How peers are had: out of their distribution's ordinary packages, into bench/build, and never into the system.

What cannot be had within five minutes cannot be had: `CannotHave` says why, and the page says it on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

BENCH = Path(__file__).resolve().parent
BUILD = BENCH / "build"
DEBIAN = BUILD / "debian"
GO = BUILD / "go"

INSTALL_S = 300

Install = Callable[[], None]


class CannotHave(Exception):
    """The peer cannot be had here; the text says why, in a word."""


def here() -> None:
    """Nothing needs to be installed."""


def debian(program: str, *packages: str) -> Install:
    """Fetch packages with apt-get and unpack them here: nothing is installed, no service is started."""

    def install() -> None:
        if (DEBIAN / "usr/sbin" / program).exists():
            return
        if not shutil.which("apt-get") or not shutil.which("dpkg"):
            raise CannotHave("no apt-get here")
        (BUILD / "packages").mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", *packages], cwd=BUILD / "packages")
        for package in packages:
            for file in (BUILD / "packages").glob(f"{package}_*.deb"):
                _run(["dpkg", "-x", str(file), str(DEBIAN)])

    return install


def pypi(package: str, requirement: str | None = None) -> Install:
    """Install a package into a virtual environment of its own."""

    def install() -> None:
        done = BUILD / "venvs" / package / "installed"
        if done.exists():
            return
        _run([sys.executable, "-m", "venv", str(done.parent)])
        _run([str(python_of(package)), "-m", "pip", "install", "--quiet", requirement or package])
        done.touch()

    return install


def python_of(package: str) -> Path:
    """Return the interpreter of a package from PyPI."""
    return BUILD / "venvs" / package / "bin/python"


def npm(name: str, package: str, overrides: Mapping[str, str]) -> Install:
    """Install a package into a folder of its own; `overrides` are versions of what it depends on."""

    def install() -> None:
        done = BUILD / name / "installed"
        wanted = json.dumps({"private": True, "overrides": dict(overrides)})
        if done.exists() and done.read_text() == wanted:
            return
        if not shutil.which("npm"):
            raise CannotHave("no npm here")
        shutil.rmtree(done.parent, ignore_errors=True)
        done.parent.mkdir(parents=True)
        (done.parent / "package.json").write_text(wanted)
        _run(["npm", "install", "--silent", "--prefix", str(done.parent), package])
        done.write_text(wanted)

    return install


def go(program: str, module: str, version: str, folder: str = "") -> Install:
    """Build a Go program out of the module proxy, one package at a time: others may measure on this machine.

    Through a module of our own, not with `go install module@version`: that also asks for the list of all versions, which
    a proxy that has the one version need not have.
    """

    def install() -> None:
        if (GO / program).exists():
            return
        if not shutil.which("go"):
            raise CannotHave("no Go here")
        work = GO / f"{program}-build"
        work.mkdir(parents=True, exist_ok=True)
        (work / "go.mod").write_text(f"module bench\n\ngo 1.22\n\nrequire {module} {version}\n")
        environ = {"GOFLAGS": "-p=1 -mod=mod -modcacherw", "GOPATH": f"{GO}/path", "GOCACHE": f"{GO}/cache"}
        _run(["nice", "go", "build", "-o", str(GO / program), module + folder], cwd=work, environ=environ)
        for used in (work, GO / "path", GO / "cache"):  # two gigabytes, of which nothing is needed any more
            shutil.rmtree(used)

    return install


def all_of(*installs: Install) -> Install:
    """Return what has all of these."""

    def install() -> None:
        for one in installs:
            one()

    return install


def _run(command: list[str], cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
    whole = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(environ or {})}
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=INSTALL_S, env=whole)
    except subprocess.TimeoutExpired:
        raise CannotHave(f"{command[0]} took more than {INSTALL_S} s") from None
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise CannotHave(said.decode(errors="replace").strip().splitlines()[-1].strip()[:120]) from None
