"""Errors of a database server. They are defined here because its driver, which defines its own, is imported only if needed."""

_OF_STATEMENTS = ("22", "23", "42", "54")
"""Classes of codes for errors of one statement: its values, constraints, its SQL, limits of the program."""
_NOT_PERMITTED = "42501"


class ServerError(Exception):
    """The server, or the connection to it, failed. `sqlstate` is the server's code of five characters; empty if it gave none."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate

    @property
    def is_of_the_server(self) -> bool:
        """Whether it is about the server or the connection (locked, full, gone), not about one statement."""
        return self.sqlstate == _NOT_PERMITTED or not self.sqlstate.startswith(_OF_STATEMENTS)


class RowRejected(ServerError):
    """The server rejects a row because a value that must be unique exists already. `constraint` is the name of the rule."""

    def __init__(self, message: str, sqlstate: str, constraint: str) -> None:
        super().__init__(message, sqlstate)
        self.constraint = constraint

    @property
    def is_taken_key(self) -> bool:
        """Whether the primary key of the row exists already."""
        return self.constraint.startswith("pk_")


class ConnectionLost(ServerError):
    """The connection broke, or could not be made. What was not committed before is rolled back."""


class OutcomeUnknown(ServerError):
    """The connection broke during a COMMIT, and no server has told whether it was committed."""
