"""The page in a real browser: upload, microphone, map, slider, error, download, stop."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from svp_diffusers.media.manifest import hash_file
from svp_diffusers.media.video import probe
from svp_diffusers.samples import PORTRAITS, SPEECH

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium")
PATIENCE = 100_000  # milliseconds


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of `svp app`, in a process of its own."""
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    log = tmp_path_factory.mktemp("app") / "log"
    with log.open("w") as stream:
        served = subprocess.Popen(
            [sys.executable, "-u", "-m", "svp_diffusers", "app"],
            stdout=stream,
            stderr=stream,
            env={**os.environ, "TMPDIR": str(log.parent)},
        )
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
        assert served.poll() is None, log.read_text()
        time.sleep(0.5)
    yield found[0]
    assert list(log.parent.glob("svp-app-*"))
    served.terminate()
    served.wait()
    assert not list(log.parent.glob("svp-app-*")), "the folder is gone when the app ends"


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={SPEECH[0]}",
            ],
        )
        context = browser.new_context(viewport={"width": 1280, "height": 1000})
        context.grant_permissions(["microphone"])
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE)
        elsewhere: list[str] = []
        opened.on("request", lambda sent: elsewhere.append(sent.url))
        opened.goto(address)
        opened.wait_for_selector("text=Make the video")
        time.sleep(2)
        yield opened
        browser.close()
    outside = {url for url in elsewhere if not url.startswith((address, "data:", "blob:"))}
    assert outside == set()


def take_picture(page: Any, name: str) -> None:
    """Keep a picture of the page where `SVP_PICTURES` names a folder."""
    if folder := os.environ.get("SVP_PICTURES"):
        page.screenshot(path=str(Path(folder, f"{name}.png")), full_page=True)


def make_video(page: Any) -> None:
    page.get_by_role("button", name="Make the video").click()


def download(page: Any, name: str, folder: Path) -> Path:
    with page.expect_download() as started:
        page.locator(f"a[download='{name}']").last.click()
    started.value.save_as(folder / name)
    return folder / name


def test_a_person_makes_videos_on_the_page(page: Any, tmp_path: Path) -> None:
    make_video(page)
    page.wait_for_selector("text=There is no portrait")
    take_picture(page, "app_error")

    page.locator("input[type=file]").first.set_input_files(str(PORTRAITS[0]))
    page.get_by_label("Record audio").first.click()
    page.locator("button:visible", has_text="Record").first.click()
    time.sleep(4)
    page.locator("button.stop-button:visible").first.click()
    page.wait_for_selector("text=/0:0[3-9]/")  # how long it is

    page.get_by_label("from the map").check()
    image = page.locator("#map img")
    image.wait_for()
    time.sleep(1)
    size = image.bounding_box()
    image.click(position={"x": 0.8 * size["width"], "y": 0.72 * size["height"]})
    page.wait_for_selector("text=happy,")
    assert "happy" in page.locator("text=Here:").inner_text()
    make_video(page)
    page.wait_for_function("() => document.querySelector('#live video')?.currentTime > 0")
    take_picture(page, "app_live")
    page.wait_for_selector("a[download='talk.mp4']")
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
    time.sleep(1)
    take_picture(page, "app")
    video = download(page, "talk.mp4", tmp_path)
    manifest = json.loads(download(page, "talk.mp4.json", tmp_path).read_text())
    assert probe(video).has_audio
    assert manifest["output"]["sha256"] == hash_file(video)
    assert manifest["arguments"]["style"] == "map.style.safetensors"
    assert download(page, "map.style.safetensors", tmp_path).stat().st_size > 0

    page.get_by_label("between two").check()
    page.locator("input[type=range]:visible").first.fill("0.25")
    make_video(page)
    page.wait_for_selector("a[download='between.style.safetensors']")
    take_picture(page, "app_between")

    page.get_by_role("button", name="More").click()
    page.get_by_label("number input for Performances").fill("4")
    make_video(page)
    page.wait_for_selector("text=/denoising|preparing/")
    page.get_by_role("button", name="Stop").last.click()
    page.wait_for_selector("text=/denoising|preparing/", state="hidden")
    page.wait_for_selector("a[download='between.style.safetensors']")  # what was there stays
