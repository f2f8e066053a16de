"""The whole configuration."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.config.base import Name, Part
from pointsman.serve.config.cascade import CascadeConfig
from pointsman.serve.config.dashboard import DashboardConfig
from pointsman.serve.config.drift import DriftConfig
from pointsman.serve.config.models import ModelConfig
from pointsman.serve.config.policy import PolicyConfig
from pointsman.serve.config.routers import RouterConfig
from pointsman.serve.config.rules import RuleConfig
from pointsman.serve.config.server import ServerConfig
from pointsman.serve.config.sessions import SessionsConfig
from pointsman.serve.config.shadow import NO_JUDGE, ShadowConfig
from pointsman.serve.config.store import StoreConfig
from pointsman.serve.config.telemetry import TelemetryConfig
from pointsman.serve.protocols.model_field import AUTO, ROUTER_PREFIX

__all__ = ["Config", "json_schema", "name_problems"]


class Config(Part):
    """The configuration of a server or controller.

    Attributes:
        strong, weak: the two models to route between; the built-in stand-ins if None.
        candidates: any number of models to route among, instead of strong and weak. The first is the
            reference that the others are compared with; where prices are unknown, an earlier one is assumed to be more
            expensive.
        models: all models, by the names used in requests.
        routers: by name, the default one first.
        aliases: further values of `model` for clients with fixed model names, each mapped to auto, a router or a
            model; a name may contain `*`, as in claude-haiku-*.
        background: who answers background requests of clients, such as titles of conversations: the weak model, or
            the model that the router chooses (routed).
        fallback: who answers a routed request whose model fails: the strong model for the weak one (to_strong), each
            for the other (both), or nobody (none). With `candidates` it is the next best, unless none.
        server: the HTTP server.
        rules: checked before a prompt is scored: the first rule that a request matches restricts its candidates, names
            one, sets its threshold or skips the cascade.
        policy: what sets the threshold of requests that name none.
        cascade: checks of the cheap model's answer before it is returned; none if None.
        sessions: sticky conversations; each request is decided independently if None.
        dashboard: the page at `/`.
        store: the database; nothing is kept on disk if None.
        drift: alarms when prompts no longer resemble those of the calibration; off if None.
        shadow: comparisons of the two models' answers by a judge; off if None.
        autopilot: savings under a certified bound on lost quality; off if None.
        telemetry: OpenTelemetry traces.
    """

    strong: Name | None = None
    weak: Name | None = None
    candidates: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    fallback: Literal["to_strong", "both", "none"] = "to_strong"
    models: dict[Name, ModelConfig] = Field(default_factory=dict)
    routers: dict[Name, RouterConfig] = Field(default_factory=lambda: {"mf": RouterConfig.defaults()})
    background: Literal["weak", "routed"] = "weak"
    aliases: dict[Name, Name] = Field(default_factory=dict)
    server: ServerConfig = ServerConfig.defaults()
    rules: Annotated[tuple[RuleConfig, ...], Field(strict=False)] = ()
    policy: PolicyConfig = PolicyConfig.defaults()
    cascade: CascadeConfig | None = None
    sessions: SessionsConfig | None = None
    dashboard: DashboardConfig = DashboardConfig.defaults()
    store: StoreConfig | None = None
    drift: DriftConfig | None = None
    shadow: ShadowConfig | None = None
    autopilot: AutopilotConfig | None = None
    telemetry: TelemetryConfig = TelemetryConfig.defaults()

    def settings_of(self, model: str) -> ModelConfig:
        """The settings of a model, which need not be listed under `models`."""
        return self.models.get(model) or ModelConfig.defaults()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        problems = list(name_problems(self.strong, self.weak, [*self.candidates, *self.models]))
        if problems := [*problems, *self._candidate_problems()]:
            raise ValueError("; ".join(problems))
        for alias in self.aliases:
            if alias in (AUTO, self.strong, self.weak, *self.models) or alias.startswith(ROUTER_PREFIX):
                raise ValueError(f"aliases.{alias} is already the name of a router or model, wanted another name")
        if not self.routers:
            raise ValueError("routers is empty, wanted at least one, e.g. routers: {mf: {}}")
        if self.server.keys == "store" and self.store is None:
            raise ValueError("server.keys is 'store' and no store is configured, wanted one, e.g. store: {}")
        if self.server.keys is not None and self.server.keys_file is not None:
            raise ValueError("server.keys and server.keys_file are both given, wanted one of them")
        for problem in self._rule_problems():
            raise ValueError(problem)
        if self.shadow is not None:
            self._check_judge("shadow", self.shadow.judge)
        if self.autopilot is not None:
            self._check_judge("autopilot", self.autopilot.judge, may_lack=True)
            self._check_autopilot()
        if self.cascade is not None:
            self._check_cascade(self.cascade)
        return self

    def _rule_problems(self) -> Iterator[str]:
        names = [rule.name for rule in self.rules]
        if twice := next((name for name in names if names.count(name) > 1), None):
            yield f"rules: the name {twice!r} is given twice"
        for rule in self.rules:
            if rule.then.cascade is not None and self.cascade is None:
                yield f"rules: rule {rule.name!r} skips the cascade, and none is configured: leave out then.cascade"
        if self.rules and self.autopilot is not None:
            yield "autopilot and rules are both given, wanted one: only decisions by win rate are certified"

    def _check_cascade(self, cascade: CascadeConfig) -> None:
        routed = self.candidates or tuple(filter(None, (self.strong, self.weak)))
        for name in cascade.models or ():
            if name not in routed:
                raise ValueError(f"cascade names model {name!r}, wanted models that are routed: {', '.join(routed)}")
        if cascade.p_true is not None and cascade.p_true not in self.models:
            raise ValueError(f"cascade.p_true is {cascade.p_true!r}, wanted a name under models")

    def _check_judge(self, part: str, judge: str, *, may_lack: bool = False) -> None:
        if self.store is None:
            raise ValueError(f"{part} needs a store for its comparisons, wanted one, e.g. store: {{}}")
        if may_lack and judge == NO_JUDGE:
            return
        if judge not in self.models or judge in self.routed:
            raise ValueError(f"{part}.judge is {judge!r}, wanted a name under models that is not routed itself")

    def _check_autopilot(self) -> None:
        if not self.routed:
            raise ValueError("autopilot is given with the stand-ins, wanted strong and weak, or candidates")
        if len(self.routed) > 2 and self.cascade is not None:
            raise ValueError(
                f"autopilot is given with a cascade and {len(self.routed)} candidates, wanted a pair, or no cascade: "
                "the answers of one weak model are certified; name two of them as strong and weak"
            )
        if self.shadow is not None:
            raise ValueError("autopilot and shadow are both given, wanted one: the autopilot makes its own comparisons")
        if self.cascade is not None and (problem := self._uncertifiable(self.cascade)):
            raise ValueError(f"autopilot and {problem}")
        if self.policy.is_set or self.policy.schedule:
            raise ValueError(
                "autopilot and a policy that sets the threshold are both given, wanted one: leave out "
                "policy.threshold, strong_share, max_loss, max_cost_usd and schedule; hard budgets may stay, and win "
                "over the bound"
            )

    def _uncertifiable(self, cascade: CascadeConfig) -> str | None:
        """Why the autopilot cannot certify the cascade, and the way out; None if it can."""
        if cascade.models is not None and cascade.models != [self.weak, self.strong]:
            return (
                f"cascade.models {cascade.models} are given, wanted none: it certifies the weak before the strong model"
            )
        if isinstance(cascade.verifier, dict):
            return "a verifier per model are given, wanted one, of the weak model: cascade.verifier: DIR"
        for name in ("threshold", "max_loss"):
            if getattr(cascade, name) is not None:
                return f"cascade.{name} are both given, wanted one: the autopilot sets the threshold that it certifies"
        if cascade.stream not in ("off", "hold"):
            return (
                "cascade.stream: {prefix: ...} are both given, wanted stream: hold: it certifies what whole answers say"
            )
        for name in ("samples", "p_true", "max_wait_s"):
            if getattr(cascade, name):
                return f"cascade.{name} are both given, wanted one: leave out cascade.{name}"
        if cascade.verifier is None and not cascade.logprobs:
            return (
                "cascade.logprobs: false without a verifier are given, wanted one of them: nothing scores the answers"
            )
        if self.sessions is not None:
            return "a cascade and sessions are given, wanted no sessions: a cascade decides each request by its answer"
        return None

    def _candidate_problems(self) -> Iterator[str]:
        names = self.candidates
        if not names:
            if "candidates" in self.model_fields_set:
                yield "candidates are empty, wanted at least two, the reference first; or leave the key out"
            return
        if self.strong is not None or self.weak is not None:
            yield "candidates and strong or weak are given together, wanted one of both"
        if len(names) < 2:
            yield f"candidates are {', '.join(names)}, wanted at least two: the reference first"
        if twice := next((name for name in names if names.count(name) > 1), None):
            yield f"candidates name {twice!r} twice, wanted different models"
        for name, router in self.routers.items():
            if unknown := [mapped for mapped in router.candidates if mapped not in names]:
                yield f"routers.{name}.candidates maps {', '.join(unknown)}, wanted some of {', '.join(names)}"

    @property
    def routed(self) -> tuple[str, ...]:
        """The models to route among, the reference first; empty for the stand-ins."""
        if self.candidates:
            return self.candidates
        return (self.strong, self.weak) if self.strong is not None and self.weak is not None else ()


def name_problems(strong: object, weak: object, models: Iterable[object]) -> Iterator[str]:
    """Errors in the names of the models."""
    if (strong is None) != (weak is None):
        given, missing = ("strong", "weak") if weak is None else ("weak", "strong")
        yield f"{given} is given and {missing} is not, wanted both (or neither, for the stand-ins)"
    if strong is not None and strong == weak:
        yield f"strong and weak are both {strong!r}, wanted two different models"
    for name in dict.fromkeys([strong, weak, *models]):
        if isinstance(name, str) and (name == AUTO or name.startswith(ROUTER_PREFIX)):
            yield f"models.{name}: {AUTO!r} and names that begin with {ROUTER_PREFIX!r} mean routers"


def json_schema() -> dict[str, Any]:
    """JSON schema of the configuration file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
