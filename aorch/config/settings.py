"""`aorch.toml` and the environment, read once, as one frozen Config.

`config_file` decides which file that is. Nothing else in the package reads the environment.
"""

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from aorch.config import config_file, environment
from aorch.config.service_urls import check_url, service_url
from aorch.config.shape import convert, of
from aorch.errors import ConfigInvalid, UsageError

if TYPE_CHECKING:
    from aorch.config.pipeline_config import PipelineConfig

_DEFAULT_LEDGER = ("aorch", "ledger.db")
"""The end of the path of the default ledger."""


MOST_WORKERS = 256
"""Processes of one service: each takes about 60 MB, and more of them than cores make nothing faster."""

_Any = Annotated[int, msgspec.Meta(ge=0)]
_Some = Annotated[int, msgspec.Meta(ge=1)]
_NoLess = Annotated[float, msgspec.Meta(ge=0)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]


class ServeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`aorch serve`: where it listens, and its limits.

    `read_timeout_s` is how long a client may take to send a request; `rate_per_s` how many requests a token may send a
    second, on average, with bursts of ten times that (0: any number). `cors_origins` may call from a page in a browser.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8888
    workers: Annotated[int, msgspec.Meta(ge=1, le=MOST_WORKERS)] = 1
    grace_s: _NoLess = 10.0
    token_file: str | None = None
    cors_origins: list[str] = []
    max_body_bytes: _Some = 1024 * 1024
    max_json_depth: _Some = 64
    max_concurrent: _Some = 1000
    read_timeout_s: _Positive = 10.0
    rate_per_s: _NoLess = 0.0


class QueueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The queue: how many tasks a worker does at a time (0: `aorch serve` does none), and how many may wait (0: any number).

    `webhook_secret_env` names the variable of the environment that holds the secret by which webhooks are signed.
    `webhook_proxy` is the address of the HTTP proxy that they are sent through, except to this machine.
    """

    parallel: _Any = 32
    max_waiting: _Any = 1_000_000
    webhook_secret_env: str = ""
    webhook_proxy: str = ""


class LlmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model that may be asked for memory blocks, and where it is.

    `key_env` names the environment variable that holds the key. `max_input_tokens` is how much a request may hold (a token
    is reckoned as three bytes), `max_requests` how many requests a block may take, `timeout_s` how long each may. `proxy` is
    the address of the HTTP proxy that they are sent through, except to this machine.
    """

    provider: Literal["anthropic", "openai"] = "anthropic"
    url: str = ""
    model: str = ""
    key_env: str = ""
    max_input_tokens: int = 32_000
    max_requests: int = 32
    timeout_s: float = 120.0
    proxy: str = ""


class TraceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Trace: its address, or `off`."""

    url: str | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ledger: str | None = None
    timeout_s: _Positive | None = None
    max_depth: _Some | None = None
    serve: ServeConfig = ServeConfig()
    queue: QueueConfig = QueueConfig()
    llm: LlmConfig | None = None
    trace: TraceConfig = TraceConfig()
    agents: dict[str, Any] = {}
    pipelines: dict[str, Any] = {}


class Config(msgspec.Struct, frozen=True):
    """Everything that can be configured, with the defaults filled in.

    `timeout_s` is the limit of one exchange where neither task nor agent says another. `parent_id` and `session_id` are
    set by a command agent for the `aorch` that its program may call, so that the delegation stands in the ledger.
    `llm` is None where the file has no such table. `trace_url` and `memagent_url` are empty if the service is switched off,
    and `trace_url` is if the default address is not meant for this ledger; `…_configured`: the address was set, rather than
    being the documented default.
    """

    ledger: Path
    file: Path | None = None
    agents: dict[str, Any] = {}
    pipelines: dict[str, "PipelineConfig"] = {}
    timeout_s: float = 600.0
    max_depth: int = 16
    serve: ServeConfig = ServeConfig()
    queue: QueueConfig = QueueConfig()
    parent_id: str | None = None
    session_id: str | None = None
    trace_url: str = "http://localhost:8787"
    trace_configured: bool = False
    memagent_url: str = "http://localhost:8799"
    memagent_configured: bool = False
    llm: LlmConfig | None = None

    def secrets(self) -> frozenset[str]:
        """The environment variables that hold secrets of aorch itself. Programs of agents do not inherit them."""
        return frozenset(filter(None, (self.queue.webhook_secret_env, self.llm.key_env if self.llm else "")))


def load(ledger: str | Path | None = None) -> Config:
    """The configuration in force here; `ledger` overrides every other place for it.

    Raises ConfigInvalid, which names the file, the place in it and the reason.
    """
    path = config_file.find()
    content = _read(path) if path else _File()
    if content.queue.webhook_proxy:
        check_url(f"{of(path)}queue.webhook_proxy", content.queue.webhook_proxy)
    given: dict[str, Any] = {
        "timeout_s": content.timeout_s,
        "max_depth": content.max_depth,
        "parent_id": environment.get(environment.PARENT_ID),
        "session_id": environment.get(environment.SESSION_ID),
        "llm": content.llm and checked_llm(content.llm, path),
    }
    chosen = _ledger_path(ledger, content, path)
    return Config(
        ledger=chosen,
        file=path,
        serve=_serve(content.serve),
        queue=content.queue,
        agents=content.agents,
        pipelines={name: _pipeline(path, name, table, content.agents) for name, table in content.pipelines.items()},
        **_memagent(),
        **_trace(content.trace, path, chosen),
        **{key: value for key, value in given.items() if value},
    )


def with_services(config: Config, trace_url: str | None, memagent_url: str | None) -> Config:
    """`config` with these addresses in place of its own; None keeps its own, `off` switches one off. Raises ConfigInvalid."""
    changes: dict[str, Any] = {}
    for name, url in (("trace", trace_url), ("memagent", memagent_url)):
        if url is not None:
            checked = service_url(f"{name}_url", url)
            changes |= {f"{name}_url": checked, f"{name}_configured": bool(checked)}
    return msgspec.structs.replace(config, **changes)


def ledger_path(given: str | Path | None = None) -> Path:
    """Where the ledger lies. A file is read only where neither `given` nor AORCH_LEDGER says so: a broken one never
    stands between a person and a ledger that they name.
    """
    if given is not None or environment.get(environment.LEDGER):
        return _ledger_path(given, _File(), None)
    return load().ledger


def webhook_secret(config: Config) -> str | None:
    """What webhooks are signed by. It is read when it is needed, so that it stands in no Config."""
    name = config.queue.webhook_secret_env
    return environment.get(name) if name else None


def checked_llm(llm: LlmConfig, path: Path | None = None) -> LlmConfig:
    """`llm` with the defaults of its provider filled in. Raises ConfigInvalid, which names the key and the reason."""
    if llm.provider == "anthropic":
        llm = msgspec.structs.replace(
            llm,
            url=llm.url or "https://api.anthropic.com",
            model=llm.model or "claude-haiku-4-5",
            key_env=llm.key_env or "ANTHROPIC_API_KEY",
        )
    for key in ("url", "model"):
        if not getattr(llm, key):
            example = 'url = "http://localhost:11434/v1"' if key == "url" else 'model = "llama3.1:8b"'
            raise ConfigInvalid(f"{of(path)}llm.{key} is missing", f"Add it, for example {example}.")
    check_url(f"{of(path)}llm.url", llm.url)
    if llm.proxy:
        check_url(f"{of(path)}llm.proxy", llm.proxy)
    for key, least in (("max_input_tokens", 4000), ("max_requests", 1), ("timeout_s", 0.1)):
        if not getattr(llm, key) >= least:
            raise ConfigInvalid(f"{of(path)}llm.{key} is {getattr(llm, key)}; it must be at least {least}")
    return llm


def check_pipeline(name: str, table: dict[str, Any]) -> "PipelineConfig":
    """The pipeline that `table` declares under `pipelines.<name>`. Raises ConfigInvalid: the key, or the step, and the reason."""
    return _pipeline(None, name, table, {})


def _ledger_path(given: str | Path | None, content: _File, file: Path | None) -> Path:
    if given == "":  # an unset variable of a shell, most likely: the default would take what was meant for another
        raise UsageError("the name of the ledger is empty", "Name a file by --ledger, or leave it out.")
    chosen = given or environment.get(environment.LEDGER)
    if chosen:
        return config_file.absolute(chosen, "--ledger" if given else "AORCH_LEDGER")
    if content.ledger and file:
        return config_file.absolute(content.ledger, f"{file}: ledger", file.parent)
    folder = config_file.user_folder("data")
    if folder is None:
        raise ConfigInvalid(
            "there is no directory for the ledger: HOME is not set", "Set HOME, or name the ledger with --ledger FILE."
        )
    return folder / _DEFAULT_LEDGER[-1]


def _trace(trace: TraceConfig, file: Path | None, ledger: Path) -> dict[str, Any]:
    """Trace's address: TRACE_URL, else the file, else the default address if `ledger` is the default ledger.

    Two ledgers that deliver to one Trace break it, so a ledger of one's own needs an address that was meant for it.
    """
    said = environment.get("TRACE_URL")
    url, where = (said, "TRACE_URL") if said else (trace.url, f"{of(file)}trace.url")
    if not url:
        return {} if _is_default(ledger) else {"trace_url": ""}
    checked = service_url(where, url)
    return {"trace_url": checked, "trace_configured": bool(checked)}


def _memagent() -> dict[str, Any]:
    """MemAgent's address, if MEMAGENT_URL is set."""
    url = environment.get("MEMAGENT_URL")
    if not url:
        return {}
    checked = service_url("MEMAGENT_URL", url)
    return {"memagent_url": checked, "memagent_configured": bool(checked)}


def _is_default(ledger: Path) -> bool:
    """Whether that is the ledger that is used when nothing names one (an agent's own `aorch` is told its path)."""
    if ledger.parts[-2:] != _DEFAULT_LEDGER:  # most are ruled out without importing platformdirs
        return False
    folder = config_file.user_folder("data")
    return folder is not None and ledger == folder / ledger.name


def _serve(serve: ServeConfig) -> ServeConfig:
    port = environment.get("ORCHESTRATOR_PORT")
    if not port:
        return serve
    if not (port.isdecimal() and int(port) < 65536):
        raise ConfigInvalid(f"ORCHESTRATOR_PORT is {port!r}, which is no port", "Set it to a number below 65536.")
    return msgspec.structs.replace(serve, port=int(port))


def _read(path: Path) -> _File:
    try:
        content = tomllib.loads(config_file.read(path))
    except tomllib.TOMLDecodeError as error:
        reason, place = re.fullmatch(r"(.*?)(?: \(at (.*)\))?", str(error), re.DOTALL).groups()  # type: ignore[union-attr]  # matches any text
        raise ConfigInvalid(
            f"{path}, {place or 'somewhere'}: {reason}", "Fix the syntax error, or pass --config FILE."
        ) from error
    return convert(path, "", content, _File)


def _pipeline(path: Path | None, name: str, table: Any, agents: dict[str, Any]) -> "PipelineConfig":
    from aorch.config import pipeline_config  # noqa: PLC0415  only where there is one

    where = f"pipelines.{name}"
    if not name:
        raise ConfigInvalid(f"{of(path)}a pipeline has no name", "Write [pipelines.NAME].")
    if name in agents:
        raise ConfigInvalid(f"{of(path)}{where}: an agent is called {name!r} too", "Give one of them another name.")
    if isinstance(table, dict) and isinstance(table.get("steps"), list):
        for number, step in enumerate(table["steps"]):
            called = step.get("name") if isinstance(step, dict) else None
            convert(path, f"{where}.steps.{called or number}", step, pipeline_config.Step)
    pipeline = convert(path, where, table, pipeline_config.PipelineConfig)
    pipeline_config.check(f"{of(path)}{where}", pipeline)
    return pipeline
