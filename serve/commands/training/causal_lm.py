"""`pointsman train causal-lm`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pointsman.core.counted import counted
from pointsman.core.pair import ModelPair
from pointsman.serve.commands.arguments import mapped
from pointsman.serve.commands.training.inputs import tell_result
from pointsman.serve.commands.training.language import add_language_arguments, given, read_examples, say

if TYPE_CHECKING:
    from pointsman.core.arrays import IntArray

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the trainer; the recipe gives the defaults."""
    add_language_arguments(parser, base="causal language model, folder or Hub id (required)")
    parser.add_argument("--judged", action="store_true", help="the data hold prompts and a judge's score, 1 to 5")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="gap in scores at which weak gets the lowest score (default: 1)"
    )
    parser.add_argument("--template", type=Path, metavar="FILE", help="text with {prompt} once; the score follows it")
    parser.add_argument("--score-threshold", type=int, help="lowest score at which weak suffices (default: 4)")
    parser.add_argument("--lora", type=int, metavar="RANK", help="learn low-rank updates only, and merge them")


def run(args: argparse.Namespace) -> int:
    """Fine-tunes on outcomes, battles or judged prompts, exports, and writes the checkpoint."""
    if args.base is None:
        raise ValueError("--base is missing: name the folder or Hub id of a causal language model")
    from pointsman.backends.language.examples import held_out_rows
    from pointsman.backends.torch.causal_lm_export import export_causal_lm
    from pointsman.backends.torch.causal_lm_training import CausalLMRecipe, LoRA, train_causal_lm
    from pointsman.backends.torch.finetuning import is_main_process

    prompts, scores = _labelled(args)
    default = CausalLMRecipe()
    recipe = given(
        default,
        args,
        template=default.template if args.template is None else args.template.read_text(encoding="utf-8"),
        lora=None if args.lora is None else LoRA(args.lora),
        finetuning=given(default.finetuning, args),
    )
    held = held_out_rows(prompts, args.validation, seed=args.seed)
    trained = train_causal_lm(prompts, scores, recipe, base=args.base, validation=held, state=args.state, progress=say)
    if not is_main_process():
        return 0
    checkpoint = export_causal_lm(
        trained,
        args.output,
        pair=ModelPair(args.strong, args.weak),
        prompts=prompts,
        source=f"{counted(len(prompts), 'training prompt')} of {', '.join(args.data)}",
        provenance={"sources": args.data, "folds": args.folds, "n_examples": len(prompts)},
    )
    return tell_result(args, checkpoint, {"metrics": dict(checkpoint.metrics)})


def _labelled(args: argparse.Namespace) -> "tuple[tuple[str, ...], IntArray]":
    """Prompts with scores 1 to 5: a judge's, or from how far weak trails strong."""
    import numpy as np

    from pointsman.backends.language.examples import read_judge_scores
    from pointsman.backends.language.labels import score_labels

    if not args.judged:
        examples = read_examples(args)
        return examples.prompts, score_labels(examples.difference, scale=args.scale)
    parts = [read_judge_scores(mapped(source, args)) for source in args.data]
    return tuple(prompt for prompts, _ in parts for prompt in prompts), np.concatenate([scores for _, scores in parts])
