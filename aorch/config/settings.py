"""`aorch.toml` and the environment, read once, as one frozen Config.

`config_file.py` finds the file, and `sections.py` describes its keys. Options override environment variables, which
override the file, which overrides the defaults.
"""

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aorch.config import config_file, environment
from aorch.config.ledger_location import LedgerLocation, PostgresUrl, is_postgres_url, postgres_url, reject_other_url
from aorch.config.prices import ModelPrice
from aorch.config.sections import (
    CredentialConfig,
    FileContent,
    LlmConfig,
    MetricsConfig,
    OtelConfig,
    OutboundConfig,
    QueueConfig,
    RedactConfig,
    RegistrationConfig,
    RemoteConfig,
    RetentionConfig,
    RoutingConfig,
    ServeConfig,
)
from aorch.config.service_urls import check_url, service_url
from aorch.config.shape import convert, of, syntax_error
from aorch.errors import ConfigInvalid, UsageError

if TYPE_CHECKING:
    from aorch.config.pipeline_config import PipelineConfig
    from aorch.net.outbound import AddressPolicy

FINAL = ("completed", "failed", "cancelled", "interrupted")
"""The statuses in which an exchange can end."""
_DEFAULT_LEDGER = ("aorch", "ledger.db")
"""The end of the path of the default ledger."""


class Config(msgspec.Struct, frozen=True):
    """Everything that can be configured, with the defaults filled in.

    `agents` has the tables `[agents.*]` as they are written; `agents/kinds.py` decodes them. `timeout_s` is the time limit of a
    task if neither the task nor its agent sets one. `parent_id` and `session_id` come from the agent whose program this is.
    `llm` is None if the file has no such table. `trace_url` and `memagent_url` are empty if the service is switched off; Trace's
    default URL is only for the default ledger. `…_configured`: the URL was set and is not the default. `at_server`: a worker
    executes the tasks of a server, whose ledger is not here.
    """

    ledger: LedgerLocation
    file: Path | None = None
    agents: dict[str, Any] = {}
    pipelines: dict[str, "PipelineConfig"] = {}
    timeout_s: float = 600.0
    max_depth: int = 16
    serve: ServeConfig = ServeConfig()
    queue: QueueConfig = QueueConfig()
    routing: RoutingConfig = RoutingConfig()
    outbound: OutboundConfig = OutboundConfig()
    registration: RegistrationConfig = RegistrationConfig()
    metrics: MetricsConfig = MetricsConfig()
    retention: RetentionConfig = RetentionConfig()
    otel: OtelConfig = OtelConfig()
    remote: RemoteConfig = RemoteConfig()
    credentials: dict[str, CredentialConfig] = {}
    prices: dict[str, ModelPrice] = {}
    parent_id: str | None = None
    session_id: str | None = None
    trace_url: str = "http://localhost:8787"
    trace_configured: bool = False
    memagent_url: str = "http://localhost:8799"
    memagent_configured: bool = False
    llm: LlmConfig | None = None
    redact: RedactConfig = RedactConfig()
    at_server: bool = False

    def secrets(self) -> frozenset[str]:
        """The environment variables that hold secrets of aorch itself. Programs of agents do not inherit them."""
        own = (
            environment.TOKEN,
            self.queue.webhook_secret_env,
            self.llm.key_env if self.llm else "",
            self.otel.headers_env,
        )
        return frozenset(filter(None, (*own, *(each.env for each in self.credentials.values()))))


def load(
    ledger: str | LedgerLocation | None = None,
    text_in_use: Callable[[], tuple[Path | None, str]] = config_file.text_in_use,
) -> Config:
    """The configuration for the working directory; `ledger` overrides the configured one.

    Raises ConfigInvalid, which names the file, the key and the reason.
    """
    path, text = text_in_use()
    content = _decoded(path, text) if path and text else FileContent()
    if content.queue.webhook_proxy:
        check_url(f"{of(path)}queue.webhook_proxy", content.queue.webhook_proxy)
    if content.outbound.networks:
        _check_networks(path, content.outbound.networks)
    if content.retention.keep or content.retention.max_size or content.retention.only:
        where = f"{of(path)}retention"
        check_retention(content.retention, (f"{where}.keep", f"{where}.max_size", f"{where}.only"))
    given: dict[str, Any] = {
        "timeout_s": content.timeout_s,
        "max_depth": content.max_depth,
        "parent_id": environment.get(environment.PARENT_ID) or None,
        "session_id": environment.get(environment.SESSION_ID) or None,
        "llm": content.llm and checked_llm(content.llm, path),
        "redact": content.redact if content.redact.key_file is None else _redact(content.redact, path),
    }
    chosen, is_default = _ledger_path(ledger, content, path)
    if trace_url := environment.get(environment.TRACE):
        given |= _service("trace", "TRACE_URL", trace_url)
    elif content.trace.url:
        given |= _service("trace", f"{of(path)}trace.url", content.trace.url)
    elif not is_default:  # two ledgers that deliver to the same Trace break it: only the default one has a default URL
        given["trace_url"] = ""
    if memagent_url := environment.get(environment.MEMAGENT):
        given |= _service("memagent", "MEMAGENT_URL", memagent_url)
    port = environment.get(environment.PORT)
    return Config(
        ledger=chosen,
        file=path,
        serve=_with_port(content.serve, port) if port else content.serve,
        queue=content.queue,
        routing=content.routing,
        outbound=content.outbound,
        registration=content.registration,
        metrics=content.metrics,
        retention=content.retention,
        otel=_otel(path, content.otel) if content.otel.endpoint else content.otel,
        remote=content.remote,
        credentials=content.credentials,
        prices={name: convert(path, f"prices.{name}", table, ModelPrice) for name, table in content.prices.items()},
        agents=content.agents,
        pipelines={name: _pipeline(path, name, table, content.agents) for name, table in content.pipelines.items()},
        **{key: value for key, value in given.items() if value is not None},
    )


def _redact(redact: RedactConfig, path: Path | None) -> RedactConfig:
    """`redact` with the absolute path of its key file."""
    folder = Path() if path is None else path.parent
    return msgspec.structs.replace(redact, key_file=str(folder / (redact.key_file or "")))


def with_services(config: Config, trace_url: str | None, memagent_url: str | None) -> Config:
    """`config` with these URLs instead of its own; None keeps its own, `off` switches the service off. Raises ConfigInvalid."""
    changes: dict[str, Any] = {}
    for name, url in (("trace", trace_url), ("memagent", memagent_url)):
        if url is not None:
            changes |= _service(name, f"{name}_url", url)
    return msgspec.structs.replace(config, **changes)


def ledger_path(given: str | LedgerLocation | None = None) -> LedgerLocation:
    """The location of the ledger. If `given` or AORCH_LEDGER names it, aorch.toml is not read, so it may be invalid."""
    if given is not None or environment.get(environment.LEDGER):
        return _ledger_path(given, FileContent(), None)[0]
    return load().ledger


def named_ledger(name: str, what: str, base: Path | None = None) -> LedgerLocation:
    """The ledger that `what` (an option or a key) names: a URL, or a file, below `base` if its path is relative.

    Raises UsageError, also for an empty name, most likely of an unset shell variable: it must not name the default ledger.
    `-`, which is a stream elsewhere, names no ledger either.
    """
    if not name:
        raise UsageError(f"{what}: the file name is empty", "Name a file, or the URL of a PostgreSQL database.")
    if is_postgres_url(name):
        return postgres_url(name, what)
    reject_other_url(name, what)
    config_file.reject_stream(name, what)
    return config_file.absolute(name, what, base)


def webhook_secret(config: Config) -> str | None:
    """The secret that signs webhooks. It is read when it is needed, so that no Config contains it."""
    name = config.queue.webhook_secret_env
    return environment.get(name) if name else None


def otel_headers(config: Config) -> str:
    """The headers for the OpenTelemetry receiver, as `name=value,name=value` (percent-encoded); empty if there are none."""
    return environment.secret(config.otel.headers_env) if config.otel.headers_env else ""


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


def check_retention(retention: RetentionConfig, names: tuple[str, str, str]) -> RetentionConfig:
    """`retention` as it is. Raises ConfigInvalid, which names the key or option (of `names`) and the reason."""
    from aorch.config.quantities import UNITS, duration_s, size_bytes  # noqa: PLC0415  start-up time

    keep, max_size, only = names
    if retention.keep and not duration_s(retention.keep):
        reason = "must be more than 0" if duration_s(retention.keep) == 0 else "is not a duration"
        raise ConfigInvalid(f"{keep}: {retention.keep!r} {reason}", f"Write it like 90d, 12h or '2 weeks': {UNITS}.")
    if retention.max_size and not size_bytes(retention.max_size):
        reason = "must be more than 0" if size_bytes(retention.max_size) == 0 else "is not a size"
        raise ConfigInvalid(f"{max_size}: {retention.max_size!r} {reason}", "Write it like 2GB, 500MB or 1GiB.")
    for status in statuses_of(retention):
        if status not in FINAL:
            raise ConfigInvalid(f"{only}: no exchange ends as {status!r}", f"Use {', '.join(FINAL)}.")
    if retention.only and not (retention.keep or retention.max_size):
        raise ConfigInvalid(f"{only} has no effect without {keep} or {max_size}", "Set one of them.")
    return retention


def statuses_of(retention: RetentionConfig) -> list[str]:
    """The statuses in `only`; empty for all."""
    found = retention.only.get("status", [])
    return [found] if isinstance(found, str) else found


def check_pipeline(name: str, table: dict[str, Any]) -> "PipelineConfig":
    """The pipeline that `table` declares under `pipelines.<name>`. Raises ConfigInvalid, which names the key or step."""
    return _pipeline(None, name, table, {})


def callers_addresses(config: Config) -> "AddressPolicy":
    """The addresses to which requests to the URLs of callers may go."""
    from aorch.net import outbound  # noqa: PLC0415  start-up time

    return outbound.of_callers(config.outbound.networks, config.serve.host)


def _check_networks(path: Path | None, networks: Iterable[str]) -> None:
    import ipaddress  # noqa: PLC0415  start-up time

    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigInvalid(
                f"{of(path)}outbound.networks: {error}", "Write a network such as 10.0.0.0/8 or fd00::/8."
            ) from error


def _ledger_path(
    given: str | LedgerLocation | None, content: FileContent, file: Path | None
) -> tuple[LedgerLocation, bool]:
    """The location of the ledger, and whether it is the default ledger."""
    if isinstance(given, PostgresUrl):
        return given, False
    named = environment.get(environment.LEDGER) or None if given is None else given
    if named is not None:
        location = named_ledger(str(named), "AORCH_LEDGER" if given is None else "--ledger")
        return location, _is_default(location)
    if content.ledger and file:
        location = named_ledger(content.ledger, f"{file}: ledger", file.parent)
        return location, _is_default(location)
    folder = config_file.user_folder("data")
    if folder is None:
        raise ConfigInvalid(
            "there is no directory for the ledger: HOME is not set", "Set HOME, or name the ledger with --ledger FILE."
        )
    return folder / _DEFAULT_LEDGER[-1], True


def _service(name: str, where: str, url: str) -> dict[str, Any]:
    """The fields of a Config for the service `name` at `url`, which `where` sets."""
    checked = service_url(where, url)
    return {f"{name}_url": checked, f"{name}_configured": bool(checked)}


def _otel(path: Path | None, otel: OtelConfig) -> OtelConfig:
    """`otel` with its endpoint checked, and without a slash at its end. Raises ConfigInvalid."""
    return msgspec.structs.replace(otel, endpoint=service_url(f"{of(path)}otel.endpoint", otel.endpoint))


def _is_default(ledger: LedgerLocation) -> bool:
    """Whether `ledger` is the default ledger, also if AORCH_LEDGER names it, as in programs of agents."""
    if isinstance(ledger, PostgresUrl) or ledger.parts[-2:] != _DEFAULT_LEDGER:
        return False  # most are ruled out without importing platformdirs
    folder = config_file.user_folder("data")
    return folder is not None and ledger == folder / ledger.name


def _with_port(serve: ServeConfig, port: str) -> ServeConfig:
    if not (port.isdecimal() and int(port) < 65536):
        raise ConfigInvalid(
            f"ORCHESTRATOR_PORT is {port!r}; it must be a port number", "Set it to a number from 0 to 65535."
        )
    return msgspec.structs.replace(serve, port=int(port))


def _decoded(path: Path, text: str) -> FileContent:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise syntax_error(path, error) from error
    return convert(path, "", content, FileContent) if content else FileContent()


def _pipeline(path: Path | None, name: str, table: Any, agents: dict[str, Any]) -> "PipelineConfig":
    from aorch.config import pipeline_config  # noqa: PLC0415  only if there is one

    where = f"pipelines.{name}"
    if not name:
        raise ConfigInvalid(f"{of(path)}a pipeline has no name", "Write [pipelines.NAME].")
    if name in agents:
        raise ConfigInvalid(f"{of(path)}{where}: there is also an agent {name!r}", "Rename one of them.")
    if isinstance(table, dict) and isinstance(table.get("steps"), list):
        for number, step in enumerate(table["steps"]):
            named = step.get("name") if isinstance(step, dict) else None
            convert(path, f"{where}.steps.{named or number}", step, pipeline_config.Step)
    pipeline = convert(path, where, table, pipeline_config.PipelineConfig)
    pipeline_config.check(f"{of(path)}{where}", pipeline)
    return pipeline
