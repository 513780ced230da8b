"""The keys of `aorch.toml`, table by table, each with its limits, its default and its description.

docs/configuration.md, `aorch init` and `aorch config show` are made from these classes, except `[credentials.*]`.
`[agents.*]`, `[pipelines.*]` and `[prices.*]` are decoded elsewhere: by `agents/kinds.py`, `pipeline_config.py` and `prices.py`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta

MOST_WORKERS = 256
"""Maximum number of processes of a service. Each takes about 60 MB, and more processes than cores are not faster."""

_NotNegative = Annotated[int, Meta(ge=0)]
_AtLeastOne = Annotated[int, Meta(ge=1)]
_Seconds = Annotated[float, Meta(ge=0)]
_PositiveSeconds = Annotated[float, Meta(gt=0)]


class ServeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`aorch serve`: where it listens, and its limits."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 chooses a free one.")] = 8888
    workers: Annotated[int, Meta(ge=1, le=MOST_WORKERS, description="Number of server processes.")] = 1
    grace_s: Annotated[
        _Seconds, Meta(description="How long running requests and tasks may take after a stop signal.")
    ] = 10.0
    token_file: Annotated[
        str | None, Meta(description="File with tokens to accept in addition to those of `aorch tokens`.")
    ] = None
    cors_origins: Annotated[
        list[str], Meta(description="Origins whose web pages may call the service, such as https://example.org.")
    ] = []
    max_body_bytes: Annotated[_AtLeastOne, Meta(description="Maximum size of a request body.")] = 1024 * 1024
    max_json_depth: Annotated[_AtLeastOne, Meta(description="Maximum nesting depth of a JSON body.")] = 64
    max_concurrent: Annotated[
        _AtLeastOne, Meta(description="Maximum number of requests to handle at once; further ones get 503.")
    ] = 1000
    max_line: Annotated[
        _NotNegative,
        Meta(
            description="Maximum number of tasks of POST /v1/orchestrate that wait for a busy agent; further ones get 503."
        ),
    ] = 100
    read_timeout_s: Annotated[_PositiveSeconds, Meta(description="How long a client may take to send a request.")] = (
        10.0
    )
    rate_per_s: Annotated[
        _Seconds,
        Meta(description="Requests per second that each token may send, with bursts of ten times that; 0: no limit."),
    ] = 0.0


class QueueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Queued tasks and webhooks."""

    parallel: Annotated[
        _NotNegative, Meta(description="Number of queued tasks that a worker runs at once; 0: `aorch serve` runs none.")
    ] = 32
    max_waiting: Annotated[_NotNegative, Meta(description="Maximum number of queued tasks; 0: no limit.")] = 1_000_000
    lease_s: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="Seconds after its last renewal at which the lease of `aorch worker --server` ends.",
        ),
    ] = 30.0
    webhook_secret_env: Annotated[
        str,
        Meta(
            description="Name of the environment variable with the secret that signs webhooks; without it, none are sent."
        ),
    ] = ""
    webhook_proxy: Annotated[
        str, Meta(description="URL of the HTTP proxy for webhooks, except those to this machine.")
    ] = ""


class LlmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model that writes memory blocks for `aorch compress --via llm`. Without this table, no model is used."""

    provider: Annotated[Literal["anthropic", "openai"], Meta(description="API of the model: anthropic or openai.")] = (
        "anthropic"
    )
    url: Annotated[
        str,
        Meta(description="Base URL of the API. Default for anthropic: https://api.anthropic.com; required for openai."),
    ] = ""
    model: Annotated[str, Meta(description="Name of the model. Default for anthropic: claude-haiku-4-5.")] = ""
    key_env: Annotated[
        str,
        Meta(description="Name of the environment variable with the key. Default for anthropic: ANTHROPIC_API_KEY."),
    ] = ""
    max_input_tokens: Annotated[
        int, Meta(description="Maximum size of a request, in tokens of three bytes; at least 4000.")
    ] = 32_000
    max_requests: Annotated[int, Meta(description="Maximum number of requests for one memory block.")] = 32
    timeout_s: Annotated[float, Meta(description="Time limit of a request.")] = 120.0
    proxy: Annotated[str, Meta(description="URL of the HTTP proxy for requests, except those to this machine.")] = ""


class OutboundConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses to which aorch may connect if a caller gives the URL (webhooks, registered agents)."""

    networks: Annotated[
        list[str],
        Meta(
            description="Private networks to which such requests may go, such as 10.0.0.0/8. Requests to this machine are"
            " also allowed while the service listens only on this machine."
        ),
    ] = []


class RegistrationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Agents that register themselves with `aorch serve`."""

    share: Annotated[
        list[str],
        Meta(
            description="Capabilities of configured agents that registered agents may have too. All others are rejected."
        ),
    ] = []


class CredentialConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[credentials.NAME]`: a bearer token for registered agents, or a key that signs their tasks, and the hosts that may get it.

    `env` names the environment variable with the token or the key. `hosts` are names or IP addresses, with `:PORT` for one port
    only. With `key_id` it is a key, which is never sent; `algorithm` is as in `sign` of an agent.
    """

    env: Annotated[str, Meta(min_length=1)]
    hosts: Annotated[list[str], Meta(min_length=1)]
    key_id: str = ""
    algorithm: Literal["hmac-sha256", "ed25519"] = "hmac-sha256"


class RoutingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How aorch chooses between agents that have the same capability."""

    policy: Annotated[
        Literal["least-busy", "round-robin", "fastest"],
        Meta(
            description="least-busy: the agent that runs the fewest tasks; round-robin: each in turn; fastest: the one whose"
            " last tasks took the least time."
        ),
    ] = "least-busy"


class MetricsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`GET /metrics` of `aorch serve`."""

    scope: Annotated[
        Literal["read", "admin", "none"],
        Meta(description="Scope that a token needs to read the metrics: read or admin; none: no token is needed."),
    ] = "read"


class RetentionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long finished exchanges stay in the ledger. Without `keep` and `max_size`, all of them stay."""

    keep: Annotated[
        str, Meta(description="Age after which finished exchanges are removed, such as 90d or 12h. Default: they stay.")
    ] = ""
    max_size: Annotated[
        str,
        Meta(
            description="Size of the ledger, without free pages, above which its oldest finished exchanges are removed, such as"
            " 2GB. Default: no limit."
        ),
    ] = ""
    only: Annotated[
        dict[Literal["status"], str | list[str]],
        Meta(
            description='Removes only exchanges in these statuses, such as { status = ["completed", "cancelled"] }. Default: all.'
        ),
    ] = {}


Preset = Literal[
    "anthropic",
    "aorch",
    "aws",
    "github",
    "google",
    "jwt",
    "openai",
    "private-key",
    "slack",
    "stripe",
    "url-password",
]
"""Common formats of secrets; engine/redaction_patterns.py has their regular expressions."""


class RedactConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Secrets that are replaced before a contract is written."""

    presets: Annotated[
        list[Preset],
        Meta(description=f"Formats of keys to replace: {', '.join(get_args(Preset))}."),
    ] = []
    patterns: Annotated[
        list[str],
        Meta(description="Regular expressions (RE2) of other secrets to replace; needs `aorch[redact]`."),
    ] = []
    key_file: Annotated[
        str | None,
        Meta(
            description="File with the key of the hashes of replaced values, relative to this file. Default: in your data"
            " directory."
        ),
    ] = None


class OtelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Export of spans to an OpenTelemetry receiver, by OTLP over HTTP. Needs aorch[otel]."""

    endpoint: Annotated[
        str,
        Meta(description="URL of the receiver, such as http://localhost:4318; without it, nothing is exported."),
    ] = ""
    headers_env: Annotated[
        str,
        Meta(
            description="Name of the environment variable with headers for the receiver, such as"
            " authorization=Bearer%20SECRET."
        ),
    ] = ""
    content: Annotated[
        bool, Meta(description="Whether spans contain the parameters, results and error messages of tasks.")
    ] = False
    service_name: Annotated[str, Meta(min_length=1, description="Name under which the receiver shows the spans.")] = (
        "aorch"
    )


class TraceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Delivery of contracts to Trace."""

    url: Annotated[
        str | None,
        Meta(description="URL of Trace, or off. Default: http://localhost:8787 for the default ledger, otherwise off."),
    ] = None


class RemoteConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that commands use instead of a ledger file."""

    url: Annotated[
        str,
        Meta(description="URL of the server, or a name that you gave it with `aorch login`. Default: a ledger file."),
    ] = ""
    ca_file: Annotated[
        str,
        Meta(
            description="File with the certificates to trust (PEM), relative to this file. Default: those of the system."
        ),
    ] = ""
    proxy: Annotated[str, Meta(description="URL of the HTTP proxy for requests to the server. Default: none.")] = ""
    allow_http: Annotated[
        bool, Meta(description="Whether the token may be sent over plain http to another machine.")
    ] = False


class FileContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that `aorch.toml` can contain."""

    ledger: Annotated[
        str | None,
        Meta(
            description="Ledger file, relative to this file, or the URL of a PostgreSQL database."
            " Default: a file in your data directory."
        ),
    ] = None
    timeout_s: Annotated[
        _PositiveSeconds | None,
        Meta(description="Time limit of a task if neither it nor its agent sets one. Default: 600."),
    ] = None
    max_depth: Annotated[
        _AtLeastOne | None, Meta(description="Maximum depth of nested calls between agents. Default: 16.")
    ] = None
    serve: ServeConfig = ServeConfig()
    queue: QueueConfig = QueueConfig()
    llm: LlmConfig | None = None
    routing: RoutingConfig = RoutingConfig()
    outbound: OutboundConfig = OutboundConfig()
    registration: RegistrationConfig = RegistrationConfig()
    redact: RedactConfig = RedactConfig()
    trace: TraceConfig = TraceConfig()
    metrics: MetricsConfig = MetricsConfig()
    retention: RetentionConfig = RetentionConfig()

    otel: OtelConfig = OtelConfig()
    remote: RemoteConfig = RemoteConfig()
    credentials: dict[str, CredentialConfig] = {}
    prices: dict[str, Any] = {}
    agents: dict[str, Any] = {}
    pipelines: dict[str, Any] = {}


class Key(NamedTuple):
    """A key of `aorch.toml`. `table` is "" at the top level; `default` is None if there is no fixed one."""

    table: str
    name: str
    default: Any
    description: str
    variable: str

    @property
    def path(self) -> str:
        """`serve.port`, as messages name it."""
        return f"{self.table}.{self.name}" if self.table else self.name


VARIABLES = {
    "ledger": "AORCH_LEDGER",
    "serve.port": "ORCHESTRATOR_PORT",
    "trace.url": "TRACE_URL",
    "remote.url": "AORCH_URL",
}
"""The environment variables that override a key."""
TABLES: dict[str, type[msgspec.Struct]] = {
    "": FileContent,
    "serve": ServeConfig,
    "queue": QueueConfig,
    "llm": LlmConfig,
    "routing": RoutingConfig,
    "outbound": OutboundConfig,
    "registration": RegistrationConfig,
    "redact": RedactConfig,
    "trace": TraceConfig,
    "metrics": MetricsConfig,
    "retention": RetentionConfig,
    "otel": OtelConfig,
    "remote": RemoteConfig,
}


def all_keys() -> Iterator[Key]:
    """Every key, in the order of the tables."""
    for table, shape in TABLES.items():
        for field in msgspec.structs.fields(shape):
            if (description := _description(field.type)) is not None:
                path = f"{table}.{field.name}" if table else field.name
                default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default  # {} or []
                yield Key(table, field.name, default, description, VARIABLES.get(path, ""))


def _description(annotation: Any) -> str | None:
    if get_origin(annotation) is not Annotated:
        return None
    return next(
        (meta.description for meta in get_args(annotation)[1:] if isinstance(meta, Meta) and meta.description), None
    )
