"""`pointsman train mf`."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pointsman.core.errors import MissingExtraError
from pointsman.serve.commands.progress import progress_bar
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

if TYPE_CHECKING:
    from pointsman.backends.training.history import Epoch
    from pointsman.backends.training.mf_recipe import MFRecipe

__all__ = ["add_arguments", "run"]


class _OnEpoch(Protocol):
    def __call__(self, epoch: "Epoch") -> None: ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the trainer; the recipe gives the defaults."""
    add_common_arguments(parser)
    add_candidates_argument(parser)
    add_battle_arguments(parser, min_chars=1)
    parser.add_argument(
        "--recipe",
        choices=("fast", "reference"),
        default="fast",
        help="defaults of the settings: fast (large batches, stops early) or reference (RouteLLM's)",
    )
    parser.add_argument("--dim", dest="latent_dim", type=int, help="length of a model's vector")
    parser.add_argument("--alpha", type=float, help="size of the noise on every coordinate of an embedding")
    parser.add_argument("--noise", choices=("sampled", "expected"), help="draw the noise, or use its expectation")
    parser.add_argument("--lr", type=float, help="peak step size")
    parser.add_argument("--schedule", choices=("constant", "cosine"), help="schedule of the step size")
    parser.add_argument("--weight-decay", type=float, help="L2 penalty")
    parser.add_argument("--batch-size", type=int, help="battles per step")
    parser.add_argument("--epochs", type=int, help="most passes over the battles")
    parser.add_argument(
        "--patience", type=int, help="stop after this many epochs without progress; 0 never stops early"
    )
    parser.add_argument("--ties", choices=("drop", "half"), help="leave ties out, or count half a win for each")
    parser.add_argument("--bias", action=argparse.BooleanOptionalAction, help="train a bias; the reference has none")
    parser.add_argument("--validation", type=float, default=0.05, help="share of prompts held out (default: 0.05)")
    parser.add_argument("--state", type=Path, help="file to resume from after a kill; written after every epoch")
    parser.add_argument("--devices", type=int, default=1, help="number of devices to split batches over (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Reads battles, embeds their prompts, trains, checks and writes the checkpoint."""
    if find_spec("jax") is None:  # said before prompts are embedded
        raise MissingExtraError("jax", "jax")
    from pointsman.backends.jax.mf_router import check_platform, fit_mf
    from pointsman.backends.training.connectivity import check_field, with_pair
    from pointsman.backends.training.examples import Examples

    check_platform()  # said before prompts are embedded
    take_candidates(args)
    recipe = _recipe(args)
    everything = read_battle_sources(args)
    battle_set = everything.between_models() if recipe.ties == "half" else everything.decisive()
    battle_set, pair = with_pair(battle_set.with_used_prompts(), args.strong, args.weak)
    if listed_prompts(args, battle_set.prompts):
        return 0
    tell(battle_set.reports, check_field(battle_set, pair))
    embeddings = load_embeddings(args, battle_set.prompts)
    with _progress(recipe) as on_epoch:
        checkpoint = fit_mf(
            Examples(battle_set, embeddings.values),
            embeddings,
            pair,
            recipe,
            args.output,
            validation_fraction=args.validation,
            n_devices=args.devices,
            state_path=args.state,
            candidates=args.candidates,
            on_epoch=on_epoch,
        )
    return tell_result(args, checkpoint, {"metrics": dict(checkpoint.metrics)})


def _recipe(args: argparse.Namespace) -> "MFRecipe":
    from pointsman.backends.training.mf_recipe import FAST, REFERENCE, MFRecipe

    given = {f.name: value for f in fields(MFRecipe) if (value := getattr(args, f.name)) is not None}
    if given.get("patience") == 0:
        given["patience"] = None
    return replace({"fast": FAST, "reference": REFERENCE}[args.recipe], **given)


@contextmanager
def _progress(recipe: "MFRecipe") -> Iterator[_OnEpoch]:
    """A bar with loss, accuracy and time left on a terminal; a line per epoch elsewhere."""
    with progress_bar("epochs") as bar:
        task = bar.add_task("Training", total=recipe.epochs)

        def on_epoch(epoch: "Epoch") -> None:
            line = _line(epoch)
            bar.update(task, completed=epoch.number, description=line)
            if bar.disable:
                print(line, file=sys.stderr)

        yield on_epoch


def _line(epoch: "Epoch") -> str:
    figures: dict[str, Any] = {name: value for name, value in asdict(epoch).items() if value is not None}
    held = f", validation {figures['validation_loss']:.4f}" if "validation_loss" in figures else ""
    accuracy = f", accuracy {figures['validation_accuracy']:.4f}" if "validation_accuracy" in figures else ""
    return f"epoch {epoch.number}: loss {epoch.train_loss:.4f}{held}{accuracy}, {epoch.seconds:.2f} s"
