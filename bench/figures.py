"""From records to a page: medians with their spread, ratios within the run, and pictures.

A ratio is taken round by round, between two measurements that stood seconds apart, and its spread is that of the rounds.
Where the spread of a ratio holds 1, there is no difference to speak of, and the table says `~`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import attrs

Record = dict[str, Any]
Results = dict[str, Any]
Value = Callable[[Record], float | None]


@attrs.frozen
class Column:
    """One column of a workload's table."""

    title: str
    value: Value
    digits: int = 0


def _field(name: str, scale: float = 1.0) -> Value:
    return lambda record: record[name] * scale if record.get(name) is not None else None


def _per(name: str, by: str) -> Value:
    return lambda record: record[name] / record[by] if record.get(by) and record.get(name) else None


def _share(name: str) -> Value:
    return lambda record: 100 * record.get(name, 0) / record["done"] if record.get("done") else None


def _more(name: str) -> Value:
    return lambda record: record[f"{name}_after"] - record[f"{name}_idle"] if f"{name}_after" in record else None


def _lost(record: Record) -> float | None:
    return float(record["n"] - record.get("ended", 0))


def _rss_after(record: Record) -> float | None:
    return float(record["rss_after_kib"] - record["rss_idle_kib"]) / 1024


def _at_rest(name: str, scale: float = 1.0, own: int = 0) -> Value:
    """Return the reading of what is there when the soak is over, less what the looking itself takes."""
    return lambda record: (record["rest"][name] - own) * scale if name in record["rest"] else None


def _before(name: str, scale: float = 1.0) -> Value:
    """Return the reading of what was there before the soak."""
    return lambda record: record["idle"][name] * scale if name in record["idle"] else None


def _drift(record: Record) -> float | None:
    parts = record["rss_parts_kib"]
    return 100 * (parts[-1] - parts[0]) / parts[0] if len(parts) > 1 and parts[0] else None


RATE = Column("done/s", _field("rate"))
CPU = Column("CPU us each", _per("cpu_us", "done"))
LATENCY = (Column("p50 us", _field("whole_p50_us")), Column("p99 us", _field("whole_p99_us")))
ODD = Column(
    "odd answers",
    lambda r: sum(r.get(name, 0) for name in ("client_errors", "server_errors", "cut", "reset", "refused")),
)
CHUNKS = (
    Column("chunk p50 ms", _field("chunk_p50_us", 0.001), 2),
    Column("p99 ms", _field("chunk_p99_us", 0.001), 2),
    Column("max ms", _field("chunk_max_us", 0.001), 1),
)
HELD = (
    Column("streams", _field("n")),
    Column("open at once", _field("held")),
    Column("lost", _lost),
    Column("CPU us/chunk", _field("cpu_us_per_chunk"), 1),
    Column("KiB/stream", _field("kib_per_stream"), 1),
    *CHUNKS,
    Column("MiB kept after", _rss_after, 1),
    Column("descriptors kept", _more("descriptors")),
)
FAST = (RATE, CPU, ODD)

TABLES: dict[str, tuple[str, tuple[Column, ...]]] = {
    "W1": ("W1: answers of 1 KB, 64 connections", (*FAST, *LATENCY)),
    "W1-c1": ("W1 with 1 connection", LATENCY),
    "W1-c32": ("W1 with 32 connections", LATENCY),
    "W2": (
        "W2: streams of 50 chunks at once, 64 connections",
        (
            *FAST,
            *CHUNKS[:2],
            Column("chunks per read", _per("chunks", "reads"), 1),
        ),
    ),
    "W2-turns": (
        "W2: every turn of the relay's event loop, timed from within",
        (
            Column("turns/s", _per("turns", "seconds")),
            Column("p50 ms", _field("turn_p50_s", 1000), 2),
            Column("p99 ms", _field("turn_p99_s", 1000), 2),
            Column("longest ms", _field("turn_max_s", 1000), 1),
        ),
    ),
    "W3-*": ("W3: slow streams, a chunk a second", HELD),
    "W3-two": ("W3-two: more slow streams than one process can hold, on two workers; the rig on the same cores", HELD),
    "W3-big": (
        "W3-big: slow streams, while one client sends 20 MB twice a second",
        (*HELD, Column("20 MB bodies answered", _field("big_ok"))),
    ),
    "W4": (
        "W4: 429s whose bodies break off",
        (
            Column("requests", _field("done")),
            Column("faults at the provider", _field("faults")),
            RATE,
            CPU,
            Column("429 with Retry-After and JSON, %", _share("told_429"), 1),
            Column("5xx, %", _share("server_errors"), 1),
            Column("cut, %", _share("cut"), 1),
            Column("memory, 20,000th to last, %", _drift, 1),
            Column("descriptors kept", _more("descriptors")),
            Column("threads kept", _more("threads")),
            Column("left at the provider", _field("upstream_left_open")),
        ),
    ),
    "W5": ("W5: OpenAI's client, Anthropic's provider, streams of 50 chunks", FAST),
    "W6-unary": ("W6: TLS to the provider, as W1", FAST),
    "W6-stream": ("W6: TLS to the provider, as W2", FAST),
    "W6c-unary": ("W6c: TLS from the clients, as W1", FAST),
    "W6c-stream": ("W6c: TLS from the clients, as W2", FAST),
    "W7": ("W7: two workers on two cores, shared with the rig", FAST),
    "leave": (
        "Leave: from a client's leaving to the provider's connection closed, under W2 load",
        (
            Column("closed", _field("closed")),
            Column("p50 ms", _field("closed_p50_ms"), 2),
            Column("p99 ms", _field("closed_p99_ms"), 2),
            Column("max ms", _field("closed_max_ms"), 1),
            Column("never closed", _field("never_closed")),
        ),
    ),
    "W8": (
        "W8: all faults mixed",
        (
            Column("requests", _field("done")),
            RATE,
            Column("MiB after", _at_rest("resident_kib", 1 / 1024), 1),
            Column("MiB before", _before("resident_kib", 1 / 1024), 1),
            Column("descriptors after", _at_rest("descriptors")),
            Column("before", _before("descriptors")),
            Column("tasks after", _at_rest("tasks")),
            Column("before", _before("tasks")),
            Column("requests still live", _at_rest("nurseries", own=1)),
            Column("left at the provider", _field("upstream_left_open")),
        ),
    ),
    "start": (
        "Start",
        (Column("listening after, s", _field("ready_s"), 2), Column("--help, s", _field("help_s"), 2)),
    ),
}
"""By workload. `W3-*` gathers all sizes."""

RATIOS: dict[str, Column] = {"W1": CPU, "W2": CPU, "W4": CPU, "W5": CPU, "W7": RATE} | {
    f"{name}-{shape}": CPU for name in ("W6", "W6c") for shape in ("unary", "stream")
}
"""Of which column the ratio to the relay is taken. CPU: it suffers least from a machine that does other things."""


# The tables


def table(results: Results) -> str:
    """Return all tables as Markdown."""
    sections = [_section(name, results["records"]) for name in TABLES]
    return "\n\n".join(section for section in sections if section)


def _section(name: str, records: Sequence[Record]) -> str:
    title, columns = TABLES[name]
    mine = [record for record in records if _is_of(record, name)]
    if not mine:
        return ""
    ratio = RATIOS.get(name)
    heads = ["", *(column.title for column in columns), *([f"{ratio.title}, relay = 1"] if ratio else [])]
    lines = [f"### {title}", "", "| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for target, size in _rows(mine):
        rows = [record for record in mine if (record["target"], record.get("n")) == (target, size)]
        refused = ODD in columns and all(map(_mostly_odd, rows))
        cells = ["-" if refused and column is not ODD else _cell(column, rows) for column in columns]
        if ratio:
            cells.append(_ratio(ratio, rows, mine))
        lines.append("| " + " | ".join([target, *cells]) + " |")
    return "\n".join(lines)


def _is_of(record: Record, name: str) -> bool:
    workload = record["workload"]
    return workload == name or (name == "W3-*" and workload.startswith("W3-") and workload not in TABLES)


def _rows(records: Sequence[Record]) -> list[tuple[str, int | None]]:
    return list(dict.fromkeys((record["target"], record.get("n")) for record in records))


def _values(column: Column, records: Sequence[Record]) -> list[float]:
    return [value for record in records if (value := column.value(record)) is not None]


def _cell(column: Column, records: Sequence[Record]) -> str:
    values = _values(column, records)
    if not values:
        return "-"
    shown = f"{median(values):,.{column.digits}f}"
    if len(values) == 1 or max(values) == min(values):
        return shown
    return f"{shown} ({min(values):,.{column.digits}f}-{max(values):,.{column.digits}f})"


def ratios(column: Column, rows: Sequence[Record], base: Sequence[Record]) -> list[float]:
    """Return the ratio to `base` of each round that both have."""
    of_round = {record["round"]: value for record in base if (value := column.value(record))}
    pairs = [(column.value(record), of_round.get(record["round"])) for record in rows]
    return [value / other for value, other in pairs if value and other]


def _ratio(column: Column, rows: Sequence[Record], all_rows: Sequence[Record]) -> str:
    relay = next((record["target"] for record in all_rows if record["target"].startswith("relay")), None)
    if relay is None:
        return "-"
    if rows[0]["target"] == relay:
        return "1"
    found = ratios(column, rows, [record for record in all_rows if record["target"] == relay])
    if not found or any(_mostly_odd(record) for record in rows):
        return "-"
    same = "~ " if len(found) > 1 and min(found) <= 1 <= max(found) else ""
    return f"{same}{median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def _mostly_odd(record: Record) -> bool:
    """Whether it answered something else than was asked for: then what that cost is of no interest."""
    return "ok" in record and record["ok"] < 0.9 * record["done"]


# The page


def write_page(runs: Sequence[Results], bench: Path) -> None:
    """Write FIGURES.md and the pictures beside it: each workload from the last run that measured it."""
    results = _joined(runs)
    pictures = bench / "figures"
    pictures.mkdir(exist_ok=True)
    shown = []
    for name, title, column in PICTURES:
        rows = [record for record in results["records"] if _is_of(record, name)]
        held = [
            record for record in rows if not _mostly_odd(record) and record.get("held", 0) >= 0.9 * record.get("n", 0)
        ]
        bars = [(target, median(_values(column, of))) for target, of in _by_target(held) if any(_values(column, of))]
        if bars:
            file = pictures / f"{name.rstrip('-*')}-{column.title.split()[0]}.svg".lower()
            file.write_text(_bars(title, bars))
            shown.append(f"![{title}](figures/{file.name})")
    for name, title, points in _lines_of(results["records"]):
        (pictures / f"{name}.svg").write_text(_line(title, points))
        shown.append(f"![{title}](figures/{name}.svg)")
    told = [_circumstances(run, shown_of) for run in runs if (shown_of := _shown_of(run, runs))]
    page = "\n\n".join([_HEAD, *told, *shown, table(results), _skipped(results)])
    (bench / "FIGURES.md").write_text(page.rstrip() + "\n")


def _last_runs(runs: Sequence[Results]) -> dict[str, Results]:
    return {name: run for run in runs for name in run["load_average"]}


def _shown_of(run: Results, runs: Sequence[Results]) -> list[str]:
    """The workloads that the page has from this run."""
    return [name for name, last in _last_runs(runs).items() if last is run]


def _joined(runs: Sequence[Results]) -> Results:
    measured = _last_runs(runs)
    records = [
        record
        for run in runs
        for record in run["records"]
        if any(run is last and _belongs(record, name) for name, last in measured.items())
    ]
    had = {record["target"] for record in records}
    skipped = {
        name: why
        for run in runs
        for name, why in run["skipped"].items()
        if measured.get(name.split()[0], run) is run and name not in had
    }
    return {**runs[-1], "records": records, "skipped": skipped}


def _belongs(record: Record, workload: str) -> bool:
    """Whether a run of this workload made the record: `W1-c1` is one of W1's, `W3-big` is a workload of its own."""
    made: str = record["workload"]
    return made == workload or (made.startswith(f"{workload}-") and made not in ("W3-big", "W3-two"))


_HEAD = """# Figures

Written by `bench/run --figures`; what each workload is, and how far to trust it, is in [README.md](README.md). A figure
is the median of the rounds, with the least and the greatest in brackets. Ratios hold on other machines, within reason;
the absolute numbers are this machine's."""

PICTURES = (
    ("W1", "CPU microseconds per request (W1)", CPU),
    ("W2", "CPU microseconds per stream of 50 chunks (W2)", CPU),
    ("W3-*", "KiB of memory per open stream (W3)", Column("KiB", _field("kib_per_stream"))),
)


def _circumstances(results: Results, workloads: Sequence[str]) -> str:
    machine, loads = results["machine"], results["load_average"]
    busy = ", ".join(f"{name} {loads[name]['before']:.1f}/{loads[name]['after']:.1f}" for name in workloads)
    return (
        f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python "
        f"{machine['python']}, relay at {machine.get('commit', 'unknown')}; {results['plan']['rounds']} rounds. Load average before/after each workload (the rig and "
        f"the gateway alone make about 2): {busy}."
    )


def _skipped(results: Results) -> str:
    if not results["skipped"]:
        return ""
    return "\n".join(["### Not measured", "", *(f"- {name}: {why}" for name, why in results["skipped"].items())])


def _by_target(rows: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    names = dict.fromkeys(row["target"] for row in rows)
    return [(name, [row for row in rows if row["target"] == name]) for name in names]


def _lines_of(records: Sequence[Record]) -> list[tuple[str, str, list[tuple[float, float]]]]:
    found = []
    for record in records:
        if record["workload"] == "W8":
            for what, title, reading, scale in SOAKED:
                if points := _over_time(record, reading, scale):
                    found.append((f"w8-{what}", f"{title} over minutes of mixed faults (W8)", points))
        if record["workload"] == "W4" and record["target"] == "relay" and len(record["rss_parts_kib"]) > 1:
            parts = enumerate(record["rss_parts_kib"], 1)
            points = [(20.0 * part, kib / 1024) for part, kib in parts]
            found.append(("w4-memory", "Resident MiB over thousands of broken errors (W4)", points))
    return found


def _over_time(record: Record, reading: str, scale: float) -> list[tuple[float, float]]:
    samples = [sample for sample in record["samples"] if reading in sample]
    return [(sample["at_s"] / 60, sample[reading] * scale) for sample in samples]


SOAKED = (
    ("memory", "Resident MiB", "resident_kib", 1 / 1024),
    ("tasks", "Tasks of the event loop", "tasks", 1.0),
    ("descriptors", "Sockets and other descriptors", "descriptors", 1.0),
)


# The pictures: SVG by hand, so that nothing needs to be installed to draw two bars

_WIDTH, _LABEL, _STEP = 720, 150, 26


def _bars(title: str, bars: Sequence[tuple[str, float]]) -> str:
    """Bars on a logarithmic scale, which is said: the slowest would else be all that one sees."""
    low, high = min(value for _, value in bars) / 2, max(value for _, value in bars)
    span = _WIDTH - _LABEL - 90
    drawn = []
    for row, (name, value) in enumerate(bars):
        y = 44 + row * _STEP
        length = span * math.log(value / low) / math.log(high / low)
        colour = "#1f6feb" if name.startswith("relay") else "#8b949e"
        drawn.append(f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{name}</text>')
        drawn.append(f'<rect x="{_LABEL}" y="{y}" width="{length:.1f}" height="18" fill="{colour}"/>')
        drawn.append(f'<text x="{_LABEL + length + 6:.1f}" y="{y + 13}">{value:,.0f}</text>')
    return _svg(f"{title}, logarithmic", drawn, 54 + len(bars) * _STEP)


def _line(title: str, points: Sequence[tuple[float, float]]) -> str:
    """A line from zero: a leak is a slope, and no axis may make one out of nothing."""
    height = 200
    far, high = max(x for x, _ in points) or 1.0, max(y for _, y in points) * 1.15 or 1.0
    span = _WIDTH - 2 * 50
    at = [(50 + span * x / far, 40 + height * (1 - y / high)) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    drawn = [
        f'<polyline points="{path}" fill="none" stroke="#1f6feb" stroke-width="2"/>',
        f'<line x1="50" y1="{40 + height}" x2="{_WIDTH - 50}" y2="{40 + height}" stroke="#8b949e"/>',
        f'<text x="44" y="{44 + height}" text-anchor="end">0</text>',
        f'<text x="{at[-1][0]:.1f}" y="{at[-1][1] - 8:.1f}" text-anchor="end">{points[-1][1]:,.0f}</text>',
        f'<text x="{_WIDTH - 50}" y="{58 + height}" text-anchor="end">{far:,.0f}</text>',
    ]
    return _svg(title, drawn, height + 70)


def _svg(title: str, drawn: Sequence[str], height: int) -> str:
    style = 'font-family="system-ui, sans-serif" font-size="13" fill="#57606a"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" {style}>'
    return "\n".join([head, f'<text x="8" y="20" font-weight="600">{title}</text>', *drawn, "</svg>\n"])
