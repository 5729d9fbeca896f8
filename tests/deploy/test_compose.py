"""Promises of the Compose files: they are such, what they configure is right, and a stop lets a drain end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from debian import DEPLOY, needs, read_yaml, run, seconds

from relay_trio.cli.main import main
from relay_trio.edge.supervisor import DRAIN_GRACE_S
from relay_trio.settings.model import VARIABLES, Limits

FILES = [DEPLOY / "compose.yaml", DEPLOY / "compose.long-response.yaml"]
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def relay_in(path: Path) -> dict[str, Any]:
    """Return the relay's service."""
    service: dict[str, Any] = read_yaml(path.read_text(encoding="utf-8"))["services"]["relay"]
    return service


@each_file
@needs("docker-compose", "docker-compose")
def test_compose_takes_the_file(path: Path) -> None:
    """Read by Debian's docker-compose, which holds it against the schema and needs no engine for that."""
    done = run("docker-compose", "-f", path, "config")
    assert done.returncode == 0, done.stdout
    assert "relay" in read_yaml(done.stdout)["services"]


@each_file
def test_a_stop_allows_the_drain(path: Path) -> None:
    """Also with the other limits that the comments offer: each names the stop_grace_period that goes with it."""
    text = path.read_text(encoding="utf-8")
    offered = re.findall(r'RELAY_TIMEOUT: "(\d+)" .*stop_grace_period: (\S+)$', text, re.MULTILINE)
    service = relay_in(path)
    for total, grace in [(service["environment"]["RELAY_TIMEOUT"], service["stop_grace_period"]), *offered]:
        assert seconds(grace) > Limits(total=float(total)).drain_s + DRAIN_GRACE_S


def test_the_long_response_file_offers_three_lengths() -> None:
    """600 for answers of 5 to 8 minutes, 900, 1200 for 10 to 15."""
    text = FILES[1].read_text(encoding="utf-8")
    assert re.findall(r'RELAY_TIMEOUT: "(\d+)"', text) == ["900", "600", "1200"]
    assert relay_in(FILES[1])["environment"]["RELAY_WORKERS"] == "2"


@each_file
def test_the_configuration_is_right(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check-config` takes the variables, with secrets where the files have them; every secret named is mounted."""
    service, document = relay_in(path), read_yaml(path.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    for name, value in service["environment"].items():
        secret = re.fullmatch(r"file:/run/secrets/(\w+)", value)
        if secret is not None:
            assert secret[1] in service["secrets"]
            assert secret[1] in document["secrets"]
            (tmp_path / secret[1]).write_text("sk-of-somebody-0123456789")
            monkeypatch.setenv(name, f"file:{tmp_path / secret[1]}")
        else:
            monkeypatch.setenv(name, value)
    assert main(["check-config", "--offline"]) == 0, capsys.readouterr().err
    assert not [value for value in service["environment"].values() if "sk-" in value], "keys come as secrets"


@each_file
def test_the_container_may_do_little(path: Path) -> None:
    """Not root, nothing to write to, no capability, and it comes back by itself."""
    service = relay_in(path)
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"


@each_file
def test_the_health_check_is_the_programs_own(path: Path) -> None:
    """It asks whether the relay answers, not how it fares: a busy one is not to be restarted."""
    assert relay_in(path)["healthcheck"]["test"] == ["CMD", "relay-trio", "check", "--alive"]


def test_prometheus_finds_what_it_is_given() -> None:
    """The file that it starts with is in the directory that it gets, and it may read the page of metrics."""
    prometheus = read_yaml(FILES[1].read_text(encoding="utf-8"))["services"]["prometheus"]
    assert "./prometheus:/etc/prometheus:ro" in prometheus["volumes"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in prometheus["command"]
    assert prometheus["secrets"] == ["relay_metrics_key"]
