"""Fixtures that every test may use."""

import gc
import inspect
import json
import os
import re
import sys
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from support.databases import own_postgres, postgres_server, postgres_url, store_url  # noqa: F401  (fixtures)
from support.upstream import Upstream, running_upstream

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

# Workers and servers share the cores: threads of linear algebra would only wait for one another, and spin meanwhile.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

# The small programs that tests let JAX compile run for milliseconds: optimising them takes longer than it saves. Some
# run on eight devices; all others use the first.
_UNOPTIMISED = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"{_UNOPTIMISED} --xla_force_host_platform_device_count=8"

# Tests start hundreds of processes: none compiles again what another has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Keys, addresses and proxies of whoever runs the tests are none of theirs.
_OTHERS = ("_PROXY", "_API_KEY", "_BASE_URL", "_API_BASE")
for _name in [name for name in os.environ if name.upper().endswith(_OTHERS) or name.startswith(("OTEL_", "PG"))]:
    del os.environ[_name]

# How long it takes depends on what else the machine does.
settings.register_profile(
    "pointsman", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("pointsman"), max_examples=20)  # for make test-fast
settings.load_profile("pointsman")

# Nor is a busy machine a reason to give a server up: httpx waits for 5 seconds where a test does not say.
for _part in ("connect", "read", "write", "pool"):
    setattr(inspect.signature(httpx.Client).parameters["timeout"].default, _part, 60.0)

# Each client of httpx would read the certificates of all authorities, which takes longer than what a test asks: once is
# enough, and no test asks beyond this machine.
httpx._transports.default.create_ssl_context = cache(httpx.create_ssl_context)

_SHARED = Path(__file__).parents[2] / "shared"


_HEAVY_FIXTURES = {"own_postgres", "postgres_url", "store_url"}
_HEAVY_NAMES = (
    "ServerProcess|run_page|subprocess|playwright|multiprocessing|ray|torch|transformers|jax|flax|openai|anthropic"
)
_HEAVY_IMPORT = re.compile(
    rf"^\s*(?:import (?:{_HEAVY_NAMES})\b|from .*\bimport .*\b(?:{_HEAVY_NAMES})\b|from (?:{_HEAVY_NAMES})\b)"
    rf"|(?:importorskip|LazyModule)\(\"(?:{_HEAVY_NAMES})\b",
    re.MULTILINE,
)


# Files that took three seconds or more of processor time when last measured, the longest first.
_SLOW = [
    *("dashboard/test_dashboard_page.py", "project/test_docs.py", "upstreams/test_faults.py"),
    *("server/test_reload.py", "store/test_store_faults.py", "backends/test_mf_training.py"),
    *("engine/test_escalate.py", "autopilot/test_autopilot.py", "server/test_processes.py"),
    *("server/test_agents_api.py", "protocols/test_streams.py", "store/test_store.py"),
    *("upstreams/test_translation.py", "server/test_connection_limits.py", "store/test_store_writer.py"),
    *("server/test_heartbeat.py", "money/test_shared_budget.py", "policy/test_policy_endpoint.py"),
    *("server/test_operations.py", "backends/test_endpoint_scorer.py", "core/test_guarantee.py"),
    *("core/test_savings.py", "feedback/test_feedback.py", "core/test_operating_points.py"),
    *("server/test_reload_memory.py", "feedback/test_shadow.py", "scale/test_extproc.py"),
    *("money/test_ledger.py", "server/test_fast_path.py", "core/test_certificate.py"),
    *("core/test_replay.py", "core/test_metrics.py", "engine/test_held_streams.py"),
    *("project/test_openapi.py", "translation/test_responses_over_messages.py", "auth/test_access_keys.py"),
    *("backends/test_sentence_embedder.py", "backends/test_score_router.py", "core/test_autopilot.py"),
    *("backends/test_common_sense.py", "commands/test_calibrate.py", "backends/test_verifier.py"),
    *("backends/test_default_router.py", "money/test_prices.py", "autopilot/test_second_look.py"),
    *("core/test_drift.py", "backends/test_evaluate.py", "commands/test_usage.py", "core/test_calibration.py"),
    *("commands/test_autopilot_simulate.py", "commands/test_candidates.py", "commands/test_learn.py"),
    *("backends/test_battle_files.py", "server/test_start.py", "protocols/test_clients.py"),
]


# Importing a framework and compiling its programs takes seconds: one worker runs all files that do.
_TOGETHER = {
    **dict.fromkeys(["backends/test_mf_training.py", "commands/test_train.py", "commands/test_wrong_turns.py"], "jax"),
    **dict.fromkeys(["backends/test_bert.py", "backends/test_causal_lm.py", "backends/test_embedders.py"], "torch"),
    **dict.fromkeys(["backends/test_finetuning_state.py", "backends/test_sentence_embedder.py"], "torch"),
}


@cache
def _is_heavy(path: Path) -> bool:
    """Whether a test file is slow, starts processes or a browser, or needs a framework or a provider's library."""
    return _name(path) in _SLOW or _HEAVY_IMPORT.search(path.read_text(encoding="utf-8")) is not None


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make test-fast` does not even import the files whose tests it leaves out: some import whole frameworks."""
    is_left_out = config.option.markexpr == "not heavy" and collection_path.name.startswith("test_")
    return True if is_left_out and collection_path.is_file() and _is_heavy(collection_path) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting makes stays to the end: looking through it for garbage would be a third of its time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many workers `-n auto` starts: heavy tests wait for processes a third of their time, the others never."""
    cores = os.cpu_count() or 1
    return cores if config.option.markexpr == "not heavy" else max(2, 3 * cores // 2)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A worker runs all tests of a file, and all files of a framework."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class LoadTogether(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return _TOGETHER.get(_name(Path(file)), file)

    return LoadTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, so that no worker begins one when the others have nothing left to do.

    It marks the tests that need processes, a browser, a database, a framework, a provider's library or much time:
    `make test-fast` leaves them out.
    """
    rank = {name: place for place, name in enumerate(_SLOW)}
    items.sort(key=lambda item: rank.get(_name(item.path), len(_SLOW)))
    for item in items:
        if _is_heavy(item.path) or _HEAVY_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("heavy")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real battles and outcomes."""
    if not (_SHARED / "data").is_dir():
        pytest.skip(f"no real data at {_SHARED / 'data'}")
    return _SHARED / "data"


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Reference numbers of the routing mathematics."""
    return json.loads((Path(__file__).parent / "oracles" / "golden.json").read_text())


@pytest.fixture(scope="session")
def noon() -> str:
    """A time zone in which it is noon or a little later: no day and no month ends while tests run."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A model's service of this test's own."""
    with running_upstream() as made:
        yield made
