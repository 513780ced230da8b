"""Every error that aorch raises, with its stable code, exit code and HTTP status.

AorchError                      1   500  a bug of aorch, unless a subclass says otherwise
├── UsageError                  2   400  the arguments or the request are invalid
│   ├── ConfigInvalid           2   500
│   │   └── ConfigUntrusted     2   500  aorch.toml belongs to another user
│   ├── InvalidJSON             2   400
│   ├── ParametersInvalid       2   422
│   ├── ReferenceInvalid        2   422  a {reference} in a template is invalid
│   ├── DelegationRefused       2   422  too deep, or a cycle
│   └── ContentErased           2   410  the content of the contract was erased
├── OutputFailed               74   500  the result is in the ledger, but cannot be shown
├── ServiceUnreachable          3   502  it received nothing
│   ├── ServiceFailed           3   502  the request may have arrived
│   ├── ServiceRefused          3   502  it rejects the request permanently
│   └── ServerTooOld            3   502  the server does not know the request of this version
├── NotAuthorised               4   401  the caller has no valid token
│   └── Forbidden               4   403  the caller's token does not allow this
├── AgentFailed                10   200  the agent was called, and failed
│   ├── AgentTimedOut           5   504
│   ├── AgentUnreachable        3   502  it did not receive the task
│   ├── AgentBusy              11   503  it rejected the task for now
│   ├── AgentLost              10   502  the connection broke before its answer
│   ├── AgentOutputTooLarge    10   502
│   └── AgentCancelled        130   499
├── Interrupted                10   200  the process that ran the task ended first
├── WaitedTooLong               5   504  there was no answer within the caller's timeout
├── WebhooksOff                 2   403  no secret is configured to sign webhooks
├── LlmOff                      2   403  no model is configured for memory blocks
├── Expired                     5   504  the task did not start before its `expires_at`
├── QueueFull                  15   503  the queue has reached its limit
├── NoAgent                    11   404
│   └── NoAgentAvailable       11   503
│       ├── AgentNotStarted    11   503  too few descriptors, processes or memory: the agent was not called
│       └── NoAgentReachable             as AgentUnreachable: all agents with the capability are offline
├── NotFound                   12   404
├── Conflict                   13   409
│   ├── LeaseLost              13   409  the worker's lease has ended
│   └── StillRunning           13   409  the first request with the same idempotency key
└── LedgerError                14   500
    ├── LedgerBusy             14   503
    ├── LedgerFull             14   507
    ├── LedgerReadOnly         14   500
    ├── LedgerGone             14   503
    ├── LedgerOutcomeUnknown   14   500
    ├── LedgerInvalid          14   500
    └── LedgerTooNew           14   500
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class AorchError(Exception):
    """The base class. `str(error)` is one sentence; `hint` is the next step, or empty. `http_hint` is the next step for an HTTP
    client, if it differs.
    """

    code: ClassVar[str] = "internal_error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, hint: str = "", *, http_hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.http_hint = http_hint


class UsageError(AorchError):
    """The arguments or the request are invalid."""

    code, exit_code, http_status = "usage", 2, 400


class ConfigInvalid(UsageError):
    """`aorch.toml` or an environment variable is invalid."""

    code, exit_code, http_status = "config_invalid", 2, 500


class ConfigUntrusted(ConfigInvalid):
    """The `aorch.toml` found here belongs to another user, and the caller has not trusted it."""

    code = "config_untrusted"


class InvalidJSON(UsageError):
    """The input is not valid JSON (RFC 8259)."""

    code, exit_code, http_status = "invalid_json", 2, 400


class ParametersInvalid(UsageError):
    """The parameters do not match the capability's schema; the message names the parameter."""

    code, exit_code, http_status = "parameters_invalid", 2, 422


class ReferenceInvalid(UsageError):
    """A reference in a template is invalid or refers to something that does not exist; the message names it and what exists."""

    code, exit_code, http_status = "reference_invalid", 2, 422


class DelegationRefused(UsageError):
    """An agent delegated a task too deeply, or in a cycle."""

    code, exit_code, http_status = "delegation_refused", 2, 422


class ContentErased(UsageError):
    """The content of the contract was erased."""

    code, exit_code, http_status = "content_erased", 2, 410


class OutputFailed(AorchError):
    """Standard output cannot be written; the result is in the ledger. 74 is EX_IOERR of BSD's sysexits.h."""

    code, exit_code = "output_failed", 74


class ServiceUnreachable(AorchError):
    """A service did not answer at its address."""

    code, exit_code, http_status = "service_unreachable", 3, 502


class ServiceFailed(ServiceUnreachable):
    """A service sent an invalid response or none (see the message). It may have received the request."""

    code = "service_failed"


class ServiceRefused(ServiceUnreachable):
    """A service rejected a request permanently."""

    code = "service_refused"


class ServerTooOld(ServiceUnreachable):
    """The server has no route for a request of this version of aorch."""

    code = "server_too_old"


class NotAuthorised(AorchError):
    """The caller has no valid token."""

    code, exit_code, http_status = "not_authorised", 4, 401


class Forbidden(NotAuthorised):
    """The caller's token does not allow this."""

    code, http_status = "forbidden", 403


class AgentFailed(AorchError):
    """The agent answered with a failure, raised an exception, or gave no usable answer.

    `delivered`: whether the agent received the task (None: unknown, for example after a lost connection).
    `retry_safe`: whether the task can be run again without taking effect twice, if the agent knows; None: it can if it was
    not delivered or its capability is idempotent. `answer`: what the agent reported before it failed (`data`, `usage`, … of an
    AgentAnswer), which goes into the RESPONSE.
    """

    code, exit_code, http_status = "agent_failed", 10, 200

    def __init__(
        self, message: str, hint: str = "", *, delivered: bool | None = True, retry_safe: bool | None = None
    ) -> None:
        super().__init__(message, hint)
        self.delivered = delivered
        self.retry_safe = retry_safe
        self.answer: Mapping[str, Any] = {}


class AgentTimedOut(AgentFailed):
    """The agent gave no answer within its `timeout_s` (seconds)."""

    code, exit_code, http_status = "agent_timed_out", 5, 504


class AgentUnreachable(AgentFailed):
    """The agent could not be reached: the connection was refused, its name was not found, or TLS failed; or all agents with
    the capability are known to be offline. None received the task.
    """

    code, exit_code, http_status = "agent_unreachable", 3, 502

    def __init__(self, message: str, hint: str = "", *, delivered: bool | None = False) -> None:
        super().__init__(message, hint, delivered=delivered)


class AgentBusy(AgentFailed):
    """The agent rejected the task because it is busy or its rate limit is reached, and did nothing; or it was not called,
    because it runs as many tasks as it may.

    `retry_after_s`: when it can be called again (seconds from now), if the agent said so. The default hint names it.
    """

    code, exit_code, http_status = "agent_busy", 11, 503

    def __init__(
        self, message: str, hint: str = "", *, retry_after_s: float | None = None, delivered: bool = True
    ) -> None:
        when = f"in {retry_after_s:,.0f} s" if retry_after_s and retry_after_s >= 1 else "later"
        super().__init__(message, hint or f"Try again {when}.", delivered=delivered, retry_safe=True)
        self.retry_after_s = retry_after_s


class AgentLost(AgentFailed):
    """The connection to the agent broke before it answered. It may have executed the task, completely or in part."""

    code, exit_code, http_status = "agent_lost", 10, 502

    def __init__(self, message: str, hint: str = "", *, delivered: bool | None = None) -> None:
        super().__init__(message, hint, delivered=delivered)


class AgentOutputTooLarge(AgentFailed):
    """The agent's answer is larger than its `max_output_bytes`."""

    code, exit_code, http_status = "agent_output_too_large", 10, 502


class AgentCancelled(AgentFailed):
    """The task was cancelled before the agent answered."""

    code, exit_code, http_status = "cancelled", 130, 499


class Interrupted(AorchError):
    """The process that ran the task ended before the agent answered."""

    code, exit_code, http_status = "interrupted", 10, 200


class Expired(AorchError):
    """The task did not start before its `expires_at`."""

    code, exit_code, http_status = "expired", 5, 504


class WaitedTooLong(AorchError):
    """There was no answer within the caller's timeout."""

    code, exit_code, http_status = "waited_too_long", 5, 504


class WebhooksOff(AorchError):
    """No secret is configured to sign webhooks."""

    code, exit_code, http_status = "webhooks_off", 2, 403


class LlmOff(AorchError):
    """No model is configured for memory blocks."""

    code, exit_code, http_status = "llm_off", 2, 403


class QueueFull(AorchError):
    """The queue has reached its limit (`queue.max_waiting` in aorch.toml)."""

    code, exit_code, http_status = "queue_full", 15, 503


class NoAgent(AorchError):
    """No agent has the capability."""

    code, exit_code, http_status = "no_agent", 11, 404


class NoAgentAvailable(NoAgent):
    """No agent with the capability can take a task now."""

    code, exit_code, http_status = "no_agent_available", 11, 503


class AgentNotStarted(NoAgentAvailable):
    """The agent's program could not be started: too few descriptors, processes or memory. The agent was not called.

    The executor waits and tries again; a queued task is queued again.
    """

    code = "agent_not_started"


class NoAgentReachable(AgentUnreachable, NoAgentAvailable):
    """All agents with the capability are offline, so none was called. It has the code of AgentUnreachable, because it makes no
    difference to the caller whether this task or an earlier check has found out. A queued task waits.
    """


class NotFound(AorchError):
    """No such contract, agent, session or file."""

    code, exit_code, http_status = "not_found", 12, 404


def contract_not_found(contract_id: str) -> NotFound:
    """The error for a contract ID that the ledger does not contain."""
    return NotFound(
        f"contract {contract_id!r} not found",
        "List the contracts with `aorch contracts list`.",
        http_hint="GET /v1/contracts lists the contracts.",
    )


class Conflict(AorchError):
    """The request contradicts something that already exists."""

    code, exit_code, http_status = "conflict", 13, 409


class LeaseLost(Conflict):
    """The lease of a worker over HTTP has ended, or does not have this task any more: the report of the worker is refused."""

    code = "lease_lost"


class StillRunning(Conflict):
    """The first request with the same idempotency key has no answer yet."""

    code = "idempotency_in_progress"


class LedgerError(AorchError):
    """The ledger could not be read or written."""

    code, exit_code, http_status = "ledger_error", 14, 500


class LedgerBusy(LedgerError):
    """Another process held the write lock for longer than the busy timeout."""

    code, http_status = "ledger_busy", 503


class LedgerFull(LedgerError):
    """The disk of the ledger is full."""

    code, http_status = "ledger_full", 507


class LedgerReadOnly(LedgerError):
    """The ledger's file or directory is not writable."""

    code = "ledger_read_only"


class LedgerGone(LedgerError):
    """The ledger's file was removed or replaced while this process had it open, or its server cannot be reached."""

    code, http_status = "ledger_gone", 503


class LedgerOutcomeUnknown(LedgerError):
    """The connection to the ledger's server broke during a commit, so the write may have been committed or not."""

    code = "ledger_outcome_unknown"


class LedgerInvalid(LedgerError):
    """The file or database is not a ledger, or not a whole one: damaged, of another program, or an incomplete copy."""

    code = "ledger_invalid"


class LedgerTooNew(LedgerError):
    """The ledger was written by a newer aorch than this one."""

    code = "ledger_too_new"


def by_code() -> dict[str, type[AorchError]]:
    """Each error class by its `code`, including the base class.

    Classes whose instances have their own codes are left out.
    """

    def family(cls: type[AorchError]) -> list[type[AorchError]]:
        return [cls, *(member for child in cls.__subclasses__() for member in family(child))]

    return {cls.code: cls for cls in family(AorchError) if "code" in vars(cls)}
