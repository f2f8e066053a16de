"""The shared weight format: a directory that `backends` write and routers are built from.

    pointsman.json        kind, models in row order, embedder identity, calibration, provenance and metrics
    weights.safetensors   named float and integer arrays
    ...                   further files that a kind needs (model.onnx, tokenizer.json), copied as they are

`pointsman.json` holds the SHA-256 of every other file, so a damaged or swapped file is found at load. A checkpoint is
written beside its destination and then renamed into place: a crash leaves the old one.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pointsman.core.calibration import Calibration
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import CheckpointError
from pointsman.core.pair import ModelPair

__all__ = ["Checkpoint", "read_checkpoint", "write_checkpoint"]

FORMAT = "pointsman-checkpoint"
VERSION = 1
_META, _WEIGHTS = "pointsman.json", "weights.safetensors"
_MAX_META_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Everything a router is built from.

    Attributes:
        kind: router kind, e.g. "mf".
        models: names in row order.
        pair: the models whose win rate it predicts by default.
        candidates: the models that it weighs unless told otherwise, the reference first; the pair if none are given.
        embedder: identity of the embedder; None for kinds that read text themselves.
        canaries: embeddings of the three canary sentences at training time, shape (3, dim); None without embedder.
        calibration: quantiles of the pair's win rates; None if it was not calibrated.
        arrays: named arrays of the kind.
        options: JSON-ready settings of the kind, e.g. {"score_threshold": 4}.
        provenance: JSON-ready record of data, licences, recipe and versions.
        metrics: JSON-ready figures measured at training time; after calibration on labels also "labelled", what every
            threshold gave on them (`core.operating_points.labelled_points`).
        thresholds: JSON-ready thresholds by the rule that gave them, each with its data and its assumptions.
        probability_map: JSON-ready map from win rates to calibrated probabilities; None if none was fitted.
        reference: JSON-ready record of the sample that live traffic is compared with, see `core.reference`.
        path: directory it was read from, where further files lie; None if it was made in memory.
    """

    kind: str
    models: tuple[str, ...]
    pair: ModelPair
    embedder: EmbedderIdentity | None = None
    canaries: np.ndarray | None = None
    calibration: Calibration | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    probability_map: Mapping[str, Any] | None = None
    reference: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    candidates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.candidates:
            object.__setattr__(self, "candidates", (self.pair.strong, self.pair.weak))

    def further_files(self) -> dict[str, Path]:
        """Files that lie in its directory beside those that `write_checkpoint` makes, by their name there."""
        found = [] if self.path is None else [p for p in self.path.rglob("*") if p.is_file()]
        named = {p.relative_to(self.path).as_posix(): p for p in found if self.path is not None}
        return {name: p for name, p in named.items() if name not in (_META, _WEIGHTS)}

    def array(self, name: str, *, ndim: int) -> np.ndarray:
        """The named array.

        Raises:
            CheckpointError: it is missing, has another number of axes, or is not finite.
        """
        where = f"checkpoint {str(self.path or self.kind)!r}"
        if name not in self.arrays:
            raise CheckpointError(f"{where} lacks array {name!r}, which kind {self.kind!r} needs")
        array = self.arrays[name]
        if array.ndim != ndim:
            raise CheckpointError(f"{where}: array {name!r} has shape {array.shape}, wanted {ndim} axes")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CheckpointError(f"{where}: array {name!r} contains NaN or infinity")
        return array

    def row(self, model: str) -> int:
        """Row of a model.

        Raises:
            CheckpointError: the checkpoint does not know the model; the message lists the ones it knows.
        """
        if model not in self.models:
            known = ", ".join(self.models[:20]) + (", ..." if len(self.models) > 20 else "")
            raise CheckpointError(f"checkpoint does not know model {model!r}; it knows {known}")
        return self.models.index(model)


def read_checkpoint(
    path: str | os.PathLike[str], *, read_arrays: Callable[[Path], dict[str, np.ndarray]] = load_file
) -> Checkpoint:
    """Reads a checkpoint directory and checks every file against its recorded hash.

    Args:
        read_arrays: reads a safetensors file.

    Raises:
        CheckpointError: the directory or a file is missing, damaged, foreign, or written by a newer version.
    """
    folder = _locate(Path(path))
    meta = _read_meta(folder / _META)
    for name, digest in meta["files"].items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: file {name!r} is missing; copy the whole directory again")
        if _sha256(folder / name) != digest:
            raise CheckpointError(
                f"{folder / name}: content differs from the hash in {_META}: "
                "the file was truncated, damaged or replaced; copy the whole directory again"
            )
    try:
        arrays = read_arrays(folder / _WEIGHTS) if _WEIGHTS in meta["files"] else {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / _WEIGHTS}: not a safetensors file: {error}") from error
    try:
        return Checkpoint(
            kind=meta["kind"],
            models=tuple(meta["models"]),
            pair=ModelPair(**meta["pair"]),
            embedder=EmbedderIdentity(**meta["embedder"]) if meta["embedder"] else None,
            canaries=arrays.pop("canaries", None),
            calibration=_calibration(meta["calibration"]),
            arrays=arrays,
            options=meta["options"],
            provenance=meta["provenance"],
            metrics=meta["metrics"],
            thresholds=meta.get("thresholds", {}),
            probability_map=meta.get("probability_map"),
            reference=meta.get("reference", {}),
            path=folder,
            candidates=tuple(meta.get("candidates", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        what = f"field {error} is missing" if isinstance(error, KeyError) else f"a field is malformed: {error}"
        raise CheckpointError(f"{folder / _META}: {what}") from error


def write_checkpoint(
    checkpoint: Checkpoint, path: str | os.PathLike[str], *, files: Mapping[str, Path] | None = None
) -> None:
    """Writes a checkpoint directory; one that already exists is replaced only once the new one is complete.

    Args:
        files: further files to copy in, by their name in the checkpoint (may contain "/").

    Raises:
        CheckpointError: `path` exists and is not a checkpoint, or writing failed; what was there is unchanged.
    """
    target = Path(path)
    if target.exists() and not (target / _META).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target} exists and is not a checkpoint: name a new or empty directory")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    except OSError as error:
        raise CheckpointError(f"cannot write beside {target}: {error}") from error
    try:
        _write_files(checkpoint, staging, files or {})
        _swap(staging, target)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"writing checkpoint {target} failed: {error}; what was there is unchanged") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_files(checkpoint: Checkpoint, folder: Path, files: Mapping[str, Path]) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.arrays.items()}
    if checkpoint.canaries is not None:
        arrays["canaries"] = np.ascontiguousarray(checkpoint.canaries)
    if arrays:
        save_file(arrays, folder / _WEIGHTS)
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    written = sorted(p for p in folder.rglob("*") if p.is_file())
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "kind": checkpoint.kind,
        "models": list(checkpoint.models),
        "pair": asdict(checkpoint.pair),
        **({"candidates": list(checkpoint.candidates)} if len(checkpoint.candidates) > 2 else {}),
        "embedder": asdict(checkpoint.embedder) if checkpoint.embedder else None,
        "calibration": asdict(checkpoint.calibration) if checkpoint.calibration else None,
        "options": dict(checkpoint.options),
        "provenance": dict(checkpoint.provenance),
        "metrics": dict(checkpoint.metrics),
        **({"thresholds": dict(checkpoint.thresholds)} if checkpoint.thresholds else {}),
        **({"probability_map": dict(checkpoint.probability_map)} if checkpoint.probability_map else {}),
        **({"reference": dict(checkpoint.reference)} if checkpoint.reference else {}),
        "files": {p.relative_to(folder).as_posix(): _sha256(p) for p in written},
    }
    (folder / _META).write_text(json.dumps(meta, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    folder.chmod(0o755)
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
        _sync(file)
    _sync(folder)


def _swap(staging: Path, target: Path) -> None:
    """Renames `staging` to `target`. The old checkpoint waits under a name that `_locate` finds after a crash."""
    previous = _previous(target)
    if target.exists():
        shutil.rmtree(previous, ignore_errors=True)
        target.rename(previous)
    staging.rename(target)
    _sync(target.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _locate(path: Path) -> Path:
    if path.is_dir():
        return path
    if not path.exists() and _previous(path).is_dir():
        return _previous(path)
    raise CheckpointError(f"no checkpoint at {path}: wanted a directory with {_META}")


def _read_meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path.parent} is not a checkpoint: it has no {_META}")
    if path.stat().st_size > _MAX_META_BYTES:
        raise CheckpointError(f"{path} has {path.stat().st_size} bytes, wanted at most {_MAX_META_BYTES}")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise CheckpointError(f"{path} is foreign: its format is not {FORMAT!r}")
    if meta.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {meta.get('version')!r}, this Pointsman reads version {VERSION}; "
            "upgrade with: pip install -U pointsman"
        )
    files = meta.get("files")
    if not isinstance(files, dict) or not all(_is_plain(name) for name in files):
        raise CheckpointError(f"{path}: 'files' is {files!r}, wanted relative file names with their hashes")
    return meta


def _is_plain(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _calibration(meta: dict[str, Any] | None) -> Calibration | None:
    return Calibration(meta["source"], meta["n_prompts"], tuple(meta["quantiles"])) if meta else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
