"""`pointsman rules test`: runs the configured rules on labelled prompts and suggests thresholds."""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import Float32Array
from pointsman.core.errors import ConfigError, DataError
from pointsman.core.example_sets import left_out_similarities, similarity_threshold
from pointsman.core.similarity import unit_rows
from pointsman.serve.commands.arguments import FORMATS_HELP, add_column_arguments, add_config_argument, fraction, mapped

if TYPE_CHECKING:
    from pointsman.serve.engine.rules import ExampleRules, Rules

__all__ = ["add_arguments", "run"]

_NONE = ("", "none", "-")  # labels of prompts that no rule is to take


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    summary = "match prompts against the rules; with a column of rules: accuracy and thresholds"
    test = actions.add_parser("test", help=summary, description=summary[0].upper() + summary[1:] + ".")
    test.add_argument("input", help=f"prompts, and the rule that each should match in column `rule`: {FORMATS_HELP}")
    test.add_argument("--rule-column", default="rule", help="column with the rules' names; empty or none for no rule")
    test.add_argument("--router", help="the router whose embedder to use (default: the configuration's first)")
    test.add_argument(
        "--min-accuracy", type=fraction, help="exit with 1 if a smaller share of the labelled prompts is right"
    )
    test.add_argument("--json", action="store_true", help="print JSON")
    add_column_arguments(test)
    add_config_argument(test, "YAML file with the rules")


@dataclass(frozen=True, slots=True)
class _Labelled:
    prompts: list[str]
    wanted: list[str | None] | None


def run(args: argparse.Namespace) -> int:
    """Matches every prompt as the server would; prints a row per rule."""
    rules, router = _load(args)
    labelled = _read(args, [rule.name for rule in rules.rules])
    embeddings = _embed(rules, router, labelled.prompts)
    met = [_match(rules, router, prompt, e) for prompt, e in zip(labelled.prompts, embeddings, strict=True)]
    facts = _facts(rules, rules.examples.get(router), labelled, embeddings, met)
    print(json.dumps(facts) if args.json else "\n".join(_lines(facts)))
    accuracy = facts.get("accuracy")
    return int(args.min_accuracy is not None and (accuracy is None or accuracy < args.min_accuracy))


def _load(args: argparse.Namespace) -> tuple["Rules", str]:
    from pointsman.serve.config.load import make_config, read_values
    from pointsman.serve.engine.rules import Rules
    from pointsman.serve.policy.served_router import serve_router

    config = make_config(read_values(args.config) if args.config else {}, source=f"config file {args.config}")
    if not config.rules:
        raise ConfigError(f"{args.config or 'the configuration'} has no rules: add some under `rules`")
    name = args.router or next(iter(config.routers))
    if name not in config.routers:
        raise ConfigError(f"router {name!r} is not configured, wanted one of {', '.join(config.routers)}")
    served = serve_router(name, config.routers[name], candidates=config.candidates)
    return Rules(config.rules, {name: served.router}), name


def _read(args: argparse.Namespace, names: list[str]) -> _Labelled:
    """Prompts, with the rules that they should match if the file names them.

    Raises:
        DataError: it holds no prompts, or names an unknown rule.
    """
    from pointsman.backends.data.labels import read_prompts

    prompts, wanted, has_labels = [], [], True
    for table, part in read_prompts(mapped(args.input, args)):
        prompts += part
        if args.rule_column not in table.columns:
            has_labels = False
            continue
        wanted += [
            None if str(v or "").strip().lower() in _NONE else str(v).strip() for v in table.column(args.rule_column)
        ]
    if not prompts:
        raise DataError(f"{args.input} holds no prompts")
    if unknown := sorted({name for name in wanted if name is not None and name not in names}):
        raise DataError(
            f"{args.input}: column {args.rule_column} names {', '.join(map(repr, unknown[:5]))}, wanted names of rules "
            f"({', '.join(names)}), or nothing for prompts that match none"
        )
    return _Labelled(prompts, wanted if has_labels else None)


def _embed(rules: "Rules", router: str, prompts: list[str]) -> list[Float32Array | None]:
    known = rules.examples.get(router)
    return [None] * len(prompts) if known is None else list(known.embed(prompts))


def _match(rules: "Rules", router: str, prompt: str, embedding: Float32Array | None) -> str | None:
    from pointsman.serve.protocols.model_field import ModelField
    from pointsman.serve.protocols.requests import make_question
    from pointsman.serve.request.context import RequestContext

    context = RequestContext(make_question(prompt, f"router-{router}"), parsed=ModelField(router=router))
    found = rules.match(context, embedding)
    return None if found is None else found.name


def _facts(
    rules: "Rules",
    examples: "ExampleRules | None",
    labelled: _Labelled,
    embeddings: list[Float32Array | None],
    met: list[str | None],
) -> dict[str, Any]:
    """Counts of each rule, and the threshold that best separates the prompts labelled with it."""
    counts, wanted = Counter(met), labelled.wanted
    facts: dict[str, Any] = {"n_prompts": len(met), "n_met": len(met) - counts[None]}
    rows = {name: {"rule": name, "met": counts[name]} for name in [rule.name for rule in rules.rules]}
    if wanted is not None:
        facts["accuracy"] = float(np.mean([a == b for a, b in zip(met, wanted, strict=True)]))
        pairs = Counter(zip(wanted, met, strict=True))
        for name, row in rows.items():
            labelled_with = wanted.count(name)
            row |= {"labelled": labelled_with, "right": pairs[name, name], "wrong": counts[name] - pairs[name, name]}
    if examples is not None:
        _add_thresholds(rows, rules, examples, labelled, embeddings)
    return {**facts, "rules": list(rows.values())}


def _add_thresholds(
    rows: dict[str, dict[str, Any]],
    rules: "Rules",
    examples: "ExampleRules",
    labelled: _Labelled,
    embeddings: list[Float32Array | None],
) -> None:
    cosines = unit_rows(np.array(embeddings, dtype=np.float32)[:, : examples.n_subject]) @ examples.vectors.T
    for k, i in enumerate(examples.rows):
        rule = rules.rules[i]
        rows[rule.name]["similarity"] = float(examples.thresholds[k])
        if labelled.wanted is None:
            continue
        of_it = np.array([name == rule.name for name in labelled.wanted])
        inside = cosines[of_it, k]
        if len(rule.similar_to) > 1:
            inside = np.concatenate(
                [inside, left_out_similarities(examples.embed(rule.similar_to)[:, : examples.n_subject])]
            )
        if inside.size and not of_it.all():
            rows[rule.name]["calibrated"] = similarity_threshold(inside, cosines[~of_it, k])


def _lines(facts: dict[str, Any]) -> list[str]:
    columns = ("rule", "met", "labelled", "right", "wrong", "similarity", "calibrated")
    shown = [name for name in columns if any(name in row for row in facts["rules"])]
    width = max(len("rule"), *(len(row["rule"]) for row in facts["rules"]))
    lines = ["  ".join(name.ljust(width) if name == "rule" else f"{name:>10}" for name in shown)]
    for row in facts["rules"]:
        cells = [_cell(row.get(name)) for name in shown]
        lines.append("  ".join([cells[0].ljust(width), *(f"{cell:>10}" for cell in cells[1:])]))
    told = f"{facts['n_met']:,} of {facts['n_prompts']:,} prompts match a rule"
    if "accuracy" in facts:
        told += f"; {facts['accuracy']:.1%} are right"
    if any("calibrated" in row for row in facts["rules"]):
        told += "; `calibrated` separates the labelled prompts best: set it as the rule's `similarity`"
    return [*lines, told]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
