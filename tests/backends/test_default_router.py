"""The bundled router: what it was made of, that it discriminates, and that it always says the same."""

import json

import numpy as np
import pytest

from pointsman.backends.assets import asset_path
from pointsman.backends.data.tables import read_table
from pointsman.core.metrics import apgr, quality_curve
from pointsman.serve.checkpoints.load import load_checkpoint, load_router

PROMPTS = (
    "What is the capital of France?",
    "Prove that every bounded sequence of real numbers has a convergent subsequence.",
    "Translate 'good morning' to Spanish.",
    "Write a lock-free queue in C++ and show that it is linearizable.",
)


def test_its_sources_are_permissive_and_no_benchmark():
    """Every source has an Apache-2.0 or MIT licence, and none is a benchmark's own labels."""
    sources = load_checkpoint("mf").provenance["sources"]
    assert {source["licence"] for source in sources.values()} <= {"Apache-2.0", "MIT"}
    assert not [name for name in sources if "routellm_" in name or "llmfao" in name]
    assert all(source["origin"] for source in sources.values())


def test_it_is_small_and_complete():
    """Under 1.5 MB, calibrated, with the recipe, the versions and the figures of its training."""
    checkpoint = load_checkpoint("mf")
    assert sum(path.stat().st_size for path in asset_path("mf").iterdir()) < 1_500_000
    assert checkpoint.calibration.n_prompts > 1000
    assert set(checkpoint.provenance) >= {"sources", "recipe", "versions", "folds", "pair"}
    best, baseline = checkpoint.metrics["best_epoch"], checkpoint.metrics["always_better_rated"]
    assert best["validation_loss"] < baseline["loss"]


def test_its_win_rates_differ_and_are_repeatable():
    """Different prompts get different win rates inside (0, 1), the same ones every time, alone or in a batch."""
    router, again = (load_router(load_checkpoint("mf")) for _ in range(2))
    rates = router.win_rates(PROMPTS)
    assert ((rates > 0) & (rates < 1)).all()
    assert np.ptp(rates) > 0.02
    assert (rates == again.win_rates(PROMPTS)).all()
    assert [router.calculate_strong_win_rate(prompt) for prompt in PROMPTS] == pytest.approx(rates.tolist(), abs=1e-6)


def test_prompts_that_are_read_together_are_read_as_each_alone():
    """To the last bit: a decision does not depend on who is served at the same time."""
    router = load_router(load_checkpoint("mf"))
    prompts = [*PROMPTS, "", "?", "word " * 300, "Ein Wort, 言葉, 🌳 \ud83d", *("and " * n for n in range(30))]
    alone = [router.read(prompt) for prompt in prompts]
    for together, one in zip(router.read_many(prompts), alone, strict=True):
        assert together.win_rate == one.win_rate
        assert (together.embedding == one.embedding).all()


@pytest.mark.parametrize(("name", "least"), [("mmlu", 0.57), ("gsm8k", 0.57)])
def test_it_routes_benchmarks_that_it_never_saw_better_than_chance(shared_data, name, least):
    """It recovers more of the gap between two other models than the .5 of a random order: what the readme says."""
    table = read_table(shared_data / f"routellm_{name}_dev.parquet")
    curve = quality_curve(
        load_router(load_checkpoint("mf")).win_rates(table.texts("prompt")),
        table.numbers("strong"),
        table.numbers("weak"),
    )
    assert apgr(curve) > least


def test_its_calibration_holds_on_its_own_sources(shared_data):
    """Thresholds by strong share send about that share of the sources' held-out prompts to strong."""
    router = load_router(load_checkpoint("mf"))
    rates = []
    for name in load_checkpoint("mf").provenance["sources"]:
        table = read_table(shared_data / f"{name}.parquet", columns=["prompt", "fold"])
        held = {p for p, fold in zip(table.texts("prompt"), table.numbers("fold"), strict=True) if fold >= 6}
        rates.append(router.win_rates(sorted(held)[:100]))
    calibration = load_checkpoint("mf").calibration
    for share in (0.2, 0.5, 0.8):
        sent = np.mean(np.concatenate(rates) >= calibration.threshold(share))
        assert sent == pytest.approx(share, abs=0.1)


def test_its_record_is_plain_json():
    """The checkpoint's record can be read without Pointsman."""
    record = json.loads((asset_path("mf") / "pointsman.json").read_text())
    assert record["kind"] == "mf"
    assert record["pair"] == {"strong": "strong", "weak": "weak"}
