"""Who is measured: the relay, the baseline, the peers, and no gateway at all; how each is had and how each is started.

Every setting that is not the default has its reason beside it; all peers run with retries, caches and access logs off as
far as they let themselves be told, and the relay with all that it has on.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import fetching
import processes
from fetching import BENCH, BUILD, DEBIAN, GO, Install
from processes import Process

_LIBRARIES = DEBIAN / "usr/lib/x86_64-linux-gnu"

CLIENT_KEY = "sk-bench-client-0123456789abcdef0123456789abcdef"
PROVIDER_KEY = "sk-bench-provider-0123456789abcdef"


@attrs.frozen
class Place:
    """Where a gateway is to run: its port, its provider's, its files, and on which core."""

    port: int
    upstream_port: int
    directory: Path
    core: str = processes.GATEWAY_CORE
    workers: int = 1
    upstream_scheme: str = "http"
    certificate: Path | None = None
    """With it the gateway speaks TLS to its clients, and trusts it at its provider (the relay only)."""
    key: Path | None = None

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)

    @property
    def upstream(self) -> str:
        return f"{self.upstream_scheme}://127.0.0.1:{self.upstream_port}"


Start = Callable[[Place], Process]


@attrs.frozen
class Target:
    """One gateway: what makes it available (raises CannotHave), and what starts it."""

    name: str
    what: str
    install: Install
    start: Start | None
    """None: no gateway, the load goes to the provider itself."""
    headers: Callable[[Place], tuple[str, ...]] = lambda _place: ()
    client_key: str = CLIENT_KEY
    path: str = "/v1/chat/completions"
    ready_s: float = 20.0
    most_workers: int = 1
    """How many it starts when it is told to, here."""
    most_streams: int = 20_000
    """More slow streams than these it is known not to hold; W3 leaves it out there, rather than wait for its failing."""


# The relay, with all features on


def _relay(place: Place) -> Process:
    return start_relay(place, "-m", "relay_trio")


def start_relay(place: Place, *program: str) -> Process:
    """Start the relay by these arguments of the interpreter; its log goes through a pipe."""
    tls = f'tls_cert = "{place.certificate}"\ntls_key = "{place.key}"\n' if place.key else ""
    trust = f'ca_bundle = "{place.certificate}"\n' if place.certificate else ""
    text = f"""[relay]
listen = ["127.0.0.1:{place.port}"]
workers = {place.workers}
{tls}{trust}
[[channels]]
name = "openai"
adaptor = "openai"
base_url = "{place.upstream}/v1"
api_keys = ["{PROVIDER_KEY}"]
models = ["gpt-*"]
{_ANTHROPIC_CHANNEL.format(place=place, key=PROVIDER_KEY) if _has_anthropic() else ""}"""
    return processes.start_piped(
        "relay",
        [sys.executable, *program, "serve", "--config", place.write("relay.toml", text)],
        core=place.core,
        log=place.directory / "relay.log",
        environ={"PYTHONPATH": str(BENCH.parent), "RELAY_API_KEYS": CLIENT_KEY},
    )


_ANTHROPIC_CHANNEL = """
[[channels]]
name = "anthropic"
adaptor = "anthropic"
base_url = "{place.upstream}/v1"
api_keys = ["{key}"]
models = ["claude-*"]
"""


def _has_anthropic() -> bool:
    return (BENCH.parent / "adaptors/anthropic.py").exists()


def _naive(place: Place) -> Process:
    return processes.start(
        "naive",
        [sys.executable, str(BENCH / "naive.py"), str(place.port), place.upstream],
        core=place.core,
        log=place.directory / "naive.log",
    )


# Plain proxies, the floor


def _nginx(place: Place) -> Process:
    text = f"""worker_processes {place.workers};
daemon off;
pid {place.directory}/nginx.pid;
error_log {place.directory}/nginx.err error;
worker_rlimit_nofile 20000;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  keepalive_requests 100000000;           # the default of 1000 would close connections during a run
  client_max_body_size 64m;
  client_body_temp_path {place.directory}/body;
  proxy_temp_path {place.directory}/proxy;
  fastcgi_temp_path {place.directory}/fastcgi;
  uwsgi_temp_path {place.directory}/uwsgi;
  scgi_temp_path {place.directory}/scgi;
  upstream provider {{ server 127.0.0.1:{place.upstream_port}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    # with one socket for all, one worker of two would take what it cannot hold
    listen 127.0.0.1:{place.port} backlog=4096{" reuseport" if place.workers > 1 else ""};
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;                # a chunk leaves when it has come
      proxy_read_timeout 600s;
    }}
  }}
}}
"""
    return processes.start(
        "nginx",
        [str(DEBIAN / "usr/sbin/nginx"), "-c", place.write("nginx.conf", text), "-e", f"{place.directory}/nginx.err"],
        core=place.core,
        log=place.directory / "nginx.log",
    )


def _haproxy(place: Place) -> Process:
    text = f"""global
  nbthread 1
  maxconn 9900
defaults
  mode http
  option http-keep-alive
  option http-no-delay                    # else a slow chunk waits up to 200 ms for the next one
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend clients
  bind 127.0.0.1:{place.port} backlog 4096
  default_backend provider
backend provider
  server one 127.0.0.1:{place.upstream_port} pool-max-conn -1
"""
    return start_haproxy(text, place.directory, core=place.core)


def start_haproxy(text: str, directory: Path, *, core: str, name: str = "haproxy") -> Process:
    """Start haproxy with a configuration, in the foreground; TLS on either side of a measurement is done by it too."""
    file = directory / f"{name}.cfg"
    file.write_text(text)
    return processes.start(
        name,
        [str(DEBIAN / "usr/sbin/haproxy"), "-f", str(file), "-db"],
        core=core,
        log=directory / f"{name}.log",
        environ={"LD_LIBRARY_PATH": str(_LIBRARIES)},
    )


install_haproxy = fetching.debian("haproxy", "haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1")


# Gateways for language models


def _router(package: str, module: str) -> Start:
    def start(place: Place) -> Process:
        command = [
            str(fetching.python_of(package)),
            "-m",
            module,
            "--worker-urls",
            place.upstream,
            "--host",
            "127.0.0.1",
        ]
        command += ["--port", str(place.port), "--policy", "round_robin", "--log-level", "error"]
        # a 429 shall be handed on, not tried again, and shall not take the only worker out
        command += ["--disable-retries", "--disable-circuit-breaker"]
        command += ["--max-concurrent-requests", "20000", "--queue-size", "20000"]
        # one port for all would make two routers of one run collide
        command += ["--prometheus-port", str(processes.free_port())]
        return processes.start(package, command, core=place.core, log=place.directory / f"{package}.log")

    return start


def _litellm(place: Place) -> Process:
    text = f"""model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{place.upstream}/v1", api_key: {PROVIDER_KEY}, max_retries: 0}}
litellm_settings: {{num_retries: 0, request_timeout: 600, telemetry: false, drop_params: true}}
router_settings: {{num_retries: 0, disable_cooldowns: true}}
general_settings: {{disable_spend_logs: true}}
"""
    command = [str(BUILD / "venvs/litellm/bin/litellm"), "--config", place.write("litellm.yaml", text)]
    return processes.start(
        "litellm",
        [*command, "--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1", "--telemetry", "False"],
        core=place.core,
        log=place.directory / "litellm.log",
        environ={
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet at its start
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "NO_PROXY": "*",
        },
    )


_PORTKEY = BUILD / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"


def _portkey(place: Place) -> Process:
    return processes.start(
        "portkey",
        ["node", str(_PORTKEY), f"--port={place.port}", "--headless"],
        core=place.core,
        log=place.directory / "portkey.log",
        environ={"NODE_ENV": "production"},
    )


def _portkey_headers(place: Place) -> tuple[str, ...]:
    return "x-portkey-provider: openai", f"x-portkey-custom-host: {place.upstream}/v1"


_ONE_API_KEY = "benchclient0123456789abcdef0123456789abcdef"
"""Without a hyphen: in one-api's keys what stands behind one is a channel's number."""


def _one_api(place: Place) -> Process:
    process = processes.start(
        "one-api",
        [str(GO / "one-api"), "--port", str(place.port), "--log-dir", ""],
        core=place.core,
        log=place.directory / "one-api.log",
        environ={
            "SQLITE_PATH": str(place.directory / "one-api.db"),
            "INITIAL_ROOT_TOKEN": _ONE_API_KEY,
            "INITIAL_ROOT_ACCESS_TOKEN": "bench",
            "MEMORY_CACHE_ENABLED": "true",  # else every request looks for its channel in SQLite
            "BATCH_UPDATE_ENABLED": "true",  # else every request writes its quota there
            "SYNC_FREQUENCY": "5",  # the channel below is seen after this time, not after ten minutes
            "TIKTOKEN_CACHE_DIR": str(_ENCODINGS),  # else it fetches them from the internet at its start
        },
    )
    processes.wait_listening(process, place.port, within_s=20)
    _tell_one_api(place)
    return process


_ENCODINGS = BUILD / "encodings"


def _encodings() -> None:
    """Lend LiteLLM's copies of the tokenizers' tables, which have the names that one-api looks for."""
    found = list((BUILD / "venvs/litellm/lib").glob("python3*/site-packages/litellm/litellm_core_utils/tokenizers"))
    if not found:
        raise fetching.CannotHave("its tokenizers' tables are in LiteLLM's package, which is not here")
    if not _ENCODINGS.exists():
        _ENCODINGS.symlink_to(found[0])


def _tell_one_api(place: Place) -> None:
    channel = {"type": 1, "name": "bench", "key": PROVIDER_KEY, "base_url": place.upstream, "models": "gpt-4o-mini"}
    options = {"LogConsumeEnabled": "false", "RetryTimes": "0"}  # the first is a row in SQLite for each request
    _ask_one_api(place, "POST", "/api/channel/", {**channel, "group": "default"})
    for name, value in options.items():
        _ask_one_api(place, "PUT", "/api/option/", {"key": name, "value": value})


def _ask_one_api(place: Place, method: str, path: str, content: Mapping[str, object]) -> None:
    headers = {"Authorization": "bench", "Content-Type": "application/json"}
    url = f"http://127.0.0.1:{place.port}{path}"
    request = urllib.request.Request(url, json.dumps(content).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        said = json.load(answer)
    if not said["success"]:
        raise RuntimeError(f"one-api at {path}: {said['message']}")


def _bifrost(place: Place) -> Process:
    """Start Bifrost as its documents say (docs.getbifrost.ai): where this was written it could not be had."""
    key = {"name": "bench", "value": PROVIDER_KEY, "models": ["*"], "weight": 1.0}
    network = {"base_url": place.upstream, "max_retries": 0, "default_request_timeout_in_seconds": 600}
    whole = {
        "providers": {"openai": {"keys": [key], "network_config": network}},
        "client": {"enable_logging": False},
        "config_store": {"enabled": False},
    }
    place.write("config.json", json.dumps(whole))
    command = [str(GO / "bifrost-http"), "-app-dir", str(place.directory), "-host", "127.0.0.1", "-log-level", "error"]
    log = place.directory / "bifrost.log"
    return processes.start("bifrost", [*command, "-port", str(place.port)], core=place.core, log=log)


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("direct", "no gateway", fetching.here, None),
        Target("relay", "relay_trio, all features on", fetching.here, _relay, most_workers=2),
        Target("naive", "stock hypercorn and httpx (bench/naive.py)", fetching.here, _naive, most_streams=1000),
        Target("nginx", "nginx, Debian, buffering off", fetching.debian("nginx", "nginx"), _nginx, most_workers=2),
        Target("haproxy", "haproxy, Debian, no-delay", install_haproxy, _haproxy),
        Target(
            "vllm-router",
            "vllm-router, PyPI (Rust)",
            fetching.pypi("vllm-router"),
            _router("vllm-router", "vllm_router.launch_router"),
            ready_s=40,
        ),
        Target(
            "sglang-router",
            "sglang-router, PyPI (Rust)",
            fetching.pypi("sglang-router"),
            _router("sglang-router", "sglang_router.launch_router"),
            ready_s=40,
        ),
        Target(
            "litellm",
            "LiteLLM proxy, PyPI",
            fetching.pypi("litellm", "litellm[proxy]"),
            _litellm,
            ready_s=90,
            most_streams=0,
        ),
        Target(
            "portkey",
            "Portkey gateway, npm",
            # Portkey's own lock file has this version; npm takes a newer one, with which every stream is a 500
            # (github.com/Portkey-AI/gateway, issue 1389)
            fetching.npm("portkey", "@portkey-ai/gateway", {"@hono/node-server": "1.13.5"}),
            _portkey,
            _portkey_headers,
            ready_s=30,
            most_streams=2000,
        ),
        Target(
            "one-api",
            "one-api 0.6.10, built with Go",
            fetching.all_of(_encodings, fetching.go("one-api", "github.com/songquanpeng/one-api", "v0.6.10")),
            _one_api,
            client_key=f"sk-{_ONE_API_KEY}",
            ready_s=30,
        ),
        Target(
            "bifrost",
            "Bifrost, built with Go",
            fetching.go("bifrost-http", "github.com/maximhq/bifrost/transports", "v1.5.7", "/bifrost-http"),
            _bifrost,
            path="/openai/v1/chat/completions",
            ready_s=30,
        ),
    )
}
