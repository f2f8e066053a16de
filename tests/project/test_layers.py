"""The layers of the project: who may import whom, and what importing must not do."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "jax",
    "flax",
    "optax",
    "transformers",
    "datasets",
    "pandas",
    "sklearn",
    "litellm",
    "onnxruntime",
    "scipy",
}
FRAMEWORKS = {"torch": {"torch", "transformers", "accelerate", "peft"}, "jax": {"jax", "flax", "optax"}}


def _modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _imports(path: Path, *, top_level_only: bool = False) -> frozenset[str]:
    """Dotted names of everything a module imports."""
    names, is_relative = _imported(path.read_text(), top_level_only)
    assert not is_relative, f"{path} imports relatively: name the module in full"
    return names


@cache
def _imported(source: str, top_level_only: bool) -> tuple[frozenset[str], bool]:
    """Dotted names that a source imports, and whether it imports any relatively."""
    tree = ast.parse(source)
    nodes = _import_time(tree) if top_level_only else ast.walk(tree)
    names, is_relative = set[str](), False
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            is_relative |= node.level > 0
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names if _is_module(node.module, alias.name))
    return frozenset(names), is_relative


@cache
def _is_module(package: str | None, name: str) -> bool:
    place = ROOT.joinpath(*(package or "").split(".")[1:], name)
    return bool(package) and package.startswith("pointsman") and (place.is_dir() or place.with_suffix(".py").is_file())


def _import_time(tree: ast.AST) -> list[ast.AST]:
    """Nodes that run when the module is imported: all but those inside functions and `if TYPE_CHECKING`."""
    found: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        skipped = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not skipped and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found += [node, *_import_time(node)]
    return found


def _top(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", _modules("core"), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_needs_numpy_and_safetensors_alone(path):
    """Core imports the standard library, numpy, safetensors and itself, nowhere anything else."""
    allowed = set(sys.stdlib_module_names) | {"numpy", "safetensors", "pointsman"}
    assert _top(_imports(path)) <= allowed
    assert not [name for name in _imports(path) if name.startswith(("pointsman.backends", "pointsman.serve"))]


@pytest.mark.parametrize("path", _modules("serve"), ids=lambda p: str(p.relative_to(ROOT)))
def test_serve_imports_no_framework_and_backends_only_inside_functions(path):
    """Nothing under serve loads a framework, or a backend before it is needed."""
    names = _imports(path, top_level_only=True)
    assert not _top(names) & HEAVY
    assert not [name for name in names if name.startswith("pointsman.backends")]


FLOORS = (
    *(
        "cli",
        "commands",
        "scale",
        "server",
        "dashboard",
        "python_api",
        "engine",
        "autopilot",
        "feedback",
        "money",
        "store",
        "drift",
    ),
    *("observers", "request", "policy", "upstreams", "config", "auth", "protocols", "checkpoints", "judging", "http"),
)  # of serve/, from the top: a folder imports only from itself and from those after it


def _upward_imports(root: Path) -> list[str]:
    """Imports within serve/ that go from a lower floor to a higher one."""
    found = []
    for path in sorted(root.rglob("*.py")):
        floor = path.relative_to(root).with_suffix("").parts[0]
        if floor == "__init__":
            continue
        for name in _imports(path):
            target = name.removeprefix("pointsman.serve.").partition(".")[0]
            if name.startswith("pointsman.serve.") and FLOORS.index(target) < FLOORS.index(floor):
                found.append(f"{path.relative_to(root)} imports {name}")
    return found


def test_every_folder_of_serve_has_a_floor():
    """A new folder of serve/ is placed among the floors before anything imports it."""
    there = {
        path.stem for path in (ROOT / "serve").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - {"__init__"} == set(FLOORS)


def test_serve_imports_only_downwards():
    """No folder of serve/ imports from a folder above it."""
    assert _upward_imports(ROOT / "serve") == []


def test_an_import_upwards_is_found(tmp_path):
    """A planted import from a lower floor to a higher one is named with its file."""
    (tmp_path / "http").mkdir()
    for planted in ("from pointsman.serve.engine.engine import Engine", "from pointsman.serve import engine"):
        (tmp_path / "http" / "planted.py").write_text(f"def late():\n    {planted}\n")
        found = _upward_imports(tmp_path)
        assert found and all(line.startswith("http/planted.py imports pointsman.serve.engine") for line in found)


def test_no_modules_of_serve_import_each_other_in_a_circle():
    """Whatever runs at import time, in functions or for types alone: the modules of serve/ form no circle."""
    imports = {}
    for path in _modules("serve"):
        name = ".".join(("pointsman", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        imports[name] = _imports(path) - {name}
    while free := {name for name, needed in imports.items() if not needed & imports.keys()}:
        imports = {name: needed for name, needed in imports.items() if name not in free}
    assert _circle(imports) == []


def _circle(imports: dict[str, set[str]]) -> list[str]:
    """One circle among modules each of which imports another of them; empty where there are none."""
    way = list(imports)[:1]
    while way and (after := sorted(imports[way[-1]] & imports.keys())):
        if after[0] in way:
            return [*way[way.index(after[0]) :], after[0]]
        way.append(after[0])
    return []


@pytest.mark.parametrize("path", _modules("backends"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_backend_keeps_to_its_own_framework(path):
    """Backends never import serve, and a framework is imported in its own folder only."""
    names = _imports(path)
    assert not [name for name in names if name.startswith("pointsman.serve")]
    folder = path.relative_to(ROOT / "backends").parts[0]
    for framework, packages in FRAMEWORKS.items():
        if folder != framework:
            assert not _top(_imports(path, top_level_only=True)) & packages
            assert not [name for name in _imports(path, top_level_only=True) if f"backends.{framework}" in name]


_QUIET = """
import socket, sys
def refuse(*_a, **_k): raise AssertionError("a socket was opened at import")
socket.socket.connect = refuse
socket.socket.bind = refuse
{imports}
print(sorted({{name.partition(".")[0] for name in sys.modules}} & {heavy!r}))
"""


def _run(imports: str) -> str:
    code = _QUIET.format(imports=imports, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout


def test_importing_core_is_quiet_and_light():
    """Importing all of core loads no framework, opens no socket and prints nothing."""
    names = [".".join(("pointsman", *p.relative_to(ROOT).with_suffix("").parts)) for p in _modules("core")]
    assert _run("\n".join(f"import {name.removesuffix('.__init__')}" for name in names)) == "[]\n"


def test_the_default_router_and_the_app_are_light():
    """Creating the app with the default router loads no framework, opens no socket and prints nothing."""
    assert _run("from pointsman.serve import create_app\ncreate_app()") == "[]\n"


def test_the_architecture_page_lists_the_pipeline_and_the_floors():
    """The steps on the page are those of the pipeline, in its order; the floors are those that are held here."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    tree = ast.parse((ROOT / "serve" / "engine" / "pipeline.py").read_text())
    steps = {name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names}
    (built,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "steps"
    )
    named = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    calls = [name for name in re.findall(r"\b([A-Z]\w+)\(", ast.unparse(built)) if name in steps]
    assert [name for name in named if name != "ResolveModel"] == [name for name in calls if name != "ResolveModel"]
    assert tuple(re.findall(r"^\| `(\w+)(?:/|\.py)` \|", page, re.MULTILINE)) == FLOORS


def test_every_file_that_the_architecture_page_names_is_there():
    """Where to change what: each path on the page exists."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`((?:core|backends|serve|tests|docs)/[\w./]+)`", page)
    assert named and [name for name in named if not (ROOT / name).exists()] == []
