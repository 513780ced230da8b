"""The SQL of the ledger as SQLAlchemy expressions over the tables in schema.py.

Only `aorch.ledger.generate_statements` and the tests import this package: the program executes the text in statements.py,
which that generator compiles from here. Each module defines one constant per statement; its name in statements.py is the same.
"""
