"""Fine-tuning that was stopped goes on as if it had not been."""

import numpy as np
import pytest

from pointsman.core.errors import CheckpointError

from support.lazy import LazyModule

torch = LazyModule("torch")
tuning = LazyModule("pointsman.backends.torch.finetuning")
state_files = LazyModule("pointsman.backends.torch.finetuning_state")

N = 24


@pytest.fixture(autouse=True, scope="module")
def _accelerate():
    pytest.importorskip("accelerate", reason="accelerate is not installed")


def _settings():
    return tuning.FineTuning(epochs=4, lr=0.05, batch_size=4, patience=None)


class StoppedError(Exception):
    """What ends a run here."""


def _run(*, state=None, stop_after=None):
    """Weights and history of a small model with dropout; stopped after an epoch where that is asked for."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(N, 3))).float()

    def loss(model, rows, device):
        return (model(x[rows]).squeeze(1) - x[rows].sum(1)).square().sum()

    def progress(line):
        if stop_after is not None and line.startswith(f"epoch {stop_after + 1}/"):
            raise StoppedError

    history = tuning.finetune(
        model, loss, [1 + i % 3 for i in range(N)], _settings(), validation=np.arange(4), state=state, progress=progress
    )
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy(), history


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_stopped_run_ends_where_an_unstopped_one_does(stop_after, tmp_path):
    """Weights and figures of a run that was stopped and gone on with are those of one that was not, to the bit."""
    state = (tmp_path / "state.pt", state_files.run_fingerprint(_settings(), rows=[[1, 2], [3]]))
    wanted, figures = _run()
    with pytest.raises(StoppedError):
        _run(state=state, stop_after=stop_after)
    got, history = _run(state=state)
    np.testing.assert_array_equal(got, wanted)
    assert history == figures


def test_a_state_of_another_run_or_a_damaged_one_is_refused(tmp_path):
    """A state is used by its own run only, and what is no state is named."""
    _run(state=(tmp_path / "state.pt", "one"))
    with pytest.raises(CheckpointError, match="is of a run with other data or other settings"):
        _run(state=(tmp_path / "state.pt", "two"))
    (tmp_path / "bad.pt").write_bytes(b"no state")
    with pytest.raises(CheckpointError, match="is damaged"):
        _run(state=(tmp_path / "bad.pt", "one"))
    assert state_files.run_fingerprint("a", rows=[[1], [2]]) != state_files.run_fingerprint("a", rows=[[1, 2]])
