"""`pointsman train bert`."""

import argparse

from pointsman.core.pair import ModelPair
from pointsman.serve.commands.training.inputs import tell_result
from pointsman.serve.commands.training.language import add_language_arguments, given, read_examples, say

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the trainer; settings that are not given are the recipe's."""
    add_language_arguments(parser, base="encoder, folder or Hub id (default: all-MiniLM-L6-v2)")
    parser.add_argument("--pooling", choices=("mean", "model"), help="mean of all tokens, or the base's own head")
    parser.add_argument("--layers", type=int, help="keep so many of the base's first layers (default: all)")
    parser.add_argument("--freeze-layers", type=int, help="leave the embeddings and so many first layers as they are")
    parser.add_argument("--margin", type=float, help="score differences up to this are ties (default: 0)")
    parser.add_argument("--balance", type=float, help="weigh rare classes: 0 not at all, 1 all classes alike")
    parser.add_argument("--tie-share", type=float, help="share of a tie that is a win of strong (default: 0.5)")
    parser.add_argument("--probe-penalty", type=float, help="of the head's first fit on frozen features")
    parser.add_argument("--head-lr", type=float, help="peak step size of the head")
    parser.add_argument("--int8", action=argparse.BooleanOptionalAction, default=True, help="quantise (default: yes)")
    parser.add_argument("--weights", action=argparse.BooleanOptionalAction, default=True, help="keep PyTorch weights")


def run(args: argparse.Namespace) -> int:
    """Reads outcomes or battles of the pair, fine-tunes, exports, compares and writes the checkpoint."""
    from pointsman.backends.language.bert_export import export_bert
    from pointsman.backends.language.examples import held_out_rows
    from pointsman.backends.torch.bert_training import BertRecipe, train_bert
    from pointsman.backends.torch.finetuning import FineTuning, is_main_process

    examples = read_examples(args)
    recipe = given(BertRecipe(), args, finetuning=given(FineTuning(), args))
    held = held_out_rows(examples.prompts, args.validation, seed=args.seed)
    trained = train_bert(examples, recipe, base=args.base, validation=held, state=args.state, progress=say)
    if not is_main_process():
        return 0
    checkpoint = export_bert(
        trained,
        args.output,
        pair=ModelPair(args.strong, args.weak),
        prompts=examples.prompts,
        source=f"{len(examples)} training prompts of {', '.join(args.data)}",
        int8=args.int8,
        keep_weights=args.weights,
        provenance={"sources": args.data, "folds": args.folds, "n_examples": len(examples)},
    )
    return tell_result(args, checkpoint, {"metrics": dict(checkpoint.metrics)})
