"""One module per kind of router that can be trained, each with `add_arguments(parser)` and `run(args) -> int`."""
