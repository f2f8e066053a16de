"""POST /v1/route: the decision alone."""

import logging
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from pointsman.core.decision import Decision
from pointsman.serve.auth.require_key import check_model, request_key
from pointsman.serve.config import ServerConfig
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.asgi import ClientGone, read_body, send_body
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.requests import ChatRequest, read_question
from pointsman.serve.protocols.surfaces import guess_surface
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.request.context import RequestContext
from pointsman.serve.server.endpoints.headers import JSON, decision_headers, refuse
from pointsman.serve.server.endpoints.route_batch import decide_batch, read_prompts

__all__ = ["RouteOnly"]

_LOG = logging.getLogger(__name__)


class RouteOnly:
    """POST /v1/route: the decision on a chat request, or on {"prompt": ...}, without calling a model.

    "explain": true adds the reasons. {"prompts": [...]} asks for many decisions at once.
    """

    def __init__(self, engine: Engine, *, limits: ServerConfig) -> None:
        from pointsman.serve.engine.explain import Explainer

        self._engine = engine
        self._limits = limits
        self._explainer = Explainer(engine.routers, engine.pair, engine.price_list, drift=engine.state.drift)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(scope, receive, self._limits)
            question = await off_loop(len(body), read_question, body)
            if "prompts" in question.document:
                await self._decide_batch(question, scope, send)
                return
            check_model(scope, question.model, means=self._engine.resolve.means(question.model))
            explain = self._explainer.wanted_by(question.document)
            asked = {name: value for name, value in question.document.items() if name != "explain"}
            surface = guess_surface(asked)
            context = RequestContext(
                replace(question, document=asked), surface=surface, key=request_key(scope), dry_run=True
            )
            if self._engine.rules is not None:
                context.rule_headers = self._engine.rules.read_headers(scope["headers"])
            decision = await self._engine.decide(context)
            answer = decision.to_dict()
            if context.cascade is not None:
                answer["cascade"] = context.cascade.to_dict()
            if explain:
                answer["explanation"] = self._explainer.explain_context(decision, context)
        except RequestError as error:
            await refuse(send, error)
        except ClientGone:
            _LOG.debug("a client disconnected before its decision")
        else:
            told = await off_loop(len(body), write_json, answer)
            await send_body(send, 200, told, (JSON, *decision_headers(decision)))

    async def _decide_batch(self, question: ChatRequest, scope: Scope, send: Send) -> None:
        prompts = read_prompts(question.document)
        check_model(scope, question.model, means=self._engine.resolve.means(question.model))
        decisions = await decide_batch(self._engine, question.model, prompts, request_key(scope))
        body = await off_loop(len(question.body), _listed, decisions)
        await send_body(send, 200, body, (JSON,))


def _listed(decisions: list[Decision]) -> bytes:
    return write_json({"decisions": [decision.to_dict() for decision in decisions]})
