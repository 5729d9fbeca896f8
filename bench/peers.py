"""Who is measured: the relay, the baseline, the peers, and no gateway at all; how each is had and how each is started.

A peer is installed into bench/build, out of its distribution's ordinary packages, and never into the system. What cannot
be had within five minutes is skipped with a word. Every setting that is not the default has its reason beside it; all
peers run with retries, caches and access logs off, and the relay with all that it has on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import processes
from processes import Process

BENCH = Path(__file__).resolve().parent
BUILD = BENCH / "build"
DEBIAN = BUILD / "debian"
_LIBRARIES = DEBIAN / "usr/lib/x86_64-linux-gnu"

INSTALL_S = 300
CLIENT_KEY = "sk-bench-client-0123456789abcdef0123456789abcdef"
PROVIDER_KEY = "sk-bench-provider-0123456789abcdef"


class CannotHave(Exception):
    """The peer cannot be had here; the text says why, in a word."""


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
    install: Callable[[], None]
    start: Start | None
    """None: no gateway, the load goes to the provider itself."""
    headers: Callable[[Place], tuple[str, ...]] = lambda _place: ()
    ready_s: float = 20.0
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
        log=place.directory / "relay.err",
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
    text = f"""worker_processes 1;
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
    listen 127.0.0.1:{place.port} backlog=4096;
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


def _debian(program: str, *packages: str) -> Callable[[], None]:
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


install_haproxy = _debian("haproxy", "haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1")


# Gateways for language models


def _router(package: str, module: str) -> Start:
    def start(place: Place) -> Process:
        command = [str(_python_of(package)), "-m", module, "--worker-urls", place.upstream, "--host", "127.0.0.1"]
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


def _pypi(package: str, requirement: str | None = None) -> Callable[[], None]:
    """Install a package into a virtual environment of its own."""

    def install() -> None:
        done = BUILD / "venvs" / package / "installed"
        if done.exists():
            return
        _run([sys.executable, "-m", "venv", str(done.parent)])
        _run([str(_python_of(package)), "-m", "pip", "install", "--quiet", requirement or package])
        done.touch()

    return install


def _npm() -> None:
    if _PORTKEY.exists():
        return
    if not shutil.which("npm"):
        raise CannotHave("no npm here")
    (BUILD / "portkey").mkdir(parents=True, exist_ok=True)
    _run(["npm", "install", "--silent", "--prefix", str(BUILD / "portkey"), "@portkey-ai/gateway"])


def _python_of(package: str) -> Path:
    return BUILD / "venvs" / package / "bin/python"


def _run(command: list[str], cwd: Path | None = None) -> None:
    environ = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=INSTALL_S, env=environ)
    except subprocess.TimeoutExpired:
        raise CannotHave(f"{command[0]} took more than {INSTALL_S} s") from None
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise CannotHave(said.decode(errors="replace").strip().splitlines()[-1][:120]) from None


def _here() -> None:
    """Nothing needs to be installed."""


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("direct", "no gateway", _here, None),
        Target("relay", "relay_trio, all features on", _here, _relay),
        Target("naive", "stock hypercorn and httpx (bench/naive.py)", _here, _naive, most_streams=1000),
        Target("nginx", "nginx, Debian, buffering off", _debian("nginx", "nginx"), _nginx),
        Target("haproxy", "haproxy, Debian, no-delay", install_haproxy, _haproxy),
        Target(
            "vllm-router",
            "vllm-router, PyPI (Rust)",
            _pypi("vllm-router"),
            _router("vllm-router", "vllm_router.launch_router"),
            ready_s=40,
        ),
        Target(
            "sglang-router",
            "sglang-router, PyPI (Rust)",
            _pypi("sglang-router"),
            _router("sglang-router", "sglang_router.launch_router"),
            ready_s=40,
        ),
        Target(
            "litellm", "LiteLLM proxy, PyPI", _pypi("litellm", "litellm[proxy]"), _litellm, ready_s=90, most_streams=0
        ),
        Target("portkey", "Portkey gateway, npm", _npm, _portkey, _portkey_headers, ready_s=30, most_streams=2000),
    )
}
