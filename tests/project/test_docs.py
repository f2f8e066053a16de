"""The documentation: every command in it works, and prints what the page says."""

import os
import re
import runpy
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from pointsman.serve.config.load import make_config

from support.forked_commands import forking_commands
from support.pages import Mismatch, read_blocks, reader_environment, run_page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


@pytest.fixture
def port() -> int:
    """A free one, below those that the system gives to others while a page has no server."""
    first = 20_000 + os.getpid() % 10_000  # another one for whoever else runs the tests
    for number in range(first, first + 1000):
        with suppress(OSError), socket.create_server(("127.0.0.1", number)):
            return number
    raise AssertionError("no port is free")


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Programs that start quickly."""
    with forking_commands(reader_environment(tmp_path_factory.mktemp("commands"))) as folder:
        yield folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_works(page, port, commands, tmp_path):
    """The blocks of a page run in their order in an empty folder, and print what the page says."""
    if page.stem == "clients" and find_spec("langchain_openai") is None:
        pytest.skip("langchain-openai, which the page has its reader install, is not installed")
    run_page(page, tmp_path, port=port, commands=commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_configuration_of_a_page_is_valid(page, monkeypatch):
    """YAML in the documentation has no unknown key and no bad value."""
    for block in read_blocks(page.read_text()):
        if block.language == "yaml" and not block.mark.startswith("not run"):
            for name in re.findall(r"env:([A-Za-z_][A-Za-z0-9_]*)", block.text):
                monkeypatch.setenv(name, "x")
            make_config(yaml.safe_load(block.text), source=f"{page.name}:{block.line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page):
    """Files that a page links to exist."""
    broken = [link for link, _ in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_says_what_it_is(page):
    """A block without a language would be run by nobody."""
    assert [block.line for block in read_blocks(page.read_text()) if not block.language] == []


def test_the_reference_pages_are_what_the_code_says():
    """They were made from the code as it is: `python docs/generate.py` changes nothing."""
    made = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]
    outdated = [name for name, make in made.items() if (ROOT / "docs" / name).read_text() != make()]
    assert outdated == [], "run: python docs/generate.py"


def test_a_page_that_prints_something_else_is_found(port, tmp_path):
    """The comparison can fail: on another output, on a failing command, and it names the line."""
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```console\n$ echo one two\none ...\n$ echo three\nfour\n```\n")
    with pytest.raises(Mismatch, match=r"(?s)page.md:3:.*\$ echo three"):
        run_page(page, tmp_path, port=port)
    page.write_text("```sh\necho fine\nfalse\n```\n")
    with pytest.raises(Mismatch, match=r"page.md:1: exit status 1"):
        run_page(page, tmp_path, port=port)
