"""The tables that servers share: workers that claim tasks over HTTP, and the rates of callers. The rules of schema.py apply."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index
from sqlmodel import Field, SQLModel

from aorch.ledger.column_types import Json, UtcDateTime, metadata


class WorkLease(SQLModel, table=True):
    """The lease of a worker that claims tasks over HTTP (see work_leases.py). Its id is `claimed_by` of these REQUESTs.

    `owner` is the id of its token, or empty; `offer_id` names the agents that it offers. `delivery_id` is the last delivery of
    claimed REQUESTs, and `unconfirmed` are its REQUESTs (JSON list) until the worker has confirmed that it received them.
    """

    __tablename__ = "work_leases"
    metadata = metadata
    __table_args__ = (Index(None, "ends_at"), Index(None, "offer_id"))

    lease_id: str = Field(primary_key=True)
    owner: str
    worker: str
    offer_id: str
    lease_s: float
    created_at: datetime = Field(sa_column=Column("created_at", UtcDateTime(), nullable=False))
    ends_at: datetime = Field(sa_column=Column("ends_at", UtcDateTime(), nullable=False))
    delivery_id: str | None = None
    unconfirmed: list[str] | None = Field(default=None, sa_column=Column("unconfirmed", Json))


class WorkOffer(SQLModel, table=True):
    """The agents that workers over HTTP offer (JSON). `offer_id` is its SHA-256 (hex): equal workers share one row."""

    __tablename__ = "work_offers"
    metadata = metadata

    offer_id: str = Field(primary_key=True)
    document: list[Any] = Field(sa_column=Column("document", Json, nullable=False))


class RateBucket(SQLModel, table=True):
    """How many requests a caller (the id of a token, or an address) has sent lately to all servers of the ledger.

    `full_at` (seconds since 1970) is the time at which its bucket is full again (see server/limits.py); then the row is deleted.
    """

    __tablename__ = "rate_buckets"
    metadata = metadata

    caller: str = Field(primary_key=True)
    full_at: float
