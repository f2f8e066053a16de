"""Fine-tuning that was stopped goes on as if it had not been."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from pointsman.backends.torch.finetuning import FineTuning, finetune  # noqa: E402
from pointsman.backends.torch.finetuning_state import run_fingerprint  # noqa: E402
from pointsman.core.errors import CheckpointError  # noqa: E402

N = 24
SETTINGS = FineTuning(epochs=4, lr=0.05, batch_size=4, patience=None)


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

    history = finetune(model, loss, [1 + i % 3 for i in range(N)], SETTINGS, validation=np.arange(4), state=state,
                       progress=progress)  # fmt: skip
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy(), history


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_stopped_run_ends_where_an_unstopped_one_does(stop_after, tmp_path):
    """Weights and figures of a run that was stopped and gone on with are those of one that was not, to the bit."""
    state = (tmp_path / "state.pt", run_fingerprint(SETTINGS, rows=[[1, 2], [3]]))
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
    assert run_fingerprint("a", rows=[[1], [2]]) != run_fingerprint("a", rows=[[1, 2]])
