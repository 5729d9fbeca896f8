"""Promises of the systemd unit: it is one, it is hardened, it lets a drain end and restarts without an outage."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from debian import DEPLOY, needs, run, seconds

from relay_trio.edge.supervisor import DRAIN_GRACE_S
from relay_trio.settings.model import VARIABLES, Limits

UNIT = DEPLOY / "relay-trio.service"
EXPOSURE = 20
"""`systemd-analyze security` says 14 (1.4 of 10) of it; what it misses is the network, which a relay needs."""


def value(name: str) -> str:
    """Return what the unit says of this, once."""
    (found,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    return str(found)


@needs("systemd-analyze", "systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Nothing is misspelt or misplaced. Only the program's path is another one: it need not be installed here."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/relay/bin/relay-trio", "/bin/true"))
    done = run("systemd-analyze", "verify", "--man=no", copy)
    mine = [line for line in done.stdout.splitlines() if UNIT.name in line]
    assert (done.returncode, mine) == (0, []), done.stdout


@needs("systemd-analyze", "systemd")
def test_the_unit_is_hardened() -> None:
    """The measure that systemd has of what a process may do finds next to nothing but the network."""
    done = run("systemd-analyze", "security", "--no-pager", "--offline=yes", f"--threshold={EXPOSURE}", UNIT)
    assert done.returncode == 0, done.stdout


def test_a_stop_allows_the_drain() -> None:
    """Killed is only what is still there after the drain of the defaults and its clean-up."""
    assert seconds(value("TimeoutStopSec")) > Limits().drain_s + DRAIN_GRACE_S


def test_a_reload_is_a_restart_without_an_outage() -> None:
    """SIGUSR2 starts the successor, which finds the old one in the run directory and tells systemd itself."""
    assert value("ExecReload") == "/bin/kill -USR2 $MAINPID"
    assert (value("Type"), value("NotifyAccess")) == ("notify", "all")
    assert f"{VARIABLES['run_directory']}=/run/{value('RuntimeDirectory')}" in value("Environment").split()


def test_an_end_in_peace_is_not_restarted() -> None:
    """A relay whose place another one has taken ends with 0: started again it would take the place back."""
    assert value("Restart") == "on-failure"


@pytest.mark.parametrize("name", ["ProtectSystem", "NoNewPrivileges", "SystemCallFilter", "CapabilityBoundingSet"])
def test_what_matters_most_is_there(name: str) -> None:
    """The measure could be reached without these."""
    assert f"\n{name}=" in UNIT.read_text(encoding="utf-8")
