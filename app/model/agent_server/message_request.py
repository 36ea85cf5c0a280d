"""The messages that agent-server accepts, in a request and over a socket.

Source: openhands-sdk 1.58, llm/message.py and conversation/message_request.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .base import Strict

Role = Literal["user", "system", "assistant", "tool"]


class _Lax(BaseModel):
    """An object whose unknown fields agent-server drops."""

    model_config = ConfigDict(extra="ignore")


class TextContent(Strict):
    """A text of a message."""

    cache_prompt: bool = False
    type: Literal["text"] = "text"
    text: str

    @model_validator(mode="before")
    @classmethod
    def _drop_retired(cls, fields: object) -> object:
        if not isinstance(fields, dict) or "enable_truncation" not in fields:
            return fields
        return {name: value for name, value in fields.items() if name != "enable_truncation"}


class ImageContent(_Lax):
    """Images of a message."""

    cache_prompt: bool = False
    type: Literal["image"] = "image"
    image_urls: list[str]


Content = list[TextContent | ImageContent]


class MessageRequest(_Lax):
    """A message in a request."""

    role: Role = "user"
    content: Content = []
    run: bool = Field(default=False, description="true is answered with 501, because convstore runs no agents")


class _ToolCall(_Lax):
    id: str
    responses_item_id: str | None = None
    name: str
    arguments: str
    origin: Literal["completion", "responses"]


class _Thinking(_Lax):
    type: Literal["thinking"] = "thinking"
    thinking: str
    signature: str | None = None


class _RedactedThinking(_Lax):
    type: Literal["redacted_thinking"] = "redacted_thinking"
    data: str


class _Reasoning(_Lax):
    id: str | None = None
    summary: list[str] = []
    content: list[str] | None = None
    encrypted_content: str | None = None
    status: str | None = None


def _as_list(content: object) -> object:
    if content is None:
        return []
    return [{"text": content}] if isinstance(content, str) else content


class SocketMessage(_Lax):
    """A message over a socket. Its content may be one text."""

    role: Role
    content: Annotated[Content, BeforeValidator(_as_list)] = []
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[_Thinking | _RedactedThinking] = []
    responses_reasoning_item: _Reasoning | None = None


def dump_message(message: MessageRequest | SocketMessage) -> dict[str, Any]:
    """Return the fields that agent-server writes of a message into its event, in its order."""
    return message.model_dump(mode="json", exclude_none=True, exclude={"run"})
