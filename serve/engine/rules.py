"""The rules checked before the score: which configured rule a request matches, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.core.arrays import Float32Array, FloatArray
from pointsman.core.embedding import Embedder, EmbedderIdentity
from pointsman.core.errors import ConfigError
from pointsman.core.example_sets import directions, left_out_similarities, similarities, similarity_threshold
from pointsman.core.router import EmbeddingRouter, Router
from pointsman.core.similarity import unit_rows
from pointsman.serve.config.rules import RuleConfig
from pointsman.serve.engine.rule_conditions import Facts, any_pattern, conditions
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.matched_rule import MatchedRule

__all__ = ["ExampleRules", "Rules"]

_TIE = 1e-6  # similarities so close are equal: of rules with the same examples


@dataclass(frozen=True, slots=True, eq=False)
class ExampleRules:
    """The rules with examples, embedded by one embedder.

    Attributes:
        embed: the embedder.
        n_subject: number of leading coordinates of an embedding that describe the subject.
        rows: index of each among all rules.
        vectors: mean directions of their examples, shape (n, dim).
        thresholds: least similarities, shape (n,).
    """

    embed: Embedder
    n_subject: int
    rows: tuple[int, ...]
    vectors: Float32Array
    thresholds: FloatArray

    @classmethod
    def of(cls, rules: Sequence[RuleConfig], embed: Embedder) -> "ExampleRules":
        """Embeds all examples and counter-examples, and calibrates the thresholds that are not given."""
        rows = tuple(i for i, rule in enumerate(rules) if rule.similar_to)
        given = [rules[i] for i in rows]
        n_subject = _n_subject(embed.identity)
        examples = [embed(rule.similar_to)[:, :n_subject] for rule in given]
        vectors = directions(examples)
        thresholds = []
        for k, rule in enumerate(given):
            outside = [examples[j] for j in range(len(given)) if given[j].similar_to != rule.similar_to]
            if rule.unlike:
                outside.append(embed(rule.unlike)[:, :n_subject])
            known = rule.similarity
            thresholds.append(_calibrated(examples[k], outside, vectors[k]) if known is None else known)
        return cls(embed, n_subject, rows, vectors, np.array(thresholds))


def _calibrated(examples: Float32Array, outside: Sequence[Float32Array], vector: Float32Array) -> float:
    """The threshold that separates the examples, each left out of their mean, from all other texts."""
    cosines = unit_rows(np.concatenate(outside)) @ vector if outside else np.zeros(0)
    return similarity_threshold(left_out_similarities(examples), cosines)


def _n_subject(identity: EmbedderIdentity) -> int:
    """Number of coordinates without those that the bundled embedders add for a text's length and difficulty."""
    added = identity.name.count("+") if identity.name.partition("+")[0] == "static" else 0
    return identity.dim - added


class Rules:
    """The rules of a configuration.

    Attributes:
        headers: names of the headers that they check, in lower case.
    """

    def __init__(
        self, rules: Sequence[RuleConfig], routers: Mapping[str, Router], *, candidates: Sequence[str] = ()
    ) -> None:
        """Embeds their examples with each router's embedder; with the bundled one for a router without one.

        Args:
            candidates: the models that may be named; any if empty.

        Raises:
            ConfigError: a rule names a model that is not a candidate.
            PointsmanError: an embedder fails, or regular expressions are given and google-re2 is not installed.
        """
        for rule in rules:
            if unknown := [name for name in rule.then.models if candidates and name not in candidates]:
                raise ConfigError(
                    f"rules: rule {rule.name!r} names {', '.join(map(repr, unknown))}, wanted models that are routed: "
                    f"{', '.join(candidates)}"
                )
        self.rules = tuple(rules)
        self.headers = frozenset(name for rule in rules for name in rule.header)
        self._any_pattern = any_pattern([pattern for rule in rules for pattern in rule.matches])
        self._conditions = [tuple(conditions(rule)) for rule in rules]
        self._with_examples = [bool(rule.similar_to) for rule in rules]
        self.examples: dict[str, ExampleRules] = {}
        if any(self._with_examples):
            seen: dict[str, ExampleRules] = {}
            for name, router in routers.items():
                embed = router.embed if isinstance(router, EmbeddingRouter) else _bundled_embedder()
                identity = repr(embed.identity)
                if identity not in seen:
                    seen[identity] = ExampleRules.of(rules, embed)
                self.examples[name] = seen[identity]

    def read_headers(self, headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
        """Those of a request's headers that rules check."""
        read = {}
        for name, value in headers:
            text = name.decode("latin-1").lower()
            if text in self.headers:
                read[text] = value.decode("latin-1")
        return read

    def match(self, context: RequestContext, embedding: Float32Array | None) -> MatchedRule | None:
        """The first rule that a request matches, or None.

        Args:
            embedding: of its prompt by its router's embedder, shape (dim,); without one (None) no rule
                with examples matches.
        """
        facts = Facts(context, self._any_pattern)
        similar = self._similar(context, embedding)
        for i, rule in enumerate(self.rules):
            if self._with_examples[i] and i not in similar:
                continue
            because = self._because(i, facts)
            if because is None:
                continue
            if self._with_examples[i]:
                nearer = [j for j in similar if similar[j][0] > similar[i][0] + _TIE]
                if any(self._because(j, facts) is not None for j in nearer):
                    continue
                because = ("similar to its examples: cosine {:.3f} >= {:.3f}".format(*similar[i]), *because)
            then = rule.then
            return MatchedRule(rule.name, because, then.models, then.threshold, then.cascade is False)
        return None

    def _similar(self, context: RequestContext, embedding: Float32Array | None) -> dict[int, tuple[float, float]]:
        """Similarity and threshold of the rules whose examples are similar to the prompt, by index."""
        router = context.parsed.router if context.parsed is not None else None
        known = self.examples.get(router or "")
        if embedding is None or known is None:
            return {}
        found = similarities(known.vectors, embedding[: known.n_subject])
        return {
            known.rows[k]: (float(found[k]), float(known.thresholds[k]))
            for k in np.flatnonzero(found >= known.thresholds).tolist()
        }

    def _because(self, i: int, facts: Facts) -> tuple[str, ...] | None:
        """The conditions of a rule, without examples, in words; None if one does not match."""
        met = []
        for condition in self._conditions[i]:
            if (told := condition(facts)) is None:
                return None
            met.append(told)
        return tuple(met)


def _bundled_embedder() -> Embedder:
    from pointsman.backends.embedders import resolve_embedder

    return resolve_embedder("static")
