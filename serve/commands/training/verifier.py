"""`pointsman train verifier`: for a pair, or for the cheapest cascade among many candidates."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointsman.core.counted import counted
from pointsman.core.embedding import CANARIES
from pointsman.core.errors import ConfigError, DataError
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.arguments import fraction
from pointsman.serve.commands.training.inputs import (
    add_common_arguments,
    load_embeddings,
    name_list,
    tell,
    tell_result,
)

if TYPE_CHECKING:
    from pointsman.backends.data.answers import AnswerTable
    from pointsman.backends.training.chain import Chain
    from pointsman.backends.training.embeddings import PromptEmbeddings
    from pointsman.backends.training.verifier import VerifierRecipe

__all__ = ["add_arguments", "chain_configuration", "run"]

_HASH = "hash:"  # before the hash of a prompt whose text was not kept, see `serve/feedback/export.py`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the trainer."""
    add_common_arguments(parser)
    parser.add_argument("--candidates", type=name_list, default=[], metavar="A,B,C",
        help="choose the cascade among these models: the cheapest with the best model's quality")  # fmt: skip
    parser.add_argument("--max-loss", type=fraction, default=0.0, metavar="LOSS",
        help="with --candidates: largest loss of mean score against the best model (default: 0)")  # fmt: skip
    parser.add_argument("--max-models", type=int, default=4, help="with --candidates: longest cascade (default: 4)")
    parser.add_argument("--router", metavar="ROUTER", help="also read this router's win rate of each prompt")
    parser.add_argument("-k", type=int, default=100, help="number of neighbours (default: 100)")
    parser.add_argument("--temperature", type=float, default=0.15, help="temperature of their weights (default: 0.15)")
    parser.add_argument("--strength", type=float, default=400.0,
        help="weight of what the table's other models teach, in rows (default: 400)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Reads one table of answers, embeds its prompts, fits the heads and writes the checkpoint."""
    from pointsman.backends.data.answers import read_answers
    from pointsman.backends.export import export_verifier
    from pointsman.backends.training.verifier import VerifierRecipe, fit_verifier

    if len(args.data) != 1 or max(len(args.strong), len(args.weak)) > 1:
        raise ConfigError("a verifier needs one table, one strong and one weak model: give one of each")
    recipe = VerifierRecipe(args.k, args.temperature, args.strength, seed=args.seed)
    if args.candidates:
        return _run_chain(args, recipe)
    strong, weak = (args.strong or ["strong"])[0], (args.weak or ["weak"])[0]
    table = read_answers(args.data[0], strong=strong, weak=weak)
    tell((table.report,), ())
    embeddings = _embeddings(args, table)
    win_rates = None
    if args.router is not None:
        win_rates = load_router(load_checkpoint(args.router)).win_rates(table.prompts)
    checkpoint = fit_verifier(table, embeddings, recipe, win_rates=win_rates)
    export_verifier(checkpoint, args.output)
    return tell_result(args, checkpoint, {"metrics": dict(checkpoint.metrics)})


def _embeddings(args: argparse.Namespace, table: "AnswerTable") -> "PromptEmbeddings":
    """The table's own embeddings if texts were not kept, which must be of `--embedder`; else computed now."""
    hidden = [prompt.startswith(_HASH) for prompt in table.prompts]
    if args.embeddings is not None or not any(hidden):
        return load_embeddings(args, table.prompts)
    from pointsman.backends.embedders import resolve_embedder
    from pointsman.backends.training.embeddings import PromptEmbeddings

    if table.embeddings is None:
        raise DataError(
            f"{table.report.source} has neither the text nor the embedding of {counted(sum(hidden), 'prompt')}"
        )
    embed = resolve_embedder(args.embedder)
    if table.embeddings.shape[1] != embed.identity.dim:
        raise DataError(
            f"{table.report.source} holds embeddings of {table.embeddings.shape[1]} numbers, but {args.embedder} makes "
            f"{embed.identity.dim}: name the embedder of the router that served, with --embedder"
        )
    return PromptEmbeddings(table.embeddings, embed.identity, embed(CANARIES))


def _run_chain(args: argparse.Namespace, recipe: "VerifierRecipe") -> int:
    """Chooses the cascade, and writes its verifiers into numbered folders with a configuration beside them."""
    from pointsman.backends.data.answers import read_answers
    from pointsman.backends.export import export_verifier
    from pointsman.backends.training.chain import fit_chain

    if args.strong or args.weak or args.router or len(args.candidates) < 2 or args.max_models < 2:
        raise ConfigError(
            "--candidates needs at least two models and --max-models at least 2; --strong, --weak and --router are for "
            "a single verifier: leave them out"
        )
    table = read_answers(args.data[0], strong=args.candidates[0], weak=args.candidates[1])
    tell((table.report,), ())
    embeddings = _embeddings(args, table)
    chain = fit_chain(table, embeddings, args.candidates, recipe, max_loss=args.max_loss, max_models=args.max_models)
    output = Path(args.output)
    for place, verifier in enumerate(chain.verifiers, start=1):
        export_verifier(verifier, output / str(place))
    config = chain_configuration(chain, output)
    try:
        (output / "cascade.yaml").write_text(config, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {output / 'cascade.yaml'}: {error}") from error
    print(json.dumps(_facts(chain, args.output)) if args.json else f"{_told(chain)}\n\n{config}")
    return 0


def chain_configuration(chain: "Chain", output: Path) -> str:
    """The parts of a configuration that serve a chain, as YAML; names are quoted as JSON."""
    names = [json.dumps(name) for name in chain.models]
    folders = [f"{name}: {json.dumps(str(output / str(k)))}" for k, name in enumerate(names[:-1], start=1)]
    limits = [f"{name}: {threshold:.6f}" for name, threshold in zip(names, chain.thresholds, strict=False)]
    return "\n".join(
        [
            f"candidates: [{', '.join(reversed(names))}]",
            "cascade:",
            f"  models: [{', '.join(names)}]",
            *("  verifier:", *(f"    {folder}" for folder in folders)),
            *("  threshold:", *(f"    {limit}" for limit in limits)),
            "",
        ]
    )


def _facts(chain: "Chain", output: str) -> dict[str, Any]:
    return {
        "output": output,
        "models": list(chain.models),
        "thresholds": list(chain.thresholds),
        "zones": [asdict(zone) for zone in chain.zones],
        "best": {"model": chain.best, "usd": chain.best_usd},
        "left_out": {"goal": chain.goal, "score": chain.score, "usd": chain.usd, "shares": list(chain.shares)},
    }


def _told(chain: "Chain") -> str:
    answers = ", ".join(f"{share:.0%} {name}" for share, name in zip(chain.shares, chain.models, strict=True))
    return (
        f"{' before '.join(chain.models)}: a mean score of {chain.score:.4f} (goal {chain.goal:.4f}) at "
        f"{chain.usd / chain.best_usd:.0%} of the cost of {chain.best} alone, on rows left out of training\n"
        f"answers: {answers}"
    )
