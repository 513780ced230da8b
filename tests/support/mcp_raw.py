"""An MCP server without an SDK. It answers each call with the arguments, a lone surrogate and a byte of Latin-1."""

import json
import sys


def answer(message: dict) -> dict:  # type: ignore[type-arg]  # JSON
    match message["method"]:
        case "initialize":
            about = {"serverInfo": {"name": "raw", "version": "1"}, "capabilities": {"tools": {}}}
            return {"result": {"protocolVersion": message["params"]["protocolVersion"], **about}}
        case "tools/list":
            return {"result": {"tools": [{"name": "say", "inputSchema": {"type": "object"}}]}}
        case "tools/call":
            given = message["params"]["arguments"]["text"]
            return {"result": {"content": [{"type": "text", "text": f"{given} \ud800 LATIN"}]}}
    return {"error": {"code": -32601, "message": "Method not found"}}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        sent = json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer(message)})
        sys.stdout.buffer.write(sent.encode().replace(b"LATIN", b"\xe9") + b"\n")
        sys.stdout.buffer.flush()
