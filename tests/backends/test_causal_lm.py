"""The causal-LM router: training on score tokens, export, one forward pass."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pointsman.backends.language.scores import SCORE_TOKENS
from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.core.errors import CheckpointError, FitError
from pointsman.core.pair import ModelPair
from pointsman.core.registry import build_router
from pointsman.serve.cli import main

from support.lazy import LazyModule

torch, transformers = LazyModule("torch"), LazyModule("transformers")
export = LazyModule("pointsman.backends.torch.causal_lm_export")
training = LazyModule("pointsman.backends.torch.causal_lm_training")
tuning = LazyModule("pointsman.backends.torch.finetuning")

_PAIR = ModelPair("big", "small")
_EASY = ["add", "two", "three", "what", "is", "name", "the", "sky", "please", "tell", "me", "cat", "dog", "red", "blue"]
_HARD = ["prove", "derive", "integrate", "theorem", "topology", "manifold", "entropy"]
_TEMPLATE = "Request: {prompt}\nScore: "


def _data(n: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Prompts whose score is 5 without a hard word, 3 with one, 1 with two."""
    rng = np.random.default_rng(seed)
    prompts, scores = [], []
    for _ in range(n):
        n_hard = int(rng.integers(3))
        words = [*rng.choice(_EASY, rng.integers(3, 9)), *rng.choice(_HARD, n_hard)]
        prompts.append(" ".join(rng.permutation(words)))
        scores.append([5, 3, 1][n_hard])
    return prompts, np.array(scores)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Folder of a tiny Llama with random weights and a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*_data(300, 9)[0], _TEMPLATE], trainer)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(base):
    """The tiny Llama after it has seen the toy rule."""
    prompts, scores = _data(1200, 0)
    recipe = training.CausalLMRecipe(template=_TEMPLATE, finetuning=tuning.FineTuning(epochs=4, lr=3e-3, batch_size=32))
    return training.train_causal_lm(prompts, scores, recipe, base=base, validation=range(100))


@pytest.fixture(scope="module")
def checkpoint(trained, tmp_path_factory):
    """It, exported and read back."""
    path = tmp_path_factory.mktemp("causal") / "checkpoint"
    export.export_causal_lm(trained, path, pair=_PAIR, prompts=_data(100, 1)[0], source="toy")
    return read_checkpoint(path)


@pytest.fixture(scope="module")
def router(checkpoint):
    return build_router(checkpoint)


def test_it_learns_the_rule_and_survives_reload(router):
    """Over 95 % of held-out prompts are on the right side of one half after export and reload."""
    prompts, scores = _data(400, 2)
    assert ((router.win_rates(prompts) >= 0.5) == (scores < 4)).mean() > 0.95


def test_batches_give_what_single_prompts_give(router):
    """A prompt's win rate does not depend on what it is scored with."""
    prompts, _ = _data(40, 3)
    single = [router.calculate_strong_win_rate(prompt) for prompt in prompts]
    assert router.win_rates(prompts) == pytest.approx(np.array(single), abs=1e-6)


def test_one_pass_says_what_six_generated_tokens_say(router):
    """The likeliest score of one pass is the first score token of greedy generation, which takes several."""
    prompts, _ = _data(25, 4)
    rows = router.tokenize(prompts)
    ids = [router.tokenize.tokenizer.token_to_id(token) for token in SCORE_TOKENS]
    logits = np.stack([router._read([row])[0][0] for row in rows])
    passes = []
    hook = router.model.register_forward_hook(lambda *_: passes.append(1))
    try:
        router.win_rates(prompts[:1])
        assert len(passes) == 1
        for row, mine in zip(rows, logits, strict=True):
            generated = router.model.generate(
                torch.tensor([row]),
                attention_mask=torch.ones(1, len(row), dtype=torch.int64),
                max_new_tokens=6,
                do_sample=False,
                use_cache=False,
                pad_token_id=1,
            )[0, len(row) :].tolist()
            assert next(token for token in generated if token in ids) == ids[int(mine.argmax())]
        assert len(passes) > 1 + len(rows)
    finally:
        hook.remove()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # raised inside peft
def test_lora_learns_and_leaves_plain_weights(trained, base, tmp_path):
    """A low-rank adaptation of the trained model turns its rule around, and its checkpoint needs no peft."""
    pytest.importorskip("peft")
    trained.model.save_pretrained(tmp_path / "start")
    transformers.PreTrainedTokenizerFast.from_pretrained(base).save_pretrained(tmp_path / "start")
    prompts, scores = _data(600, 5)
    recipe = training.CausalLMRecipe(
        template=_TEMPLATE,
        lora=training.LoRA(rank=8, dropout=0.0),
        finetuning=tuning.FineTuning(epochs=8, lr=3e-3, batch_size=32),
    )
    turned = training.train_causal_lm(prompts, 6 - scores, recipe, base=tmp_path / "start")
    export.export_causal_lm(turned, tmp_path / "turned", pair=_PAIR, prompts=prompts[:50], source="toy")
    held, scores = _data(200, 6)
    rates = build_router(read_checkpoint(tmp_path / "turned")).win_rates(held)
    assert ((rates < 0.5) == (scores == 1)).mean() > 0.9


def test_a_model_that_says_no_score_means_strong(trained, router):
    """Where the likeliest token is no score, or a logit is not finite, the win rate is 1 and the reason says why."""
    prompts = ["add two", "prove it"]
    untrained = transformers.LlamaForCausalLM(trained.model.config)
    lost = type(router)(untrained, router.tokenize, router.settings).readings(prompts)
    assert lost.win_rates.tolist() == [1.0, 1.0]
    assert all("wanted a score token, got" in str(reason) for reason in lost.reasons)
    with torch.no_grad():
        untrained.lm_head.weight.fill_(float("nan"))
    broken = type(router)(untrained, router.tokenize, router.settings)
    assert set(broken.readings(prompts).reasons) == {"invalid output: a logit is not finite"}
    decision = broken.route("add two", 0.7, _PAIR)
    assert (decision.model, decision.win_rate) == ("big", 1.0)
    assert decision.reason == "invalid output: a logit is not finite"


@pytest.mark.parametrize("prompt", ["", " \n ", "😀😀", "\ud800", "prove " * 170_000])
def test_any_prompt_has_a_win_rate_and_the_template_is_never_cut(router, prompt):
    """Empty, blank, emoji-only, ill-formed and megabyte prompts are read, between the template's two halves."""
    assert 0.0 <= router.calculate_strong_win_rate(prompt) <= 1.0
    (row,) = router.tokenize([prompt])
    text = router.tokenize.tokenizer.decode(row)
    assert text.startswith("Request: ")
    assert text.endswith("\nScore: ")
    assert len(row) <= 128


def test_a_tokenizer_without_the_score_tokens_is_refused(checkpoint, base, tmp_path):
    """A checkpoint whose tokenizer lacks the score tokens is an error that names them."""
    files = {name: checkpoint.path / name for name in ("config.json", "model.safetensors")}
    write_checkpoint(checkpoint, tmp_path / "c", files={**files, "tokenizer.json": base / "tokenizer.json"})
    with pytest.raises(CheckpointError, match=r"lacks the score tokens \[\[1\]\]"):
        build_router(read_checkpoint(tmp_path / "c"))


def test_bad_training_input_says_why(base):
    """A score outside 1 to 5, a template without or without room for the prompt, and no base, are errors."""
    with pytest.raises(ValueError, match="wanted one of 1 to 5 for each of 1"):
        training.train_causal_lm(["a"], np.array([6]), training.CausalLMRecipe(), base=base)
    with pytest.raises(ValueError, match=r"holds '\{prompt\}' 0 times"):
        training.train_causal_lm(["a"], np.array([5]), training.CausalLMRecipe(template="Score:"), base=base)
    with pytest.raises(ValueError, match="shorten the template"):
        long = training.CausalLMRecipe(template="please " * 200 + "{prompt}")
        training.train_causal_lm(["a"], np.array([5]), long, base=base)
    with pytest.raises(FitError, match="cannot be loaded"):
        training.train_causal_lm(["a"], np.array([5]), training.CausalLMRecipe(), base="no/such-model")


def test_the_command_learns_from_a_judges_scores(base, tmp_path, capsys):
    """`train causal-lm --judged` reads prompts with scores and a template file, and refuses a score that is none."""
    prompts, scores = _data(100, 8)
    rows = [{"prompt": prompt, "score": score} for prompt, score in zip(prompts, scores.tolist(), strict=True)]
    data, template = tmp_path / "judged.jsonl", tmp_path / "template.txt"
    data.write_text("\n".join(map(json.dumps, rows)))
    template.write_text(_TEMPLATE)
    words = ["-o", str(tmp_path / "c"), "--strong", "big", "--weak", "small", "--base", str(base), "--epochs", "1"]
    assert main(["train", "causal-lm", str(data), "--judged", "--template", str(template), *words]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'c'}\n"
    checkpoint = read_checkpoint(tmp_path / "c")
    assert checkpoint.options["template"] == _TEMPLATE
    assert checkpoint.pair == _PAIR
    data.write_text(json.dumps({"prompt": "a", "score": 7}))
    assert main(["train", "causal-lm", str(data), "--judged", *words]) == 1
    assert "row 1: score is 7.0 (1 such rows), wanted a judge's 1 to 5" in capsys.readouterr().err
