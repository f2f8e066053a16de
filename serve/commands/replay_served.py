"""How a configuration's router decides, and how it would serve a candidate, for `pointsman replay`."""

from collections.abc import Sequence
from pathlib import Path

from pointsman.core.arrays import FloatArray
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import ConfigError
from pointsman.serve.checkpoints.load import is_bundled, load_checkpoint
from pointsman.serve.checkpoints.promotion import checkpoint_names
from pointsman.serve.config import RouterConfig
from pointsman.serve.config.load import make_config, read_values
from pointsman.serve.policy.served_router import serve_router

__all__ = ["configured_decisions", "load_candidate", "strong_model"]


def load_candidate(name: str, config_file: str | None) -> tuple[Checkpoint, float | None]:
    """The candidate, and the threshold at which the server would serve it once it is promoted.

    A name is looked up in the configuration's folders of checkpoints, as `pointsman promote` does. The threshold is
    None for any other checkpoint, and if the configuration gives the router none.

    Raises:
        ConfigError: the configuration asks for a threshold that the candidate does not have.
    """
    for router, config in _routers(config_file).items() if not is_bundled(name) else ():
        folder = Path(config.checkpoint) if config.checkpoint is not None else None
        if folder is None or name not in checkpoint_names(folder):
            continue
        checkpoint = load_checkpoint(name, folder / name)
        if len(checkpoint.candidates) > 2:
            return checkpoint, None
        served = serve_router(router, config.model_copy(update={"checkpoint": str(folder / name)}))
        return checkpoint, served.default_threshold if served.has_own_default else None
    return load_checkpoint(name), None


def configured_decisions(
    config_file: str | None, router: str | None, prompts: Sequence[str]
) -> tuple[FloatArray, float] | None:
    """Win rates and threshold of the configuration's router, its first if none is named; None without a configuration.

    Raises:
        ConfigError: it has no such router, or the router has no threshold.
    """
    routers = _routers(config_file)
    if not routers:
        return None
    name = router or next(iter(routers))
    if name not in routers:
        raise ConfigError(f"--router is {name!r}, {config_file} has {', '.join(routers)}")
    served = serve_router(name, routers[name])
    if served.default_threshold is None:
        raise ConfigError(f"router {name!r} of {config_file} has no threshold: calibrate it, or add column went_strong")
    return served.router.win_rates(prompts), served.default_threshold


def strong_model(config_file: str | None) -> str | None:
    """Name of the configuration's strong model."""
    return None if config_file is None else make_config(read_values(config_file), source=config_file).strong


def _routers(config_file: str | None) -> dict[str, RouterConfig]:
    if config_file is None:
        return {}
    return dict(make_config(read_values(config_file), source=f"config file {config_file}").routers)
