"""The servers that `aorch serve` is measured against: `python bare.py bare` and `python bare.py ceiling LEDGER`.

`bare` parses the body with msgspec, answers the same JSON, and stores nothing. `ceiling` also commits both contracts through
the ledger and does nothing else: it shows how much of the difference is the write path's. Each prints its URL on stderr.
"""

import sys
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

decode, encode = msgspec.json.decode, msgspec.json.encode


def answer(body: dict[str, Any], contract_id: str) -> web.Response:
    """The answer to an `echo` task."""
    answered = {
        "success": True,
        "data": {"message": "Echo: " + body["parameters"]["text"]},
        "error": None,
        "contract_id": contract_id,
        "agent_id": "agent_example_001",
        "timestamp": datetime.now(UTC).isoformat(),
    }
    return web.Response(body=encode(answered), content_type="application/json")


async def bare(request: web.Request) -> web.Response:
    """Answer without storage."""
    return answer(decode(await request.read()), uuid.uuid4().hex[:26])


def ceiling(path: Path) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that commits a REQUEST and its RESPONSE to the ledger at `path`."""
    from aorch.clock import now
    from aorch.ids import new_id
    from aorch.ledger.ledger import Ledger
    from aorch.ledger.record import COMPLETED, IN_PROGRESS, Record

    ledger, echo, routing = Ledger(path), "agent_example_001", '{"routing":{"chosen":"the only one"}}'

    async def committed(request: web.Request) -> web.Response:
        body = decode(await request.read())
        session_id, payload = body["session_id"], encode(body["parameters"]).decode()
        asked = Record(
            new_id(),
            session_id,
            "REQUEST",
            "orchestrator",
            echo,
            "echo",
            payload,
            IN_PROGRESS,
            now(),
            metadata=routing,
            claimed_by=ledger.owner_id,
        )
        await ledger.write_request(asked)
        result = encode({"message": "Echo: " + body["parameters"]["text"]}).decode()
        moment = now()
        response = Record(
            new_id(),
            session_id,
            "RESPONSE",
            echo,
            "orchestrator",
            "echo",
            "{}",
            COMPLETED,
            moment,
            moment,
            result,
            None,
            '{"duration_ms":1.234}',
            asked.contract_id,
        )
        await ledger.write_response(response, COMPLETED)
        return answer(body, asked.contract_id)

    return committed


if __name__ == "__main__":
    handler = ceiling(Path(sys.argv[2]).absolute()) if sys.argv[1] == "ceiling" else bare
    app = web.Application()
    app.router.add_post("/v1/orchestrate", handler)
    web.run_app(
        app, host="127.0.0.1", port=0, access_log=None, print=lambda text: print(text, file=sys.stderr, flush=True)
    )
