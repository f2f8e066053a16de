"""Do rules with five examples find the intent of a request, and what do 50 rules cost?

    python benchmarks/install_peers.py
    python -m benchmarks.bench_rules

Ten intents of twenty utterances each (`benchmarks/utterances.py`): five of each are a rule's examples, the other 150
are tested, with 40 of no intent. Beside nearest centroid, nearest example and aurelio's semantic-router, all on the
embeddings of the bundled router. "in scope" takes the most similar of the ten whatever the similarity; "with others"
counts all 190, where utterances of no intent are right if no rule is met. The rules'
thresholds come from the examples alone; semantic-router, which has none by default, gets the one threshold that is best
on the very texts it is tested on. The table's last column is the mean over 20 random choices of the examples.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.install_peers import peer_python
from benchmarks.utterances import INTENTS, N_EXAMPLES, OTHERS
from pointsman.backends.embedders import resolve_embedder
from pointsman.core.example_sets import directions
from pointsman.core.similarity import unit_rows
from pointsman.serve.config.load import make_config
from pointsman.serve.engine.engine import Engine
from pointsman.serve.protocols.model_field import ModelField
from pointsman.serve.protocols.requests import make_question
from pointsman.serve.request.context import RequestContext

_GOALS = {"in_scope_over_centroid": 0.0, "with_others_over_semantic_router": 0.0, "added_us_of_50_rules": 100.0}
_SPLITS = 20


def main() -> int:
    """Measures and prints."""
    names = list(INTENTS)
    embed = resolve_embedder("static+length+common-sense")  # of the bundled router
    subject = resolve_embedder("static").identity.dim  # peers get what rules look at: neither length nor common sense
    vectors = {text: embed([text])[0] for text in [*OTHERS, *(text for texts in INTENTS.values() for text in texts)]}
    subjects = {text: vector[:subject] for text, vector in vectors.items()}
    rows = [_row("rules", _rules, names, vectors)]
    rows += [_row(*method, names, subjects) for method in (("centroid", _centroid), ("example", _example))]
    rows += _peer(names, subjects)
    print(f"{'method':<28}{'in scope':>10}{'with others':>13}{'20 splits':>11}")
    for row in rows:
        cells = [f"{row[key]:.1%}" if row.get(key) is not None else "" for key in ("in_scope", "with_others", "splits")]
        print(f"{row['method']:<28}{cells[0]:>10}{cells[1]:>13}{cells[2]:>11}")
    timed = {name: _decision_us(rules) for name, rules in _rule_sets().items()}
    for name, us in timed.items():
        print(f"a decision with {name:<26}{us:>8.1f} us")
    by_name = {row["method"]: row for row in rows}
    peer = max(row["with_others"] for row in rows if row["method"].startswith("semantic-router"))
    values = {
        "in_scope_over_centroid": by_name["rules"]["in_scope"] - by_name["centroid"]["in_scope"],
        "with_others_over_semantic_router": by_name["rules"]["with_others"] - peer,
        "added_us_of_50_rules": timed["50 rules of examples"] - timed["no rules"],
    }
    targets = {
        name: {"value": value, "goal": _GOALS[name], "met": value <= 100.0 if "us" in name else value >= 0.0}
        for name, value in values.items()
    }
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    rows += [{"rules": name, "decision_us": us} for name, us in timed.items()]
    summary = {"bench": "rules", "rows": rows, "targets": targets, "machine": f"{os.cpu_count()} cores"}
    print(json.dumps({**summary, "commit": commit.stdout.strip()}))
    return 0


def _split(seed: int | None) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Examples by intent, and the other utterances with theirs; the first five are the examples without a seed."""
    examples, tested = {}, []
    for name, texts in INTENTS.items():
        order = texts if seed is None else [texts[i] for i in np.random.default_rng(seed).permutation(len(texts))]
        examples[name] = order[:N_EXAMPLES]
        tested += [(text, name) for text in order[N_EXAMPLES:]]
    return examples, tested


def _row(method: str, choose: Any, names: Sequence[str], vectors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    def accuracy(seed: int | None, *, others: bool) -> float | None:
        examples, tested = _split(seed)
        cases = [*tested, *((text, None) for text in OTHERS)] if others else tested
        chosen = choose(names, examples, [text for text, _ in cases], vectors, forced=not others)
        return None if chosen is None else float(np.mean([a == b for a, (_, b) in zip(chosen, cases, strict=True)]))

    return {
        "method": method,
        "in_scope": accuracy(None, others=False),
        "with_others": accuracy(None, others=True),
        "splits": float(np.mean([accuracy(seed, others=False) for seed in range(_SPLITS)])),
    }


def _rules(names: Any, examples: Any, texts: Any, vectors: Any, *, forced: bool) -> list[str | None]:
    """As served: the rules of a configuration, with thresholds calibrated from their examples."""
    given = [
        {"name": name, "similar_to": texts_of, "then": {"threshold": 0.5}, **({"similarity": -1.0} if forced else {})}
        for name, texts_of in examples.items()
    ]
    rules = Engine(make_config({"rules": given})).rules
    assert rules is not None
    found = []
    for text in texts:
        context = RequestContext(make_question(text, "auto"), parsed=ModelField(router="mf"))
        met = rules.match(context, vectors[text])
        found.append(met.name if met is not None else None)
    return found


def _centroid(names: Any, examples: Any, texts: Any, vectors: Any, *, forced: bool) -> list[str | None] | None:
    if not forced:
        return None
    means = directions([np.array([vectors[text] for text in examples[name]]) for name in names])
    cosines = unit_rows(np.array([vectors[text] for text in texts])) @ means.T
    return [names[i] for i in cosines.argmax(axis=1)]


def _example(names: Any, examples: Any, texts: Any, vectors: Any, *, forced: bool) -> list[str | None] | None:
    if not forced:
        return None
    every = unit_rows(np.array([vectors[text] for name in names for text in examples[name]]))
    cosines = unit_rows(np.array([vectors[text] for text in texts])) @ every.T
    return [names[i // N_EXAMPLES] for i in cosines.argmax(axis=1)]


def _peer(names: Sequence[str], vectors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    examples, tested = _split(None)
    texts = [*(text for text, _ in tested), *OTHERS]
    wanted = [*(name for _, name in tested), *[None] * len(OTHERS)]
    given = {"routes": examples, "texts": texts, "vectors": {text: v.tolist() for text, v in vectors.items()}}
    script = str(Path(__file__).parent / "peers" / "semantic_router_routes.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.json"
        path.write_text(json.dumps(given))
        ran = subprocess.run(
            [peer_python("semantic_router"), script, str(path)], capture_output=True, text=True, check=True
        )
    found = json.loads(ran.stdout.splitlines()[-1])
    is_tested = np.array([name is not None for name in wanted])
    rows = []
    for aggregation, answer in found.items():
        right = np.array([chosen == name for (chosen, _), name in zip(answer["chosen"], wanted, strict=True)])
        confidence = np.array([each[1] for each in answer["chosen"]])
        best = max(np.where(confidence >= t, right, ~is_tested).mean() for t in np.append(confidence, np.inf))
        row = {"method": f"semantic-router, {aggregation}", "in_scope": float(right[is_tested].mean())}
        rows.append({**row, "with_others": float(best), "us": answer["us"]})
    return rows


def _rule_sets() -> dict[str, list[dict[str, Any]]]:
    texts = [text for each in INTENTS.values() for text in each]
    then = {"threshold": 0.5}
    of_examples = [
        {"name": f"e{i}", "similar_to": texts[4 * i : 4 * i + 4], "similarity": 0.99, "then": then} for i in range(50)
    ]
    of_patterns = [{"name": f"m{i}", "matches": rf"(?i)\bticket-{i}\b", "then": then} for i in range(50)]
    return {"no rules": [], "50 rules of examples": of_examples, "50 regular expressions": of_patterns}


def _decision_us(rules: list[dict[str, Any]]) -> float:
    """Median time of a decision on prompts that meet none of the rules, the longest way there is."""
    engine = Engine(make_config({"rules": rules}))

    async def measure() -> float:
        times = []
        for i in range(4000):
            context = RequestContext(make_question(f"{OTHERS[i % len(OTHERS)]} {i}", "router-mf-0.5"), dry_run=True)
            before = perf_counter()
            decision = await engine.decide(context)
            times.append(perf_counter() - before)
            if decision.rule is not None:
                raise AssertionError(f"rule {decision.rule} was met, wanted none")
        return 1e6 * float(np.median(times[500:]))

    return asyncio.run(measure())


if __name__ == "__main__":
    sys.exit(main())
