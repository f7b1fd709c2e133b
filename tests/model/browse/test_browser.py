"""The page in Chromium: filters, keys, the sample, both widths and color schemes, hostile ids, and from a disk."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpa_model.browse.static import write_static
from tests.builders import HPA
from tests.model.browse.pages import CLASSES, HOSTILE_IDS, Pages, open_pages, write_part

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.browser

ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--no-first-run"),
    "--host-resolver-rules=MAP evil.example 127.0.0.1",  # as DNS does that an attacker owns
)
N_MANY = 10_000
IS_READY = "() => document.body.dataset.ready === 'true'"
IS_SHOWN = f"{IS_READY} && [...document.querySelectorAll('.tile img')].every((each) => each.src && each.complete)"


@contextmanager
def served(*words: object) -> Iterator[str]:
    """Serve a store by the command; give the address."""
    command = [str(HPA), "browse", *map(str, words), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=[*ARGUMENTS])
        yield opened
        opened.close()


@contextmanager
def watched(chromium: Any, address: str, **look: Any) -> Iterator[Any]:
    """Open a page; anything that its console reports, or that it fails to load, fails the test."""
    context = chromium.new_context(**({"viewport": {"width": 1280, "height": 800}} | look))
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append("a dialog"), dialog.dismiss()))
    page.on("request", lambda request: faults.append(request.url) if not is_own(request.url, address) else None)
    page.goto(address)
    page.wait_for_function(IS_SHOWN)
    yield page
    assert not faults
    context.close()


def is_own(url: str, address: str) -> bool:
    return url.startswith((address.rsplit("/", 1)[0] + "/", "data:"))


@pytest.fixture(scope="module")
def address(pages: Pages) -> Iterator[str]:
    with served(pages.store, "--run", pages.run, "--embeddings", pages.embeddings) as url:
        yield url


def ids(page: Any) -> list[str]:
    page.wait_for_function(IS_SHOWN)
    return page.eval_on_selector_all(
        ".tile",
        "(tiles) => tiles.map((each) => [+each.id.slice(5), each.querySelector('.id').title])"
        ".toSorted((one, other) => one[0] - other[0]).map((each) => each[1])",
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen_and_every_text_can_be_read(
    chromium: Any, address: str, width: int, scheme: str
) -> None:
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with watched(chromium, address, **look) as page:
        assert len(ids(page)) >= 8
        check_look(page, width)
        if width == 390:
            page.click("#open-filters")
        assert page.is_visible("#filter-label")
        check_look(page, width)
        page.keyboard.press("Escape")
        page.locator(".tile").nth(2).click()
        page.wait_for_selector("#sample table.bars")
        check_look(page, width)


def check_look(page: Any, width: int) -> None:
    """Check that nothing stands out at the right, and that texts have the contrast that WCAG asks for (4.5)."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    low = page.evaluate(
        """() => {
          const parse = (text) => text.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => {
            const linear = (v) => (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
            const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
            return .2126 * x + .7152 * y + .0722 * z;
          };
          const ground = (element) => {
            for (let each = element; each; each = each.parentElement) {
              const color = parse(getComputedStyle(each).backgroundColor);
              if (color.length < 4 || color[3] > .5) return color;
            }
            return [255, 255, 255];
          };
          const low = [];
          for (const element of document.querySelectorAll('body *')) {
            const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
            if (!own || !element.checkVisibility() || element.disabled || element.tagName === 'OPTION') continue;
            const both = [parse(getComputedStyle(element).color), ground(element)].map(light);
            const [a, b] = both.toSorted((x, y) => y - x);
            if ((a + .05) / (b + .05) < 4.5) low.push(element.outerHTML.slice(0, 80));
          }
          return low;
        }"""
    )
    assert low == []


def test_filters_orders_and_the_address_agree(chromium: Any, address: str) -> None:
    with watched(chromium, address) as page:
        assert page.text_content("#count") == "66 samples"
        page.select_option("#filter-part", "test")
        assert ids(page) == ["new-0", "new-1", "sample-0009"]
        assert page.text_content("#count") == "3 of 66 samples"
        page.click("#clear")
        page.select_option("#filter-label", "2")
        page.select_option("#filter-relation", "missed")
        page.select_option("#order", "probability")
        page.wait_for_function(IS_SHOWN)
        missed = ids(page)
        assert missed
        probs = [float(text.split()[1]) for text in page.locator(".what").all_text_contents()]
        assert probs == sorted(probs, reverse=True)
        shared = page.url
        page.select_option("#filter-verdict", "right")
        page.wait_for_selector("#empty:visible")
        assert "No sample is like this" in page.text_content("#empty")
        page.go_back()
        assert ids(page) == missed
        page.select_option("#filter-kind", "unreadable")
        page.select_option("#filter-relation", "any")
        page.select_option("#filter-label", "-1")
        assert ids(page) == ["sample-0059"]
        assert page.text_content(".tile .frame p") == "conversion failed"
    with watched(chromium, shared) as page:
        assert ids(page) == missed


def test_keys_move_open_toggle_search_and_close(chromium: Any, address: str) -> None:
    with watched(chromium, address) as page:
        listed = ids(page)
        columns = page.evaluate(
            "[...document.querySelectorAll('.tile')].filter((each) => each.getBoundingClientRect().top < 130).length"
        )
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
            page.keyboard.press(key)
        current = 1 + columns
        assert page.evaluate("document.activeElement.id") == f"tile-{current}"
        page.keyboard.press("Enter")
        page.wait_for_selector("#sample h2")
        page.wait_for_function(IS_READY)
        assert page.locator("#sample h2").inner_text().startswith(listed[current])
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            f"() => document.querySelector('#sample h2').innerText.startsWith('{listed[current + 1]}')"
        )
        page.keyboard.press("2")
        page.wait_for_function("() => document.querySelector('#sample img').src.includes('channels=0%2C2')")
        assert page.get_attribute("#channels button:nth-child(2)", "aria-pressed") == "false"
        assert page.get_attribute("#sample img", "alt").endswith(": red, blue")
        page.keyboard.press("c")
        page.wait_for_function("() => document.querySelector('#sample img').src.includes('gain=2')")
        assert "All pixel values \u00d7 2" in page.text_content(".pictures .muted.small")
        page.keyboard.press("0")
        page.keyboard.press("Escape")
        page.wait_for_selector("#grid:visible")
        page.wait_for_function(IS_READY)
        assert page.evaluate("document.activeElement.id") == f"tile-{current + 1}"
        page.keyboard.press("End")
        assert page.evaluate("document.activeElement.id") == "tile-65"
        page.keyboard.press("Home")
        page.keyboard.press("/")
        page.keyboard.type("new-1")
        page.wait_for_function("() => document.querySelector('#count').textContent.startsWith('1 of')")
        assert ids(page) == ["new-1"]
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        page.wait_for_selector("#sample h2")
        page.keyboard.press("?")
        assert page.locator("#help").is_visible()
        page.keyboard.press("Escape")
        assert not page.locator("#help").is_visible()
        assert page.locator("#sample").is_visible()


def test_a_sample_shows_planes_bars_parent_copies_and_neighbors(chromium: Any, address: str) -> None:
    with watched(chromium, address + "#sample=9") as page:
        page.wait_for_selector("#sample table.bars")
        assert page.locator(".planes img").count() == 3
        page.wait_for_function(
            "() => [...document.querySelectorAll('.pictures img')].every((each) => each.naturalWidth === 32)"
        )
        assert page.locator(".bars tbody tr").count() == 4
        ticks = page.locator(".bars .tick")
        assert ticks.count() == 3  # the class that is never predicted has none
        assert sorted(page.locator(".bars tbody th").all_text_contents()) == sorted(CLASSES)
        titles = page.locator("#sample h3").all_text_contents()
        assert titles == ["Probabilities", "2 augmented copies", "Nearest by features"]
        page.locator(".strip button").first.click()
        page.wait_for_function("() => document.querySelector('#sample h2').innerText.startsWith('copy-0')")
        assert "Parent and other copies" in page.locator("#sample h3").all_text_contents()
        page.locator(".pictures button").nth(1).click()
        assert page.locator("#zoom img").is_visible()
        page.keyboard.press("Escape")
        page.goto(address + "#sample=59")
        page.wait_for_selector(".unreadable")
        assert "a file is <b>damaged</b>" in page.text_content(".unreadable")


def test_hostile_ids_and_classes_are_texts(chromium: Any, address: str) -> None:
    with watched(chromium, address) as page:
        assert ids(page)[: len(HOSTILE_IDS)] == list(HOSTILE_IDS)
        for index, name in enumerate(HOSTILE_IDS[:3]):
            page.goto(f"{address}#sample={index}")
            page.wait_for_function(f"() => document.querySelector('#sample h2')?.firstChild?.data === {name!r}")
        assert page.evaluate("[...document.scripts].map((each) => each.getAttribute('src')).join()") == "page/main.js"
        assert page.locator("#sample img[src=x], #sample script").count() == 0


def test_ten_thousand_samples_are_scrolled_with_few_elements(chromium: Any, tmp_path: Path) -> None:
    names = [f"{number:08x}" for number in range(N_MANY)]
    labels = np.eye(4, dtype=np.uint8)[np.arange(N_MANY) % 4]
    write_part(tmp_path / "a.zarr", "train", names, labels)
    with served(tmp_path / "a.zarr") as url, watched(chromium, url) as page:
        assert page.text_content("#count") == "10,000 samples"
        page.mouse.move(800, 400)
        for _ in range(20):
            page.mouse.wheel(0, 20_000)
            page.wait_for_timeout(30)
            assert page.locator(".tile").count() < 80
        page.keyboard.press("End")
        assert ids(page)[-1] == names[-1]
        page.keyboard.press("/")
        page.keyboard.type("00001")
        page.wait_for_function("() => document.querySelector('#count').textContent.includes('of 10,000')")
        assert ids(page)[0] == names[1]


def test_the_page_on_a_disk_filters_and_sorts_as_the_served_one(
    chromium: Any, pages: Pages, address: str, tmp_path: Path
) -> None:
    catalog, reader = open_pages(pages)
    with reader:
        write_static(catalog, reader, range(66), tmp_path / "page")
    local = (tmp_path / "page" / "index.html").as_uri()
    queries = (
        *("", "part=test", "label=2&relation=missed&order=probability", "label=0&relation=any&order=least+probable"),
        *(
            "label=1&relation=any&order=threshold",
            "order=threshold",
            "verdict=wrong&order=error",
            "order=family",
            "order=id",
        ),
        *(
            "low=0.8&order=probability",
            "kind=copies",
            "kind=unreadable",
            "text=AMPLE-001",
            "fold=1",
            "verdict=unpredicted",
        ),
        *("label=0&relation=found", "label=0&relation=wrong", "label=0&relation=predicted", "label=3"),
    )
    for query in queries:
        with watched(chromium, f"{address}#{query}") as page:
            expected = ids(page), page.text_content("#count")
        with watched(chromium, f"{local}#{query}") as page:
            assert (ids(page), page.text_content("#count")) == expected, query
    with watched(chromium, f"{local}#sample=9") as page:
        page.wait_for_selector("#sample table.bars")
        page.wait_for_function(
            "() => [...document.querySelectorAll('#sample img')].every((each) => each.naturalWidth > 0)"
        )
        assert page.locator("#sample h3").all_text_contents() == [
            "Probabilities",
            "2 augmented copies",
            "Nearest by features",
        ]
        assert not page.locator("#channels").is_visible()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("() => document.querySelector('#sample h2').innerText.startsWith('sample-0010')")


def test_another_site_reads_nothing_of_the_server(chromium: Any, address: str, tmp_path: Path) -> None:
    evil = tmp_path / "evil.html"
    evil.write_text(
        f"""<img id=a src="{address}image/0"><script src="{address}page/main.js" type="module"></script>
        <iframe src="{address}"></iframe><script>
        const ask = (path) => fetch("{address}" + path).then((each) => each.text(), () => "refused");
        Promise.all(["api/catalog", "api/samples", "image/0"].map(ask)).then((all) => {{ window.got = all; }});
        </script>"""
    )
    page = chromium.new_page()
    answers: list[int] = []
    page.on("response", lambda response: answers.append(response.status) if response.url.startswith(address) else None)
    page.goto(evil.as_uri())
    page.wait_for_function("() => window.got")
    assert page.evaluate("window.got") == ["refused"] * 3
    assert page.evaluate("document.getElementById('a').naturalWidth") == 0
    assert set(answers) == {403}
    page.close()


def test_a_name_that_was_made_to_point_here_shows_nothing(chromium: Any, address: str) -> None:
    page = chromium.new_page()
    answer = page.goto(f"{address.replace('127.0.0.1', 'evil.example')}api/catalog")
    assert answer.status == 421
    assert "Nucleus" not in page.content()
    page.close()


def test_a_token_in_the_address_becomes_a_cookie(chromium: Any, pages: Pages) -> None:
    with served(pages.store, "--host", "0.0.0.0") as printed:
        port, token = re.findall(r":(\d+)/\?token=(.+)", printed)[0]
        context = chromium.new_context()
        page = context.new_page()
        assert page.goto(f"http://127.0.0.1:{port}/").status == 401
        page.goto(f"http://127.0.0.1:{port}/?token={token}")
        page.wait_for_function(IS_SHOWN)
        assert "token" not in page.url
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert page.evaluate("document.cookie") == ""
        context.close()
