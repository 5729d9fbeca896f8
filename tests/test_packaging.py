"""What is shipped is what was tested: the lock follows pyproject.toml, and the checks run what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = sorted((ROOT / "deploy").glob("*requirements.txt"))


def pinned(lock: Path) -> dict[str, str]:
    """Return the version of each package in a lock."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_lock_holds_every_dependency_in_its_range() -> None:
    """A dependency that is added or moved in pyproject.toml is locked anew before it is shipped."""
    versions = pinned(ROOT / "deploy" / "requirements.txt")
    for line in PROJECT["dependencies"]:
        wanted = Requirement(line)
        assert wanted.name in versions, (
            f"deploy/requirements.txt has no {wanted.name}; its first lines say how it is made"
        )
        assert wanted.specifier.contains(versions[wanted.name]), f"{wanted} is locked at {versions[wanted.name]}"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_artifacts_by_digest_and_no_address(lock: Path) -> None:
    """Where the artifacts come from is the builder's business; which ones they are is ours."""
    text = lock.read_text(encoding="utf-8")
    packages = re.findall(r"^[A-Za-z0-9._-]+==.*(?:\n    --hash=.*)+", text, re.MULTILINE)
    assert len(packages) == len(pinned(lock)) > 0
    assert "://" not in text
    assert "--index-url" not in text


def test_the_container_takes_what_is_locked() -> None:
    """Nothing is installed in the image without a digest but the relay itself, which is built on the spot."""
    container = (ROOT / "Containerfile").read_text(encoding="utf-8")
    installs = re.findall(r"pip install [^&\n]+", container)
    assert installs
    assert [line for line in installs if "--require-hashes" not in line and "--no-index" not in line] == []


def test_the_checks_run_the_readmes_test_command() -> None:
    """`.ci/run` takes the command out of the README, so that what a newcomer does is what is checked."""
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'readme_command "Run the tests"' in text
    function = re.search(r"^readme_command\(\) \{.*?^\}", text, re.MULTILINE | re.DOTALL)
    assert function is not None
    script = f'{function[0]}\nreadme_command "Run the tests"'
    if sys.platform == "win32":
        pytest.skip("the checks want a shell")
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/python -m pytest"
    )


def test_both_packages_and_their_types_are_shipped() -> None:
    """The wheel holds relay_trio and adaptors, and says that they are typed (PEP 561)."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    assert wheel["packages"] == ["relay_trio", "adaptors"]
    assert "exclude" not in wheel, "`relay-trio selftest` stands on relay_trio/testing"
    for package in wheel["packages"]:
        assert (ROOT / package / "py.typed").is_file()
