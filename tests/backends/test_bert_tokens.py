"""Token ids of prompts: frames, truncation, batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pointsman.backends.language.tokens import (
    PromptTokenizer,
    chunks_by_length,
    encoder_frame,
    pad,
    read_tokenizer,
)
from pointsman.core.errors import CheckpointError

_WORDS = [f"w{i}" for i in range(50)]


def _tokenizer() -> Tokenizer:
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *_WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


_TOKENIZER = _tokenizer()
_prompts = st.lists(st.sampled_from(_WORDS), max_size=40)


@given(_prompts, st.sampled_from(["head_tail", "head"]), st.integers(10, 30))
def test_only_the_prompt_is_cut(words, truncation, max_length):
    """Ids are the frame around the prompt's own, never more than `max_length`, and cut where truncation says."""
    tokenize = PromptTokenizer(_TOKENIZER, *encoder_frame(_TOKENIZER), max_length, truncation)
    (ids,) = tokenize([" ".join(words)])
    own = [_TOKENIZER.token_to_id(word) for word in words]
    room = max_length - 2
    tail = room // 2 if truncation == "head_tail" else 0
    kept = own if len(own) <= room else own[: room - tail] + own[len(own) - tail :]
    assert ids == [1, *kept, 2]


@given(st.lists(_prompts, min_size=1, max_size=9), st.integers(1, 4))
def test_batches_hold_every_row_once_with_its_mask(prompts, batch_size):
    """Batches by length are a partition of the rows, and a mask marks exactly a row's own ids."""
    tokenize = PromptTokenizer(_TOKENIZER, (1,), (2,), 64)
    rows = tokenize([" ".join(words) for words in prompts])
    chunks = chunks_by_length(rows, batch_size)
    assert sorted(np.concatenate(chunks)) == list(range(len(rows)))
    for chunk in chunks:
        ids, mask = pad([rows[i] for i in chunk], 7)
        for i, row, kept in zip(chunk, ids, mask, strict=True):
            assert row[kept == 1].tolist() == rows[i]
            assert (row[kept == 0] == 7).all()


@pytest.mark.parametrize("text", ["", "  \n\t ", "😀😀", "\ud800", "w1 " * 400_000])
def test_any_text_has_ids(text):
    """Empty, blank, emoji-only, ill-formed and megabyte prompts give ids within the limit."""
    (ids,) = PromptTokenizer(_TOKENIZER, (1,), (2,), 32)([text])
    assert ids[0] == 1
    assert ids[-1] == 2
    assert len(ids) <= 32


def test_a_frame_that_fills_the_limit_is_refused():
    """A template that leaves no room for the prompt is an error that says how much it takes, not a cut template."""
    with pytest.raises(ValueError, match=r"leaves 5 tokens for the prompt beside the 27 of its frame"):
        PromptTokenizer(_TOKENIZER, (1,) * 20, (2,) * 7, 32)
    with pytest.raises(ValueError, match="wanted one of head_tail, head"):
        PromptTokenizer(_TOKENIZER, (), (), 32, "tail")
    with pytest.raises(ValueError, match="single string"):
        PromptTokenizer(_TOKENIZER, (), (), 32)("a prompt")


def test_a_missing_or_foreign_tokenizer_file_is_named(tmp_path):
    """A tokenizer that is not there, or is none, is a checkpoint error with its path."""
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        read_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is not a tokenizer file"):
        read_tokenizer(tmp_path / "tokenizer.json")
