"""Runs in RouteLLM's environment: its own training loop on stored data, timed by the epoch.

    python routellm_mf.py FOLDER N_EPOCHS N_THREADS

FOLDER holds embeddings.npy and battles.json (RouteLLM's format, training battles first, `n_train` in meta.json).
Prints one JSON line: seconds and losses of every epoch.
"""

import itertools
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENAI_API_KEY", "none")  # RouteLLM makes a client at import

import torch
from routellm.routers.matrix_factorization import train_matrix_factorization as peer


def main() -> None:
    folder, n_epochs, n_threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(n_threads)
    meta = json.loads((folder / "meta.json").read_text())
    battles = json.loads((folder / "battles.json").read_text())
    train, held = battles[: meta["n_train"]], battles[meta["n_train"] :]
    model = peer.MFModel_Train(
        dim=128, num_models=64, num_prompts=meta["n_prompts"], npy_path=str(folder / "embeddings.npy")
    )
    ends, figures = [time.perf_counter()], []

    def evaluate(net, test_iter, device):
        trained = time.perf_counter()
        loss, accuracy = peer.evaluator(net, test_iter, device)
        figures.append({"validation_loss": loss, "accuracy": accuracy, "train_s": trained - ends[-1]})
        ends.append(time.perf_counter())
        return loss, accuracy

    peer.train_loops(
        model,
        peer.PairwiseDataset(train).get_dataloaders(batch_size=64, shuffle=True),
        peer.PairwiseDataset(held).get_dataloaders(1024, shuffle=False),
        lr=3e-4,
        weight_decay=1e-5,
        alpha=0.1,
        num_epochs=n_epochs,
        device="cpu",
        evaluator=evaluate,
    )
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    quiet = noiseless_losses(model, held)
    print(json.dumps({"seconds": seconds, "epochs": figures, "noiseless_validation_loss": quiet}))


def noiseless_losses(model, held) -> float:
    """Validation loss with the noise off, which RouteLLM's own evaluation leaves on."""
    loader = peer.PairwiseDataset(held).get_dataloaders(1024, shuffle=False)
    with torch.no_grad():
        losses = [torch.nn.functional.softplus(-model(*batch, test=True)) for batch in loader]
    return float(torch.cat([loss.reshape(-1) for loss in losses]).mean())


if __name__ == "__main__":
    main()
