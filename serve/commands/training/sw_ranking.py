"""`pointsman train sw-ranking`."""

import argparse

from pointsman.serve.commands.training.inputs import (
    add_battle_arguments,
    add_candidates_argument,
    add_common_arguments,
    listed_prompts,
    load_embeddings,
    read_battle_sources,
    take_candidates,
    tell,
    tell_result,
)

__all__ = ["add_arguments", "run"]

_MIN_CHARS = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the trainer."""
    add_common_arguments(parser)
    add_candidates_argument(parser)
    add_battle_arguments(parser, min_chars=_MIN_CHARS)
    parser.add_argument("--tiers", type=int, default=10, help="groups of models of similar strength (default: 10)")
    parser.add_argument("--reduce", type=int, metavar="DIM", help="reduce embeddings to DIM dimensions")


def run(args: argparse.Namespace) -> int:
    """Reads battles, embeds their prompts, rates the models and writes the checkpoint."""
    from pointsman.backends.export import calibrated, export_checkpoint
    from pointsman.backends.training.candidates import weigh_candidates
    from pointsman.backends.training.connectivity import with_pair
    from pointsman.backends.training.drift_sample import referenced
    from pointsman.backends.training.examples import Examples
    from pointsman.backends.training.provenance import calibration_sample, provenance
    from pointsman.backends.training.sw_ranking import SWRecipe, fit_sw_ranking
    from pointsman.core.errors import DataError

    take_candidates(args)
    if len(args.strong) > 1 or len(args.weak) > 1:
        raise DataError("sw_ranking groups the models into tiers itself: name only one strong and one weak model")
    battle_set, pair = with_pair(read_battle_sources(args).between_models().with_used_prompts(), args.strong, args.weak)
    if listed_prompts(args, battle_set.prompts):
        return 0
    embeddings = load_embeddings(args, battle_set.prompts)
    recipe = SWRecipe(n_tiers=args.tiers, dim=args.reduce, seed=args.seed)
    checkpoint = fit_sw_ranking(Examples(battle_set, embeddings.values), embeddings, pair, recipe)
    tell(battle_set.reports, checkpoint.metrics["notes"])
    sample, source = calibration_sample(embeddings.values, battle_set.reports, args.seed)
    checkpoint = calibrated(provenance(checkpoint, battle_set.reports, recipe), sample, source=source)
    checkpoint = referenced(checkpoint, embeddings.values, source=source, seed=args.seed)
    checkpoint = weigh_candidates(checkpoint, args.candidates, sample, source=source)
    export_checkpoint(checkpoint, args.output, sample=sample, expected=None)
    return tell_result(args, checkpoint, {"metrics": dict(checkpoint.metrics)})
