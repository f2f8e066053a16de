"""The messages of Envoy's external processing protocol, as far as a processor needs them.

They are declared here, and not taken from a package: the packages that carry Envoy's definitions bring modules named
`google`, `opentelemetry` and `test`, which overwrite other packages' files. On the wire only field numbers and types
matter, so a part of a message is read and written like the whole. Source: envoy/service/ext_proc/v3
(external_processor.proto) and envoy/config/core/v3/base.proto of Envoy 1.40; grpc/health/v1/health.proto.
"""

from importlib import import_module
from typing import Any

from pointsman.core.errors import MissingExtraError

__all__ = ["load_messages"]

_PROTOBUF = tuple(f"google.protobuf.{name}" for name in ("descriptor_pb2", "descriptor_pool", "message_factory"))
_PACKAGE = "pointsman.extproc"
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "HeaderValue": {"key": (1, "string"), "value": (2, "string"), "raw_value": (3, "bytes")},
    "HeaderMap": {"headers": (1, "repeated HeaderValue")},
    "HttpHeaders": {"headers": (1, "HeaderMap"), "end_of_stream": (3, "bool")},
    "HttpBody": {"body": (1, "bytes"), "end_of_stream": (2, "bool")},
    "HttpTrailers": {"trailers": (1, "HeaderMap")},
    "ProcessingRequest": {
        "request_headers": (2, "one HttpHeaders"),
        "response_headers": (3, "one HttpHeaders"),
        "request_body": (4, "one HttpBody"),
        "response_body": (5, "one HttpBody"),
        "request_trailers": (6, "one HttpTrailers"),
        "response_trailers": (7, "one HttpTrailers"),
    },
    "HeaderValueOption": {"header": (1, "HeaderValue"), "append_action": (3, "int32")},
    "HeaderMutation": {"set_headers": (1, "repeated HeaderValueOption"), "remove_headers": (2, "repeated string")},
    "BodyMutation": {"body": (1, "bytes")},
    "CommonResponse": {
        "header_mutation": (2, "HeaderMutation"),
        "body_mutation": (3, "BodyMutation"),
        "clear_route_cache": (5, "bool"),
    },
    "HeadersResponse": {"response": (1, "CommonResponse")},
    "BodyResponse": {"response": (1, "CommonResponse")},
    "TrailersResponse": {"header_mutation": (1, "HeaderMutation")},
    "HttpStatus": {"code": (1, "int32")},
    "ImmediateResponse": {
        "status": (1, "HttpStatus"),
        "headers": (2, "HeaderMutation"),
        "body": (3, "bytes"),
        "details": (5, "string"),
    },
    "ProcessingResponse": {
        "request_headers": (1, "one HeadersResponse"),
        "response_headers": (2, "one HeadersResponse"),
        "request_body": (3, "one BodyResponse"),
        "response_body": (4, "one BodyResponse"),
        "request_trailers": (5, "one TrailersResponse"),
        "response_trailers": (6, "one TrailersResponse"),
        "immediate_response": (7, "one ImmediateResponse"),
    },
    "HealthCheckRequest": {"service": (1, "string")},
    "HealthCheckResponse": {"status": (1, "int32")},
}


def load_messages() -> dict[str, Any]:
    """The message classes by name.

    Raises:
        MissingExtraError: protobuf is not installed.
    """
    try:
        descriptor_pb2, descriptor_pool, message_factory = map(import_module, _PROTOBUF)
    except ImportError as error:
        raise MissingExtraError("protobuf", "envoy") from error
    file = descriptor_pb2.FileDescriptorProto(name="pointsman/extproc.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add_field(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


def _add_field(message: Any, name: str, number: int, kind: str) -> None:
    """Adds a field; `kind` is a type, after "repeated " or "one " (of the message's group) where that applies."""
    *manner, kind = kind.split()
    field = message.field.add(name=name, number=number, label=3 if "repeated" in manner else 1)
    if kind in _MESSAGES:
        field.type, field.type_name = 11, f".{_PACKAGE}.{kind}"
    else:
        field.type = {"string": 9, "bytes": 12, "bool": 8, "int32": 5}[kind]
    if "one" in manner:
        if not message.oneof_decl:
            message.oneof_decl.add(name="kind")
        field.oneof_index = 0
