"""The page of numbers: bounded series, true totals, one page for all workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relay_trio.errors import Ended
from relay_trio.telemetry import metrics as module
from relay_trio.telemetry.metrics import FinishedRequest, Labels, Metrics, Sample, forget_dead_worker

ROOT = Path(__file__).parents[2]


def make_metrics() -> Metrics:
    labels = Labels(dialects=["openai_chat"], channels=["main"], models=["gpt-*", "gpt-4o-*", "o1"])
    return Metrics(labels, version="1.2.3")


def series(page: bytes) -> dict[str, float]:
    """Every series of the page as `name{label="value"}`, labels in alphabetical order."""
    found = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def shown(metrics: Metrics) -> dict[str, float]:
    """The series of its page, with all that was counted."""
    metrics.hand_over()
    return series(metrics.render())


def test_a_request_is_counted_in_every_metric() -> None:
    """Its outcome, its phases, the first event, bytes on each side, tokens."""
    metrics = make_metrics()
    request = FinishedRequest(
        dialect="openai_chat",
        outcome=Ended.COMPLETED,
        channel="main",
        model="gpt-4o-mini",
        seconds={"queue": 0.001, "headers": 0.3, "first_event": 0.4, "total": 7.0},
        body_bytes=(900, 0, 0, 12_000),
        tokens=(10, 20, 0, 0),
    )
    metrics.observe_request(request)
    metrics.observe_request(request)
    page = shown(metrics)
    expected = {
        "relay_requests_total{channel=main,dialect=openai_chat,model=gpt-4o-*,outcome=completed}": 2,
        "relay_phase_seconds_sum{channel=main,phase=total}": 14,
        "relay_phase_seconds_bucket{channel=main,le=5.0,phase=total}": 0,
        "relay_phase_seconds_bucket{channel=main,le=10.0,phase=total}": 2,
        "relay_first_event_seconds_count{channel=main,model=gpt-4o-*}": 2,
        "relay_bytes_total{channel=main,side=to_client}": 24_000,
        "relay_tokens_total{channel=main,kind=output,model=gpt-4o-*}": 40,
        "relay_build_info{python=" + sys.version.split()[0] + ",version=1.2.3}": 1,
    }
    assert expected.items() <= page.items()


def test_what_clients_invent_makes_no_series() -> None:
    """A thousand unknown models, dialects and channels are one series."""
    metrics = make_metrics()
    for number in range(1_000):
        metrics.observe_request(FinishedRequest(f"d{number}", Ended.REJECTED, f"c{number}", f"m{number}"))
    requests = [name for name in shown(metrics) if name.startswith("relay_requests_total")]
    assert requests == ["relay_requests_total{channel=other,dialect=other,model=other,outcome=rejected}"]


@pytest.mark.parametrize(
    ("name", "label"),
    [("o1", "o1"), ("gpt-4o-mini", "gpt-4o-*"), ("gpt-5", "gpt-*"), ("claude", "other"), (None, "none")],
)
def test_a_model_s_label_is_its_configured_name(name: str | None, label: str) -> None:
    """Its name, else the longest pattern that it matches, else `other`; twice the same."""
    labels = make_metrics().labels
    assert (labels.model(name), labels.model(name)) == (label, label)


def test_a_reload_adds_names() -> None:
    """A name that was unknown has a series of its own from then on; nothing vanishes from the page."""
    metrics = make_metrics()
    metrics.count_attempt("new", "ok")
    metrics.labels.add(channels=["new"], models=["claude"])
    metrics.count_attempt("new", "ok")
    page = shown(metrics)
    assert page["relay_attempts_total{channel=other,result=ok}"] == 1
    assert page["relay_attempts_total{channel=new,result=ok}"] == 1
    assert metrics.labels.model("claude") == "claude"


def test_the_lists_of_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reloads for ever, and clients' model names for ever, do not grow our memory."""
    monkeypatch.setattr(module, "MAX_NAMES", 3)
    monkeypatch.setattr(module, "MAX_REMEMBERED_MODELS", 5)
    labels = Labels(channels=[f"c{number}" for number in range(10)])
    assert [labels.channel(f"c{number}") for number in range(4)] == ["c0", "c1", "c2", "other"]
    for number in range(100):
        labels.model(f"m{number}")
    assert len(labels._remembered) <= 5


def test_what_is_counted_elsewhere_is_taken_over() -> None:
    """Totals become counters that never go back, what is open now becomes gauges, by kind."""
    metrics = make_metrics()
    metrics.sample(Sample(live_nurseries=3, log_lines_dropped=2, opened={"nursery": 5}, closed={"nursery": 2}))
    metrics.sample(Sample(live_nurseries=1, log_lines_dropped=3, opened={"nursery": 6}, closed={"nursery": 5}))
    metrics.sample(Sample(live_nurseries=1, opened={"nursery": 6}, closed={"nursery": 5}, unaccounted={"nursery": 1}))
    expected = {
        "relay_live_nurseries{}": 1,
        "relay_log_lines_dropped_total{}": 3,
        "relay_opened_total{kind=nursery}": 6,
        "relay_closed_total{kind=nursery}": 5,
        "relay_live{kind=nursery}": 1,
        "relay_unaccounted{kind=nursery}": 1,
    }
    assert expected.items() <= shown(metrics).items()


def test_rare_events_are_counted() -> None:
    """Keep-alives, findings of the watchdog, stalls of the loop."""
    metrics = make_metrics()
    metrics.count_keepalives("openai_chat", 1)
    metrics.count_keepalives("invented", 1)
    metrics.count_watchdog_finding("overdue")
    metrics.observe_loop_stall(0.7)
    expected = {
        "relay_keepalives_total{dialect=openai_chat}": 1,
        "relay_keepalives_total{dialect=other}": 1,
        "relay_watchdog_findings_total{finding=overdue}": 1,
        "relay_loop_stall_seconds_sum{}": 0.7,
    }
    assert expected.items() <= shown(metrics).items()


def test_two_sets_of_metrics_do_not_meet() -> None:
    """Each has a registry of its own: what one counts the other does not show."""
    first, second = make_metrics(), make_metrics()
    first.count_attempt("main", "ok")
    assert "relay_attempts_total{channel=main,result=ok}" in shown(first)
    assert "relay_attempts_total{channel=main,result=ok}" not in shown(second)


WORKER = """
import os, signal, sys
from pathlib import Path
from relay_trio.telemetry.metrics import Labels, Metrics, Sample
metrics = Metrics(Labels(channels=["main"]), version="1", directory=Path(sys.argv[1]), slot=int(sys.argv[2]))
metrics.count_attempt("main", "ok")
metrics.sample(Sample(live_nurseries=7, opened={"nursery": 9}, closed={"nursery": 2}))
sys.stdout.buffer.write(metrics.render())
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="several workers need POSIX")
def test_workers_speak_as_one_and_counters_never_go_back(tmp_path: Path) -> None:
    """Each worker's page is of all; a killed worker's counts stay, its live numbers go, its successor counts on."""

    def run_worker(slot: int) -> dict[str, float]:
        command = [sys.executable, "-c", WORKER, str(tmp_path), str(slot)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS")}
        ran = subprocess.run(command, capture_output=True, check=False, cwd=ROOT, env=environment)
        assert ran.returncode == -9, ran.stderr
        return series(ran.stdout)

    attempts, live = "relay_attempts_total{channel=main,result=ok}", "relay_live_nurseries{}"
    opened = "relay_opened_total{kind=nursery}"
    page = run_worker(0)
    assert (page[attempts], page[live], page[opened]) == (1, 7, 9)
    page = run_worker(1)
    assert (page[attempts], page[live], page[opened]) == (2, 14, 18)
    forget_dead_worker(tmp_path, 0)
    forget_dead_worker(tmp_path, 1)
    files = {path.name for path in tmp_path.iterdir()}
    page = run_worker(0)
    assert (page[attempts], page[live], page[opened]) == (3, 7, 27)
    assert {path.name for path in tmp_path.iterdir()} == files | {"gauge_livesum_0.db"}
