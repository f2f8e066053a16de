"""Dollars per prompt with each model of a pair: from the table, or from prices and the length of answers."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.prices import Price
from pointsman.serve.commands.arguments import amount

if TYPE_CHECKING:
    from pointsman.backends.evaluation.outcome_pairs import PairOutcomes

__all__ = ["add_price_arguments", "pair_dollars"]


def add_price_arguments(parser: argparse.ArgumentParser) -> None:
    """Options for the prices of the two models and the length of an answer."""
    for side in ("strong", "weak"):
        parser.add_argument(f"--{side}-price", nargs=2, type=amount, metavar=("IN", "OUT"),
            help=f"dollars per million tokens of the {side} model (default: those of the configuration)")  # fmt: skip
    parser.add_argument("--output-tokens", type=amount, default=300, help="mean length of an answer (default: 300)")


def pair_dollars(args: argparse.Namespace, outcomes: "PairOutcomes") -> tuple[FloatArray, FloatArray] | None:
    """Dollars of each prompt with the strong and the weak model; None if no price is known.

    Prices on the command line take precedence over costs in the table, and these over prices in the configuration.
    """
    prices = (Price(*args.strong_price), Price(*args.weak_price)) if args.strong_price and args.weak_price else None
    if prices is None and outcomes.strong_usd is not None and outcomes.weak_usd is not None:
        return outcomes.strong_usd, outcomes.weak_usd
    prices = prices or _configured(args.config)
    if prices is None:
        return None
    from pointsman.serve.protocols.token_count import count_tokens

    n_input = [count_tokens(prompt) for prompt in outcomes.prompts]
    strong, weak = (np.array([price.cost_usd(n, args.output_tokens) for n in n_input]) for price in prices)
    return strong, weak


def _configured(config_file: str | None) -> tuple[Price, Price] | None:
    """Prices of the configuration's two models."""
    if config_file is None or not Path(config_file).is_file():
        return None
    from pointsman.serve.config.load import make_config, read_values
    from pointsman.serve.money.price_list import read_price_list

    config = make_config(read_values(config_file), source=config_file)
    found = read_price_list(config)
    prices = [found[name].price for name in config.routed if name in found]
    return (prices[0], prices[1]) if len(prices) == len(config.routed) == 2 else None
