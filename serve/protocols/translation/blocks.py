"""Anthropic content blocks: of a response, and converted from OpenAI texts, images and files."""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from pointsman.serve.http.errors import UpstreamFailure
from pointsman.serve.protocols.translation.read import Document, Untranslatable, items, string

__all__ = [
    "answer_blocks",
    "content_blocks",
    "file_block",
    "image_block",
    "merge_turns",
    "signed_thought",
    "text_block",
    "tool_result_block",
]

_DATA_URL = re.compile(r"data:([\w.+/-]+)(?:;[\w-]+=[^;,]+)*;base64,(.*)", re.DOTALL)
_PDF = "application/pdf"
_TEXT = ("text/", "application/json", "application/xml")


def answer_blocks(message: Document) -> list[Document]:
    """The content blocks of a service's whole answer.

    Raises:
        UpstreamFailure: it is not a message.
    """
    content = message.get("content")
    if not isinstance(content, list):
        raise UpstreamFailure("the upstream's answer has no content", code="upstream_malformed")
    return [block for block in content if isinstance(block, dict)]


def text_block(text: str, part: Document) -> dict[str, Any]:
    """A text block; keeps `cache_control`, which is Anthropic's, if the part has it."""
    mark = part.get("cache_control")
    return {"type": "text", "text": text, **({"cache_control": mark} if isinstance(mark, dict) else {})}


def image_block(url: object, where: str) -> dict[str, Any]:
    """An image by its URL, or in a data URL."""
    given = string(url, where)
    if found := _DATA_URL.fullmatch(given):
        return {"type": "image", "source": {"type": "base64", "media_type": found[1], "data": found[2]}}
    return {"type": "image", "source": {"type": "url", "url": given}}


def content_blocks(
    content: object, where: str, make: Callable[[Document, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Content as blocks, without empty texts, which Anthropic's API rejects.

    Args:
        make: the block of one part.
    """
    if content is None or isinstance(content, str):
        return [text_block(content, {})] if content and content.strip() else []
    blocks = [make(part, f"{where}[{i}]") for i, part in enumerate(items(content, where))]
    return [block for block in blocks if block["type"] != "text" or block["text"].strip()]


def file_block(file: Document, where: str) -> dict[str, Any]:
    """A PDF or a text file.

    Args:
        file: with `file_data`, a data URL, or `file_url`.

    Raises:
        Untranslatable: it is stored at OpenAI, or of another type.
    """
    title = {"title": file["filename"]} if isinstance(file.get("filename"), str) and file["filename"] else {}
    if isinstance(file.get("file_url"), str):
        return {"type": "document", "source": {"type": "url", "url": file["file_url"]}, **title}
    if not isinstance(file.get("file_data"), str):
        message = f"{where} is stored at OpenAI and not in the request: send its file_data"
        raise Untranslatable(message, param=where)
    found = _DATA_URL.fullmatch(file["file_data"])
    media_type, data = (found[1], found[2]) if found else (_PDF, file["file_data"])
    if media_type == _PDF:
        return {"type": "document", "source": {"type": "base64", "media_type": _PDF, "data": data}, **title}
    if media_type.startswith("image/"):
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    if not media_type.startswith(_TEXT):
        raise Untranslatable(f"{where} is {media_type}, wanted {_PDF}, text or an image", param=where)
    try:
        text = b64decode(data, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise Untranslatable(f"{where}.file_data is not UTF-8 text in base64", param=where) from None
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}, **title}


def signed_thought(block: object) -> dict[str, Any] | None:
    """A thinking block signed by a service of Anthropic's protocol, or None."""
    if not isinstance(block, dict):
        return None
    keys = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}.get(str(block.get("type")))
    if keys is None or not all(isinstance(block.get(key), str) for key in keys) or not block[keys[-1]]:
        return None
    return {"type": block["type"], **{key: block[key] for key in keys}}


def tool_result_block(identifier: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """A tool's result; a single text as a string."""
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": identifier}
    if len(content) == 1 and set(content[0]) == {"type", "text"}:
        result["content"] = content[0]["text"]
    elif content:
        result["content"] = content
    return result


def merge_turns(turns: list[tuple[str, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Messages from turns by role: merges neighbours with the same role, puts results first and drops empty ones.

    All results of one answer's calls must be in one message. The first message must be the user's, and the last one
    must not end with white space if it is the assistant's.
    """
    merged: list[tuple[str, list[dict[str, Any]]]] = []
    for role, blocks in turns:
        if merged and merged[-1][0] == role:
            merged[-1][1].extend(blocks)
        elif blocks:
            merged.append((role, list(blocks)))
    if merged and merged[0][0] == "assistant":
        merged.insert(0, ("user", [{"type": "text", "text": "(The conversation begins with the assistant.)"}]))
    if merged and merged[-1][0] == "assistant" and merged[-1][1][-1]["type"] == "text":
        last = merged[-1][1].pop()
        if text := last["text"].rstrip():
            merged[-1][1].append({**last, "text": text})
    return [{"role": role, "content": sorted(blocks, key=_is_no_result)} for role, blocks in merged if blocks]


def _is_no_result(block: Document) -> bool:
    return bool(block["type"] != "tool_result")
