"""Training a matrix-factorisation router: one compiled program per epoch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pointsman.backends.jax.mf import MatrixFactorization, expected_loss, loss, weights_of
from pointsman.backends.jax.noise import noise
from pointsman.backends.jax.training_state import TrainingState, read_state, write_state
from pointsman.backends.training.examples import Examples
from pointsman.backends.training.history import Epoch, best_epoch, fingerprint
from pointsman.backends.training.mf_recipe import MFRecipe
from pointsman.core.errors import FitError
from pointsman.core.mf import MFWeights

__all__ = ["MFResult", "train_mf"]

_Params: TypeAlias = Any  # nnx.State of nnx.Param


@dataclass(frozen=True, slots=True, eq=False)
class MFResult:
    """A trained model.

    Attributes:
        weights: of the epoch with the lowest validation loss; of the last epoch without validation examples.
        model: the same in Flax.
        history: figures of every epoch, in order.
        best: the epoch that `weights` are of.
    """

    weights: MFWeights
    model: MatrixFactorization
    history: tuple[Epoch, ...]
    best: Epoch


class _Data(NamedTuple):
    """Battles on the device: `embeddings[prompt[i]]` is what battle i was fought on; weights have mean 1."""

    embeddings: jax.Array
    prompt: jax.Array
    first: jax.Array
    second: jax.Array
    outcome: jax.Array
    weight: jax.Array


def train_mf(
    train: Examples,
    validation: Examples | None,
    recipe: MFRecipe,
    *,
    mesh: Mesh | None = None,
    state_path: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> MFResult:
    """Fits the weights by Adam on the cross-entropy of battle outcomes.

    The result depends on the examples and the recipe alone: not on the number of devices (up to rounding), nor on
    whether training was stopped and resumed (to the bit).

    Args:
        train, validation: examples over the same models and embeddings of one dimension.
        mesh: one-dimensional mesh of devices to split every batch over; its size must divide the batch size. The
            default device if None.
        state_path: file that holds the state after every epoch; training resumes from it if it exists.
        on_epoch: called after every epoch.

    Raises:
        ValueError: train and validation differ in models or dimension, or the mesh does not divide the batch.
        FitError: the loss became NaN or infinite.
        CheckpointError: `state_path` belongs to another run or cannot be written.
    """
    _check(train, validation, recipe, mesh)
    run = _Run(train, validation, recipe, mesh)
    state = run.initial_state()
    name = fingerprint(recipe, train, validation)
    if state_path is not None and state_path.exists():
        state = read_state(state_path, state, name)
    for state in run.epochs(state):  # noqa: B020 - every state follows from the one before
        if state_path is not None:
            write_state(state_path, state, name)
        if on_epoch is not None:
            on_epoch(state.history[-1])
    model = nnx.merge(run.graph, jax.device_get(state.best))
    return MFResult(weights_of(model), model, state.history, best_epoch(state.history))


class _Run:
    """Data, model and settings of one training run."""

    def __init__(self, train: Examples, validation: Examples | None, recipe: MFRecipe, mesh: Mesh | None) -> None:
        self.recipe = recipe
        self.data = _on_device(train, mesh)
        self.held = None if validation is None else _on_device(validation, mesh)
        model = MatrixFactorization(
            len(train.battle_set.battles.models),
            recipe.latent_dim,
            train.dim,
            bias=recipe.bias,
            rngs=nnx.Rngs(params=_key(recipe, 0)),
        )
        self.graph, self._params = nnx.split(model)
        self._mesh = mesh

    def initial_state(self) -> TrainingState:
        optimizer = _optimizer(self.recipe, _n_steps(len(self.data.prompt), self.recipe))
        return TrainingState(self._params, optimizer.init(self._params), self._params, ())

    def epochs(self, state: TrainingState) -> Iterator[TrainingState]:
        """The state after every further epoch, until the epochs or the patience are used up."""
        trees = (_replicated(tree, self._mesh) for tree in (state.params, state.opt, state.best))
        state = TrainingState(*trees, state.history)
        settings = _program_settings(self.recipe)
        while len(state.history) < self.recipe.epochs and not state.exhausted(self.recipe.patience):
            started, number = perf_counter(), len(state.history) + 1
            key = _key(self.recipe, number)
            params, opt, train_loss = _epoch(state.params, state.opt, key, self.data, self.graph, settings, self._mesh)
            held = None if self.held is None else _evaluate(params, self.held, self.graph)
            figures = (None, None) if held is None else (float(held[0]), float(held[1]))
            done = Epoch(number, float(train_loss), *figures, perf_counter() - started)
            if not np.isfinite(done.criterion):
                raise FitError(f"loss is {done.criterion} after epoch {number}: lower lr, which is {self.recipe.lr}")
            history = (*state.history, done)
            best = jax.tree.map(jnp.copy, params) if best_epoch(history) is done else state.best
            state = TrainingState(params, opt, best, history)
            yield state


@partial(jax.jit, static_argnames=("graph", "recipe", "mesh"), donate_argnums=(0, 1))
def _epoch(
    params: _Params, opt: Any, key: jax.Array, data: _Data, graph: Any, recipe: MFRecipe, mesh: Mesh | None
) -> tuple[_Params, Any, jax.Array]:
    """One pass over the battles in random order: weights, optimiser state and mean loss after it."""
    n, size = len(data.prompt), recipe.batch_size
    n_steps = _n_steps(n, recipe)
    optimizer = _optimizer(recipe, n_steps)
    order_key, noise_key = jax.random.split(key)
    order = jax.random.permutation(order_key, n)
    padding = n_steps * size - n
    batches = jnp.concatenate([order, jnp.zeros(padding, order.dtype)]).reshape(-1, size)
    real = (jnp.arange(n + padding) < n).astype(jnp.float32).reshape(-1, size)
    if mesh is not None:
        sharding = NamedSharding(mesh, PartitionSpec(None, mesh.axis_names[0]))
        batches, real = jax.lax.with_sharding_constraint((batches, real), sharding)

    def step(carry: tuple[_Params, Any], batch: tuple[jax.Array, ...]) -> tuple[tuple[_Params, Any], jax.Array]:
        params, opt = carry
        rows, counts, key = batch
        value, gradient = jax.value_and_grad(_batch_loss)(params, graph, data, rows, counts, key, recipe)
        updates, opt = optimizer.update(gradient, opt, params)
        return (optax.apply_updates(params, updates), opt), value * counts.sum()

    keys = jax.random.split(noise_key, n_steps)
    (params, opt), losses = jax.lax.scan(step, (params, opt), (batches, real, keys))
    return params, opt, losses.sum() / n


def _batch_loss(
    params: _Params, graph: Any, data: _Data, rows: jax.Array, counts: jax.Array, key: jax.Array, recipe: MFRecipe
) -> jax.Array:
    """Mean loss of the battles in `rows`, those with count 0 left out."""
    model = nnx.merge(graph, params)
    embeddings = data.embeddings[data.prompt[rows]]
    first, second, outcome = data.first[rows], data.second[rows], data.outcome[rows]
    if recipe.alpha and recipe.noise == "expected":
        values = expected_loss(model, embeddings, first, second, outcome, alpha=recipe.alpha)
    else:
        if recipe.alpha:
            embeddings += recipe.alpha * noise(key, embeddings.shape)
        values = loss(model(embeddings, first, second), outcome)
    return jnp.sum(values * data.weight[rows] * counts) / counts.sum()


@partial(jax.jit, static_argnames="graph")
def _evaluate(params: _Params, data: _Data, graph: Any) -> tuple[jax.Array, jax.Array]:
    """Weighted mean loss, and accuracy on the battles that have a winner; without noise."""
    model = nnx.merge(graph, params)
    scores = model.scores(data.embeddings)
    logits = scores[data.prompt, data.first] - scores[data.prompt, data.second]
    decided = data.weight * (data.outcome != 0.5)
    right = (logits > 0) == (data.outcome > 0.5)
    mean_loss = jnp.sum(loss(logits, data.outcome) * data.weight) / data.weight.sum()
    return mean_loss, jnp.sum(right * decided) / jnp.maximum(decided.sum(), 1e-30)


def _program_settings(recipe: MFRecipe) -> MFRecipe:
    """`recipe` with the defaults of what does not change the compiled epoch: recipes alike in the rest share one."""
    epochs = recipe.epochs if recipe.schedule == "cosine" else 1
    return replace(recipe, epochs=epochs, patience=None, ties="drop", seed=0)


def _optimizer(recipe: MFRecipe, n_steps: int) -> optax.GradientTransformation:
    total = n_steps * recipe.epochs
    lr = (
        recipe.lr
        if recipe.schedule == "constant"
        else optax.warmup_cosine_decay_schedule(0.0, recipe.lr, max(total // 20, 1), max(total, 2))
    )
    return optax.chain(
        optax.add_decayed_weights(recipe.weight_decay), optax.scale_by_adam(), optax.scale_by_learning_rate(lr)
    )


def _on_device(examples: Examples, mesh: Mesh | None) -> _Data:
    battles = examples.battle_set.battles
    used, prompt = np.unique(examples.battle_set.prompt, return_inverse=True)
    embeddings = examples.embeddings if len(used) == len(examples.embeddings) else examples.embeddings[used]
    data = _Data(
        embeddings,
        prompt.astype(np.int32),
        battles.model_a.astype(np.int32),
        battles.model_b.astype(np.int32),
        battles.outcome.astype(np.float32),
        (battles.weight / battles.weight.mean()).astype(np.float32),
    )
    return _replicated(data, mesh)


def _replicated(tree: Any, mesh: Mesh | None) -> Any:
    """The arrays on every device, as copies that may be donated."""
    copies = jax.tree.map(jnp.array, tree)
    return copies if mesh is None else jax.device_put(copies, NamedSharding(mesh, PartitionSpec()))


def _key(recipe: MFRecipe, number: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(recipe.seed), number)


def _n_steps(n_battles: int, recipe: MFRecipe) -> int:
    return -(-n_battles // recipe.batch_size)


def _check(train: Examples, validation: Examples | None, recipe: MFRecipe, mesh: Mesh | None) -> None:
    if validation is not None:
        if validation.battle_set.battles.models != train.battle_set.battles.models:
            raise ValueError("train and validation name different models, or in another order")
        if validation.dim != train.dim:
            raise ValueError(f"train has embeddings of dimension {train.dim}, validation of {validation.dim}")
    if mesh is not None and (len(mesh.axis_names) != 1 or recipe.batch_size % mesh.size):
        raise ValueError(f"batch_size {recipe.batch_size} must be a multiple of {mesh.size}, the size of a 1-d mesh")
    if not train.battle_set.battles.weight.sum() > 0:
        raise ValueError("all battles have weight 0")
