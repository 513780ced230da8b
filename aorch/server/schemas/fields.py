"""Field types that several schemas share, and the base classes of bodies and queries."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

Json = dict[str, Any]
Moment = Annotated[datetime, Field(examples=["2026-01-25T18:18:50.850Z"])]
ContractId = Annotated[
    str, Field(description="The ID of a contract (a ULID).", examples=["01K8VF9XK83SYH1HAX57ZGJDYS"])
]
POSITION = r"^[0-9]{1,18}$"
ULID = r"^[0-9A-HJKMNP-TV-Z]{26}$"
BLOCK_ID = r"^mem_[0-9A-Z]{26}$"
HTTP_URL = r"^https?://[^\x00-\x20]+$"
_NO_NUL = r"^[^\x00]*$"
FORMS = {
    POSITION: "must be a number from an earlier response",
    ULID: "must be a ULID: 26 letters and digits",
    BLOCK_ID: "must be the ID of a memory block from an earlier response",
    HTTP_URL: "must be a URL that begins with http:// or https://",
    _NO_NUL: "must not contain the character U+0000",
}
"""The patterns of strings, in words."""
Text = Annotated[str, Field(pattern=_NO_NUL)]
"""A string without U+0000, which PostgreSQL cannot store."""
Labels = Annotated[dict[Text, Text], Field(json_schema_extra={"propertyNames": {"pattern": _NO_NUL}})]
"""Names with values."""
ContractType = Literal["REQUEST", "RESPONSE"]
ContractStatus = Literal["pending", "in_progress", "completed", "failed", "cancelled", "interrupted"]


def matching(pattern: str, form: str) -> BeforeValidator:
    """Reject strings that do not match.

    Without this, pydantic accepts undocumented forms (1_000 as a number, 0.5 as a time).
    """

    def check(value: object) -> object:
        if isinstance(value, str) and not re.match(pattern, value):
            raise PydanticCustomError("form", "Input should be {form}", {"form": form})
        return value

    return BeforeValidator(check)


def whole_number(value: object) -> object:
    """Accept 3.0, which is an integer in JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC. RFC 3339 allows hours before the year 1 and after 9999: these become the first or last moment."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return (datetime.min if moment.year == 1 else datetime.max).replace(tzinfo=UTC)


QueryMoment = Annotated[
    datetime,
    matching(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a time, such as 2026-01-31T09:00:00Z, or a day"),
    AfterValidator(_in_utc),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}),
]
"""A time or a day; UTC if it has no zone."""


def _not_a_number(value: object) -> object:
    if isinstance(value, int | float):  # pydantic takes it for seconds since 1970
        raise PydanticCustomError("form", "Input should be {form}", {"form": "a time, such as 2026-01-31T09:00:00Z"})
    return value


BodyMoment = Annotated[
    datetime,
    BeforeValidator(_not_a_number),
    matching(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", "a time, such as 2026-01-31T09:00:00Z"),
    AfterValidator(_in_utc),
    Field(strict=False, examples=["2026-01-31T09:00:00.000Z"]),
]
"""A time in a body; UTC if it has no zone."""
Limit = Annotated[
    int, Field(ge=1, le=1000, description="Maximum number of items per page."), matching(r"[0-9]+\Z", "a whole number")
]
Flag = Annotated[bool, matching(r"(true|false)\Z", "true or false")]
Cursor = Annotated[str | None, Field(pattern=POSITION, description="`next` of the previous page.")]
Next = Annotated[str | None, Field(description="The `cursor` of the next page; null on the last page.")]


class Body(BaseModel):
    """The base of all bodies. Types are strict (3 is not "3"), and unknown fields are ignored."""

    model_config = ConfigDict(strict=True, ser_json_inf_nan="null")


class Query(BaseModel):
    """The base of all queries. Unknown names are rejected: ignoring a misspelt filter would give a wrong response."""

    model_config = ConfigDict(extra="forbid")
