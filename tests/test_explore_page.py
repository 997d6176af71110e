"""The explorer's page in a headless Chromium: what is used changes a number or a picture."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra explore is not installed")
pytest.importorskip("playwright", reason="playwright is not installed: pip install playwright")

import uvicorn
from playwright.sync_api import sync_playwright

import pushforward as pf
from pushforward.data import TableSource
from pushforward.explore import app
from pushforward.explore.plane import Plane
from pushforward.recipe import to_json
from pushforward.runs.folder import load_coded, write_card
from pushforward.training import Log
from pushforward.transforms import Interval
from tests.test_explore import save_clips_and_texts, save_documents

LINE = {"nats": 2.5, "gradient": 1.0, "lr": 0.1, "seconds": 3.0}  # of a log
COLUMNS = ("<img src=x onerror=alert(1)>_a_long_name_without_any_blank", "__proto__", "age")
EXTREME = "(input) => { input.value = input.max; input.dispatchEvent(new Event('input')); }"
FOCUSED = """() => {
  const at = document.activeElement, near = [at, at.closest(".button")].filter(Boolean);
  const outlined = near.some((of) => getComputedStyle(of).outlineStyle !== "none");
  return { name: `${at.tagName} ${[...document.querySelectorAll("*")].indexOf(at)}`, outlined };
}"""
REACHABLE = """() => [...document.querySelectorAll("a, button, input, select, summary, [tabindex='0']")]
  .filter((of) => of.checkVisibility() && !of.disabled).length"""
SHIFTED = """window.shifted = 0;
new PerformanceObserver((list) => { for (const one of list.getEntries()) shifted += one.value; })
  .observe({ type: "layout-shift" });"""
AXE = Path(sys.prefix) / "axe/node_modules/axe-core/axe.min.js"
VIEWS = {
    "#moons": "#logp",
    "#digits": "#amounts .reading",
    "#table": "#features .tail",
    "#table?view=training": "#score",
    "#clips": "#number",
    "#texts": "#cost",
    "#documents": "#own-scores",
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is found: apt install chromium"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def address(folder):
    bounded = (Interval(0, 1), Interval())
    pf.save(pf.models.NSF(features=2, transforms=1, hidden=(8,), supports=bounded).build(), folder / "bounded")
    pf.save(load_coded("pretrained:digits"), folder / "nodata")
    table = np.random.default_rng(0).normal(size=(60, 3))
    np.savetxt(folder / "t.csv", table, delimiter=",", header=",".join(COLUMNS), comments="")
    model = pf.models.MAF(features=2, context=1)
    source = TableSource(str(folder / "t.csv"), COLUMNS[:2], COLUMNS[2:])
    pf.save(model.build(), folder / "table", model=model, data=source)
    Log(folder / "table").write(10, LINE)
    recipe = pf.recipes.digits()
    (folder / "learned").mkdir()
    (folder / "learned/recipe.json").write_text(to_json(replace(recipe, train=replace(recipe.train, steps=10))))
    Log(folder / "learned").write(10, {**LINE, "bits/dim": 2.0})
    runs = [
        *(folder / name for name in ("bounded", "nodata", "table", "learned")),
        *save_clips_and_texts(folder),
        save_documents(folder),
    ]
    shown = app(["pretrained:moons", "pretrained:digits", *runs, "pretrained:emoji"])
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(shown, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """A page without animations, on which an error fails the test."""
    context = browser.new_context(reduced_motion="reduce", permissions=["clipboard-read", "clipboard-write"])
    opened, faults = context.new_page(), []
    opened.set_default_timeout(60_000)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda told: faults.append(told.text) if told.type in ("error", "warning") else None)
    yield opened
    context.close()
    assert [fault for fault in faults if "status of 422" not in fault] == []  # a refused upload is one


def changed(page, of: str, how) -> str:
    """What an element says after something was done, once it is not what it said before."""
    before = page.inner_text(of)
    how()
    page.wait_for_function("([of, before]) => document.querySelector(of).innerText !== before", arg=[of, before])
    return page.inner_text(of)


def attribute_changes(page, of: str, name: str, how) -> None:
    before = page.get_attribute(of, name)
    how()
    page.wait_for_function(
        "([of, name, old]) => document.querySelector(of).getAttribute(name) !== old", arg=[of, name, before]
    )


def ready(page, address: str, where: str, number: str) -> None:
    page.goto(f"{address}/{where}")
    page.wait_for_function("(of) => /[0-9]/.test(document.querySelector(of)?.innerText)", arg=number)


def test_a_point_is_dragged_in_both_pictures(page, address):
    ready(page, address, "", "#logp")
    for picture, other in (("#data", "#z"), ("#stage", "#x")):
        box = page.locator(picture).bounding_box()

        def drag(box=box):
            page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
            page.mouse.down()
            page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"], steps=4)
            page.mouse.up()

        before = page.locator(picture).screenshot()
        changed(page, other, drag)
        assert page.locator(picture).screenshot() != before
    x, z = (float(page.inner_text(of)[1:].split(",")[0].replace("−", "-")) for of in ("#x", "#z"))
    assert x != z


def test_the_keyboard_moves_the_point_and_bends_the_grid(page, address):
    ready(page, address, "#moons?stage=0", "#logp")
    page.focus("#data")
    changed(page, "#x", lambda: page.keyboard.press("ArrowRight"))
    changed(page, "#z", lambda: page.keyboard.press("Shift+ArrowUp"))
    page.focus("#slider")
    before = page.locator("#stage").screenshot()
    assert "after 1 of" in changed(page, "#after", lambda: page.keyboard.press("ArrowRight"))
    assert "latent" in changed(page, "#after", lambda: page.keyboard.press("End"))
    assert page.locator("#stage").screenshot() != before
    page.wait_for_function("() => location.hash.includes('stage=10')")
    log_p = page.inner_text("#logp")
    page.reload()
    page.wait_for_function("(log_p) => document.querySelector('#logp')?.innerText === log_p", arg=log_p)


def test_a_long_job_shows_its_progress_lets_others_pass_and_is_stopped(page, address, monkeypatch):
    quick = Plane._log_density

    def slow(plane, y, stage):
        time.sleep(0.3)
        return quick(plane, y, stage)

    monkeypatch.setattr(Plane, "_log_density", slow)
    ready(page, address, "#bounded?stage=1", "#base")
    page.wait_for_function("() => document.querySelector('#done').value > 0")
    page.focus("#data")
    changed(page, "#x", lambda: page.keyboard.press("ArrowRight"))
    assert page.is_visible("#working")
    assert page.evaluate("document.querySelector('#done').value") < 1
    page.click("#working button")
    page.wait_for_selector("#working", state="hidden", timeout=5000)
    monkeypatch.undo()
    page.wait_for_timeout(1000)
    assert page.is_hidden("#working")


def test_an_image_is_picked_uploaded_sampled_and_interpolated(page, address, tmp_path):
    ready(page, address, "#digits", "#cost")
    page.wait_for_selector("#line img:nth-child(9)")
    page.wait_for_function("() => document.querySelector('#rank').innerText !== ''")
    changed(page, "#cost", lambda: page.locator("#gallery button").nth(7).click())
    attribute_changes(page, "#block", "src", lambda: page.locator("#slider").press("End"))
    assert "noise z" in page.inner_text("#where")
    page.click("#other")
    attribute_changes(page, "#line img:last-child", "src", lambda: page.locator("#gallery button").nth(4).click())
    attribute_changes(page, "#moving", "src", lambda: page.click("#walk"))
    assert page.get_attribute("#moving", "src") == page.get_attribute("#line img:last-child", "src")
    Image.new("L", (30, 30), 128).save(tmp_path / "grey.png")
    changed(page, "#cost", lambda: page.set_input_files("#upload input", tmp_path / "grey.png"))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with page.expect_response(lambda response: response.status == 422):
        page.set_input_files("#upload input", tmp_path / "bad.png")
    page.wait_for_function("() => document.querySelector('#status').innerText.includes('no sound')")


def test_an_attribute_is_added_undone_and_reset_by_keys(page, address):
    ready(page, address, "#digits", "#amounts .reading")
    slider = page.locator("#amounts input").nth(3)
    attribute_changes(page, "#edited", "src", lambda: slider.press("ArrowRight"))
    assert slider.get_attribute("aria-valuetext") == "3 +0.1"
    attribute_changes(page, "#edited", "src", lambda: slider.press("End"))
    page.wait_for_function("() => location.hash.includes('edit=3%3A2')")
    attribute_changes(page, "#edited", "src", lambda: page.click("#undo"))
    assert slider.get_attribute("aria-valuetext") == "3 +0.1"
    attribute_changes(page, "#edited", "src", lambda: page.click("#reset"))
    assert slider.get_attribute("aria-valuetext") == "3 +0.0"


def test_an_emoji_has_words_as_attributes_and_is_seen_after_blocks_of_several_scales(page, address, monkeypatch):
    monkeypatch.setattr(pf.runs.editing, "LEARNED", 300)
    ready(page, address, "#emoji?picture=data:2", "#amounts .reading")
    assert page.inner_text("#amounts label").startswith("face")
    assert page.is_hidden("#raw")
    page.locator("#slider").press("End")
    log_p, base, log_dets = (
        float(page.inner_text(of).removesuffix(" nats").replace("−", "-")) for of in ("#logp", "#base", "#sum")
    )
    assert log_p == pytest.approx(base + log_dets, abs=0.2)
    before = page.get_attribute("#block", "src")
    attribute_changes(page, "#block", "src", lambda: page.locator("#slider").press("ArrowLeft"))
    assert page.get_attribute("#block", "src") != before
    assert page.inner_text("#where") == "after block 26"
    attribute_changes(page, "#edited", "src", lambda: page.locator("#amounts input").nth(2).press("ArrowRight"))
    assert page.locator("#amounts input").nth(2).get_attribute("aria-valuetext") == "food +0.1"


def test_pixels_are_painted_and_drawn(page, address):
    ready(page, address, "#digits", "#amounts .reading")
    page.locator("#mask").scroll_into_view_if_needed()
    box = page.locator("#mask").bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.6 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.6 * box["height"], steps=2)
    page.mouse.up()
    assert page.get_attribute("#mask", "aria-label").startswith("8 of 64 cells")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert page.get_attribute("#mask", "aria-label").startswith("9 of 64 cells")
    attribute_changes(page, "#fills img", "src", lambda: page.click("#fill"))
    changed(page, "#acceptance", lambda: None)
    page.click("#fill")
    assert "%" in page.inner_text("#acceptance")
    page.reload()
    page.wait_for_function("() => document.querySelector('#mask')?.ariaLabel?.startsWith('9 of 64')")


def test_a_row_is_moved_and_samples_follow_the_condition(page, address):
    ready(page, address, "#table", "#features .tail")
    page.wait_for_function("() => /tail/.test(document.querySelector('#features').innerText)")
    changed(page, "#logp", lambda: page.locator("#features input").first.press("ArrowRight"))
    page.wait_for_function("() => location.hash.includes('x=')")
    page.locator("#features input").first.evaluate(EXTREME)
    page.wait_for_function("() => document.querySelector('#features li.odd')?.innerText.includes('odd')")
    changed(page, "#logp", lambda: page.click("#again"))
    changed(page, "#number", lambda: page.locator("#row").press("End"))
    before = page.locator("#pairs").screenshot()
    page.locator("#columns input").first.click()
    assert page.locator("#pairs").screenshot() != before
    changed(page, "#given output", lambda: page.locator("#given input").press("ArrowRight"))


def test_a_clip_plays_frame_by_frame(page, address):
    ready(page, address, "#clips?frames=4", "#number")
    page.wait_for_function("() => document.querySelector('#slider').max === '3'")
    attribute_changes(page, "#frame", "src", lambda: page.locator("#slider").press("Home"))
    assert page.inner_text("#number") == "1 of 4"
    attribute_changes(page, "#frames img", "src", lambda: page.click("#draw"))
    page.wait_for_function("() => location.hash.includes('seed=1')")
    assert "--frames 4 --seed 1" in page.inner_text("#reproduce code")


def test_a_text_is_drawn_and_its_characters_have_the_colour_of_their_bits(page, address):
    ready(page, address, "#texts?length=20", "#cost")
    colour = "(of) => getComputedStyle(of).backgroundColor"
    assert len({of.evaluate(colour) for of in page.query_selector_all("#text span")}) > 2
    before = page.inner_text("#text")
    page.fill("[name=prompt]", "cab")
    changed(page, "#text", lambda: page.keyboard.press("Tab"))
    assert page.inner_text("#text").startswith("cab")
    assert page.inner_text("#text") != before
    page.locator("#text span").nth(1).hover()
    assert '"a" has' in page.inner_text("#one")
    page.focus("#text")
    page.keyboard.press("ArrowRight")
    assert '"c" has' in page.inner_text("#one")


def test_captions_are_written_and_compared_and_a_prompt_draws_images(page, address, tmp_path):
    ready(page, address, "#documents?picture=data:1", "#own-scores")
    assert page.inner_text("#own") == "dark robe</s>"
    written = page.inner_text("#written-scores")
    assert (
        len({of.evaluate("(of) => getComputedStyle(of).backgroundColor") for of in page.query_selector_all(".token")})
        > 2
    )
    page.fill("[name=caption]", "a dog")
    assert "log p(image | caption)" in changed(page, "#given-scores", lambda: page.keyboard.press("Tab"))
    page.reload()
    page.wait_for_function("() => document.querySelector('#given')?.innerText === 'a dog</s>'")
    page.click("[data-of=samples]")
    page.wait_for_selector("#gallery button:nth-child(10)")
    first = "#gallery button:first-child img"
    page.fill("[name=prompt]", "two cherries")
    attribute_changes(page, first, "src", lambda: page.keyboard.press("Tab"))
    assert "--n 10 --prompt 'two cherries' --out samples.png" in page.inner_text("#reproduce code")
    changed(page, "#written-scores", lambda: page.click(first))
    page.wait_for_function("() => document.querySelector('#own')?.innerText === 'two cherries</s>'")
    assert page.inner_text("#written-scores") != written
    Image.new("L", (30, 30), 128).save(tmp_path / "grey.png")
    changed(page, "#own", lambda: page.set_input_files("#upload input", tmp_path / "grey.png"))


def test_a_training_is_watched(page, address, folder):
    ready(page, address, "#table?view=training", "#score")
    assert page.inner_text("#score") == "log p −2.500 nats"
    before = page.locator("#curve").screenshot()
    changed(page, "#score", lambda: Log(folder / "table").write(20, {**LINE, "nats": 1.5, "held-out nats": 2.0}))
    assert page.locator("#curve").screenshot() != before
    assert "−2.000" in page.inner_text("#held")
    write_card(folder / "table")  # as an evaluation does, too
    page.wait_for_function("() => document.querySelector('#progress').innerText.includes('ended')")
    changed(page, "#score", lambda: Log(folder / "table").write(30, {**LINE, "nats": 0.5}))


def test_a_training_is_beside_what_its_recipe_expects(page, address):
    ready(page, address, "#learned?view=training", "#score")
    assert "The recipe digits says: Expect 98 %" in page.inner_text("#expected")
    assert "This run has train.steps 10, not " in page.inner_text("#expected")


def test_the_parts_of_the_flow_open(page, address):
    ready(page, address, "#digits", "#cost")
    page.click("#made > summary")
    page.locator("#parts summary").nth(1).click()
    assert "Autoregressive × Affine × CausalTransformer, 102,472 parameters" in page.inner_text("#parts")


def test_outside_the_support_log_p_is_minus_infinity(page, address):
    ready(page, address, "#bounded?at=0&x=2&y=0", "#base")
    assert page.inner_text("#logp") == page.inner_text("#sum") == "−∞"
    assert "−∞" in page.inner_text("#terms")


def test_a_refused_line_stops_no_other_part(page, address):
    page.route("**/line?*", lambda route: route.fulfill(status=422, json={"detail": "no line"}))
    ready(page, address, "#digits", "#rank")
    page.wait_for_function("() => document.querySelector('#status').innerText === 'no line'")


def test_without_data_samples_are_shown(page, address):
    ready(page, address, "#nodata", "#cost")
    page.wait_for_selector("#gallery button:nth-child(25)")
    assert page.is_hidden("#between"), "its density without the class was not learned"
    assert page.get_attribute("[data-of=samples]", "aria-pressed") == "true"
    assert page.get_attribute("#original", "alt") == "sample 0"


def test_after_the_last_held_out_images_come_the_first(page, address):
    ready(page, address, "#digits?start=350", "#cost")
    page.wait_for_selector("#gallery button:nth-child(10)")
    for _ in range(2):
        attribute_changes(page, "#gallery button:first-child", "data-name", lambda: page.click("#more"))
    assert page.get_attribute("#gallery button:first-child", "data-name") == "data:25"


def test_values_in_the_address_are_kept_within_their_limits(page, address):
    where = "#digits?of=samples&stage=2.6&start=-4&seed=1e99&temperature=a&guidance=99&label=77&picture=sample:1"
    ready(page, address, where, "#cost")
    page.wait_for_function("() => location.hash.includes('seed=2147483647&guidance=3&temperature=1&')")
    ready(page, address, "#%?x=a&stage=-1", "#logp")
    ready(page, address, "#table?columns=-1,0.5&row=1.5&x=a,1", "#features .tail")


def test_the_answer_about_another_image_is_not_drawn(page, address):
    held = []
    page.route("**/filled?*", lambda route: held.append(route))
    ready(page, address, "#digits?mask=00000000ffffffff", "#amounts .reading")
    page.click("#fill")
    changed(page, "#cost", lambda: page.locator("#gallery button").nth(7).click())
    assert page.inner_text("#fill") == "Draw"
    with page.expect_response("**/filled?*"):
        held[0].continue_()
    page.wait_for_timeout(300)
    assert page.get_attribute("#fills img", "src") is None
    page.click("#fill")
    page.evaluate("document.querySelector('#working button').click()")  # stop all requests
    page.wait_for_function("() => document.querySelector('#fill').innerText === 'Draw'")


def test_the_scores_of_another_image_are_not_shown(page, address):
    held, waiting = [], []
    ready(page, address, "#documents?picture=data:1", "#own-scores")
    page.route("**/scored?*", lambda route: held.append(route))
    page.click("#gallery button:nth-child(3)")
    while not held:
        page.wait_for_timeout(50)
    page.route("**/written?*", lambda route: waiting.append(route))  # it takes for ever
    with page.expect_response("**/seen?*"):
        page.click("#gallery button:nth-child(1)")
    with page.expect_response("**/scored?*"):
        held[0].continue_()
    page.wait_for_timeout(300)
    assert page.inner_text("#own-scores") == ""


def test_a_request_without_an_answer_says_why(page, address):
    ready(page, address, "#digits", "#amounts .reading")
    held = []
    page.route("**/line?*", lambda route: held.append(route))
    with page.expect_response("**/edited?*"):  # after which the page has nothing else to say
        page.locator("#gallery button").nth(7).click()
    held[0].fulfill(status=422, content_type="text/plain", body="no token")
    page.wait_for_function("() => document.querySelector('#status').innerText === 'no token'")
    page.goto(f"{address}/#moons?x=1")
    page.wait_for_function("() => document.querySelector('#logp')?.innerText.includes('.')")
    page.focus("#data")
    page.evaluate("() => { fetch = async () => { throw new TypeError('Failed to fetch'); }; }")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#status').innerText.includes('still running?')")


def test_an_address_is_followed_while_what_is_shown_changes(page, address):
    ready(page, address, "#digits", "#amounts .reading")
    page.evaluate("() => { location.hash = '#moons'; document.querySelectorAll('#gallery button')[7].click(); }")
    page.wait_for_selector("#data")
    assert page.evaluate("location.hash").startswith("#moons")


def test_with_motion_stages_and_blocks_play(browser, address):
    context, faults = browser.new_context(reduced_motion="no-preference"), []
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    page.wait_for_function("() => document.querySelector('#after')?.innerText.includes('latent')", timeout=60_000)
    page.goto(f"{address}/#digits")
    page.wait_for_selector("#play")
    page.click("#play")  # before there is anything to play
    page.wait_for_function("() => /[0-9]/.test(document.querySelector('#cost').innerText)")
    page.click("#play")
    page.wait_for_function("() => document.querySelector('#where').innerText === 'after block 1'")
    page.click("#play")
    assert page.inner_text("#play") == "Play"
    context.close()
    assert faults == []


def test_a_training_is_watched_on_after_an_error(page, address):
    page.route("**/training?*", lambda route: route.fulfill(status=422, json={"detail": "busy"}), times=1)
    ready(page, address, "#table?view=training", "#score")


def test_samples_follow_their_controls(page, address):
    ready(page, address, "#digits?of=samples", "#cost")
    first = "#gallery button:first-child img"
    page.wait_for_selector(first)
    attribute_changes(page, first, "src", lambda: page.select_option("[name=label]", "3"))
    attribute_changes(page, first, "src", lambda: page.locator("[name=temperature]").press("Home"))
    page.wait_for_function(
        "() => new Set([...document.querySelectorAll('#gallery img')].map((one) => one.src)).size === 1"
    )
    page.click("#reproduce button")
    assert page.evaluate("navigator.clipboard.readText()") == page.inner_text("#reproduce code")
    assert "--label 3" in page.inner_text("#reproduce code")


@pytest.mark.parametrize("where", VIEWS)
def test_a_phone_needs_no_scrolling_sideways(page, address, where):
    page.set_viewport_size({"width": 320, "height": 640})
    ready(page, address, where, VIEWS[where])
    assert page.evaluate("document.documentElement.scrollWidth") == 320


@pytest.mark.parametrize("where", VIEWS)
@pytest.mark.parametrize("width", [360, 1180])
def test_nothing_jumps_while_it_loads(page, address, where, width):
    page.set_viewport_size({"width": width, "height": 640})
    page.add_init_script(SHIFTED)
    ready(page, address, where, VIEWS[where])
    assert page.evaluate("shifted") < 0.05, "the share of the screen that moved, times how far"


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not here: make setup-browser")
@pytest.mark.parametrize("where", VIEWS)
def test_axe_finds_no_barrier(page, address, where):
    ready(page, address, where, VIEWS[where])
    page.evaluate(AXE.read_text())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate("axe.run()")
        assert len(found["passes"]) > 20
        assert [(fault["id"], fault["nodes"][0]["target"]) for fault in found["violations"]] == []


@pytest.mark.parametrize("where", VIEWS)
def test_the_keyboard_reaches_everything_and_shows_where_it_is(page, address, where):
    ready(page, address, where, VIEWS[where])
    seen = []
    for _ in range(120):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUSED)
        if at["name"].startswith("BODY"):
            break
        assert at["outlined"], at["name"]
        seen.append(at["name"])
    assert len({*seen}) == len(seen) == page.evaluate(REACHABLE), "one of them holds the focus, or is passed over"


def test_runs_are_changed_while_they_load(page, address):
    ready(page, address, "#moons", "#logp")
    page.focus("nav a:nth-child(2)")
    page.keyboard.press("Enter")
    page.wait_for_selector("#gallery")
    assert page.evaluate("document.activeElement.innerText") == "digits"
    page.go_back()
    page.wait_for_selector("#terms")
    for _ in range(3):
        page.click("nav a:nth-child(2)")
        page.click("nav a:nth-child(1)")
    time.sleep(1)
    page.wait_for_function("() => /[0-9]/.test(document.querySelector('#logp')?.innerText)")
