"""`pointsman promote`: switches a running server to another checkpoint in its folder."""

import argparse
import json
import sys
from pathlib import Path

from pointsman.core.errors import CheckpointError, ConfigError
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.checkpoints.promotion import POINTER, promote
from pointsman.serve.commands.arguments import add_config_argument, found_config
from pointsman.serve.config.load import make_config, read_values

__all__ = ["add_arguments", "add_folder_arguments", "folder_of", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("name", help="the checkpoint: the name of a folder within --checkpoints")
    add_folder_arguments(parser)


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that name the folder of checkpoints."""
    where = parser.add_mutually_exclusive_group(required=found_config() is None)
    where.add_argument("--checkpoints", metavar="DIR", help="folder of the named checkpoints")
    add_config_argument(where, "configuration file whose router has that folder as its checkpoint")
    parser.add_argument("--router", help="router of the configuration (default: its first)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Loads the checkpoint to check that it can be served, and promotes it."""
    folder = folder_of(args)
    checkpoint = load_checkpoint(args.name, folder / args.name) if (folder / args.name).is_dir() else None
    if checkpoint is not None:
        load_router(checkpoint)
        if args.config is not None and args.checkpoints is None:
            _check_configuration(args, folder / args.name)
    before = promote(folder, args.name)
    if args.json:
        print(json.dumps({"promoted": args.name, "before": before, "checkpoints": str(folder)}))
        return 0
    print(f"{args.name} is promoted" + (f" in place of {before}" if before else ""))
    return 0


def _check_configuration(args: argparse.Namespace, checkpoint: Path) -> None:
    """Builds the server's engine with this checkpoint, to find now what would fail later, such as a missing default.

    Raises:
        ConfigError: the configuration cannot serve it.
    """
    from pointsman.serve.engine.engine import Engine

    config = make_config(read_values(args.config), source=f"config file {args.config}")
    name = args.router or next(iter(config.routers))
    router = config.routers[name].model_copy(update={"checkpoint": str(checkpoint)})
    changed = config.model_copy(update={"routers": {**config.routers, name: router}})
    try:
        Engine(changed)
    except (ConfigError, CheckpointError) as error:
        raise ConfigError(
            f"{args.name} is not promoted: {args.config} cannot serve it: {error}; calibrate it first, or change "
            f"routers.{name} or the policy that needs what it lacks"
        ) from error


def folder_of(args: argparse.Namespace) -> Path:
    """The folder of named checkpoints given on the command line.

    Raises:
        ConfigError: it does not exist, is a checkpoint itself, or the configuration names none.
    """
    if args.checkpoints is not None:
        folder = Path(args.checkpoints)
    else:
        config = make_config(read_values(args.config), source=f"config file {args.config}")
        name = args.router or next(iter(config.routers))
        if name not in config.routers or (checkpoint := config.routers[name].checkpoint) is None:
            wanted = f"wanted routers.{name}.checkpoint, a folder of named checkpoints"
            raise ConfigError(f"{args.config} gives router {name!r} no checkpoint, {wanted}")
        if config.routers[name].threshold is not None:
            print(f"routers.{name}.threshold is unchanged: does it suit the new win rates?", file=sys.stderr)
        folder = Path(checkpoint)
    if not folder.is_dir() or (folder / "pointsman.json").exists():
        found = "a checkpoint itself" if folder.is_dir() else "not there"
        raise ConfigError(
            f"{folder} is {found}, wanted a folder of named checkpoints; {POINTER} then says which is served"
        )
    return folder
