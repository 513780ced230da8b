"""The SQL of the ledger as SQLAlchemy expressions over the tables in schema.py.

Only `aorch.ledger.generate_statements` and the tests import this package: the program executes the text that the generator
compiles from here, in sqlite/statements.py. Each module defines one constant per statement or piece of a statement; the text has
the same name.
"""
