"""The tables for erasing and pruning contracts (see schema.py, which has all others)."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Integer
from sqlmodel import Field, SQLModel

from aorch.ledger.column_types import Json, UtcDateTime, metadata


class Erasure(SQLModel, table=True):
    """One erasure of contracts: who erased them, when and why. `selection` has the options, without a text that was searched.

    `cleaned_at` is None until the erased bytes are gone from the ledger's files too.
    """

    __tablename__ = "erasures"
    metadata = metadata

    erasure_id: str = Field(primary_key=True)
    erased_at: datetime = Field(sa_column=Column("erased_at", UtcDateTime(), nullable=False))
    erased_by: str
    reason: str
    selection: dict[str, Any] = Field(sa_column=Column("selection", Json, nullable=False))
    cleaned_at: datetime | None = Field(default=None, sa_column=Column("cleaned_at", UtcDateTime()))


class ErasedContract(SQLModel, table=True):
    """A contract whose content was erased. No import brings it back, even after its row was deleted."""

    __tablename__ = "erased_contracts"
    metadata = metadata

    contract_id: str = Field(primary_key=True)
    erasure_id: str


class PrunedContract(SQLModel, table=True):
    """A contract that was pruned although a memory block covers it, so that its citations can be told from wrong ones."""

    __tablename__ = "pruned_contracts"
    metadata = metadata

    session_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    contract_id: str


class ContractAge(SQLModel, table=True):
    """The oldest `created_at` of the contracts in a run of positions that ends at `last_position` (see contract_ages.py)."""

    __tablename__ = "contract_ages"
    metadata = metadata

    last_position: int = Field(sa_column=Column("last_position", Integer, primary_key=True, autoincrement=False))
    oldest_at: datetime = Field(sa_column=Column("oldest_at", UtcDateTime(), nullable=False))
