"""The schema of error responses."""

from typing import Any, Literal

from pydantic import Field

from aorch.server.schemas.fields import Body, ContractId, Moment


class Problem(Body):
    """An error (RFC 9457), with the additional members `success` and `error`."""

    type: str = Field(examples=["urn:aorch:error:no_agent"])
    title: str = Field(description="The kind of error, for people.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What failed, and why.")
    code: str = Field(description="The kind of error, for programs. It never changes.", examples=["no_agent"])
    hint: str | None = Field(None, description="What to do next.")
    cli_hint: str | None = Field(None, description="What a user of the command line can do next, if that differs.")
    success: Literal[False] = False
    error: str = Field(description="The same as `detail`.")
    contract_id: ContractId | None = Field(None, description="The REQUEST, if one was written.")
    agent_id: str | None = None
    session_id: str | None = None
    data: Any = Field(None, description="What the agent of a failed task returned nevertheless.")
    timestamp: Moment | None = Field(None, description="When a task failed.")
    exit_code: int | None = Field(None, description="The exit code of the program that failed.")
    stderr: str | None = Field(None, description="The end of its standard error.")
    stdout: str | None = Field(None, description="Its output, if that is almost JSON.")
