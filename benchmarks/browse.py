"""How fast the page of `hpa browse` is in Chromium: until its first grid, while it is scrolled, when it is filtered.

    python -m benchmarks.browse [--samples 10000 100000] [--scrolls 60]

The store has images of 512 x 512 x 4 and a run with probabilities of 28 classes; its shards are links to one file,
which is in the page cache. It needs Chromium and Playwright (`make test-browser` installs it). A request is timed by
the browser, from where it is sent to the last byte of the answer, and with the wait for one of six connections before.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.open_large_store import make_store
from hpa_data.store.part import Part
from hpa_model.config import TrainConfig
from hpa_model.runs.decision import Decision, write_decision
from hpa_model.runs.folder import RunDescription
from hpa_model.runs.out_of_fold import OutOfFold, write_out_of_fold

CHROMIUM = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--no-first-run"),
)
WIDTH, HEIGHT = 1280, 800
# All pictures of the tiles that are seen have arrived.
IS_SHOWN = """() => {
  const pictures = [...document.querySelectorAll('.tile img')];
  const isReady = document.body.dataset.ready === "true" && pictures.length > 0;
  return isReady && pictures.every((each) => each.src && each.complete);
}"""


def make_run(folder: Path, part: Part) -> Path:
    """Write a run of three folds with probabilities that are drawn at random, without models."""
    labels = part.labels
    assert labels is not None
    rng = np.random.default_rng(1)
    probs = (0.4 * labels + 0.6 * rng.random(labels.shape)).astype(np.float32)
    manifest = part.manifest
    description = RunDescription(
        config=TrainConfig(folds=3),
        store=str(part.store_location),
        channels=manifest.channels,
        classes=manifest.classes,
        image_shape=part.layout.image_shape,
        n_left_out=0,
        fingerprints={part.name: manifest.fingerprint},
        versions={},
    )
    folder.mkdir()
    description.write(folder)
    write_out_of_fold(folder, OutOfFold(ids=part.ids, labels=labels, probs=probs, folds=np.arange(len(labels)) % 3))
    n_classes = len(manifest.classes)
    write_decision(folder, Decision(thresholds=np.full(n_classes, 0.5), temperatures=np.ones(3)), manifest.classes)
    return folder


class Requests:
    """The requests of a page that have ended, and how long each took."""

    def __init__(self, page: Any) -> None:
        self._ms: list[tuple[float, float, str]] = []
        page.on("requestfinished", self._add)

    def _add(self, request: Any) -> None:
        timing = request.timing
        self._ms.append((timing["responseEnd"] - timing["requestStart"], timing["responseEnd"], request.url))

    def take(self) -> list[tuple[float, float, str]]:
        """Return those since the last time: from being sent, and from being wanted, to the end, and the address."""
        taken, self._ms[:] = list(self._ms), []
        return taken


def measure(page: Any, url: str, n_scrolls: int) -> list[str]:
    """Open the page, scroll, filter and sort; return what each took, in words."""
    requests = Requests(page)
    started = time.perf_counter()
    page.goto(url)
    page.wait_for_function(IS_SHOWN)
    lines = [f"page opened to first grid {time.perf_counter() - started:.2f} s"]
    requests.take()
    page.mouse.move(WIDTH / 2, HEIGHT / 2)
    for step in range(n_scrolls):
        page.mouse.wheel(0, 900 if step % 10 else 40_000)
        page.wait_for_timeout(120)
    page.keyboard.press("End")
    page.wait_for_timeout(300)
    page.wait_for_function(IS_SHOWN)
    taken = requests.take()
    for what, where in (("lists of samples", "/api/"), ("pictures", "/image/")):
        of_kind = [(sent, wanted) for sent, wanted, url in taken if where in url]
        sent, wanted = (sorted(times) for times in zip(*of_kind, strict=True))
        lines.append(
            f"{len(of_kind)} {what} while scrolling: median {sent[len(sent) // 2]:.0f} ms, slowest {sent[-1]:.0f} ms; "
            f"with the wait for a connection {wanted[-1]:.0f} ms"
        )
    for name, value in (("filter-label", "3"), ("filter-relation", "missed"), ("order", "probability")):
        started = time.perf_counter()
        page.select_option(f"#{name}", value)
        page.wait_for_timeout(20)  # the change has begun
        page.wait_for_function(IS_SHOWN)
        took = time.perf_counter() - started
        lines.append(f"{name.removeprefix('filter-')}={value}: grid after {took:.2f} s")
    started = time.perf_counter()
    page.keyboard.press("Escape")
    page.locator(".tile").first.click()
    page.wait_for_function("() => [...document.querySelectorAll('#sample img')].every((each) => each.complete)")
    lines.append(f"a sample {time.perf_counter() - started:.2f} s")
    return lines


def run(n_samples: int, n_scrolls: int) -> None:
    """Measure one size, and print."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        part = make_store(Path(name, "a.zarr"), n_samples)
        folder = make_run(Path(name, "run"), part)
        command = [sys.executable, "-m", "cli", "browse", str(Path(name, "a.zarr")), "--part", "train", "--no-open"]
        command += ["--run", str(folder)]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            url = server.stdout.readline().split()[0]
            first = f"command started to address printed {time.perf_counter() - started:.2f} s"
            try:
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*CHROMIUM])
                    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                    page.goto("about:blank")
                    lines = [first, *measure(page, url, n_scrolls)]
                    browser.close()
            finally:
                server.terminate()
        print(f"{n_samples:,} samples\n  " + "\n  ".join(lines), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--scrolls", type=int, default=60)
    options = parser.parse_args()
    for n_samples in options.samples:
        run(n_samples, options.scrolls)


if __name__ == "__main__":
    main()
