"""Contracts: the records of the ledger."""

from typing import Any

from aiohttp import web

from aorch.config.ledger_location import LedgerLocation
from aorch.govern.erasure import ErasurePlan, ErasureResult, ErasureSelection, erase, plan_erasure
from aorch.ledger.attempt import Attempt
from aorch.ledger.reader import Filter, Reader
from aorch.ledger.record import COMPLETED, REQUEST, Record
from aorch.memory.erased_claims import without_erased
from aorch.process.threads import in_thread
from aorch.server.authentication import ADMIN
from aorch.server.fast_path import json_response
from aorch.server.pagination import PAGE_BYTES, Page, contract_json, last_cursor, page_of, page_response, read_page
from aorch.server.request_context import CONTEXT, services_of
from aorch.server.request_parsing import parse_query
from aorch.server.route import Route
from aorch.server.schemas.contracts import (
    ContractDetail,
    ContractPage,
    ContractQuery,
    EraseQuery,
    ErasureAnswer,
    FoundContract,
    WholeExchangeForm,
)
from aorch.server.schemas.sessions import ChildrenQuery, ContractTree


async def list_contracts(request: web.Request) -> web.Response:
    """List contracts that match the filters, oldest first, in pages.

    All filters must match. The next page is in `next` and in the header `Link`.
    """
    query = parse_query(request, ContractQuery)
    page, others = await read_page(request, lambda reader: _read_contracts(reader, query))
    return page_response(request, "contracts", page, session_id=query.session_id, **others)


async def find_contract(request: web.Request) -> web.Response:
    """Find the contract whose ID begins or ends with a part, in upper or lower case.

    The part has at least 4 characters, or is the whole ID. 400: several IDs match.
    """
    part = request.match_info["part"]
    contract, position = await services_of(request).readers.read(lambda reader: _find(reader, part))
    return json_response({"contract": contract_json(contract), "cursor": str(position)})


async def show_whole_exchange(request: web.Request) -> web.Response:
    """Show the exchange of a contract: its REQUEST, its RESPONSE, and the exchanges that its agent delegated, in full."""
    contract_id = request.match_info["contract_id"]
    exchange = await read_page(request, lambda reader: reader.exchange(reader.with_counterpart(contract_id)[0]))
    return json_response(exchange.as_dict())


async def show_tree(request: web.Request) -> web.Response:
    """Show the tree of delegated REQUESTs around a contract: those above it, and all below it."""
    contract_id, query = request.match_info["contract_id"], parse_query(request, ChildrenQuery)
    root = await read_page(request, lambda reader: reader.tree(reader.with_counterpart(contract_id)[0], query.children))
    return json_response({"root": root.as_dict()})


async def show_contract(request: web.Request) -> web.Response:
    """Show one contract and its counterpart.

    The counterpart of a REQUEST is its RESPONSE, if there is one, and the other way round. A completed REQUEST includes the
    result of its RESPONSE. `attempts` lists the calls of agents if one was not enough.
    """
    contract_id = request.match_info["contract_id"]
    contract, other, attempts = await services_of(request).readers.read(
        lambda reader: _read_contract(reader, contract_id)
    )
    form, counterpart = contract.as_dict(), other.as_dict() if other else None
    if counterpart is not None:
        asked, answered = (form, counterpart) if form["contract_type"] == REQUEST else (counterpart, form)
        asked["result"] = answered["result"] if asked["status"] == COMPLETED else None
    return json_response({**form, "counterpart": counterpart, "attempts": [each.as_dict() for each in attempts]})


async def erase_content(request: web.Request) -> web.Response:
    """Erase the content of an exchange: payload, result, error and metadata of its contracts, and all copies in the ledger.

    IDs, times, agents, capability and status are kept. The response comes when the old bytes are gone from the ledger's files,
    which locks the ledger for writing while its file is rewritten. Erasing it again has no effect. 409: the exchange is open.
    """
    contract_id, query = request.match_info["contract_id"], parse_query(request, EraseQuery)
    ledger = services_of(request).orchestrator.config.ledger
    by = request[CONTEXT].caller.name or "a caller without a token"
    plan, done = await in_thread(_erase, ledger, contract_id, by, query.reason)
    return json_response({**done.as_dict(), "elsewhere": plan.elsewhere.as_dict()})


def _erase(ledger: LedgerLocation, contract_id: str, by: str, reason: str) -> tuple[ErasurePlan, ErasureResult]:
    with Reader(ledger) as reader:
        reader.position(contract_id)  # a part of an id is enough for the CLI, but not here
    selection = ErasureSelection((contract_id,))
    plan = plan_erasure(ledger, selection)
    return plan, erase(ledger, selection, plan, by, reason, without_erased)


def _read_contract(reader: Reader, contract_id: str) -> tuple[Record, Record | None, list[Attempt]]:
    contract, other = reader.with_counterpart(contract_id)
    request_id = contract.request_id or contract.contract_id
    return contract, other, reader.attempts([request_id]).get(request_id, [])


def _find(reader: Reader, part: str) -> tuple[Record, int]:
    contract = reader.find(part)
    return contract, reader.position(contract.contract_id)


def _read_contracts(reader: Reader, query: ContractQuery) -> tuple[Page, dict[str, Any]]:
    """Return a page of the matching contracts, and the other members of the response."""
    newest = str(reader.last_position())  # before the page is read: up to here, nothing else matches
    if query.text is not None and not any(map(str.isalnum, query.text)):
        return ([], None), {"total": 0, "last": None, "newest": newest}  # a text without words matches no contract
    which = Filter(
        session_id=query.session_id,
        from_agent=query.from_agent,
        to_agent=query.to_agent,
        agent=query.agent,
        contract_type=query.type,
        capability=query.capability,
        status=query.status,
        since=query.since,
        until=query.until,
        changed_since=query.changed_since,
        text=query.text,
    )
    newest_first = query.order == "desc"
    cursor = {"before" if newest_first else "after": int(query.cursor) if query.cursor else None}
    found, more = reader.shown(which, limit=query.limit, characters=PAGE_BYTES, newest_first=newest_first, **cursor)
    forms = ((str(position), contract_json(row)) for position, row in found)
    page = page_of(forms, query.limit, more=more)
    total = reader.total(which) if query.total else None
    return page, {"total": total, "last": last_cursor(found, page), "newest": newest}


ROUTES = (
    Route("GET", "/v1/contracts", list_contracts, "read", "contracts", ContractPage, query=ContractQuery),
    Route("GET", "/v1/contracts/{contract_id}", show_contract, "read", "contracts", ContractDetail),
    Route("GET", "/v1/contracts/{contract_id}/exchange", show_whole_exchange, "read", "contracts", WholeExchangeForm),
    Route("GET", "/v1/contracts/{contract_id}/tree", show_tree, "read", "contracts", ContractTree, query=ChildrenQuery),
    Route("GET", "/v1/contract-ids/{part}", find_contract, "read", "contracts", FoundContract),
    Route(
        "DELETE",
        "/v1/contracts/{contract_id}/content",
        erase_content,
        ADMIN,
        "contracts",
        ErasureAnswer,
        query=EraseQuery,
    ),
)
