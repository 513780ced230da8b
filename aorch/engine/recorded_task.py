"""The task of a REQUEST in the ledger, for running it (a queued one) or running it again."""

from aorch import jsonio
from aorch.engine.task import Task
from aorch.ledger.contract_metadata import RequestMetadata, read_metadata, reject_erased, reject_redacted
from aorch.ledger.record import Record


def recorded_task(request: Record, agent_id: str | None, metadata: RequestMetadata | None = None) -> Task:
    """What the caller of `request` asked for, in the same session, by that agent (None: any). `metadata` is that of `request`,
    if it was read already. Its annotations are left out, because they tell where a REQUEST comes from.

    Raises UsageError if the REQUEST was imported and is not valid as a new task, ContentErased, and
    ParametersInvalid if its secrets are not in the ledger.
    """
    reject_erased(request)
    reject_redacted(request)
    about = metadata or read_metadata(jsonio.decode(request.metadata))
    return Task(
        capability=request.capability,
        parameters=jsonio.decode(request.payload),
        session_id=request.session_id,
        context=about.context,
        agent_id=agent_id,
        metadata=about.custom,
        require=about.require,
    )
