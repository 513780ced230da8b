"""The store of contracts: one SQLite file that its owner can query, verify and carry away.

contract.py    the table, once, for migrations, reading and writing
statements.py  the few writing statements, compiled from that table ahead of time
connection.py  waiting for locks, transactions, SQLite errors as LedgerError
files.py       which file a path means, the files beside it, their modes
database.py    opening a file: revision, migration under the lock, reading without write permission
batch.py       group commit: one writer thread a process
store.py       the Ledger: writing, and what a start must know
reading.py     lists, pages, whole exchanges, what is new
which.py       a Filter, and the selects that are made of it
sessions.py    the selects of sessions
tree.py        what was delegated, as a tree, and the selects that read it
search.py      full text
bigrams.py     words of scripts without spaces, for full text
transfer.py    export and import
recorded.py    what came of a batch's lines, without SQLAlchemy
locks.py       a lock that one process holds
forking.py     what a forked child must not keep
owners.py      which processes live
outbox.py      how far deliveries to Trace have come, and what was passed over
lease.py       which process delivers
"""
