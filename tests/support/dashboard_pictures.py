"""Takes pictures of every view of the dashboard, to be looked at: python tests/support/dashboard_pictures.py FOLDER.

Scenes: empty (stand-ins), busy (10,000 decisions), alarm, void, certified; each at four widths, in light and dark.
`--scenes`, `--widths`, `--views` and `--schemes` take fewer.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from pointsman.serve import create_app

from support.dashboard_scenes import PROMPTS, Past, app_of, bounded_checkpoint, raise_drift
from support.planted_models import PlantedModels
from support.upstream import LocalServer, Upstream

SCENES = ("empty", "busy", "alarm", "void", "certified")
VIEWS = ("overview", "simulator", "live", "playground")
_PAST = Past(n_requests=10_000, n_comparisons=400, n_ratings=300)
_PAID = {"price": {"input_usd_per_million": 5.0, "output_usd_per_million": 15.0}}


@contextmanager
def scene(name: str, folder: Path) -> Iterator[str]:
    """A running server; its address."""
    with ExitStack() as stack:
        models = PlantedModels() if name == "certified" else Upstream(pause_s=0.02)
        url = f"{stack.enter_context(LocalServer(models.app())).url}/v1"
        policy = {"threshold": 0.55, "budgets": [{"usd": 0.02 if name == "alarm" else 50.0, "per": "day"}]}
        if name == "empty":
            app = create_app()
        elif name == "busy":
            shadow = {"share": 0.02, "judge": "judge", "max_usd_per_day": 5.0}
            app = app_of(
                folder, url, past=_PAST, policy=policy, shadow=shadow, extra={"judge": _PAID | {"base_url": url}}
            )
        elif name == "certified":
            autopilot = {"max_loss": 0.2, "judge": "judge", "compare": 1.0, "max_usd_per_day": 1000.0}
            autopilot |= {"concurrency": 16, "queue": 10_000}
            app = app_of(folder, url, autopilot=autopilot, extra={"judge": _PAID | {"base_url": url}})
        else:
            routers = {"mf": {"checkpoint": str(bounded_checkpoint(folder)), "max_loss": 0.05}}
            bounded = {"max_loss": 0.05} | ({"budgets": policy["budgets"]} if name == "alarm" else {})
            app = app_of(folder, url, past=_PAST, routers=routers, policy=bounded, drift={})
        server = stack.enter_context(LocalServer(app))
        if name in ("alarm", "void"):
            raise_drift(app)
        n = {"empty": 0, "certified": 900}.get(name, 40)
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for k in range(n):
                prompt = f"Question {k}: " + "why " * (k % 97) if name == "certified" else f"{PROMPTS[k % 6]} ({k})"
                client.post(
                    "/v1/chat/completions", json={"model": "auto", "messages": [{"role": "user", "content": prompt}]}
                )
        yield server.url


def main() -> None:
    """Takes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", nargs="+", default=SCENES, choices=SCENES)
    parser.add_argument("--views", nargs="+", default=VIEWS, choices=VIEWS)
    parser.add_argument("--widths", nargs="+", type=int, default=[360, 768, 1440, 2560])
    parser.add_argument("--schemes", nargs="+", default=["light", "dark"])
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in args.scenes:
            with tempfile.TemporaryDirectory() as folder, scene(name, Path(folder)) as url:
                for scheme in args.schemes:
                    page = browser.new_page(color_scheme=scheme)
                    page.on("console", lambda said: said.type in ("error", "warning") and _say(said.text))
                    page.on("pageerror", lambda error: _say(str(error)))
                    for width in args.widths:
                        page.set_viewport_size({"width": width, "height": 1440 if width > 2000 else 900})
                        for view in args.views:
                            page.goto(f"{url}/#{view}")
                            page.reload()
                            _wait(page)
                            page.wait_for_timeout(1200)
                            broad = page.evaluate("document.documentElement.scrollWidth")
                            _say(f"{name} {view} {width} {scheme} {'' if broad <= width else f'TOO WIDE: {broad}'}")
                            page.screenshot(path=args.folder / f"{name}-{view}-{width}-{scheme}.png", full_page=True)
                    page.close()
        browser.close()


def _wait(page: Any) -> None:
    """Until the first view has been added up, 30 s at most; a policy of the page forbids `wait_for_function`."""
    for _ in range(300):
        if page.evaluate(
            "document.querySelector('#overview').hidden || !document.querySelector('#overview-body').hidden"
        ):
            return
        page.wait_for_timeout(100)


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")


if __name__ == "__main__":
    main()
