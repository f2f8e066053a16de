"""All subcommands, in the groups in which `pointsman --help` lists them."""

import argparse
from importlib import import_module

__all__ = ["COMMANDS", "GROUPS", "add_arguments_of"]

GROUPS = {
    "Serve": {
        "serve": "answer OpenAI-compatible requests, each with the model that its prompt needs",
        "init": "write a configuration from the keys in the environment",
        "doctor": "check configuration, keys, models, prices, store and port, and say what to do",
        "keys": "make, list and revoke access keys of the server",
        "extproc": "decide for Envoy which model answers, as its external processor",
    },
    "Learn from your data": {
        "learn": "from a table of outcomes to a router that is ready to be served, in one step",
        "judge": "battles between two models on your prompts, judged by a third",
        "embed": "embeddings of a file of prompts, for training",
        "train": "a router from your own battles or outcomes",
        "onboard": "a further model for a router of many, from its answers to a few hundred prompts",
        "import-routellm": "RouteLLM's matrix factorisation as a checkpoint of Pointsman",
        "calibrate": "from win rates to a threshold: by strong share, by cost, or with a guarantee on quality",
        "evaluate": "how good routers are on stored outcomes, beside baselines, with intervals",
    },
    "Look": {
        "rules": "what the rules before the score do with labelled prompts, and which thresholds fit them",
        "route": "say which model should answer a prompt, and why",
        "score": "win rates for a file of prompts",
        "inspect": "what a checkpoint holds",
        "usage": "requests, tokens and dollars by day, model, key or policy, and what routing saved",
        "export-battles": "what users and judges said of answers, as data to train on",
    },
    "Change what is served": {
        "replay": "what another checkpoint or threshold would have done with logged traffic",
        "promote": "have a running server serve another of its named checkpoints",
        "rollback": "have it serve again the checkpoint that was promoted before",
        "autopilot": "savings that are earned under a bound: what they would be on a table, what they are on a server",
    },
    "This command": {
        "completion": "completion of commands and options for bash, zsh or fish",
    },
}
COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}


def add_arguments_of(name: str, parser: argparse.ArgumentParser) -> None:
    """Gives a parser the arguments of a command."""
    module = import_module(f"pointsman.serve.commands.{name.replace('-', '_')}")
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
