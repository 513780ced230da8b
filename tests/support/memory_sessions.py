"""Sessions of several kinds as contracts in their JSON form, for tests of memory."""

from typing import Any

from aorch.ids import Ids

Contract = dict[str, Any]


class Session:
    """Makes contracts as the ledger does: each with a new ID, a second after the previous one.

    The last four characters of the IDs differ, so that a prompt shows no more of them.
    """

    def __init__(self, session_id: str = "a-session") -> None:
        self.session_id = session_id
        self.contracts: list[Contract] = []
        self._ids = Ids(lambda: 1_780_000_000 + len(self.contracts))
        self._ends: set[str] = set()

    def asks(self, who: str, whom: str, capability: str, payload: Any, parent: str | None = None) -> str:
        """Add a REQUEST; return its ID."""
        return self._write("REQUEST", who, whom, capability, payload=payload, parent_id=parent, status="pending")

    def answers(self, request_id: str, result: Any = None, error: Any = None) -> str:
        """Add the RESPONSE to a REQUEST; return its ID."""
        request = next(c for c in self.contracts if c["contract_id"] == request_id)
        request["status"] = "failed" if error is not None else "completed"
        return self._write(
            "RESPONSE",
            request["to_agent"],
            request["from_agent"],
            request["capability"],
            result=result,
            error=error,
            request_id=request_id,
            parent_id=request["parent_id"],
            status=request["status"],
        )

    def calls(self, who: str, whom: str, capability: str, payload: Any, result: Any = None, error: Any = None) -> str:
        """Add a call below the newest REQUEST of a person; return the ID of its RESPONSE."""
        outermost = [c["contract_id"] for c in self.contracts if c["contract_type"] == "REQUEST" and not c["parent_id"]]
        request = self.asks(who, whom, capability, payload, outermost[-1] if outermost else None)
        return self.answers(request, result, error)

    def says(self, who: str, whom: str, text: str, reply: str) -> str:
        """Add what a person says and the answer; return the ID of the answer."""
        return self.answers(self.asks(who, whom, "assist", {"text": text}), {"text": reply})

    def _write(self, kind: str, from_agent: str, to_agent: str, capability: str, **fields: Any) -> str:
        number = len(self.contracts)
        contract = {
            "contract_id": self._next_id(),
            "session_id": self.session_id,
            "contract_type": kind,
            "from_agent": from_agent,
            "to_agent": to_agent,
            "capability": capability,
            "payload": {},
            "status": "completed",
            "created_at": f"2026-05-28T{20 + number // 3600 % 4:02d}:{number // 60 % 60:02d}:{number % 60:02d}.000Z",
            "completed_at": None,
            "result": None,
            "error": None,
            "metadata": {},
            "request_id": None,
            "parent_id": None,
            **fields,
        }
        self.contracts.append(contract)
        return str(contract["contract_id"])

    def _next_id(self) -> str:
        while (found := self._ids.next())[-4:] in self._ends:
            pass
        self._ends.add(found[-4:])
        return found


def operations() -> list[Contract]:
    """A rollout that fails, is investigated, rolled back and repeated."""
    s = Session("incident-4711")
    aim = s.asks(
        "ann",
        "operator",
        "assist",
        {
            "text": "Roll out payments 2.8.1 to production. p95 latency must stay below 300 ms; "
            "never touch the eu-west-1 cluster."
        },
    )
    s.calls(
        "operator",
        "kube",
        "get_deployment",
        {"name": "payments", "namespace": "prod"},
        {"image": "registry.local/payments:2.8.0", "replicas": 6, "state": "healthy"},
    )
    s.calls(
        "operator",
        "kube",
        "run",
        {"command": "kubectl -n prod set image deploy/payments payments=registry.local/payments:2.8.1"},
        {"exit_code": 0, "stdout": "deployment.apps/payments image updated"},
    )
    s.calls(
        "operator",
        "metrics",
        "query_latency",
        {"service": "payments", "window": "5m"},
        {"p95_ms": 212, "error_rate": "0.2%"},
    )
    s.calls(
        "operator",
        "metrics",
        "query_latency",
        {"service": "payments", "window": "5m"},
        {"p95_ms": 1840, "error_rate": "12.5%"},
    )
    s.calls(
        "operator",
        "shell",
        "run",
        {"command": "kubectl -n prod logs deploy/payments --since=5m | tail -n 40"},
        None,
        'Traceback (most recent call last):\n  File "/srv/payments/pool.py", line 88, in '
        "acquire\n    raise PoolTimeout(host)\npayments.pool.PoolTimeout: no connection to "
        "postgres-7.prod.internal:5432 within 2000 ms\n",
    )
    s.calls(
        "operator",
        "kube",
        "rollback_deployment",
        {"name": "payments", "namespace": "prod", "to_revision": 41},
        {"revision": 42, "image": "registry.local/payments:2.8.0", "state": "rolled back"},
    )
    s.calls(
        "operator",
        "metrics",
        "query_latency",
        {"service": "payments", "window": "5m"},
        {"p95_ms": 208, "error_rate": "0.2%"},
    )
    s.answers(
        aim,
        {
            "text": "Payments 2.8.1 was rolled back to 2.8.0 because the connection pool was "
            "exhausted: max_connections is 100 on postgres-7 and 2.8.1 opens 40 per replica. "
            "Should I raise max_connections to 300 and try again?"
        },
    )
    second = s.asks(
        "ann",
        "operator",
        "assist",
        {"text": "Yes, but set it to 250 instead, and only after 22:00 UTC. File a ticket as well."},
    )
    s.calls(
        "operator",
        "tickets",
        "create_ticket",
        {"title": "payments 2.8.1 exhausts the pool", "priority": "P2", "labels": ["payments", "postgres"]},
        {"ticket": "OPS-3391", "url": "https://tickets.internal/OPS-3391"},
    )
    s.calls(
        "operator",
        "postgres",
        "alter_setting",
        {"host": "postgres-7", "setting": "max_connections", "value": 250},
        None,
        'permission denied: role "operator" cannot alter system',
    )
    s.asks(
        "operator",
        "approvals",
        "request_approval",
        {"role": "dba", "change": "max_connections=250", "host": "postgres-7"},
        second,
    )
    return s.contracts


def review() -> list[Contract]:
    """A change to a code base: read, tested, fixed, committed."""
    s = Session("review-88")
    aim = s.asks(
        "bo",
        "reviewer",
        "review",
        {
            "text": "Please review branch fix/unicode-paths of "
            "https://git.example.org/tools/packer.git. Don't change the public API and keep "
            "Python 3.9 working."
        },
    )
    s.calls(
        "reviewer",
        "git",
        "clone_repository",
        {"url": "https://git.example.org/tools/packer.git", "branch": "fix/unicode-paths"},
        {"path": "/work/packer", "head": "9f3c2ab41d"},
    )
    s.calls(
        "reviewer",
        "shell",
        "run",
        {"command": "pytest -q tests/test_paths.py"},
        None,
        "exit status 1\n=== FAILURES ===\nE   UnicodeEncodeError: 'ascii' codec can't encode "
        "character '\\xe9' in position 4: ordinal not in range(128)\ntests/test_paths.py:57: "
        "UnicodeEncodeError\n",
    )
    s.calls(
        "reviewer",
        "files",
        "read_file",
        {"path": "src/packer/paths.py", "from_line": 30, "to_line": 64},
        {"text": "def store_name(path):\n    return path.encode('ascii')\n"},
    )
    s.calls(
        "reviewer",
        "model",
        "think",
        {
            "thought": "store_name encodes as ASCII. The archive format says that names are "
            "UTF-8, so os.fsencode is the answer."
        },
        {"text": ""},
    )
    s.calls(
        "reviewer",
        "files",
        "write_file",
        {"path": "src/packer/paths.py", "content": "def store_name(path):\n    return os.fsencode(path)\n"},
        {"bytes": 53},
    )
    s.calls(
        "reviewer",
        "shell",
        "run",
        {"command": "pytest -q tests/test_paths.py"},
        {"exit_code": 0, "stdout": "14 passed in 0.61s"},
    )
    s.calls(
        "reviewer",
        "git",
        "commit",
        {"message": "Names in archives are UTF-8", "files": ["src/packer/paths.py"]},
        {"sha": "c41d7e90b2"},
    )
    s.calls(
        "reviewer",
        "git",
        "push",
        {"remote": "origin", "branch": "fix/unicode-paths"},
        None,
        "remote rejected: protected branch hook declined",
    )
    s.answers(
        aim,
        {
            "text": "The cause was store_name in src/packer/paths.py, which encoded as ASCII. It "
            "is fixed in c41d7e90b2 and all 14 tests pass. The push was rejected by a branch "
            "protection hook; somebody with the maintainer role needs to push it."
        },
    )
    return s.contracts


def analysis() -> list[Contract]:
    """Data that several agents inspect, clean and summarise while they talk to each other."""
    s = Session("数据-2026")
    aim = s.asks(
        "maría",
        "analyst",
        "solve",
        {
            "text": "¿Cuál fue la región con más ventas en 2025? Use s3://ventas/2025/*.parquet "
            "and give the totals in EUR."
        },
    )
    s.calls(
        "analyst",
        "sql",
        "query",
        {"sql": "SELECT region, sum(total) FROM ventas WHERE año = 2025 GROUP BY region"},
        None,
        'Binder Error: Referenced column "año" not found in FROM clause! Candidate bindings: "anio"',
    )
    s.calls(
        "analyst",
        "sql",
        "query",
        {"sql": "SELECT region, sum(total) FROM ventas WHERE anio = 2025 GROUP BY region"},
        {
            "rows": [
                {"region": "Andalucía", "total": 1204311.50},
                {"region": "Cataluña", "total": 1198220.10},
                {"region": None, "total": 88112.0},
            ]
        },
    )
    s.calls("analyst", "cleaner", "drop_rows", {"table": "ventas", "where": "region IS NULL"}, {"rows_dropped": 412})
    s.calls(
        "analyst",
        "plotter",
        "save_plot",
        {"kind": "bar", "path": "out/ventas-2025.png"},
        {"path": "out/ventas-2025.png", "bytes": 48213},
    )
    s.answers(
        aim,
        {
            "text": "Andalucía tuvo más ventas: 1.204.311,50 EUR, frente a 1.198.220,10 EUR en "
            "Cataluña. 412 filas sin región se eliminaron; the plot is in out/ventas-2025.png."
        },
    )
    return s.contracts
