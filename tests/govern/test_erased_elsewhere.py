"""What knew an erased contract: imports, exports, memory blocks, resumed tasks, batches and idempotency keys."""

import json
from pathlib import Path
from pipes import pipeline_home

import pytest
from batches import lines, results, seen, task, with_witness
from erasing_rows import MOMENT, NEEDLE, contains, erased, needles
from homes import Home
from ledger_state import change
from ledgers import no_ledger
from memory_homes import blocks
from rows import pairs, put, request, response
from transfer_cases import exported

from aorch import jsonio
from aorch.clock import now
from aorch.config.ledger_location import LedgerLocation
from aorch.errors import Conflict
from aorch.ledger.contract_metadata import erasure_mark, mark_of
from aorch.ledger.database import Database
from aorch.ledger.erasing import read_erasures
from aorch.ledger.memory_blocks import BlockRow, Memory
from aorch.ledger.pruning import Pruner, Rules
from aorch.ledger.reader import Reader
from aorch.ledger.transfer import import_contracts
from aorch.memory.block import BlockRequest
from aorch.memory.local.local_compressor import compress_locally
from aorch.memory.memory_queries import verify_blocks
from aorch.trace.payload import can_be_read_back

# Files of contracts


def test_an_old_export_does_not_bring_erased_content_back(home: Home, tmp_path: Path) -> None:
    needles(home.ledger)
    before = tmp_path / "before.jsonl"
    before.write_bytes(exported(home.ledger))
    erased(home.ledger, session_id="leak")
    after = exported(home.ledger)
    counts = import_contracts(home.ledger, before)
    assert (counts.new, counts.updated, counts.present, counts.erased) == (0, 0, 164, 4)
    assert exported(home.ledger) == after
    assert not contains(home.ledger)


def test_an_old_export_does_not_bring_erased_content_back_even_if_the_contracts_were_deleted(
    home: Home, tmp_path: Path
) -> None:
    rows = needles(home.ledger)
    before = tmp_path / "before.jsonl"
    before.write_bytes(exported(home.ledger))
    erased(home.ledger, session_id="leak")
    delete_all(home.ledger)
    counts = import_contracts(home.ledger, before)
    assert (counts.new, counts.erased) == (160, len(rows))
    assert not contains(home.ledger)


def delete_all(ledger: LedgerLocation) -> None:
    """Delete all contracts, as any program can."""
    change(ledger, "DELETE FROM contracts")


def test_an_export_marks_erased_contracts_and_no_import_brings_their_content_to_a_ledger_with_the_mark(
    home: Home, tmp_path: Path
) -> None:
    asked, answered, *_ = needles(home.ledger)
    before, after, mirror = tmp_path / "before.jsonl", tmp_path / "after.jsonl", no_ledger(tmp_path, "mirror.db")
    before.write_bytes(exported(home.ledger))
    erased(home.ledger, ids=(asked.contract_id,))
    after.write_bytes(exported(home.ledger))
    marked = [form for form in map(jsonio.decode, after.read_bytes().splitlines()) if erasure_mark(form["metadata"])]
    assert [(form["contract_id"], form["payload"], form["result"]) for form in marked] == [
        (asked.contract_id, {}, None),
        (answered.contract_id, {}, None),
    ]
    assert import_contracts(mirror, after).new == 164
    assert import_contracts(mirror, before).erased == 2
    assert exported(mirror) == after.read_bytes()
    (original,), (copied,) = read_erasures(home.ledger), read_erasures(mirror)
    assert copied._replace(selection=original.selection, cleaned_at=original.cleaned_at) == original


def test_a_file_cannot_erase_contracts_of_a_ledger_that_has_their_content(home: Home, tmp_path: Path) -> None:
    asked, *_ = needles(home.ledger)
    full, after = no_ledger(tmp_path, "full.db"), tmp_path / "after.jsonl"
    before = tmp_path / "before.jsonl"
    before.write_bytes(exported(home.ledger))
    import_contracts(full, before)
    erased(home.ledger, ids=(asked.contract_id,))
    after.write_bytes(exported(home.ledger))
    done = home.aorch("contracts", "import", str(after), "--ledger", str(full))
    assert done.code == 0
    assert "2 contracts are erased in the file, but not in this ledger; erase them here" in done.err
    assert exported(full) == before.read_bytes()


def test_an_import_stores_no_content_that_a_file_has_next_to_the_mark_of_an_erasure(home: Home, tmp_path: Path) -> None:
    rows = needles(home.ledger)
    erased(home.ledger, session_id="leak")
    forms = [jsonio.decode(line) for line in exported(home.ledger).splitlines()]
    marked = [form for form in forms if erasure_mark(form["metadata"])]
    for form in marked:
        form["payload"], form["metadata"]["custom"] = {"text": NEEDLE}, {"note": NEEDLE}
        if form["contract_type"] == "RESPONSE":
            form.update({"error": NEEDLE} if form["status"] == "failed" else {"result": {"echo": NEEDLE}})
    file, mirror = tmp_path / "forged.jsonl", no_ledger(tmp_path, "mirror.db")
    file.write_text("".join(f"{jsonio.encode(form)}\n" for form in forms))
    assert NEEDLE in file.read_text()
    assert import_contracts(mirror, file).new == len(forms)
    assert not contains(mirror)
    assert exported(mirror) == exported(home.ledger)
    assert len(marked) == len(rows)


# Memory


def test_a_memory_block_loses_the_claims_about_erased_contracts_and_says_so(home: Home) -> None:
    asked = request("talk", f"Deploy the service with the key {NEEDLE} to Oslo.")
    others = request("talk", "Please check the invoice INV-2041 of the customer.")
    put(
        home.ledger,
        asked,
        response(asked, {"text": f"deployed with {NEEDLE}"}),
        others,
        response(others, "checked INV-2041"),
    )
    home.aorch("compress", "talk")
    (before,) = blocks(home)
    assert NEEDLE in json.dumps(before)
    _, done = erased(home.ledger, ids=(asked.contract_id,))
    assert done.counts.blocks == 1
    (after,) = blocks(home)
    assert NEEDLE not in json.dumps(after)
    assert "INV-2041" in json.dumps(after)
    claims = [claim for section in ("aims", "decisions", "failures", "results", "literals") for claim in after[section]]
    assert all(asked.contract_id not in claim["contract_ids"] for claim in claims)
    assert after["erased"]["claims"] > 0
    assert asked.contract_id in after["erased"]["contract_ids"]
    verified = home.aorch("memory", "verify", "--all", "--json")
    assert verified.json == {"blocks": 1, "faults": [], "pruned": [], "erased_claims": after["erased"]["claims"]}
    assert "about erased contracts" in home.aorch("memory", "show", "talk").out
    assert not contains(home.ledger)


def test_verify_says_erased_for_a_block_that_still_cites_an_erased_contract(home: Home) -> None:
    asked = request("talk", f"Deploy the service with the key {NEEDLE} to Oslo.")
    put(home.ledger, asked, response(asked, "done"))
    home.aorch("compress", "talk")
    ((block,),) = home.rows("SELECT block FROM memory_blocks")
    erased(home.ledger, session_id="talk")
    restore_block(home.ledger, block)
    found = [fault for _, faults in verify_blocks(home.ledger, None) for fault in faults]
    assert found
    assert all("which was erased by ann at" in fault for fault in found), found
    assert home.aorch("memory", "verify", "--all").code == 13


def test_an_erasure_of_erased_contracts_removes_the_claims_of_a_block_that_came_back(home: Home) -> None:
    asked = request("talk", f"Deploy the service with the key {NEEDLE} to Oslo.")
    put(home.ledger, asked, response(asked, "done"))
    home.aorch("compress", "talk")
    ((block,),) = home.rows("SELECT block FROM memory_blocks")
    erased(home.ledger, session_id="talk")
    restore_block(home.ledger, block)
    shown = home.aorch("contracts", "erase", "--session", "talk").out
    assert shown.startswith("would remove what memory blocks say about 1 exchange erased before\n")
    done = home.aorch("contracts", "erase", "--session", "talk", "--yes")
    assert done.out.startswith("1 memory block changed (era_"), done
    assert not contains(home.ledger)
    assert home.aorch("memory", "verify", "--all").code == 0
    again = home.aorch("contracts", "erase", "--session", "talk", "--yes")
    assert again.out.startswith("nothing to erase\n")


def test_a_compression_during_an_erasure_is_refused_and_a_later_one_has_nothing_of_the_content(home: Home) -> None:
    asked = request("talk", f"Deploy the service with the key {NEEDLE} to Oslo.")
    early = request("talk", "Please check the invoice INV-2041 of the customer.")
    put(home.ledger, early, response(early, "checked"), asked, response(asked, "done"))
    erased(home.ledger, ids=(early.contract_id,))
    with Memory(home.ledger) as memory:
        segment = memory.segment("talk")
        assert segment is not None
        read = memory.between("talk", early.contract_id, asked.contract_id)
        block = compress_locally(read, BlockRequest("mem_1", MOMENT, "talk"))
    row = BlockRow("mem_1", "talk", MOMENT, segment.last, jsonio.encode(block.as_dict()))
    assert NEEDLE in row.block
    erased(home.ledger, ids=(asked.contract_id,))
    with Memory(home.ledger) as memory, pytest.raises(Conflict, match="erased while it was compressed"):
        memory.add(row, segment.after, segment.erased)
    assert not contains(home.ledger)
    done = home.aorch("compress", "talk")
    assert done.code == 0, done.err
    assert len(blocks(home)) == 1
    assert not contains(home.ledger)


def test_a_compression_is_refused_if_what_it_read_was_erased_and_then_pruned(home: Home) -> None:
    asked = request("talk", NEEDLE)
    put(home.ledger, asked, response(asked, "done"))
    with Memory(home.ledger) as memory:
        segment = memory.segment("talk")
    assert segment is not None
    erased(home.ledger, session_id="talk")
    rules = Rules(before=now(), max_bytes=None, young_after=now(), keyed_after=now())
    with Database(home.ledger) as database, database.transactions() as connection:
        assert Pruner(connection, rules, remembers_all=lambda: True, rest=0).run().contracts == 2
    row = BlockRow("mem_1", "talk", MOMENT, segment.last, "{}")
    with Memory(home.ledger) as memory, pytest.raises(Conflict, match="erased while it was compressed"):
        memory.add(row, segment.after, segment.erased)


def restore_block(ledger: LedgerLocation, block: str) -> None:
    """Put a block from a backup back."""
    change(ledger, "UPDATE memory_blocks SET block = ?", block)


# Tasks


def test_an_erased_task_cannot_be_run_again(home: Home) -> None:
    failed = request(status="failed")
    put(home.ledger, failed, response(failed)._replace(result=None, error="no"))
    erased(home.ledger, ids=(failed.contract_id,))
    for command in (("rerun", failed.contract_id), ("contracts", "resume", failed.contract_id)):
        done = home.aorch(*command)
        assert (done.code, done.out) == (2, "")
        assert f"contract {failed.contract_id} was erased by ann" in done.err


def test_a_line_of_a_batch_that_was_erased_is_not_run_again(home: Home) -> None:
    with_witness(home)
    home.write("b.jsonl", lines(*(task(n, about={"id": f"{NEEDLE}-{n}"}) for n in range(3))))
    home.aorch("run", "--batch", "b.jsonl")
    assert seen(home) == ["0", "1", "2"]
    erased_line(home, 1)
    done = home.aorch("run", "--batch", "b.jsonl", "--resume", "--ordered")
    assert seen(home) == ["0", "1", "2"]
    assert [each["success"] for each in results(done)] == [True, False, True]
    assert "was erased by ann" in results(done)[1]["error"]
    assert home.rows("SELECT count(*) FROM batch_lines WHERE line_key LIKE ?", f"{NEEDLE}-1%") == [(0,)]


def erased_line(home: Home, n: int) -> None:
    """Erase the exchange of the line with that `n`."""
    ((contract_id,),) = home.rows("SELECT contract_id FROM contracts WHERE payload = ?", f'{{"n":{n}}}')
    erased(home.ledger, ids=(contract_id,))


def test_a_pipeline_does_not_run_a_step_again_whose_result_was_erased(home: Home) -> None:
    pipeline_home(
        home,
        '{name = "first", capability = "count", parameters = {name = "one"}}',
        '{name = "second", capability = "fail", parameters = {}}',
    )
    home.aorch("run", "p", "--session", "s")
    ((step,),) = home.rows("SELECT contract_id FROM contracts WHERE capability = 'count' AND contract_type = 'REQUEST'")
    ((whole,),) = home.rows("SELECT contract_id FROM contracts WHERE capability = 'p' AND contract_type = 'REQUEST'")
    erased(home.ledger, ids=(step,))
    done = home.aorch("contracts", "resume", whole)
    assert done.code == 2
    assert f"step first: it may have completed before, as {step}, whose content was erased" in done.err
    assert len((home.folder / "did-one").read_text().split()) == 1


def test_lists_and_exchanges_show_who_erased_a_contract_when_and_why(home: Home) -> None:
    asked, answered, *_ = needles(home.ledger)
    put(home.ledger, *pairs(1, "leak"))
    erased(home.ledger, ids=(asked.contract_id,))
    with Reader(home.ledger) as reader:
        mark = erasure_mark(jsonio.decode(reader.find(asked.contract_id).metadata))
    listed = dict(line.split("\t")[::8] for line in home.aorch("contracts", "list", "-s", "leak").out.splitlines())
    assert listed[asked.contract_id] == listed[answered.contract_id] == f"{mark}"
    assert f"{mark}".endswith(": leaked")
    shown = home.aorch("contracts", "show", asked.contract_id).out
    assert shown.count(f"{mark}") == 2
    assert "payload" not in shown


def test_the_log_of_exchanges_and_a_session_show_who_erased_an_exchange(home: Home) -> None:
    asked, *_ = needles(home.ledger)
    erased(home.ledger, ids=(asked.contract_id,))
    with Reader(home.ledger) as reader:
        mark = f"{mark_of(reader.find(asked.contract_id))}"
    (line,) = (line for line in home.aorch("log", "-s", "leak").out.splitlines() if line.startswith(asked.contract_id))
    assert line.endswith(f"\t{mark}")
    (form,) = (
        each
        for each in home.aorch("log", "-s", "leak", "--json").json["exchanges"]
        if each["request_id"] == asked.contract_id
    )
    assert form["erased"]["by"] == "ann"
    whole = home.aorch("log", asked.contract_id).out
    assert f"  erased        {mark.removeprefix('erased ')}\n" in whole
    assert "parameters" not in whole
    assert "details" not in whole


def test_trace_is_not_asked_for_a_session_whose_size_there_is_unknown(home: Home) -> None:
    asked, *_ = needles(home.ledger)
    assert can_be_read_back([asked])
    erased(home.ledger, ids=(asked.contract_id,))
    with Reader(home.ledger) as reader:
        assert not can_be_read_back([reader.find(asked.contract_id)])
