"""`pointsman train bert`."""

import argparse

import numpy as np

from pointsman.core.counted import counted
from pointsman.core.pair import ModelPair
from pointsman.serve.commands.training.inputs import tell_result
from pointsman.serve.commands.training.language import (
    add_language_arguments,
    given,
    read_candidate_examples,
    read_examples,
    say,
)

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the trainer; the recipe gives the defaults."""
    add_language_arguments(parser, base="encoder, folder or Hub id (default: all-MiniLM-L6-v2)", many=True)
    parser.add_argument("--pooling", choices=("mean", "model"), help="mean of all tokens, or the base's own head")
    parser.add_argument(
        "--layers", type=int, help="keep the first LAYERS layers (default: 3 of 6; all of another --base)"
    )
    parser.add_argument(
        "--freeze-layers", type=int, help="do not train the embeddings and the first FREEZE_LAYERS layers"
    )
    parser.add_argument("--margin", type=float, help="score differences up to this are ties (default: 0)")
    parser.add_argument("--balance", type=float, help="weight of rare classes: 0 as they come, 1 all classes alike")
    parser.add_argument("--tie-share", type=float, help="share of a tie that is a win of strong (default: 0.5)")
    parser.add_argument("--probe-penalty", type=float, help="penalty of the head's first fit, on frozen features")
    parser.add_argument("--head-lr", type=float, help="peak step size of the head")
    parser.add_argument("--int8", action=argparse.BooleanOptionalAction, default=True, help="quantise (default: yes)")
    parser.add_argument("--weights", action=argparse.BooleanOptionalAction, default=True, help="keep PyTorch weights")


def run(args: argparse.Namespace) -> int:
    """Fine-tunes on outcomes or battles of the models, exports, and writes the checkpoint."""
    from pointsman.backends.language.bert_export import export_bert, torch_win_rates
    from pointsman.backends.language.candidate_examples import CandidateExamples, worth_of
    from pointsman.backends.language.examples import held_out_rows
    from pointsman.backends.torch.bert_training import BertRecipe, train_bert
    from pointsman.backends.torch.finetuning import FineTuning, is_main_process

    _take_models(args)
    examples = read_candidate_examples(args) if len(args.candidates) > 2 else read_examples(args)
    recipe = given(BertRecipe(), args, finetuning=given(FineTuning(), args))
    held = held_out_rows(examples.prompts, args.validation, seed=args.seed)
    trained = train_bert(examples, recipe, base=args.base, validation=held, state=args.state, progress=say)
    if not is_main_process():
        return 0
    table = worth = None
    if isinstance(examples, CandidateExamples):
        table, seen = examples.table, examples.table.take(held)
        rates = np.hstack([np.full((len(held), 1), 0.5), torch_win_rates(trained, seen.prompts)])
        worth = worth_of(rates, seen, table.take(np.setdiff1d(np.arange(len(table)), held)))
        if worth.facts and not worth.facts["trusted"]:
            say("no better than a fixed choice on the held-out prompts, so the router always makes the same choice")
    checkpoint = export_bert(
        trained,
        args.output,
        pair=ModelPair(args.strong, args.weak),
        prompts=examples.prompts,
        source=f"{counted(len(examples), 'training prompt')} of {', '.join(args.data)}",
        int8=args.int8,
        keep_weights=args.weights,
        provenance={"sources": args.data, "folds": args.folds, "n_examples": len(examples)},
        metrics={"evidence": worth.facts} if worth is not None else None,
        table=table,
        worth=worth,
    )
    return tell_result(args, checkpoint, {"metrics": dict(checkpoint.metrics)})


def _take_models(args: argparse.Namespace) -> None:
    """The first of the candidates is the strong model, the last the weak one.

    Raises:
        ValueError: neither candidates nor a pair are given, or both.
    """
    if args.candidates and not (args.strong or args.weak) and len(args.candidates) > 1:
        args.strong, args.weak = args.candidates[0], args.candidates[-1]
    elif args.candidates or not (args.strong and args.weak):
        given = f"--candidates {','.join(args.candidates)}, --strong {args.strong}, --weak {args.weak}"
        raise ValueError(f"{given}: wanted at least two candidates, or a strong and a weak model, and not both")
