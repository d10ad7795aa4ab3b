"""The report in a real browser: headless Chromium, where it and its driver are installed."""

import shutil
import time
from contextlib import contextmanager

import pytest

selenium = pytest.importorskip("selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and ChromeDriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    started.set_window_size(1280, 900)
    yield started
    started.quit()


@pytest.fixture
def visit(browser, made):
    """Open a page of the report; after the test, nothing may stand in the browser's console."""

    def go(page: str, anchor: str = ""):
        browser.get("about:blank")  # else a mere change of the anchor would not load the page again
        browser.get(f"{(made.root / 'site' / page).as_uri()}{anchor}")
        return browser

    browser.get_log("browser")
    yield go
    assert browser.get_log("browser") == []


def texts(browser, selector: str) -> list[str]:
    return [one.text for one in browser.find_elements(By.CSS_SELECTOR, selector)]


def test_every_page_loads_without_a_word_in_the_console_and_fits_a_phone(visit, made):
    site = made.root / "site"
    for path in sorted(site.rglob("*.html")):
        start = time.perf_counter()
        browser = visit(str(path.relative_to(site)))
        assert time.perf_counter() - start < 3, path
        assert browser.find_element(By.TAG_NAME, "h1").is_displayed()
        browser.execute_script(
            "document.querySelectorAll('select').forEach(one => one.add(new Option('long_name '.repeat(20))))"
        )
        with phone(browser):
            width = browser.execute_script("return document.documentElement.scrollWidth")
            outside = browser.execute_script(
                "return [...document.querySelectorAll('.board output')].map(one => one.getBoundingClientRect())"
                ".filter(box => !box.width || box.left < 0 || box.right > 390).length"
            )
        assert width <= 390, f"{path.name} is {width} pixels wide on a phone of 390"
        assert outside == 0, f"{path.name}: {outside} numbers cannot be seen on a phone"


def test_values_stand_over_their_place_on_the_axis(visit):
    browser = visit("index.html")
    board = browser.find_element(By.CSS_SELECTOR, ".board")
    ticks = [(float(one.text), one.rect["x"] + one.rect["width"] / 2)
             for one in board.find_elements(By.CSS_SELECTOR, ".axis span")]  # fmt: skip
    (low, left), (high, right) = ticks[0], ticks[-1]
    assert high == 100
    assert len(ticks) > 2

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    rows = board.find_elements(By.CSS_SELECTOR, "tbody tr")
    dots = [(float(row.find_element(By.TAG_NAME, "output").text), row.find_element(By.CSS_SELECTOR, ".scale b").rect)
            for row in rows]  # fmt: skip
    assert [place(value) for value, _ in ticks] == pytest.approx([x for _, x in ticks], abs=1)
    wanted = [place(value) for value, _ in dots]
    assert wanted == pytest.approx([box["x"] + box["width"] / 2 for _, box in dots], abs=1.5)
    scale = rows[0].find_element(By.CSS_SELECTOR, ".scale")
    step = browser.execute_script("return parseFloat(getComputedStyle(arguments[0]).backgroundSize)", scale)
    assert scale.rect["x"] == pytest.approx(left, abs=1)
    assert step / 100 * scale.rect["width"] == pytest.approx(ticks[1][1] - ticks[0][1], abs=1)  # the grid's lines


def test_of_all_tables_one_is_shown(visit, made):
    browser = visit(made.page("data"))
    assert shown_tables(browser) == ["precision"]
    assert browser.execute_script("return document.documentElement.scrollHeight") < 8000
    choose_table(browser, "Cost")
    assert shown_tables(browser) == ["cost"]
    browser.refresh()
    assert shown_tables(browser) == ["cost"]  # the address names it
    assert shown_tables(visit(made.page("data"), "#mrr")) == ["mrr"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_stand_out_from_their_ground(visit, scheme):
    browser = visit("index.html")
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        ground = luminance(browser, "body", "background-color")
        assert (ground < 0.05) == (scheme == "dark")
        for selector, least in (("main", 7), (".caption", 4.5), ("main a", 4.5)):
            assert contrast(luminance(browser, selector, "color"), ground) >= least, selector
        assert contrast(luminance(browser, ".scale b", "background-color"), ground) >= 2
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def luminance(browser, selector: str, what: str) -> float:
    """Return the relative luminance of a colour, as WCAG 2 defines it; drawn, so that any notation is understood."""
    one = browser.find_element(By.CSS_SELECTOR, selector)
    pixel = browser.execute_script(
        "const context = new OffscreenCanvas(1, 1).getContext('2d');"
        "context.fillStyle = getComputedStyle(arguments[0]).getPropertyValue(arguments[1]);"
        "context.fillRect(0, 0, 1, 1); return [...context.getImageData(0, 0, 1, 1).data]",
        one,
        what,
    )
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in pixel[:3])]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def shown_tables(browser) -> list[str]:
    sections = browser.find_elements(By.CSS_SELECTOR, ".tables > section")
    return [one.get_attribute("id") for one in sections if one.is_displayed()]


def choose_table(browser, title: str) -> None:
    Select(browser.find_element(By.CSS_SELECTOR, ".selector select")).select_by_visible_text(title)


@contextmanager
def phone(browser):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_table_is_sorted_by_a_click_with_gaps_last(visit, made):
    browser = visit(made.page("data"), "#cost")
    table = browser.find_element(By.CSS_SELECTOR, "#cost table")
    head = next(th for th in table.find_elements(By.TAG_NAME, "th") if th.text.startswith("total ms"))
    column = browser.execute_script("return arguments[0].cellIndex", head)

    def shown():
        rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
        return [row.find_elements(By.TAG_NAME, "td")[column].get_attribute("data-value") for row in rows]

    for order in (lambda values: sorted(values, reverse=True), sorted):
        head.find_element(By.TAG_NAME, "button").click()
        values = shown()
        known = [float(value) for value in values if value]
        assert known == order(known)
        assert None in values, "the table has no gap: the test shows nothing"
        assert values[len(known) :] == [None] * (len(values) - len(known))
    assert head.get_attribute("aria-sort") == "ascending"
    assert len(set(known)) > 1


def test_rows_are_filtered_by_words(visit, made):
    browser = visit("made.html")
    assert len([one for one in texts(browser, "#made tbody tr") if one]) == len(made.all)
    browser.find_element(By.CSS_SELECTOR, "input[type=search]").send_keys("writer beam_size")
    left = [one for one in texts(browser, "#made tbody tr") if one]
    assert len(left) == 1
    assert "writer@beam_size-1" in left[0]


def counts(browser) -> dict[str, int]:
    outputs = browser.find_elements(By.CSS_SELECTOR, "#choices output")
    return {one.get_attribute("data-count"): int(one.text) for one in outputs}


def choose(browser, name: str, label: str) -> None:
    Select(browser.find_element(By.NAME, name)).select_by_visible_text(label)


def test_the_explorer_compares_any_two_methods(visit, made):
    browser = visit(made.page("explore"))
    choose(browser, "a", "exact+linear")
    choose(browser, "b", "writer@beam_size-1")
    found = [made.artefacts.judged(result)[""].hits_in(8) for result in made.all
             if result.cell in ("exact+linear", "writer@beam_size-1")]  # fmt: skip
    assert counts(browser) == {
        "all": len(found[0]),
        "a": (found[0] > found[1]).sum(),
        "b": (found[0] < found[1]).sum(),
        "fail": ((found[0] == 0) & (found[1] == 0)).sum(),
        "tie": ((found[0] == found[1]) & (found[0] > 0)).sum(),
    }
    browser.find_element(By.CSS_SELECTOR, "input[value=a]").click()
    won = browser.find_elements(By.CSS_SELECTOR, ".query")
    assert len(won) == (found[0] > found[1]).sum() > 0
    for query in won:
        first, second = query.find_elements(By.CSS_SELECTOR, ".line")
        assert len(first.find_elements(By.CSS_SELECTOR, ".relevant")) > len(
            second.find_elements(By.CSS_SELECTOR, ".relevant")
        )
        assert "exact+linear" in first.text
        assert "✓" in first.text


def test_a_choice_can_be_linked_to_and_shows_the_identifiers(visit, made):
    browser = visit(made.page("explore"), "#a=0&b=1&show=all")
    labels = [Select(browser.find_element(By.NAME, name)).first_selected_option.text for name in "ab"]
    assert labels == ["exact+linear", "writer"]
    result = next(result for result in made.all if result.cell == "writer")
    codes, rows = made.artefacts.codes(result), made.artefacts.ranking(result).rows
    query = browser.find_element(By.CSS_SELECTOR, ".query")
    row = int(query.text.split("query ")[1].split()[0])
    paths = [one.text for one in query.find_elements(By.CSS_SELECTOR, ".path")]
    assert paths == [" ".join(map(str, codes[answer])) for answer in rows[row, :8]]
    tile = query.find_element(By.CSS_SELECTOR, ".found .tile")
    assert f"{made.benchmark.name}.webp" in tile.value_of_css_property("background-image")
    assert min(tile.rect["width"], tile.rect["height"]) >= 128
    names = set(made.benchmark.class_names)
    assert {one for one in texts(browser, ".query header small:not(.id)") if one} <= names
    wrong = browser.find_elements(By.CSS_SELECTOR, ".found .other small:not(.path)")
    assert {one.text for one in wrong} <= names
    assert wrong


def test_the_text_is_there_without_javascript(browser, made):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((made.root / "site" / made.page("explore")).as_uri())
        assert len(browser.find_elements(By.CSS_SELECTOR, ".query")) == 6
        assert not browser.find_element(By.ID, "choices").is_displayed()
        browser.get((made.root / "site" / made.page("data")).as_uri())
        assert "writer" in browser.find_element(By.CSS_SELECTOR, "#precision table").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_first_answers_are_the_same_with_and_without_the_script(visit, browser, made):
    drawn = texts(visit(made.page("explore")), ".query")[:6]
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        assert texts(visit(made.page("explore")), ".query") == drawn
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
