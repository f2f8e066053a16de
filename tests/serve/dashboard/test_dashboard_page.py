"""The dashboard in a real browser: Debian's Chromium, without a window."""

import json
import re
import shutil
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from pointsman.core.dollars import dollars
from pointsman.serve import create_app
from pointsman.serve.auth.keys import new_key, write_keys
from pointsman.serve.cli import main
from pointsman.serve.config.load import make_config
from pointsman.serve.observers import live

from support.dashboard_scenes import Past, app_of, bounded_checkpoint, raise_drift
from support.upstream import LocalServer, Upstream

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
VIEWS = ("overview", "simulator", "live", "playground")
TRAP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        # Debian's program asks for drawing by a GPU, which a machine without one emulates at twice the cost of a page.
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Outcomes with dollars, and win rates that know something of them."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(300):
        rate = round(float(rng.uniform(0.2, 0.8)), 3)
        usd = {
            "strong_usd": round(float(rng.uniform(0.01, 0.02)), 5),
            "weak_usd": round(float(rng.uniform(0, 0.002)), 5),
        }
        scores = {"strong": int(rng.random() < 0.9), "weak": int(rng.random() < 0.9 - 0.6 * rate)}
        rows.append({"prompt": f"{k} " + "x" * int(rng.integers(50)), **scores, "mine": rate, **usd})
    path = tmp_path_factory.mktemp("table") / "outcomes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, rows


@pytest.fixture(scope="module")
def report(table, tmp_path_factory):
    """What `pointsman evaluate --json` prints, and the file that it is in."""
    path, _ = table
    words = ["evaluate", str(path), "--routers", "column:mine", "--replicates", "50", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", lambda text="", **_: printed.append(text))
        assert main(words) == 0
    file = tmp_path_factory.mktemp("report") / "mine.json"
    file.write_text(printed[0])
    return file


@pytest.fixture(scope="module")
def server(report) -> Iterator[LocalServer]:
    """Pointsman before an upstream, with the report on its dashboard."""
    with LocalServer(Upstream(pause_s=0.01).app()) as up:
        service = {"base_url": f"{up.url}/v1", "price": {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}}
        values = {
            "strong": "big",
            "weak": "small",
            "models": {"big": service, "small": service},
            "dashboard": {"reports": {"mine": str(report)}},
        }
        with LocalServer(create_app(make_config(values))) as front:
            yield front


class Watched:
    """A page, with all that went wrong on it and all that it asked for."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.problems.append(said.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))


@pytest.fixture
def watched(browser, server):
    """A page that must not complain, nor ask anybody but the server."""
    seen = Watched(browser, viewport={"width": 1280, "height": 900})
    yield seen
    assert seen.problems == []
    assert seen.hosts <= {server.url.removeprefix("http://")}
    seen.context.close()


def _open(page, url):
    """Opens the simulator and waits until it has something to show."""
    page.goto(f"{url}/#simulator")
    _until(page, "document.querySelector('[data-figure=share]')?.textContent.endsWith('%')")


def _figure(page, name):
    return page.locator(f"[data-figure={name}]").inner_text().replace("\u00a0", " ")


def _set(page, name, value):
    """Moves a slider as a hand does: its value changes and the page is told."""
    page.locator(f"#{name}").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )


def _until(page, condition):
    """Waits until an expression holds in the page."""
    deadline = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(30)


def _ask(server, prompt, model="auto"):
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    assert httpx.post(f"{server.url}/v1/chat/completions", json=body).status_code == 200


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.777])
def test_the_slider_shows_what_evaluate_computes(watched, server, report, table, threshold):
    """At a threshold the page has the share, dollars, saving and quality of `pointsman evaluate`, and of the table."""
    page, rows = watched.page, table[1]
    _open(page, server.url)
    _set(page, "threshold", threshold)
    points = json.loads(report.read_text())["rows"][0]["points"]
    k = points["threshold"].index(threshold)
    assert _figure(page, "share") == f"{100 * points['share'][k]:.1f} %"
    assert _figure(page, "usd") == f"${points['usd'][k]:.2f}"
    assert _figure(page, "saving") == f"{100 * points['saving'][k]:.1f} %"
    assert _figure(page, "retained") == f"{100 * points['retained'][k]:.1f} %"
    chosen = [row["mine"] >= threshold for row in rows]
    quality = np.mean([row["strong"] if c else row["weak"] for row, c in zip(rows, chosen, strict=True)])
    assert points["share"][k] == pytest.approx(np.mean(chosen), abs=1e-6)
    assert points["quality"][k] == pytest.approx(quality, abs=1e-6)
    assert page.locator("#model-field").inner_text() == f"router-mf-{threshold}"


@pytest.fixture(scope="module")
def watched_over(tmp_path_factory) -> Iterator[LocalServer]:
    """A server with a past, a bound that drift has voided, and a budget."""
    folder = tmp_path_factory.mktemp("past")
    with LocalServer(Upstream(pause_s=0.01).app()) as up:
        routers = {"mf": {"checkpoint": str(bounded_checkpoint(folder)), "max_loss": 0.05}}
        policy = {"max_loss": 0.05, "budgets": [{"usd": 1e-6, "per": "month"}]}
        app = app_of(
            folder, f"{up.url}/v1", past=Past(n_requests=200, days=3), routers=routers, policy=policy, drift={}
        )
        with LocalServer(app) as front:
            raise_drift(app)
            yield front


def test_the_first_view_answers_three_questions(browser, watched_over):
    """Verdict, alarm with its effect and button, dollars, quality, the next step and why: as the server has them."""
    seen = Watched(browser, viewport={"width": 1280, "height": 900})
    page = seen.page
    with page.expect_response("**/api/overview*") as answered:
        page.goto(watched_over.url)
    facts = answered.value.json()
    page.wait_for_selector("#advice .big")
    said = page.locator("#verdict-line").inner_text().replace("\u00a0", " ")
    assert all(part["text"][1:] in said for part in facts["verdict"]) and "bound void" in said
    assert page.locator("#alarms .alarm").count() == len(facts["alarms"]) >= 1
    assert f"{100 * facts['saving']['share']:.0f} %" in _figure(page, "saved-total")
    assert "comparisons" in page.locator("#quality-facts").inner_text()
    assert "Bound of −5.0 points: void" in page.locator("#quality-facts").inner_text().replace("\u00a0", " ")
    assert facts["why"][0]["words"].startswith("Budget month:") and "Budget month:" in page.locator("#why").inner_text()
    with page.expect_response("**/api/overview?by=week"):
        page.locator("#by").select_option("week")
    page.get_by_role("button", name="Reset the alarm").first.click()
    _until(page, "![...document.querySelectorAll('#alarms h3')].some((each) => each.textContent.startsWith('Drift'))")
    assert seen.problems == []
    seen.context.close()


def test_what_is_applied_and_overridden_is_said(browser, watched_over):
    """Where a budget overrides the threshold that was applied, the page says so, and what is in force."""
    seen = Watched(browser)
    page = seen.page
    _open(page, watched_over.url)
    _set(page, "threshold", 0.36)
    page.locator("#apply").click()
    page.wait_for_selector(
        "#apply-state >> text=/Set: 0.36. budget:month.* overrides it: threshold [01].[0-9]+ is in force now/"
    )
    page.locator("#undo").click()
    page.wait_for_selector("#undo", state="hidden")
    seen.context.close()


def test_the_address_holds_what_is_looked_at(watched, server):
    """Filters, source and operating point come back with the address, and can be shared."""
    page = watched.page
    _open(page, server.url)
    _set(page, "threshold", 0.456)
    assert "source=report%2Fmine" in page.url and "threshold=0.456" in page.url
    _ask(server, "an address with a filter")
    page.goto(f"{server.url}/#live?text=an+address+with&outcome=answered")
    _until(page, "document.querySelectorAll('#decisions tbody tr').length === 1")
    page.locator("#by-outcome").select_option("failed")
    page.wait_for_selector("#decisions >> text=No decision is like that")
    assert "outcome=failed" in page.url
    page.goto(f"{server.url}/#simulator?source=report%2Fmine&threshold=0.321")
    page.reload()
    _until(page, "document.querySelector('#threshold-number').value === '0.321'")


def test_many_candidates_are_a_curve_of_dollars(watched, server):
    """Single models are dots beside the curve, the slider moves along it, and the quality has its interval."""
    page = watched.page
    _open(page, server.url)
    curve = [
        {"threshold": t, "usd": 0.01 - 0.009 * t, "quality": 0.9 - 0.3 * t**2, "quality_error": 0.009}
        for t in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    singles = [
        {"model": m, "usd": usd, "quality": q} for m, usd, q in (("a", 0.01, 0.9), ("b", 0.004, 0.7), ("c", 0.001, 0.6))
    ]
    report = {"curve": curve, "singles": singles, "hull": ["c", "a"], "best_single": "a"}
    body = json.dumps({"candidates": ["a", "b", "c"], "n_prompts": 50, "routers": {"mf": report}}).encode()
    page.locator("#file").set_input_files({"name": "many.json", "mimeType": "application/json", "buffer": body})
    _until(page, "document.querySelector('#source').value === 'file/many.json'")
    _set(page, "threshold", 0.5)
    assert (_figure(page, "usd"), _figure(page, "share")) == ("$5.50", "50.0 %")
    words = page.locator("#curve").get_attribute("aria-label").replace("\u00a0", " ")
    assert "Quality 0.825 for $5.50" in words and "b 0.700 for $4.00" in words
    assert page.locator("#curve-title").inner_text() == "Quality against dollars per 1,000 prompts"
    retained = page.locator("#readouts .card:has([data-figure=retained])").inner_text().replace("\u00a0", " ")
    assert "91.7 %" in retained and "89.7 % to 93.6 %" in retained


@pytest.fixture
def autopiloted(tmp_path) -> Iterator[LocalServer]:
    """A server whose autopilot decides by answers, and knows everything that its panel shows."""
    price = {"input_usd_per_million": 1, "output_usd_per_million": 2}
    judge = {"judge": {"base_url": "http://127.0.0.1:1/v1", "price": price}}
    app = app_of(tmp_path, "http://127.0.0.1:1/v1", extra=judge, autopilot={"max_loss": 0.2, "judge": "judge"})
    generation = {"number": 3, "began_at": time.time(), "n_compared": 1210, "steps": 50, "steps_open": 31,
        "certified_share": 0.62, "closed": None, "role": "serving"}  # fmt: skip
    known = {
        "phase": "certified", "state": "certified", "decides_by": "answer", "weak_cost": 0.0525, "threshold": 0.4321,
        "certified_share": 0.62, "loss": {"value": 0.051, "low": 0.02, "high": 0.08}, "generations": [generation],
        "next": {"share": 0.7, "comparisons": 800, "usd": 0.123456}, "saved_usd": 1.23456, "net_saved_usd": -0.0004567,
    }  # fmt: skip
    status = app.engine.state.autopilot.status
    app.engine.state.autopilot.status = lambda: status() | known
    with LocalServer(app) as running:
        running.known = known
        yield running


def test_the_autopilots_panel_fits_a_phone(browser, autopiloted):
    """Nothing of it is cut, every figure of a generation has its label; it says what it decides by and over what."""
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.goto(f"{autopiloted.url}/#overview")
    page.wait_for_selector("#autopilot-more td")
    words = page.locator("#autopilot").inner_text().replace("\u00a0", " ")
    parts = "[...document.querySelectorAll('#autopilot .scroll, #autopilot .card')]"
    assert page.evaluate(f"{parts}.filter((part) => part.scrollWidth > part.clientWidth).length") == 0
    labels = [cell.get_attribute("data-label") for cell in page.locator("#autopilot-more td").all()]
    assert labels == ["Since", "Comparisons", "Steps open", "Certified", "State"]
    for said in ("decides by small's answer, which costs 5.3 % of big's", "over all prompts", "Certified for small",
                 "if small answers 62 % of them", "for $0.123", "−$0.000457", "$1.23 saved", "62 % may go to small",
                 "answers with a doubt below 0.432"):  # fmt: skip
        assert said in words
    autopiloted.known |= {"candidates": ["big", "middle", "small"], "state": "paused", "paused": "by an administrator"}
    page.reload()
    page.wait_for_selector("#autopilot-more td")
    words = page.locator("#autopilot").inner_text().replace(" ", " ")
    page.close()
    assert "Certified for cheaper candidates" in words and "if cheaper candidates answer 62 % of them" in words
    assert "strong" not in words and "weak" not in words
    assert "Paused (by an administrator): what is certified is served" in words


def test_the_page_writes_dollars_as_the_commands_do(watched, server):
    """`numbers.js` and `core/dollars.py` agree on every size of amount."""
    amounts = [0.0, 0.1 + 0.2, 1234.5, 0.996, 0.9949, 0.0995, 0.00123456, 4e-7, -4e-7, 9e-7, -2.5, -0.036, 0.05, 1e-6]
    page = watched.page
    _open(page, server.url)
    script = page.locator("script[type=module]").get_attribute("src").replace("main.js", "numbers.js")
    said = page.evaluate(f"async (usd) => {{ const m = await import('{script}'); return usd.map(m.money); }}", amounts)
    assert said == [dollars(usd).replace("-", "−") for usd in amounts]


def test_three_ways_to_set_one_threshold(watched, server):
    """Percent and dollars set the threshold, numbers are taken as typed, and keys move it by the least step."""
    page = watched.page
    _open(page, server.url)
    _set(page, "share", 30)
    assert abs(float(_figure(page, "share").split()[0]) - 30) < 0.5
    by_share = page.locator("#threshold-number").input_value()
    page.locator("#dollars-number").fill(page.locator("#dollars-number").input_value())
    page.locator("#dollars-number").press("Enter")
    assert abs(float(page.locator("#threshold-number").input_value()) - float(by_share)) < 0.01
    page.locator("#threshold-number").fill("0.45")
    page.locator("#threshold-number").press("Enter")
    before = float(page.locator("#share-number").input_value())
    page.locator("#threshold").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert page.locator("#threshold-number").input_value() == "0.47"
    assert float(page.locator("#share-number").input_value()) < before
    _until(page, "document.getElementById('said').textContent.includes('0.47')")


def test_every_source_can_be_looked_at(watched, server, report):
    """Bundled benchmarks, the calibration without quality, and a file that is opened."""
    page = watched.page
    _open(page, server.url)
    for source in [option.get_attribute("value") for option in page.locator("#source option").all()]:
        with page.expect_response(f"**/api/sources/{source}") as answered:
            page.locator("#source").select_option(source)
        assert answered.value.ok and _figure(page, "share").endswith("%")
    _until(page, "document.querySelector('[data-figure=retained]').textContent === 'not known'")
    page.locator("#file").set_input_files(str(report))
    _until(page, "document.querySelector('#source').value === 'file/mine.json'")
    assert _figure(page, "retained").endswith("%")
    page.locator("#file").set_input_files({"name": "no.json", "mimeType": "application/json", "buffer": b"{}"})
    page.wait_for_selector("#problem:not([hidden])")
    assert "no.json: wanted what" in page.locator("#problem").inner_text()


def test_a_point_is_applied_at_once(watched, server):
    """One button changes the threshold of requests that name none, another takes it back; both are told of."""
    page = watched.page
    _open(page, server.url)
    _set(page, "threshold", 0.321)
    page.locator("#apply").click()
    _until(page, "document.getElementById('apply-state').textContent.startsWith('In force: 0.321')")
    decision = httpx.post(f"{server.url}/v1/route", json={"prompt": "Hello"}).json()
    assert decision["threshold"] == 0.321
    page.reload()
    page.locator("#undo").click()
    page.wait_for_selector("#undo", state="hidden")
    assert httpx.post(f"{server.url}/v1/route", json={"prompt": "Hello"}).json()["threshold"] != 0.321


def test_a_decision_appears_by_itself(watched, server):
    """It is in the table, with its model and win rate, and opens to why."""
    page = watched.page
    page.goto(f"{server.url}/#live")
    page.wait_for_selector(".state.up >> text=connected")
    prompt = f"Which way does the train go? {time.time()}"
    _ask(server, prompt)
    page.get_by_role("button", name=prompt).click()
    opened = page.locator(".explained")
    assert "win_rate" in opened.inner_text() and "the threshold" in opened.inner_text()
    page.get_by_role("button", name=prompt).click()
    assert not opened.count()


def test_prompts_are_never_markup(watched, server):
    """A prompt that would run a script is shown as it was typed, in the table, opened, and in the playground."""
    page = watched.page
    page.goto(f"{server.url}/#live")
    _ask(server, TRAP)
    button = page.get_by_role("button", name=TRAP).first
    button.wait_for()
    button.click()
    assert page.locator(".explained pre").inner_text() == TRAP
    page.goto(f"{server.url}/#playground")
    page.locator("#prompt").fill(TRAP)
    page.locator("#ask button").click()
    page.wait_for_selector("#answers .answer:nth-child(2) >> text=first words")
    assert page.locator("main img").count() == 0


def test_both_models_answer_side_by_side(watched, server):
    """The playground shows the decision and why, and both answers as they stream."""
    page = watched.page
    page.goto(f"{server.url}/#playground")
    page.locator("#ask button").click()
    page.wait_for_selector("#answers .answer:nth-child(1) >> text=first words")
    page.wait_for_selector("#answers .answer:nth-child(2) >> text=first words")
    assert page.locator("#answers .text").all_inner_texts() == ["The capital is Paris."] * 2
    assert "Goes to" in page.locator("#verdict").inner_text()
    assert page.locator("#answers .tag:visible").count() == 1


def test_all_candidates_answer_side_by_side(browser):
    """With three there are three answers, the reference first, and the page says what that costs."""
    with LocalServer(Upstream().app()) as up:
        service = {"base_url": f"{up.url}/v1", "price": {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}}
        names = ["big", "middle", "small"]
        values = {"candidates": names, "models": dict.fromkeys(names, service), "routers": {"random": {}}}
        with LocalServer(create_app(make_config(values))) as front:
            page = browser.new_page()
            page.goto(f"{front.url}/#playground")
            page.locator("#ask button").click()
            for k in (1, 2, 3):
                page.wait_for_selector(f"#answers .answer:nth-child({k}) >> text=first words")
            titles = page.locator("#answers h3").all_inner_texts()
            words = page.locator("#about-asking").inner_text()
            page.close()
    assert [title.split()[:2] for title in titles] == [
        ["reference", "big"],
        ["candidate", "middle"],
        ["candidate", "small"],
    ]
    assert "All 3 candidates are asked" in words


def test_decisions_are_found_by_text(watched, server):
    """The filter leaves what fits."""
    page = watched.page
    _ask(server, "a needle in the table")
    page.goto(f"{server.url}/#live")
    page.locator("#find").fill("needle in")
    _until(page, "document.querySelectorAll('#decisions tbody tr').length === 1")
    assert "needle" in page.locator("#decisions tbody").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_keeps_anybody_out(browser, server, view, scheme):
    """axe finds no serious or critical problem, in light and dark."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    _ask(server, "Is this accessible?")
    seen = Watched(browser, viewport={"width": 1280, "height": 900}, color_scheme=scheme, bypass_csp=True)
    seen.page.goto(f"{server.url}/#{view}")
    if view == "live":
        seen.page.get_by_role("button", name="Is this accessible?").first.click()
    else:
        seen.page.wait_for_selector(f"#{view}:visible")
        seen.page.wait_for_load_state("networkidle")
        if view == "overview":
            seen.page.wait_for_selector("#advice .big")
    found = axe.run(seen.page).response["violations"]
    bad = [f"{v['id']}: {v['nodes'][0]['html']}" for v in found if v["impact"] in ("serious", "critical")]
    seen.context.close()
    assert bad == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_shows_everything(browser, server, view):
    """At 360 pixels nothing is wider than the screen."""
    seen = Watched(browser, viewport={"width": 360, "height": 740})
    seen.page.goto(f"{server.url}/#{view}")
    seen.page.wait_for_selector(f"#{view}:visible")
    seen.page.wait_for_timeout(500)
    width = seen.page.evaluate("document.documentElement.scrollWidth")
    seen.context.close()
    assert width <= 360 and seen.problems == []


def test_a_window_that_is_made_narrow_shows_everything(watched, server):
    """Charts that were drawn wide become narrow again."""
    page = watched.page
    _open(page, server.url)
    page.set_viewport_size({"width": 700, "height": 900})
    _until(page, "document.documentElement.scrollWidth <= 700")


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_jumps(browser, server, view):
    """What is there stays where it is while the rest and new decisions arrive (layout shift below 0.02 in all)."""
    seen = Watched(browser, viewport={"width": 1280, "height": 900})
    seen.page.add_init_script(
        "window.shift = 0; new PerformanceObserver((list) => { for (const entry of list.getEntries()) "
        "if (!entry.hadRecentInput) window.shift += entry.value; }).observe({type: 'layout-shift', buffered: true});"
    )
    seen.page.goto(f"{server.url}/#{view}")
    if view == "live":
        seen.page.wait_for_selector(".state.up >> text=connected")
        for k in range(3):
            _ask(server, f"Does it jump? {k}")
            seen.page.wait_for_selector(f"#decisions >> text=Does it jump? {k}")
    seen.page.wait_for_timeout(500)
    shift = seen.page.evaluate("window.shift")
    seen.context.close()
    assert shift < 0.02


def test_the_key_stays_in_the_tab(browser, tmp_path):
    """The page asks for a key when the server does, says which it takes, and forgets it with the tab."""
    (user, user_text), (admin, admin_text) = new_key("user"), new_key("boss", admin=True)
    write_keys(tmp_path / "keys.json", {user.id: user, admin.id: admin})
    with LocalServer(create_app(make_config({"server": {"keys_file": str(tmp_path / "keys.json")}}))) as server:
        seen = Watched(browser)
        page = seen.page
        page.goto(server.url)
        page.locator("#key").fill("pm-wrong")
        page.locator("#key").press("Enter")
        page.wait_for_selector("#key-problem >> text=not valid")
        page.locator("#key").fill(user_text)
        page.locator("#key").press("Enter")
        _until(page, "document.querySelector('[data-figure=share]')?.textContent.endsWith('%')")
        assert not page.locator("#apply-row").is_visible()
        page.goto(f"{server.url}/#live")
        page.wait_for_selector("#live-closed >> text=keys create NAME --admin")
        assert not page.locator("#decisions").is_visible()
        page.locator("#change-key").click()
        page.locator("#key").fill(admin_text)
        page.locator("#key").press("Enter")
        page.wait_for_selector("#live-state >> text=connected")
        assert page.evaluate("JSON.stringify(localStorage)").count("pm-") == 0
        other = seen.context.new_page()
        other.goto(server.url)
        other.wait_for_selector("#key-dialog[open]")
        seen.context.close()


def test_the_page_finds_a_server_that_comes_back(browser, server, monkeypatch):
    """While nothing answers the page says so; then it follows again, and shows what it missed."""
    monkeypatch.setattr(live, "STREAM_S", 1.0)  # so that it asks again soon
    seen = Watched(browser)
    page = seen.page
    page.goto(f"{server.url}/#live")
    page.wait_for_selector(".state.up >> text=connected")
    page.route("**/api/events*", lambda route: route.abort())
    page.wait_for_selector(".state.down >> text=does not answer")
    _ask(server, "Asked while nobody looked")
    page.unroute("**/api/events*")
    page.wait_for_selector(".state.up >> text=connected")
    page.get_by_role("button", name="Asked while nobody looked").wait_for()
    seen.context.close()


def test_an_empty_server_says_what_to_do(browser):
    """Without traffic, prices and a store, the page says so in words."""
    with LocalServer(create_app(make_config({}))) as server:
        seen = Watched(browser)
        seen.page.goto(f"{server.url}/#live")
        seen.page.wait_for_selector(
            f"#decisions >> text=Nothing has been asked yet. Clients find this server at {server.url}/v1"
        )
        seen.page.wait_for_selector("#live-cards >> text=no prices configured")
        seen.page.locator("#find").fill("anything")
        seen.page.wait_for_selector("#decisions >> text=No decision is like that")
        assert seen.problems == []
        seen.context.close()


def test_a_prompt_that_is_not_kept_is_no_secret_of_the_page(browser, tmp_path):
    """A store that keeps hashes alone shows that there was a prompt, and says why it is not there."""
    store = {"url": f"sqlite:///{tmp_path}/s.db", "prompts": "hash", "batch_s": 0.01}
    app = create_app(make_config({"store": store}))
    with LocalServer(app) as server:
        _ask(server, "Between us")
        seen = Watched(browser)
        seen.page.route("**/api/events*", lambda route: route.abort())
        seen.page.goto(f"{server.url}/#live")
        while not seen.page.locator("text=prompt not kept").count():
            seen.page.locator("#by-outcome").select_option("answered")
            seen.page.locator("#by-outcome").select_option("")
            seen.page.wait_for_timeout(100)
        seen.page.locator("text=prompt not kept").click()
        seen.page.wait_for_selector(".explained >> text=store.prompts")
        assert "Between us" not in seen.page.content()
        seen.context.close()


@pytest.mark.parametrize(
    ("chart", "words"), [("curve", "to strong: quality"), ("histogram", "of prompts"), ("reliability", ": outcome")]
)
def test_a_chart_tells_its_numbers(watched, server, chart, words):
    """Under the mouse a chart says what is there."""
    page = watched.page
    _open(page, server.url)
    page.locator(f"#{chart} .u-over").hover()
    page.wait_for_selector(f"#{chart} .tip >> text={words}")


def test_a_report_without_a_difference_is_shown(watched, server):
    """Models that are equally good, one prompt, dollars of nothing and of millions: a number or a dash everywhere."""
    page = watched.page
    _open(page, server.url)
    points = {"threshold": [0.0, 0.5, 1.0], "share": [1.0, 1.0, 0.0], "share_error": [0.0] * 3, "quality": [0.0] * 3}
    points |= {"quality_error": [0.0] * 3, "usd": [2.5e9, 1e-9, 0.0], "usd_error": [0.0] * 3}
    curve = {"share": [0.0, 1.0], "quality": [0.0, 0.0], "low": None, "high": None}
    row = {"name": "elsewhere", "points": points, "curve": curve, "cpt": {}, "reliability": None, "apgr": None}
    body = json.dumps({"source": "one", "n_prompts": 1, "rows": [row]}).encode()
    page.locator("#file").set_input_files({"name": "one.json", "mimeType": "application/json", "buffer": body})
    _until(page, "document.querySelector('#source').value === 'file/one.json'")
    page.locator("#threshold-number").fill("0")
    page.locator("#threshold-number").press("Enter")
    assert _figure(page, "usd") == "$2.50B" and _figure(page, "retained") == "–"
    page.locator("#threshold-number").fill("0.5")
    page.locator("#threshold-number").press("Enter")
    assert _figure(page, "usd") == "< $0.000001"
    assert "“elsewhere” is not served here" in page.locator("#about-use").inner_text()
    assert "NaN" not in page.locator("main").inner_text()


def test_the_field_and_the_line_are_copied(browser, server):
    """The two buttons put the model field and the line of the configuration on the clipboard."""
    seen = Watched(browser, permissions=["clipboard-read", "clipboard-write"])
    page = seen.page
    _open(page, server.url)
    _set(page, "threshold", 0.5)
    for button, copied in (("copy-field", "router-mf-0.5"), ("copy-config", "policy: {threshold: 0.5}")):
        page.locator(f"#{button}").click()
        _until(page, f"document.getElementById('copied').textContent === 'Copied {copied}'")
        assert page.evaluate("navigator.clipboard.readText()") == copied
    seen.context.close()


def test_a_server_that_was_started_anew_empties_nothing(browser, tmp_path):
    """What the store has stays in the table when the process behind the page is another one."""
    app = create_app(make_config({"store": {"url": f"sqlite:///{tmp_path}/s.db", "prompts": "text", "batch_s": 0.01}}))
    with LocalServer(app) as server:
        _ask(server, "From before")
        seen = Watched(browser)
        seen.page.goto(f"{server.url}/#live")
        seen.page.get_by_role("button", name="From before").wait_for()
        hub = app.engine.state.live
        with seen.page.expect_response("**/api/decisions?*"):
            hub._last.clear()
            hub.id = "another"
        _ask(server, "From after")
        seen.page.get_by_role("button", name="From after").wait_for()
        assert seen.page.get_by_role("button", name="From before").count() == 1
        seen.context.close()


def test_a_full_table_goes_on(browser):
    """With more decisions than a page of them holds, a new one still comes by itself; after paging back it waits."""
    with LocalServer(create_app(make_config({}))) as server:
        for k in range(60):
            _ask(server, f"Number {k}")
        seen = Watched(browser)
        page = seen.page
        page.goto(f"{server.url}/#live")
        page.get_by_role("button", name="Number 59").wait_for()
        page.wait_for_selector(".state.up >> text=connected")
        _ask(server, "One more")
        page.get_by_role("button", name="One more").wait_for()
        assert page.locator("#decisions tbody tr").count() == 50
        page.locator("#older").click()
        page.get_by_role("button", name=re.compile("Number 5$")).wait_for()
        _ask(server, "Yet another")
        page.locator("#waiting >> text=Show 1 new").click()
        page.get_by_role("button", name="Yet another").wait_for()
        assert page.get_by_role("button", name=re.compile("Number 5$")).count() == 1
        seen.context.close()


def test_a_full_table_goes_on_after_an_opened_row_has_left_it(browser):
    """A row that was open when newer ones pushed it out holds nothing up any longer."""
    with LocalServer(create_app(make_config({}))) as server:
        for k in range(50):
            _ask(server, f"Number {k}")
        seen = Watched(browser)
        page = seen.page
        page.goto(f"{server.url}/#live")
        page.wait_for_selector(".state.up >> text=connected")
        page.get_by_role("button", name=re.compile("Number 0$")).click()
        _ask(server, "One more")
        page.locator("#waiting >> text=Show 1 new").click()
        page.get_by_role("button", name=re.compile("Number 0$")).wait_for(state="detached")
        _ask(server, "By itself")
        page.get_by_role("button", name="By itself").wait_for()
        seen.context.close()


def test_skipping_to_the_content_stays_in_its_view(watched, server):
    """The link for those without a mouse moves them past the head of the page, not to another view."""
    page = watched.page
    page.goto(f"{server.url}/#live")
    page.wait_for_selector(".state.up >> text=connected")
    page.evaluate("addEventListener('hashchange', () => { window.skipped = true; })")
    page.locator(".skip").press("Enter")
    _until(page, "window.skipped === true")
    assert page.locator("#live").is_visible() and page.locator("#simulator").is_hidden()


def test_asking_again_waits_for_the_new_answers(watched, server):
    """What becomes of the question before is not told of the one that is being asked."""
    page = watched.page
    page.goto(f"{server.url}/#playground")
    page.route("**/v1/chat/completions", lambda route: None)
    for prompt in ("first", "second"):
        page.locator("#prompt").fill(prompt)
        page.locator("#ask button").click()
        page.wait_for_selector("#verdict .big")
        assert page.locator("#answers .faint").all_inner_texts() == ["waiting", "waiting"]


def test_an_opened_file_is_not_replaced_by_what_comes_late(watched, server, report):
    """A source that was asked for before the file was opened does not take its place."""
    page = watched.page
    _open(page, server.url)
    held = []
    page.route("**/api/sources/calibration/mf", lambda route: held.append(route))
    page.locator("#source").select_option("calibration/mf")
    page.locator("#file").set_input_files(report)
    _until(page, "document.querySelector('#source').value === 'file/mine.json'")
    while not held:
        page.wait_for_timeout(30)
    with page.expect_event("requestfinished"):
        held[0].continue_()
    page.evaluate("new Promise((done) => setTimeout(done))")
    assert page.locator("#source").input_value() == "file/mine.json"


def test_ticks_have_the_digits_that_their_distance_needs(watched, server):
    """Percentages two and a half apart are not rounded to whole ones; those twenty apart have no decimals."""
    page = watched.page
    _open(page, server.url)
    ticks = page.evaluate(
        """async () => {
            const main = document.querySelector("script[type=module]").src;
            const { percents } = await import(main.replace("main.js", "chart.js"));
            const ticks = [[[0, 0.025, 0.05], 0.025], [[0, 0.2], 0.2], [[0.004], 0.002]];
            return ticks.map(([at, step]) => percents(null, at, 0, 0, step));
        }"""
    )
    assert [[tick.replace("\u00a0", " ") for tick in each] for each in ticks] == [
        ["0.0 %", "2.5 %", "5.0 %"], ["0 %", "20 %"], ["0.4 %"],
    ]  # fmt: skip
