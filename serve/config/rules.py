"""Rules that are checked before the score, in the configuration."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pointsman.core.errors import MissingExtraError
from pointsman.core.language import LANGUAGES
from pointsman.serve.config.base import Name, Part, Share

__all__ = ["RuleConfig", "ThenConfig", "TokenRange", "compile_pattern"]

_CONDITIONS = ("similar_to", "matches", "header", "key", "tier", "api", "tokens", "language", "images", "tools")
_SECRET_HEADERS = ("authorization", "x-api-key", "api-key", "cookie", "proxy-authorization")


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def compile_pattern(pattern: str) -> Any:
    """A regular expression of RE2, which searches in time linear in the text.

    Raises:
        ValueError: it is malformed, or needs backtracking.
        MissingExtraError: google-re2 is not installed.
    """
    try:
        import re2  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("google-re2", "rules") from None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        told = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(
            f"{pattern!r:.80} is not a regular expression of RE2 ({told}); RE2 has no look-around or back-references, "
            "so that every search takes linear time"
        ) from None


def _check_pattern(pattern: str) -> str:
    compile_pattern(pattern)
    return pattern


def _check_header(name: str) -> str:
    if name.lower() in _SECRET_HEADERS:
        raise ValueError(f"header {name} holds a secret, wanted another header; for access keys there are key and tier")
    return name.lower()


def _check_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"language {code!r} cannot be detected, wanted some of {', '.join(LANGUAGES)}")
    return code


def _check_text(text: str) -> str:
    if not text.strip():
        raise ValueError("an example is empty, wanted text")
    return text


Texts = Annotated[
    tuple[Annotated[str, AfterValidator(_check_text)], ...], BeforeValidator(_listed), Field(strict=False)
]
Names = Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(strict=False)]
Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_check_pattern)], ...],
    BeforeValidator(_listed),
    Field(strict=False),
]
Header = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]+$", description="name of a header"), AfterValidator(_check_header)
]
Languages = Annotated[
    tuple[Annotated[str, AfterValidator(_check_language)], ...], BeforeValidator(_listed), Field(strict=False)
]
Apis = Annotated[tuple[Literal["chat", "responses", "messages"], ...], BeforeValidator(_listed), Field(strict=False)]
Count = Annotated[int, Field(ge=0)]


class TokenRange(Part):
    """Bounds of the tokens of a request's input, history included, as counted here.

    Attributes:
        at_least: fewest tokens.
        at_most: most tokens; no limit if None.
    """

    at_least: Count = 0
    at_most: Count | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most {self.at_most} is below at_least {self.at_least}")
        return self


class ThenConfig(Part):
    """What a rule does with a request.

    Attributes:
        model: the candidate that answers.
        candidates: the candidates among which the router chooses, instead of one model.
        threshold: of requests that name none.
        cascade: false returns the first answer without checking it.
        strict: never use other candidates, for bounds, budgets or failures; reject the request instead.
    """

    model: Name | None = None
    candidates: Names = ()
    threshold: Share | None = None
    cascade: Literal[False] | None = None
    strict: bool = False

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        if self.model is not None and self.candidates:
            raise ValueError("model and candidates are both given, wanted one of them")
        if not self.models and self.threshold is None and self.cascade is None:
            raise ValueError("has no effect, wanted one of model, candidates, threshold, cascade: false")
        if self.strict and not self.models:
            raise ValueError("strict is given without a model or candidates")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The candidates that it allows; empty if it allows all."""
        return self.candidates if self.model is None else (self.model,)


class RuleConfig(Part):
    """One rule: all of the given conditions must match; the first rule that matches applies.

    Attributes:
        name: shown in decisions, metrics and explanations.
        similar_to: example prompts; matches prompts whose embedding is as similar to the mean of theirs as `similarity`
            says, and more similar than to the examples of any other matching rule.
        unlike: counter-examples, used only to calibrate the threshold.
        similarity: least cosine; calibrated from the examples, the counter-examples and the other rules' examples if
            None. `pointsman rules test` checks it.
        matches: regular expressions of RE2, any of which the prompt contains; (?i) ignores case.
        header: values of the request's headers, by name; * stands for any text.
        key: ids or names of access keys, one of which sent the request.
        tier: likewise tiers of access keys.
        api: chat, responses or messages.
        tokens: bounds of the input's tokens.
        language: languages of the prompt by ISO 639-1, such as de.
        images: whether the request holds an image.
        tools: whether it offers tools.
        then: what to do.
    """

    name: Name
    similar_to: Texts = ()
    unlike: Texts = ()
    similarity: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    matches: Patterns = ()
    header: dict[Header, str] = Field(default_factory=dict)
    key: Names = ()
    tier: Names = ()
    api: Apis = ()
    tokens: TokenRange | None = None
    language: Languages = ()
    images: bool | None = None
    tools: bool | None = None
    then: ThenConfig

    @model_validator(mode="after")
    def _check_conditions(self) -> Self:
        if all(getattr(self, name) in (None, (), {}) for name in _CONDITIONS):
            raise ValueError(f"rule {self.name!r} has no condition, wanted one of {', '.join(_CONDITIONS)}")
        if not self.similar_to and (self.unlike or self.similarity is not None):
            raise ValueError(f"rule {self.name!r} has unlike or similarity without similar_to, wanted examples")
        if len(self.similar_to) == 1 and self.similarity is None:
            raise ValueError(
                f"rule {self.name!r} has one example, from which no threshold can be calibrated: wanted two or "
                "more, or similarity"
            )
        return self
