"""All subcommands, in the groups in which `pointsman --help` lists them."""

import argparse
from importlib import import_module

__all__ = ["COMMANDS", "GROUPS", "add_arguments_of"]

GROUPS = {
    "Serve": {
        "serve": "answer OpenAI-compatible requests, each with the model that its prompt needs",
        "init": "write a configuration from the keys in the environment",
        "doctor": "check configuration, keys, models, prices, store and port, and say how to fix problems",
        "keys": "make, list and revoke access keys of the server",
        "extproc": "decide for Envoy which model answers, as its external processor",
    },
    "Learn from your data": {
        "learn": "turn a table of outcomes into a router that is ready to serve, in one step",
        "judge": "compare two models on your prompts, judged by a third",
        "embed": "compute embeddings of a file of prompts, for training",
        "train": "train a router on your own battles or outcomes",
        "onboard": "add a model to a router of many, from its answers to a few hundred prompts",
        "import-routellm": "convert RouteLLM's matrix factorisation to a Pointsman checkpoint",
        "calibrate": "choose a threshold from win rates: by strong share, by cost, or with a guarantee on quality",
        "evaluate": "measure routers on stored outcomes, with baselines and intervals",
    },
    "Look": {
        "rules": "test the rules on labelled prompts, and find thresholds that fit",
        "route": "say which model should answer a prompt, and why",
        "score": "compute win rates for a file of prompts",
        "inspect": "show what is in a checkpoint, or a server's drift status",
        "usage": "show requests, tokens and dollars by day, model, key or policy, and what routing saved",
        "export-battles": "export feedback of users and verdicts of judges as training data",
    },
    "Change what is served": {
        "replay": "estimate what another checkpoint or threshold would have done with logged traffic",
        "promote": "switch a running server to another of its named checkpoints",
        "rollback": "switch it back to the checkpoint promoted before",
        "autopilot": "certified savings: simulate them on a table, or show and control them on a server",
    },
    "This command": {
        "completion": "print a completion script for bash, zsh or fish",
    },
}
COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}


def add_arguments_of(name: str, parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of a command to a parser."""
    module = import_module(f"pointsman.serve.commands.{name.replace('-', '_')}")
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
