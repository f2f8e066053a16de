"""Writes the reference pages from the code: python docs/generate.py"""

import ast
import inspect
import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from starlette.testclient import TestClient

from pointsman.serve.config import json_schema
from pointsman.serve.config.load import make_config
from pointsman.serve.protocols.translation.chat_over_messages import parameters as chat_over_messages
from pointsman.serve.protocols.translation.messages_over_chat import parameters as messages_over_chat
from pointsman.serve.protocols.translation.parameters import Parameter
from pointsman.serve.protocols.translation.responses_over_messages import parameters as responses_over_messages
from pointsman.serve.server.app import create_app

__all__ = ["PAGES"]

_INTRODUCTION = """# Configuration

*Generated from the code by `python docs/generate.py`.*

`pointsman serve --config FILE` reads one YAML file. `pointsman serve --config FILE --check` reports every unknown key,
bad value and missing environment variable with its path, all at once; `pointsman serve --schema` prints the JSON schema
for editors. Flags of the command line take precedence. Keys belong in environment variables, never in the file.

<!-- file: config.yaml -->
```yaml
strong: big
weak: small
models:
  big: {model: openai/gpt-4o, api_key: "env:OPENAI_API_KEY"}
  small: {base_url: "http://localhost:8000/v1", model: qwen3-8b}
routers:
  mf: {strong_share: 0.3}
```

```console
$ OPENAI_API_KEY=x pointsman serve --config config.yaml --check
ok: routers mf; models big, small
```
"""

_HTTP = """# HTTP reference

*Generated from the code by `python docs/generate.py`; a running server serves the same as an OpenAPI document at
`/openapi.json`.*

## Headers of a routed answer

| header | meaning |
|---|---|
| `x-pointsman-model` | the model that answered |
| `x-pointsman-router` | the router that decided; absent where the request named a model |
| `x-pointsman-win-rate` | probability that the strong model's answer is preferred, in [0, 1] |
| `x-pointsman-threshold` | strong iff the win rate is at least this |
| `x-pointsman-policy` | the rule that set the threshold; `request` where the model field did |
| `x-pointsman-reason` | `win_rate`, `pass-through`, or why the router was not followed |
| `x-pointsman-candidates` | of more than two models: each with its win rate and expected dollars, best first |
| `x-pointsman-chain` | all attempts in order, where there was more than one |
| `x-pointsman-request-id` | the client's `X-Request-Id`, or a new one; for logs and feedback |

Access keys are sent as `Authorization: Bearer pm-...`, `x-api-key: pm-...` or `api-key: pm-...`. Errors have OpenAI's
shape, `{"error": {"message", "type", "param", "code"}}`; on `/v1/messages` Anthropic's. A 4xx of the upstream is passed
through, except 401 and 402: they concern the server's own key and become a 502. Where no upstream gave a usable answer,
the status is 502, 503 (with `Retry-After`) or 504. A stream that is silent for `server.ping_s` starts with a comment;
later errors arrive as an event of the stream.

```sh
pointsman serve --schema > config.schema.json
```

<!-- another terminal -->
```sh
pointsman serve
```

```console
$ curl -s http://127.0.0.1:6060/v1/models
{"object":"list","data":[{"id":"auto",...}],...}
$ curl -si http://127.0.0.1:6060/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "router-mf-0.5", "messages": [{"role": "user", "content": "Hello"}]}' | grep -i x-pointsman-threshold
x-pointsman-threshold: 0.500000
```
"""


_TRANSLATION = """# Translation

*The tables are made from the code by `python docs/generate.py`.*

Any client can be answered by any model of a pair: a client of OpenAI's chat or Responses API by a model whose service
speaks Anthropic's Messages API, a client of the Messages API by a model whose service speaks OpenAI's chat API.
Requests, answers, streams and errors are put in the words of the other API; connection, timeouts, keys, retries and
prices are those of any other request, and a stream that breaks is never shown as complete. Nothing but Pointsman is
needed for it.

What is asked for is never dropped in silence:

- **Hints** that the answer does not hang on are dropped, or mapped to what is nearest (`thinking`, `reasoning_effort`).
  A service that refuses one that was mapped is asked again without it.
- **Values that ask for nothing**, such as `n: 1` or `presence_penalty: 0`, are dropped.
- **What changes the answer** is translated. Where it cannot be, a routed request goes to the model of the pair that can
  be asked, and `x-pointsman-reason` says why; a model that was named, or a pair of which neither can, is refused with a
  400 that names the parameter. So is a parameter that is not listed here.

| in the conversation | over the chat API | over the Messages API |
|---|---|---|
| several calls at once | one block after the other, however the service mixes their pieces | as they come |
| long names and ids, or with other characters | hashed, and told to the client as it knows them | the same |
| thoughts | dropped in histories, but for services that want theirs back; shown as `thinking`, signed by us \
| shown as `reasoning_content` and `thinking_blocks`, or as reasoning items; taken back with their signature |
| documents | text in line, PDF as a `file`; those held by Anthropic, or to be cited, are refused \
| PDF, text and images; those held by OpenAI are refused |
| images and files in a tool's result | sent after the results | part of the result |
| a tool's error | "Error: " before its text | |
| tools that Anthropic's models know by heart | `bash`, `text_editor` and `memory` are described; those that Anthropic \
runs are refused | |
| custom tools | | tools that take one text |
| a schema for the answer | `response_format` | `output_config.format`; told in the system prompt to models before 4.5 |
| several system messages | where they are | one, at the beginning |
| tokens | as the service reports them; the first event's are counted here | as the service reports them |
"""
_PYTHON = """# Python reference

*Generated from the code by `python docs/generate.py`.*

`Controller` is the gateway without HTTP; the rest is what it is made of, for evaluations and tools of your own.

```python
from pointsman.serve import Controller

with Controller(["mf"]) as controller:
    decision = controller.route("Prove that there are infinitely many primes.", strong_share=0.3)
    print(decision.model, round(decision.win_rate, 2), decision.reason)
```
"""
_PUBLIC = {
    "The gateway": ["pointsman.serve.Controller", "pointsman.serve.create_app", "pointsman.core.decision.Decision"],
    "Routers": [
        "pointsman.core.router.Router",
        "pointsman.core.checkpoint.read_checkpoint",
        "pointsman.core.checkpoint.write_checkpoint",
        "pointsman.serve.checkpoints.load.load_router",
        "pointsman.core.pair.ModelPair",
        "pointsman.core.embedding.Embedder",
    ],
    "Calibration and guarantees": [
        "pointsman.core.calibration.Calibration",
        "pointsman.core.calibration.calibrate_threshold",
        "pointsman.core.calibration.threshold_for_cost",
        "pointsman.core.guarantee.certify_threshold",
    ],
    "Figures": [
        "pointsman.core.metrics.quality_curve",
        "pointsman.core.metrics.apgr",
        "pointsman.core.replay.replay",
    ],
    "Errors": ["pointsman.core.errors.PointsmanError", "pointsman.core.errors.ConfigError"],
}
_TABLES = {
    "Messages API, answered over the chat API": messages_over_chat.PARAMETERS,
    "Chat API, answered over the Messages API": chat_over_messages.PARAMETERS,
    "Responses API, answered over the Messages API": responses_over_messages.PARAMETERS,
}


def configuration() -> str:
    """The page on the configuration file."""
    schema = json_schema()
    pieces = [_INTRODUCTION, *_section(schema, schema["$defs"], "", "Top level")]
    return _page(pieces, see="[HTTP](http.md), [deploy](deploy.md), [policies](policies.md), [the store](store.md)")


def http() -> str:
    """The page on what the server answers."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_config({"store": {"url": f"sqlite:///{folder}/store.db"}, "drift": {}})
        with TestClient(create_app(config), base_url="http://localhost") as client:
            document = client.get("/openapi.json").json()
    pieces = [_HTTP]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            pieces += _operation(f"{method.upper()} {path}", operation, document["components"]["schemas"])
    return _page(pieces, see="[clients and models](clients.md), [configuration](configuration.md)")


def translation() -> str:
    """The page on what becomes of a request whose model speaks another API."""
    pieces = [_TRANSLATION]
    for title, parameters in _TABLES.items():
        pieces += [f"## {title}\n", "| parameter | what becomes of it | |", "|---|---|---|"]
        pieces += [_parameter(parameter) for parameter in sorted(parameters.values(), key=attrgetter("name"))]
        pieces.append("")
    return _page(pieces, see="[clients and models](clients.md), [HTTP](http.md)")


def python() -> str:
    """The page on the Python API."""
    pieces = [_PYTHON]
    for title, names in _PUBLIC.items():
        pieces.append(f"## {title}\n")
        for name in names:
            module, _, attribute = name.rpartition(".")
            pieces += _described(name, getattr(import_module(module), attribute))
    return _page(pieces, see="[clients and models](clients.md), [architecture](architecture.md)")


def _described(name: str, thing: Any) -> Iterator[str]:
    """A class with its public methods, or a function: signature and docstring."""
    yield f"### `{name.removeprefix('pointsman.')}`\n\n```text"
    if not inspect.isclass(thing):
        yield from (_signature(thing), "", inspect.getdoc(thing) or "", "```\n")
        return
    yield inspect.getdoc(thing) or ""
    for method, kept in vars(thing).items():
        made = getattr(kept, "__func__", kept)
        if inspect.isfunction(made) and made.__doc__ and (method == "__init__" or not method.startswith("_")):
            yield f"\n{_signature(made)}\n\n{indent(inspect.getdoc(made) or '', '    ')}"
    yield "```\n"


def _signature(function: Any) -> str:
    """As it is written in the code."""
    made = ast.parse(dedent(inspect.getsource(function))).body[0]
    assert isinstance(made, ast.FunctionDef | ast.AsyncFunctionDef)
    returned = f" -> {ast.unparse(made.returns)}" if made.returns is not None else ""
    return f"{made.name}({ast.unparse(made.args)}){returned}"


def _parameter(parameter: Parameter) -> str:
    idle = ", ".join(f"`{json.dumps(value)}`" for value in parameter.idle)
    note = "; ".join(filter(None, [parameter.note, f"{idle} asks for nothing and is dropped" if idle else ""]))
    return f"| `{parameter.name}` | {parameter.fate} | {note} |"


def _page(pieces: list[str], *, see: str) -> str:
    text = "\n".join(pieces).rstrip()
    return f"{text}\n\nSee also: {see}; [all pages](README.md).\n"


PAGES = {"python.md": python, "configuration.md": configuration, "http.md": http, "translation.md": translation}


def _operation(title: str, operation: Mapping[str, Any], parts: Mapping[str, Any]) -> Iterator[str]:
    """One method of one path: what it takes and what it answers."""
    yield f"## `{title}`\n"
    yield f"{operation['summary']}.\n"
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for name in dict.fromkeys(name for name, _ in _parts_in(content["schema"])):
            yield from _fields(parts[name], parts)
    for answer in operation["responses"]["200"]["content"].values():
        for name in dict.fromkeys(name for name, _ in _parts_in(answer.get("schema", {}))):
            if fields := ", ".join(f"`{field}`" for field in parts[name].get("properties", ())):
                yield f"Answer: {fields}.\n"


def _section(part: Mapping[str, Any], parts: Mapping[str, Any], path: str, title: str) -> Iterator[str]:
    """One part of the configuration, then the parts within it."""
    yield f"## {title}\n"
    yield from _fields(part, parts)
    for name, field in part["properties"].items():
        for inner, suffix in _parts_in(field):
            inside = f"{path}.{name}" if path else name
            yield from _section(parts[inner], parts, inside + suffix, f"`{inside}{suffix}`")


def _fields(part: Mapping[str, Any], parts: Mapping[str, Any]) -> Iterator[str]:
    yield f"{part['description']}\n"
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    required = part.get("required", ())
    for name, field in part.get("properties", {}).items():
        default = "required" if name in required else _default(field)
        yield f"| `{name}` | {_type(field, parts)} | {default} | {_cell(field.get('description', ''))} |"
    yield ""


def _parts_in(field: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of the parts that a field holds, each with what its path gets."""
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2], ""
    for choice in (*field.get("anyOf", ()), *field.get("oneOf", ())):
        yield from _parts_in(choice)
    for within in (field.get("additionalProperties"), *field.get("patternProperties", {}).values()):
        if isinstance(within, dict):
            yield from ((name, f".<name>{suffix}") for name, suffix in _parts_in(within))
    if isinstance(within := field.get("items"), dict):
        yield from ((name, f"[]{suffix}") for name, suffix in _parts_in(within))


def _type(field: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "$ref" in field:
        named = parts[field["$ref"].rpartition("/")[2]]
        return "mapping" if "properties" in named else _type(named, parts)
    if choices := [c for c in (*field.get("anyOf", ()), *field.get("oneOf", ())) if c.get("type") != "null"]:
        return " or ".join(dict.fromkeys(_type(choice, parts) for choice in choices))
    if field.get("type") == "array":
        return f"list of {_type(field['items'], parts)}" if "items" in field else "list"
    words = {"object": "mapping", "boolean": "true or false", "string": "text"}
    return words.get(str(field.get("type")), str(field.get("type", "any"))) + _range(field)


def _range(field: Mapping[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field]
    return f" {' and '.join(limits)}" if limits else ""


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    if value is None or isinstance(value, (dict, list)):
        return ""
    return f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<").rstrip(".")


def main() -> None:
    """Writes every page beside this file."""
    for name, make in PAGES.items():
        Path(__file__).with_name(name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
