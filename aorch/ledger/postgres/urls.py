"""What the URL of a PostgreSQL database says."""

import psycopg
from psycopg import pq

from aorch.config.ledger_location import SECRET_PARAMETERS, PostgresUrl, contains_password
from aorch.ledger.server_errors import ServerError


def url_parameters(location: PostgresUrl) -> dict[str, str]:
    """The parameters that the URL sets, by libpq's names. Raises ServerError, and UsageError if one is a password."""
    try:
        found = pq.Conninfo.parse(str(location).encode())
    except psycopg.Error as error:
        raise ServerError(f"the URL is invalid: {str(error).strip()}") from error
    parameters = {each.keyword.decode(): each.val.decode() for each in found if each.val is not None}
    if SECRET_PARAMETERS & parameters.keys():
        raise contains_password("ledger")
    return parameters
