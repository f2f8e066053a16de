"""Sentence encoders in both forms of saving, against the library's own embeddings."""

import json
import warnings

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from pointsman.core.errors import ConfigError

from support.lazy import LazyModule

torch, transformers = LazyModule("torch"), LazyModule("transformers")
positions = LazyModule("pointsman.backends.torch.positions")
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


def _model(folder, *, form, kind="bert", pooling="mean", include_prompt=True, prompts=None, lower=False, side="right"):
    """A tiny model as version `form` of sentence-transformers saves it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _transformer(kind).save_pretrained(folder)
        _tokenizer(side=side).save_pretrained(folder)
    if form == "old":
        types = ("sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling")
        names = {"mean": "mean_tokens", "cls": "cls_token"}
        modes = {
            f"pooling_mode_{name}": name == names.get(pooling, pooling)
            for name in (
                "cls_token",
                "mean_tokens",
                "max_tokens",
                "mean_sqrt_len_tokens",
                "weightedmean_tokens",
                "lasttoken",
            )
        }
        config = {"word_embedding_dimension": 32, **modes, "include_prompt": include_prompt}
        own = {"max_seq_length": 64, "do_lower_case": lower}
    else:
        base = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
        types = ("sentence_transformers.base.modules.transformer.Transformer", base)
        config = {"embedding_dimension": 32, "pooling_mode": pooling, "include_prompt": include_prompt}
        own = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings",
               "do_lower_case": lower}  # fmt: skip
        own["modality_config"] = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    modules = [{"idx": i, "name": str(i), "path": path, "type": type_}
               for i, (path, type_) in enumerate(zip(("", "1_Pooling"), types, strict=True))]  # fmt: skip
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


@pytest.mark.parametrize(
    ("form", "pooling"),
    [
        *(("old", name) for name in ("max_tokens", "lasttoken", "mean_sqrt_len_tokens", "weightedmean_tokens")),
        *(("new", name) for name in ("max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean", ["cls", "mean"])),
    ],
    ids=str,
)
def test_other_poolings_are_refused(form, pooling, tmp_path):
    """A pooling that is not supported is an error that names it, in either form."""
    folder = _model(tmp_path, form=form, pooling=pooling)
    with pytest.raises(ConfigError, match=r"pools by .*wanted mean or cls"):
        embedding.SentenceEmbedder(str(folder))


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
