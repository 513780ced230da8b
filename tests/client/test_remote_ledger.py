"""The ledger of a worker at a server: leases, claims and reports, step by step with a real server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import shared
from homes import Home
from http_worker import RENDERER, queue, task
from refusing_proxy import refusing
from serving import Server, serving
from tokens import new_bearer
from waiting import wait_for

from aorch.client.connection import ServerConnection
from aorch.client.remote_ledger import MOST_REFUSALS, RemoteLedger
from aorch.client.server_address import ServerAddress
from aorch.client.work_session import WorkSession
from aorch.clock import now
from aorch.errors import AorchError, Conflict, LeaseLost, LedgerError
from aorch.ids import new_id
from aorch.ledger.record import ORCHESTRATOR, RESPONSE, Record
from aorch.ledger.task_queue import Capacity

home, server = shared.home, shared.server


class Worker:
    """A worker with the agent `renderer`, whose claims and reports a test makes. `reported` are the errors that its user sees."""

    def __init__(self, url: str, connection: ServerConnection) -> None:
        self.reported: list[AorchError] = []
        self.session = WorkSession(connection, "test", lambda: [RENDERER])
        self.ledger = RemoteLedger(self.session, Path("none.db"), self.reported.append, drain=True)

    async def take(self) -> list[Record]:
        """The tasks that it can start now."""
        names = ("render", "render_again")
        return await self.ledger.claim([Capacity(name, 4, {"renderer": 4}) for name in names], 4)

    async def report(self, response: Record) -> None:
        """Report a result."""
        await self.ledger.write_response(response, response.status)


@asynccontextmanager
async def worker_at(url: str, token: str = "") -> AsyncIterator[Worker]:
    """A worker, whose lease ends at the end of the block."""
    async with ServerConnection(ServerAddress(url, token)) as connection:
        worker = Worker(url, connection)
        yield worker
        await worker.ledger.end(5)


def response(request: Record, status: str = "completed", **different: str) -> Record:
    """A result of a task."""
    usual = {"result": '{"ok":1}'} if status == "completed" else {"error": status}
    return Record(
        **{
            "contract_id": new_id(),
            "session_id": request.session_id,
            "contract_type": RESPONSE,
            "from_agent": "renderer",
            "to_agent": ORCHESTRATOR,
            "capability": request.capability,
            "payload": "{}",
            "status": status,
            "created_at": now(),
            "metadata": "{}",
            "request_id": request.contract_id,
            **usual,
            **different,
        }
    )


async def end_lease(server: Server, worker: Worker) -> None:
    """Let the server end its lease, and the worker notice that."""
    server.client.delete(f"/v1/work/leases/{worker.session.lease_id}")
    with pytest.raises(LeaseLost):
        await worker.session.renew()


async def test_a_task_that_comes_back_starts_after_its_first_run_has_ended_and_is_not_cancelled(server: Server) -> None:
    async with worker_at(server.url) as worker:
        contract_id = queue(server, "render_again") if await worker.session.open() else ""
        (first,) = await worker.take()
        await end_lease(server, worker)
        assert list(worker.ledger.cancelled()) == [contract_id]
        assert await worker.take() == [], "its first run has not ended"
        late = response(first, "cancelled")
        with pytest.raises(LeaseLost):
            await worker.report(late)
        (again,) = await worker.take()
        assert (again.contract_id, worker.ledger.cancelled()) == (contract_id, {})
        with pytest.raises(LeaseLost):
            await worker.report(late)
        assert await worker.session.renew() is False
        await worker.report(response(again))
    assert task(server, contract_id)["status"] == "completed"


async def test_a_response_id_that_another_contract_has_ends_the_task(server: Server) -> None:
    async with worker_at(server.url) as worker:
        await worker.session.open()
        contract_id = queue(server)
        (request,) = await worker.take()
        with pytest.raises(Conflict, match="another contract has the ID"):
            await worker.report(response(request, contract_id=contract_id))
        assert [str(each) for each in worker.reported] == [f"another contract has the ID {contract_id}"]
    assert task(server, contract_id)["answer"]["error"].startswith("interrupted: the worker that ran this stopped")


async def test_a_result_that_a_proxy_does_not_accept_ends_as_too_large(server: Server) -> None:
    def refusal(path: str, size: int) -> tuple[int, str] | None:
        return (413, "<h1>Request Entity Too Large</h1>") if size > 2000 else None

    async with refusing(server.url, refusal) as proxy, worker_at(proxy) as worker:
        await worker.session.open()
        contract_id = queue(server)
        (request,) = await worker.take()
        await worker.report(response(request, result=f'"{"x" * 3000}"'))
    answer = task(server, contract_id)["answer"]
    assert answer["code"] == "agent_output_too_large"
    assert "Request Entity Too Large" in answer["error"]


async def test_a_report_that_a_proxy_refuses_again_and_again_ends_the_task(server: Server) -> None:
    def refusal(path: str, size: int) -> tuple[int, str] | None:
        return (403, "blocked") if path.endswith("/result") else None

    async with refusing(server.url, refusal) as proxy, worker_at(proxy) as worker:
        await worker.session.open()
        contract_id = queue(server)
        (request,) = await worker.take()
        result = response(request)
        for _ in range(MOST_REFUSALS - 1):
            with pytest.raises(LedgerError):
                await worker.report(result)
        with pytest.raises(Conflict, match=r"was refused too often: the server at .* answered 403"):
            await worker.report(result)
        assert len(worker.reported) == 1
        assert task(server, contract_id)["answer"]["error"].startswith("interrupted")


async def test_a_report_that_the_token_does_not_allow_any_more_is_refused_once(own_home: Home) -> None:
    headers = new_bearer(own_home, "both", "--scope", "work", "--scope", "run", "--scope", "read")
    with serving(own_home) as server:
        server.client.headers.update(headers)
        async with worker_at(server.url, headers["Authorization"].removeprefix("Bearer ")) as worker:
            await worker.session.open()
            contract_id = queue(server)
            (request,) = await worker.take()
            bound = new_bearer(own_home, "bound", "--scope", "work", "--agent", "renderer")
            wait_for(lambda: server.get("/v1/", headers=bound).json()["scopes"] == ["work"])
            with pytest.raises(Conflict, match="only the token bound to renderer"):
                await worker.report(response(request))
            assert len(worker.reported) == 1
            assert task(server, contract_id)["answer"]["error"].startswith("interrupted")
