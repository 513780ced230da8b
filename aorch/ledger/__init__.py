"""The store of contracts: a database that its owner can query, verify and export.

database.py the one object that opens it: `read()`, `write()`; changes.py: notifies watchers of commits
schema.py          the tables, for migrations and the generated SQL
record.py          a contract in memory
queries/           the SQL as expressions; generate_statements.py: makes the text of sqlite/statements.py from them
writer.py          group commit: one writer thread per process
ledger.py the Ledger: writing, and the reads that writing needs
task_queue.py      queued REQUESTs: claiming, cancelling, recovery
reader.py          lists, pages, whole exchanges, what is new; reader_pool.py: in threads
filters.py         a Filter, and the selects made from it; selection.py: composes them from generated pieces
search.py          full-text search
tree.py            delegated REQUESTs as a tree
completion.py      what shell completion reads
batch_register.py  what earlier runs of a batch did
memory_blocks.py   memory blocks
token_store.py     access tokens
outbox.py          how far deliveries to Trace have come
transfer.py        export and import; contract_files.py: the files; importing.py: the rows
sqlite/            everything that only SQLite needs
"""
