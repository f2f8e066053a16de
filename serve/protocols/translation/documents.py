"""Anthropic's images, documents and search results as parts of OpenAI's chat API, or as text."""

from typing import Any

from pointsman.serve.protocols.translation.read import Document, Untranslatable, item, items, string

__all__ = ["document_part", "image_part", "search_result_text", "text_part"]


def text_part(text: str) -> dict[str, Any]:
    """A part of text."""
    return {"type": "text", "text": text}


def image_part(block: Document, where: str) -> dict[str, Any]:
    """An image block as a part.

    Raises:
        Untranslatable: it is a file stored at Anthropic.
    """
    source = item(block.get("source"), f"{where}.source")
    if source.get("type") == "base64":
        media_type = string(source.get("media_type"), f"{where}.source.media_type")
        data = string(source.get("data"), f"{where}.source.data")
        return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}
    if source.get("type") == "url":
        return {"type": "image_url", "image_url": {"url": string(source.get("url"), f"{where}.source.url")}}
    raise _unknown_source(source, where)


def document_part(block: Document, where: str) -> list[dict[str, Any]]:
    """A document block as parts: text inline, a PDF as a file.

    Raises:
        Untranslatable: it is stored elsewhere, or citations are requested.
    """
    source = item(block.get("source"), f"{where}.source")
    if (block.get("citations") or {}).get("enabled") is True:
        raise Untranslatable(f"{where}.citations are requested, which OpenAI's chat API does not have", param=where)
    kind, title = source.get("type"), block.get("title") or ""
    if kind == "text":
        return [text_part(_framed("document", string(source.get("data"), f"{where}.source.data"), block))]
    if kind == "content":
        return _content_parts(source.get("content"), block, where)
    if kind == "base64":
        media_type = string(source.get("media_type"), f"{where}.source.media_type")
        data = string(source.get("data"), f"{where}.source.data")
        file = {"filename": str(title) or "document.pdf", "file_data": f"data:{media_type};base64,{data}"}
        context = [text_part(str(block["context"]))] if block.get("context") else []
        return [*context, {"type": "file", "file": file}]
    raise _unknown_source(source, where)


def search_result_text(block: Document, where: str) -> str:
    """A search result as text."""
    content = items(block.get("content"), f"{where}.content")
    texts = [string(part.get("text"), f"{where}.content[{i}].text") for i, part in enumerate(content)]
    return _framed("search_result", "\n".join(texts), block, source=block.get("source"))


def _content_parts(content: object, block: Document, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [text_part(_framed("document", content, block))]
    parts = items(content, f"{where}.source.content")
    texts = [string(part.get("text"), f"{where}.source.content") for part in parts if part.get("type") == "text"]
    images = [image_part(part, f"{where}.source.content") for part in parts if part.get("type") == "image"]
    return [text_part(_framed("document", "\n".join(texts), block)), *images]


def _framed(tag: str, text: str, block: Document, *, source: object = None) -> str:
    """A text with its details, marked so that a model sees where it begins and ends."""
    facts = {"title": block.get("title"), "source": source, "context": block.get("context")}
    head = "".join(f" {name}={value!r}" for name, value in facts.items() if isinstance(value, str) and value)
    return f"<{tag}{head}>\n{text}\n</{tag}>"


def _unknown_source(source: Document, where: str) -> Untranslatable:
    return Untranslatable(
        f"{where}.source is of type {source.get('type')!r}, which OpenAI's chat API does not accept: send its content",
        param=f"{where}.source",
    )
