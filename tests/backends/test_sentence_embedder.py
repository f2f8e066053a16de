"""Sentence encoders in both forms of saving, against the library's own embeddings."""

import json
import shutil
import warnings

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from pointsman.core.errors import ConfigError

from support.lazy import LazyModule

torch, transformers, safetensors = (LazyModule(name) for name in ("torch", "transformers", "safetensors.torch"))
positions = LazyModule("pointsman.backends.torch.positions")
pooling = LazyModule("pointsman.backends.torch.pooling")
embedding = LazyModule("pointsman.backends.torch.sentence_embedder")

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["query", ":", "prove", "that", "the", "sum", "of", "odd", "numbers", "name", "kinds", "cheese"],
]
TEXTS = ["prove that the sum of odd numbers", "Name kinds of Cheese", "", "numbers " * 90]
KINDS = {"bert": "Bert", "mpnet": "MPNet", "xlm-roberta": "XLMRoberta", "camembert": "Camembert"}
PROMPTS = {"prompts": {"query": "query : ", "document": ""}, "default_prompt_name": "query"}


def _tokenizer(*, side="right"):
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.normalizer = normalizers.NFC()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64, padding_side=side, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _transformer(kind):
    settings = {
        "vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 66, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    config = getattr(transformers, f"{KINDS[kind]}Config")(**settings)
    return getattr(transformers, f"{KINDS[kind]}Model")(config).eval()


POOLINGS = {  # in both forms: pooling_mode_<old>: true, and pooling_mode: <new>
    "cls_token": "cls",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean_tokens": "weightedmean",
}


def _dense(folder, *, n_in, n_out=8, activation="torch.nn.modules.activation.Tanh"):
    folder.mkdir()
    made = torch.Generator().manual_seed(1)
    weights = {
        "linear.weight": torch.randn(n_out, n_in, generator=made),
        "linear.bias": torch.randn(n_out, generator=made),
    }
    safetensors.save_file(weights, folder / "model.safetensors")
    config = {"in_features": n_in, "out_features": n_out, "bias": True, "activation_function": activation}
    (folder / "config.json").write_text(json.dumps(config))


def _model(
    folder,
    *,
    form,
    kind="bert",
    pooling="mean",
    include_prompt=True,
    prompts=None,
    lower=False,
    side="right",
    after=(),
):
    """A tiny model as version `form` of sentence-transformers saves it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _transformer(kind).save_pretrained(folder)
        _tokenizer(side=side).save_pretrained(folder)
    if form == "old":
        types = ("sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling")
        wanted = pooling if isinstance(pooling, list) else [pooling]
        modes = {f"pooling_mode_{old}": new in wanted for old, new in POOLINGS.items()}
        modes |= {f"pooling_mode_{name}": True for name in wanted if name not in POOLINGS.values()}
        config = {"word_embedding_dimension": 32, **modes, "include_prompt": include_prompt}
        own = {"max_seq_length": 64, "do_lower_case": lower}
    else:
        base = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
        types = ("sentence_transformers.base.modules.transformer.Transformer", base)
        config = {"embedding_dimension": 32, "pooling_mode": pooling, "include_prompt": include_prompt}
        own = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings",
               "do_lower_case": lower}  # fmt: skip
        own["modality_config"] = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    homes = {"Dense": "base.modules.dense.", "Normalize": "sentence_transformer.modules.normalize."}
    types += tuple(f"sentence_transformers.{'models.' if form == 'old' else homes[each]}{each}" for each in after)
    paths = ("", "1_Pooling", *(f"{i}_{each}" for i, each in enumerate(after, start=2)))
    modules = [{"idx": i, "name": str(i), "path": path, "type": type_}
               for i, (path, type_) in enumerate(zip(paths, types, strict=True))]  # fmt: skip
    n_pooled = 32 * (len(pooling) if isinstance(pooling, list) else 1)
    for path, each in zip(paths[2:], after, strict=True):
        _dense(folder / path, n_in=n_pooled) if each == "Dense" else (folder / path).mkdir()
    (folder / "1_Pooling").mkdir()
    for path, content in (("modules.json", modules), ("1_Pooling/config.json", config),
                          ("sentence_bert_config.json", own)):  # fmt: skip
        (folder / path).write_text(json.dumps(content))
    if prompts is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


@pytest.mark.parametrize("form", ["old", "new"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pooling": "cls"},
        {"prompts": PROMPTS},
        {"prompts": PROMPTS, "include_prompt": False},
        {"pooling": "cls", "prompts": PROMPTS, "include_prompt": False, "side": "left"},
        {"lower": True},
        {"kind": "mpnet"},
        {"kind": "xlm-roberta", "pooling": "cls"},
        {"kind": "camembert"},
        *(
            {"pooling": pooling, "prompts": PROMPTS, "include_prompt": False, "side": side}
            for pooling in ("mean_sqrt_len_tokens",)
            for side in ("left", "right")
        ),
        # Padding on the left: versions 5 of the library weigh by the place in the batch, later ones as we do.
        {"pooling": "weightedmean", "prompts": PROMPTS, "include_prompt": False},
        {"pooling": "cls", "after": ("Normalize",)},
        {"pooling": "weightedmean", "after": ("Dense", "Normalize")},
        {"after": ("Normalize", "Dense")},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_embeddings_are_the_librarys(form, settings, tmp_path):
    """Pooling, default prompts, limits and case are the model's own: the library's embeddings to 1e-5."""
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    folder = _model(tmp_path, form=form, **settings)
    wanted = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(embedding.SentenceEmbedder(str(folder))(TEXTS), wanted, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("n_prompt_tokens", [0, 2])
def test_poolings_are_their_formulas(side, n_prompt_tokens):
    """Each pooling of padded texts is its formula over the tokens of each text alone."""
    made = torch.Generator().manual_seed(3)
    lengths, width = [7, 4, 5], 7
    hidden, attention = torch.randn(3, width, 4, generator=made), torch.zeros(3, width, dtype=torch.int64)
    for row, length in enumerate(lengths):
        attention[row, slice(width - length, None) if side == "left" else slice(length)] = 1
    for row, mask in enumerate(attention.bool()):
        tokens = hidden[row][mask].double().numpy()[n_prompt_tokens:]
        position = np.arange(1, len(tokens) + 1)[:, None] + n_prompt_tokens
        formulas = {
            "cls": tokens[0],
            "mean": tokens.mean(0),
            "mean_sqrt_len_tokens": tokens.sum(0) / np.sqrt(len(tokens)),
            "weightedmean": (tokens * position).sum(0) / position.sum(),
        }
        for mode, wanted in formulas.items():
            pooled = pooling.pool(hidden, attention, mode, n_prompt_tokens=n_prompt_tokens)[row]
            np.testing.assert_allclose(pooled.numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("form", ["old", "new"])
@pytest.mark.parametrize("mode", ["max", "lasttoken", "attention", ["cls", "mean"]])
def test_other_poolings_are_refused(form, mode, tmp_path):
    """A pooling that is not supported, or several, is an error that names them and lists what is, in either form."""
    folder = _model(tmp_path, form=form, pooling=mode)
    named = " and ".join(mode) if isinstance(mode, list) else mode
    with pytest.raises(ConfigError, match=rf"pools by {named}, wanted one of cls, mean, "):
        embedding.SentenceEmbedder(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "os.system"}, "activation 'os.system', wanted one of torch.nn"),
        ({"use_residual": True}, "adds a residual"),
        ({"in_features": 5}, "does not fit"),
    ],
)
def test_dense_layers_that_are_not_supported_are_named(change, message, tmp_path):
    """A dense layer with an activation that torch lacks, a residual or weights of another size is an error."""
    folder = _model(tmp_path, form="new", after=("Dense",))
    path = folder / "2_Dense" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=message):
        embedding.SentenceEmbedder(str(folder))


def test_another_dense_layer_is_another_embedder(tmp_path):
    """The dense layers' weights are part of the revision, so that embeddings of others are never mixed."""
    folder = _model(tmp_path, form="new", after=("Dense",))
    before = embedding.SentenceEmbedder(str(folder)).identity
    shutil.rmtree(folder / "2_Dense")
    _dense(folder / "2_Dense", n_in=32, n_out=4)
    after = embedding.SentenceEmbedder(str(folder)).identity
    assert (before.dim, after.dim) == (8, 4) and before.revision != after.revision


def test_a_default_prompt_that_is_missing_is_named(tmp_path):
    """A default prompt that the model does not have is an error that lists those it has."""
    folder = _model(tmp_path, form="new", prompts={"prompts": {"query": "q: "}, "default_prompt_name": "search"})
    with pytest.raises(ConfigError, match="default prompt 'search'; its prompts are query"):
        embedding.SentenceEmbedder(str(folder))


@pytest.mark.parametrize(("kind", "limit"), [("bert", 66), ("mpnet", 64), ("xlm-roberta", 64), ("camembert", 64)])
def test_the_limit_of_positions_is_what_the_model_can_read(kind, limit):
    """A prompt of as many tokens as the limit passes through the model."""
    model = _transformer(kind)
    assert positions.position_limit(model) == limit
    with torch.inference_mode():
        hidden = model(input_ids=torch.full((1, limit), 5)).last_hidden_state
    assert hidden.shape[1] == limit
