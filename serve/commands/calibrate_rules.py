"""The rules of `pointsman calibrate`: a threshold by share, by dollars or by loss."""

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.calibration import calibrate_threshold, mean_cost_usd, strong_share, threshold_for_cost, tie_mass
from pointsman.core.counted import counted
from pointsman.core.errors import ConfigError, DataError
from pointsman.core.guarantee import certify_threshold

if TYPE_CHECKING:
    from pointsman.backends.evaluation.score_files import ScoredPrompts

__all__ = ["find_threshold", "scaled_labels"]


def find_threshold(args: argparse.Namespace, data: "ScoredPrompts") -> dict[str, Any]:
    """The threshold by the chosen rule, and what it gives on these prompts."""
    if args.max_loss is not None:
        return _by_loss(args, data.distinct())
    if args.max_cost_usd is not None:
        return _by_cost(args, data)
    threshold = calibrate_threshold(data.win_rates, strong_share=args.strong_share)
    return _dollars(args, data, threshold) | {
        "rule": "strong_share",
        "wanted": args.strong_share,
        "threshold": threshold,
        "strong_share": strong_share(data.win_rates, threshold),
        "tie_mass": tie_mass(data.win_rates, threshold),
        "n_prompts": data.win_rates.size,
    }


def _by_cost(args: argparse.Namespace, data: "ScoredPrompts") -> dict[str, Any]:
    strong_usd, weak_usd = _costs(args, data)
    known = ~np.isnan(strong_usd + weak_usd)
    if not known.any():
        raise DataError(f"{data.source}: no row has the cost of both models")
    if not known.all():
        print(f"{counted(int((~known).sum()), 'row')} left out: their cost is unknown", file=sys.stderr)
        strong_usd, weak_usd = strong_usd[known], weak_usd[known]
    rates = data.win_rates[known]
    threshold = threshold_for_cost(
        rates, strong_usd=strong_usd, weak_usd=weak_usd, max_cost_usd=args.max_cost_usd / 1000.0
    )
    return {
        "rule": "max_cost_usd",
        "wanted": args.max_cost_usd,
        "threshold": threshold,
        "cost_usd": 1000.0 * mean_cost_usd(rates, threshold, strong_usd=strong_usd, weak_usd=weak_usd),
        "always_strong_usd": 1000.0 * float(strong_usd.mean()),
        "always_weak_usd": 1000.0 * float(weak_usd.mean()),
        "strong_share": strong_share(rates, threshold),
        "tie_mass": tie_mass(rates, threshold),
        "n_prompts": rates.size,
    }


def _dollars(args: argparse.Namespace, data: "ScoredPrompts", threshold: float) -> dict[str, float]:
    """Dollars per thousand prompts at a threshold, and of always asking strong, where they are known."""
    priced, columns = args.strong_price and args.weak_price, set(data.numbers)
    counted = args.tokens or {"input_tokens", "output_tokens"} <= columns
    if not (priced and counted) and (priced or not {"strong_usd", "weak_usd"} <= columns):
        return {}
    strong_usd, weak_usd = _costs(args, data)
    known = ~np.isnan(strong_usd + weak_usd)
    if not known.any():
        return {}
    rates, strong_usd, weak_usd = data.win_rates[known], strong_usd[known], weak_usd[known]
    spent = mean_cost_usd(rates, threshold, strong_usd=strong_usd, weak_usd=weak_usd)
    return {"cost_usd": 1000.0 * spent, "always_strong_usd": 1000.0 * float(strong_usd.mean())}


def _costs(args: argparse.Namespace, data: "ScoredPrompts") -> tuple[FloatArray, FloatArray]:
    """Dollars of each prompt with each model: columns of the table, or prices times tokens."""
    n, numbers = data.win_rates.size, data.numbers
    if not (args.strong_price and args.weak_price):
        if {"strong_usd", "weak_usd"} <= set(numbers):
            return numbers["strong_usd"], numbers["weak_usd"]
        raise ConfigError(
            "--max-cost-usd needs --strong-price IN OUT and --weak-price IN OUT in dollars per million tokens, "
            "or columns strong_usd and weak_usd in the table"
        )
    if args.tokens:
        tokens = [np.full(n, count) for count in args.tokens]
    elif {"input_tokens", "output_tokens"} <= set(numbers):
        tokens = [numbers["input_tokens"], numbers["output_tokens"]]
    else:
        raise ConfigError(
            "--max-cost-usd needs --tokens IN OUT, or columns input_tokens and output_tokens in the table"
        )
    strong, weak = ((p[0] * tokens[0] + p[1] * tokens[1]) / 1e6 for p in (args.strong_price, args.weak_price))
    return strong, weak


def _by_loss(args: argparse.Namespace, data: "ScoredPrompts") -> dict[str, Any]:
    strong, weak, width = scaled_labels(args, data)
    found = certify_threshold(
        data.win_rates, strong, weak, max_loss=args.max_loss / width, confidence=args.confidence, seed=args.seed
    )
    facts = asdict(found) | {"max_loss": args.max_loss, "loss": width * found.loss}
    dollars = _dollars(args, data, found.threshold)
    return {"rule": "max_loss", "wanted": facts.pop("max_loss"), **facts, "certified": found.certified, **dollars}


def scaled_labels(args: argparse.Namespace, data: "ScoredPrompts") -> tuple[FloatArray, FloatArray, float]:
    """Scores of both models, rescaled to [0, 1], and the width of their original scale."""
    low, high = args.scale
    if not low < high:
        raise ConfigError(f"--scale is {low:g} {high:g}, wanted a lower and a higher number")
    for name, values in ((args.strong, data.strong), (args.weak, data.weak)):
        if values is not None and not ((values >= low) & (values <= high)).all():
            bad = values[~((values >= low) & (values <= high))][0]
            raise ConfigError(
                f"{data.source}: {name} holds {bad:g}, wanted [{low:g}, {high:g}]; name the range: --scale"
            )
    strong, weak = (np.asarray((values - low) / (high - low)) for values in (data.strong, data.weak))
    return strong, weak, high - low
