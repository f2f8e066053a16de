"""The BERT router: training, export and serving with and without torch."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pointsman.backends.data.score_tables import ScoreTable
from pointsman.backends.language.bert import BertRouter, BertSettings
from pointsman.backends.language.bert_export import export_bert
from pointsman.backends.language.candidate_examples import Worth, worth_of
from pointsman.backends.language.examples import PairExamples, held_out_rows
from pointsman.core.aggregation import three_class_win_rates
from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.core.errors import CheckpointError, FitError
from pointsman.core.pair import ModelPair
from pointsman.core.registry import build_router
from pointsman.serve import Controller
from pointsman.serve.cli import main

from support.lazy import LazyModule

torch, transformers = LazyModule("torch"), LazyModule("transformers")
training = LazyModule("pointsman.backends.torch.bert_training")
classifier = LazyModule("pointsman.backends.torch.classifier")
tuning = LazyModule("pointsman.backends.torch.finetuning")

_PAIR = ModelPair("big", "small")
_EASY = ["add", "two", "name", "list", "what", "is", "the", "sky", "red", "dog"]
_HARD = ["prove", "derive", "integrate"]
_WRONG = ["poem", "joke"]


def _examples(n: int, seed: int) -> PairExamples:
    """Strong wins where a hard word occurs, weak where a playful one does, else it is a tie."""
    rng = np.random.default_rng(seed)
    prompts, difference = [], []
    for _ in range(n):
        words = list(rng.choice(_EASY, rng.integers(3, 9)))
        kind = int(rng.integers(3))
        if kind:
            words.insert(int(rng.integers(len(words))), str(rng.choice([_HARD, _WRONG][kind - 1][:2])))
        prompts.append(" ".join(words))
        difference.append([0.0, 1.0, -1.0][kind])
    return PairExamples(tuple(prompts), np.array(difference))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    pytest.importorskip("onnxruntime")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Folder of a tiny encoder with random weights and a classification head of two labels."""
    folder = tmp_path_factory.mktemp("base")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_EASY, *_HARD, *_WRONG]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        num_labels=2,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def _recipe():
    return training.BertRecipe(finetuning=tuning.FineTuning(epochs=6, lr=3e-3, batch_size=32))


@pytest.fixture(scope="module")
def trained(base):
    """A classifier of the toy rule."""
    return training.train_bert(_examples(600, 0), _recipe(), base=base, validation=range(100))


@pytest.fixture(scope="module")
def checkpoints(trained, tmp_path_factory):
    """The same classifier exported in full precision and in int8."""
    folder = tmp_path_factory.mktemp("bert")
    for name, int8 in (("full", False), ("int8", True)):
        export_bert(trained, folder / name, pair=_PAIR, prompts=_examples(200, 1).prompts, source="toy", int8=int8)
    return folder


def test_it_learns_the_three_classes(checkpoints):
    """On held-out prompts, strong's wins rank above ties and ties above weak's wins."""
    held = _examples(300, 2)
    rates = build_router(read_checkpoint(checkpoints / "full")).win_rates(held.prompts)
    assert rates[held.difference > 0].min() > rates[held.difference == 0].max()
    assert rates[held.difference == 0].min() > rates[held.difference < 0].max()


def test_torch_graph_and_core_agree(trained, checkpoints):
    """PyTorch's logits through core's aggregation, the graph, and the fallback to torch differ by less than 1e-4."""
    prompts = _examples(50, 3).prompts
    full = build_router(read_checkpoint(checkpoints / "full"))
    with torch.inference_mode():
        rows = [torch.tensor([row]) for row in trained.tokenize(prompts)]
        logits = np.concatenate([trained.model(row, torch.ones_like(row)).numpy() for row in rows])
    wanted = three_class_win_rates(logits, tie_share=0.5)
    assert full.win_rates(prompts) == pytest.approx(wanted, abs=1e-4)
    fallback = BertRouter(classifier.torch_forward(trained.model), full.tokenize, full.settings)
    assert fallback.win_rates(prompts) == pytest.approx(wanted, abs=1e-4)


def test_int8_is_close_and_independent_of_the_batch(checkpoints):
    """Quantised win rates stay near the full ones, and a prompt's does not depend on its neighbours."""
    prompts = _examples(50, 3).prompts
    checkpoint = read_checkpoint(checkpoints / "int8")
    router = build_router(checkpoint)
    rates = router.win_rates(prompts)
    full = build_router(read_checkpoint(checkpoints / "full")).win_rates(prompts)
    assert np.abs(rates - full).max() < 0.05
    assert 0.0 < checkpoint.metrics["int8_difference"] < 0.05
    assert [router.calculate_strong_win_rate(prompt) for prompt in prompts] == list(rates)


def test_without_a_graph_torch_serves(trained, checkpoints, tmp_path):
    """A checkpoint with PyTorch weights alone gives the same win rates."""
    full = read_checkpoint(checkpoints / "full")
    names = ("config.json", "model.safetensors", "tokenizer.json")
    write_checkpoint(full, tmp_path / "plain", files={name: full.path / name for name in names})
    prompts = _examples(20, 4).prompts
    rates = build_router(read_checkpoint(tmp_path / "plain")).win_rates(prompts)
    assert rates == pytest.approx(build_router(full).win_rates(prompts), abs=1e-4)


def test_serving_a_graph_loads_no_torch(checkpoints):
    """A checkpoint with a graph is served by onnxruntime and tokenizers alone."""
    code = (
        "import sys\nfrom pointsman.core.checkpoint import read_checkpoint\n"
        "from pointsman.core.registry import build_router\n"
        f"build_router(read_checkpoint({str(checkpoints / 'int8')!r})).win_rates(['what is the sky'])\n"
        "print(sorted({'torch', 'transformers', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("prompt", ["", " \n ", "😀😀", "\ud800", "prove " * 170_000])
def test_any_prompt_has_a_win_rate(checkpoints, prompt):
    """Empty, blank, emoji-only, ill-formed and megabyte prompts give a number in [0, 1]."""
    assert 0.0 <= build_router(read_checkpoint(checkpoints / "int8")).calculate_strong_win_rate(prompt) <= 1.0


def test_no_prompt_is_no_work(checkpoints):
    """No prompts give no win rates."""
    assert build_router(read_checkpoint(checkpoints / "full")).win_rates([]).shape == (0,)


def test_a_head_with_other_labels_is_replaced_for_training_and_refused_for_serving(base, checkpoints, tmp_path):
    """A base with two labels trains with three; a checkpoint whose model has two is an error."""
    assert classifier.new_classifier(base, pooling="model").base.config.num_labels == 3
    full = read_checkpoint(checkpoints / "full")
    settings = BertSettings.from_options(full.options)
    options = {**settings.to_options(), "pooling": "model"}
    files = {name: base / name for name in ("config.json", "model.safetensors")}
    other = type(full)("bert", full.models, full.pair, options=options)
    write_checkpoint(other, tmp_path / "two", files={**files, "tokenizer.json": full.path / "tokenizer.json"})
    with pytest.raises(CheckpointError, match="2 labels, wanted 3"):
        build_router(read_checkpoint(tmp_path / "two"))


def test_the_base_models_own_head_trains_and_exports(base, tmp_path):
    """With pooling "model" the base's own classification head is trained, exported and served."""
    recipe = training.BertRecipe(pooling="model", finetuning=tuning.FineTuning(epochs=1, lr=3e-3))
    trained = training.train_bert(_examples(200, 0), recipe, base=base)
    prompts = _examples(20, 1).prompts
    export_bert(trained, tmp_path / "own", pair=_PAIR, prompts=prompts, source="toy", int8=False)
    router = build_router(read_checkpoint(tmp_path / "own"))
    with_torch = BertRouter(classifier.torch_forward(trained.model), trained.tokenize, router.settings)
    assert router.win_rates(prompts) == pytest.approx(with_torch.win_rates(prompts), abs=1e-4)


def test_the_best_epoch_is_kept_and_training_repeats(base):
    """The weights are those of the lowest validation loss, and one seed gives one model."""
    recipe = training.BertRecipe(finetuning=tuning.FineTuning(epochs=4, lr=3e-2, patience=1, seed=5))
    examples = _examples(200, 0)
    first, second = (training.train_bert(examples, recipe, base=base, validation=range(50)) for _ in range(2))
    assert first.history == second.history
    losses = [epoch.validation_loss for epoch in first.history]
    assert len(losses) == 4 or int(np.argmin(losses)) == len(losses) - 2
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_frozen_layers_stay_as_they_are(base):
    """Frozen embeddings and layers keep the base's weights; the layer above them learns."""
    recipe = training.BertRecipe(freeze_layers=1, finetuning=tuning.FineTuning(epochs=1, lr=1e-2))
    trained = training.train_bert(_examples(100, 0), recipe, base=base).model.base.state_dict()
    start = transformers.BertModel.from_pretrained(base).state_dict()
    changed = {name.split(".")[2] for name in start if "layer" in name and not torch.equal(start[name], trained[name])}
    assert changed == {"1"}
    assert all(torch.equal(start[name], trained[name]) for name in start if name.startswith("embeddings"))


def test_half_of_the_default_base_is_kept(base, monkeypatch):
    """A base that is named is kept whole, the default one as far as was found to be enough, unless layers are given."""
    monkeypatch.setattr("pointsman.backends.torch.bert_training.default_base", lambda: base)
    monkeypatch.setattr("pointsman.backends.torch.bert_training.DEFAULT_LAYERS", 1)
    recipe = training.BertRecipe(finetuning=tuning.FineTuning(epochs=0))

    def n_layers(recipe, **named):
        trained = training.train_bert(_examples(30, 0), recipe, **named)
        assert trained.recipe.layers in (None, len(trained.model.encoder_layers()))
        return len(trained.model.encoder_layers())

    assert n_layers(recipe) == 1
    assert n_layers(recipe, base=base) == 2
    assert n_layers(replace(recipe, layers=2)) == 2


def test_what_cannot_be_trained_says_why(base):
    """One class alone, no base, and more layers than there are, are errors that name the cause."""
    same = PairExamples(("a", "b"), np.array([1.0, 1.0]))
    with pytest.raises(FitError, match="all examples are of one class"):
        training.train_bert(same, _recipe(), base=base)
    with pytest.raises(FitError, match="cannot be loaded"):
        training.train_bert(_examples(10, 0), _recipe(), base="no/such-model")
    with pytest.raises(ValueError, match="layers is 9, wanted 1 to 2"):
        training.train_bert(_examples(10, 0), training.BertRecipe(layers=9), base=base)
    with pytest.raises(ValueError, match="max_length is 600, wanted at most 64"):
        training.train_bert(_examples(10, 0), training.BertRecipe(max_length=600), base=base)


def test_a_checkpoint_for_another_pair_or_with_a_foreign_graph_is_refused(checkpoints, tmp_path):
    """Another pair, or a graph that is none, is an error that names it."""
    full = read_checkpoint(checkpoints / "full")
    with pytest.raises(CheckpointError, match=r"strong 'big' and weak 'small' alone"):
        build_router(full, pair=ModelPair("big", "other"))
    foreign = {"model.onnx": full.path / "tokenizer.json", "tokenizer.json": full.path / "tokenizer.json"}
    write_checkpoint(full, tmp_path / "foreign", files=foreign)
    with pytest.raises(CheckpointError, match="not a graph that onnxruntime can run"):
        build_router(read_checkpoint(tmp_path / "foreign"))
    write_checkpoint(type(full)("bert", full.models, full.pair), tmp_path / "bare", files={})
    with pytest.raises(CheckpointError, match="options of the bert checkpoint are incomplete"):
        build_router(read_checkpoint(tmp_path / "bare"))


def test_the_command_trains_and_scores(base, tmp_path, capsys):
    """`train bert` learns from the folds that were named and prints the checkpoint's figures; `score` reads it."""
    examples = _examples(200, 7)
    rows = [
        {"prompt": prompt, "strong": max(gap, 0.0), "weak": max(-gap, 0.0), "fold": i % 4}
        for i, (prompt, gap) in enumerate(zip(examples.prompts, examples.difference.tolist(), strict=True))
    ]
    data, output = tmp_path / "labels.jsonl", str(tmp_path / "trained")
    data.write_text("\n".join(map(json.dumps, rows)))
    words = ["--strong", "big", "--weak", "small", "--base", str(base), "--folds", "0", "2", "--lr", "0.003", "--json"]
    assert main(["train", "bert", str(data), "-o", output, "--epochs", "2", *words]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["kind"] == "bert"
    assert len(figures["metrics"]["history"]) == 2
    assert read_checkpoint(output).provenance["n_examples"] == 100
    assert main(["score", str(data), "--router", output, "-o", str(tmp_path / "scored.jsonl")]) == 0
    scored = [json.loads(line)["win_rate"] for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert scored == list(build_router(read_checkpoint(output)).win_rates(examples.prompts))


def _of_three(n: int, seed: int) -> ScoreTable:
    """`big` is right wherever words are hard, `middle` where none is hard, `small` where no word is playful either."""
    examples = _examples(n, seed)
    hard, playful = examples.difference > 0, examples.difference < 0
    scores = np.stack([np.ones(n), ~hard, ~hard & ~playful], axis=1).astype(float)
    scores[::9, 2] = np.nan  # not everybody answered everything
    usd = np.tile([0.01, 0.003, 0.001], (n, 1))
    return ScoreTable(examples.prompts, ("big", "middle", "small"), scores, usd, np.full_like(usd, 9.0), usd * 1e4)


def test_the_command_trains_a_head_for_each_candidate(base, tmp_path, capsys):
    """One encoder tells whom each prompt can be left to; it serves them all, some of them, or a pair of them."""
    table, names = _of_three(400, 5), "big,middle,small"
    cells = [(i, j) for i in range(len(table)) for j in range(3) if np.isfinite(table.scores[i, j])]
    data, output = tmp_path / "long.jsonl", str(tmp_path / "three")
    rows = [
        {"prompt": f"{table.prompts[i]} ({i})", "model": table.models[j], "score": table.scores[i, j],
         "cost_usd": table.usd[i, j]}
        for i, j in cells
    ]  # fmt: skip
    data.write_text("\n".join(map(json.dumps, rows)))
    words = ["--base", str(base), "--lr", "0.003", "--epochs", "6", "--validation", "0.2", "--json"]
    assert main(["train", "bert", str(data), "-o", output, "--candidates", names, *words]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["metrics"]["evidence"]["trusted"] and figures["metrics"]["graph_difference"] < 1e-4
    checkpoint = read_checkpoint(output)
    assert checkpoint.candidates == tuple(names.split(",")) and checkpoint.calibration is not None
    fresh = _of_three(100, 6)
    router = build_router(checkpoint)
    rates = router.win_rates(fresh.prompts)
    assert rates.shape == (100, 3) and (rates[:, 0] == 0.5).all()
    for candidate in (1, 2):
        wrong = fresh.scores[:, candidate] == 0.0
        assert rates[wrong, candidate].mean() > rates[fresh.scores[:, candidate] == 1.0, candidate].mean() + 0.05
    assert [mean.usd for mean in router.means] == pytest.approx([0.01, 0.003, 0.001])
    assert router.read(fresh.prompts[0]).win_rates == pytest.approx(tuple(rates[0]))
    turned = build_router(checkpoint, candidates=["big", "small", "middle"]).win_rates(fresh.prompts)
    assert (turned == rates[:, [0, 2, 1]]).all()
    pair = build_router(checkpoint, pair=ModelPair("big", "middle")).win_rates(fresh.prompts)
    assert pair.shape == (100,) and np.corrcoef(pair, rates[:, 1])[0, 1] > 0.99
    with pytest.raises(CheckpointError, match="compares 'big' with middle, small, not 'middle' with big"):
        build_router(checkpoint, candidates=["middle", "big", "small"])
    with Controller(config={"candidates": names.split(","), "routers": {"b": {"checkpoint": output}}, "models": {
        name: {"base_url": "http://127.0.0.1:9/v1"} for name in names.split(",")
    }}) as controller:  # fmt: skip
        assert controller.route(fresh.prompts[0], threshold=0.0).model == "big"
        assert len(controller.route(fresh.prompts[0], threshold=0.5).weighed) == 3


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ((), "wanted at least two candidates, or a strong and a weak model"),
        (("--candidates", "big,middle", "--strong", "big"), "and not both"),
        (("--candidates", "big,middle,gpt-9"), "gpt-9"),
        (("--candidates", "big,middle,small", "--folds", "1"), "--folds is given with --candidates"),
    ],
)
def test_models_that_cannot_be_compared_are_named(tmp_path, capsys, more, problem):
    """Neither or both of pair and candidates, a candidate without scores, and folds of candidates are errors."""
    data = tmp_path / "wide.jsonl"
    data.write_text(json.dumps({"prompt": "add two", "big": 1, "middle": 1, "small": 0}))
    assert main(["train", "bert", str(data), "-o", str(tmp_path / "x"), *more]) != 0
    assert problem in capsys.readouterr().err


def test_predictions_count_as_far_as_held_out_prompts_bear_them_out():
    """Noise counts for nothing, what is right counts, and without held-out prompts nothing is known."""
    table = _of_three(600, 8)
    seen, others = table.take(np.arange(300)), table.take(np.arange(300, 600))
    noise = np.random.default_rng(0).random((300, 3))
    assert worth_of(noise, seen, others).shrinkage == (0.0, 0.0, 0.0)
    right = 0.5 + (seen.scores[:, [0]] - np.nan_to_num(seen.scores)) / 2.0
    found = worth_of(right, seen, others)
    assert found.facts["trusted"] and min(found.shrinkage[1:]) > 0.3
    assert worth_of(right[:5], seen.take(np.arange(5)), others) == Worth((1.0, 1.0, 1.0), {})


def test_equal_prompts_are_held_out_together():
    """Validation takes whole prompts, about the share that was asked for, and the same for one seed."""
    prompts = [f"p{i % 50}" for i in range(200)]
    held = held_out_rows(prompts, 0.2, seed=3)
    assert len(held) == 40
    assert {prompts[i] for i in held}.isdisjoint({prompts[i] for i in set(range(200)) - set(held.tolist())})
    assert (held == held_out_rows(prompts, 0.2, seed=3)).all()
    with pytest.raises(ValueError, match="share is 1"):
        held_out_rows(prompts, 1.0, seed=0)
