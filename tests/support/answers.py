"""A table of answers with a planted truth: what verifiers are trained on in tests."""

import json

import numpy as np

__all__ = ["planted"]

TOPICS = ("the capital of a country", "the derivative of a function", "a recipe with rice", "a battle in a war")


def planted(path, n=400, *, seed=0, logprobs=True, models=("big", "small", "other")):
    """A long table whose small model is unsure where it is wrong, and wrong more often on one topic."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        topic = i % len(TOPICS)
        prompt = f"Question {i} of {seed}: {TOPICS[topic]} number {rng.integers(1000)}"
        for model in models:
            right = rng.random() < {"big": 0.9, "small": 0.65, "other": 0.6}[model] - 0.2 * (topic == 1)
            confidence = -0.02 * rng.random() if right and rng.random() < 0.9 else -1.5 * rng.random()
            rows.append(
                {
                    "prompt": prompt,
                    "model": model,
                    "score": float(right),
                    "answer": "It is 4." if right else "Perhaps it is 3 + 4 = 8.",
                    "output_tokens": 5,
                    "cost_usd": 0.001 if model == "big" else 0.0001,
                    "latency_ms": 900.0 if model == "big" else 400.0,
                    "finish_reason": "stop",
                    **({"confidence": confidence} if logprobs else {}),
                }
            )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
