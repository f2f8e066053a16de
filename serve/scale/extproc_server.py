"""Serves Envoy's external processor over gRPC, beside the HTTP server and with its engine."""

import logging
from importlib import import_module
from typing import Any

from pointsman.core.errors import ConfigError, MissingExtraError
from pointsman.serve.scale.extproc import ExternalProcessor, ProcessorOptions
from pointsman.serve.scale.extproc_messages import load_messages
from pointsman.serve.server.hot_swap import Application

__all__ = ["ExternalProcessorServer"]

_LOG = logging.getLogger(__name__)
_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
_HEALTH = "grpc.health.v1.Health"
_SERVING = 1  # HealthCheckResponse.ServingStatus
_DRAIN_S = 5.0


class ExternalProcessorServer:
    """A companion of the application: listens from before the first request until after the last.

    Attributes:
        address: where it listens, with the actual port for port 0; None before `start`.
    """

    def __init__(self, listen: str, options: ProcessorOptions) -> None:
        """Does not listen yet.

        Args:
            listen: HOST:PORT or unix:PATH.

        Raises:
            MissingExtraError: grpcio or protobuf is not installed.
        """
        self._listen = listen
        self._options = options
        self._messages = load_messages()
        try:
            self._grpc: Any = import_module("grpc")
            import_module("grpc.aio")
        except ImportError as error:
            raise MissingExtraError("grpcio", "envoy") from error
        self._server: Any = None
        self.address: str | None = None

    async def start(self, application: Application) -> None:
        """Listens.

        Raises:
            ConfigError: the address cannot be used.
        """
        processor = ExternalProcessor(application, self._options, application.engine.state.registry)
        server = self._grpc.aio.server()
        server.add_generic_rpc_handlers(self._handlers(processor))
        try:
            port = server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {self._listen}: {error}; choose another with --listen") from error
        await server.start()
        self._server = server
        self.address = self._listen if self._listen.startswith("unix:") else f"{self._listen.rpartition(':')[0]}:{port}"
        _LOG.info("the external processor listens on %s", self.address)

    async def close(self) -> None:
        """Finishes what is in flight, and releases the address."""
        if self._server is not None:
            await self._server.stop(_DRAIN_S)
            self._server = None

    def _handlers(self, processor: ExternalProcessor) -> tuple[Any, ...]:
        stub, messages = self._grpc, self._messages

        async def check(_request: Any, _context: Any) -> Any:
            return messages["HealthCheckResponse"](status=_SERVING)

        stream = stub.stream_stream_rpc_method_handler(
            processor.process,
            request_deserializer=messages["ProcessingRequest"].FromString,
            response_serializer=messages["ProcessingResponse"].SerializeToString,
        )
        health = stub.unary_unary_rpc_method_handler(
            check,
            request_deserializer=messages["HealthCheckRequest"].FromString,
            response_serializer=messages["HealthCheckResponse"].SerializeToString,
        )
        return (
            stub.method_handlers_generic_handler(_SERVICE, {"Process": stream}),
            stub.method_handlers_generic_handler(_HEALTH, {"Check": health}),
        )
