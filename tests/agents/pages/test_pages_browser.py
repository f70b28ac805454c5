"""The pages in a real browser: a picture of each is taken and must show what it should.

Needs Debian's `chromium` (or `CHROMIUM` naming another); without it these tests say so and are passed over.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest
from desks import NOW, FakeDesk, FakePatientDesk, desk_case
from PIL import Image, ImageStat

from agents.pages.classic import Prediction, classic_apps
from agents.pages.doctor import DeskState, doctor_app
from agents.pages.patient import patient_app
from agents.pages.serving import serve
from agents.report import write_report
from models.scans import synthetic_scan, to_png

sys.path.append(str(Path(__file__).parents[1] / "report"))
from report_samples import refunded, settled

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=5000",
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium here: apt-get install chromium, or set CHROMIUM"
    ),
]


async def picture(url: str, folder: Path, size: tuple[int, int], *flags: str) -> Image.Image:
    """The page as the browser paints it."""
    target = folder / "page.png"
    process = await asyncio.create_subprocess_exec(
        str(CHROMIUM),
        *FLAGS,
        *flags,
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={size[0]},{size[1]}",
        f"--screenshot={target}",
        url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 90)
    assert target.exists(), said.decode()[-2000:]
    return Image.open(target).convert("RGB")


def colours(image: Image.Image, box: tuple[float, float, float, float] = (0, 0, 1, 1)) -> int:
    """How many different colours a part of the picture (as shares of its sides) has."""
    wide, high = image.size
    part = image.crop((int(box[0] * wide), int(box[1] * high), int(box[2] * wide), int(box[3] * high)))
    return len(part.getcolors(1 << 24) or [])


def brightness(image: Image.Image, box: tuple[float, float, float, float]) -> float:
    """The mean brightness, 0..255, of a part of the picture."""
    wide, high = image.size
    part = image.crop((int(box[0] * wide), int(box[1] * high), int(box[2] * wide), int(box[3] * high)))
    return float(ImageStat.Stat(part.convert("L")).mean[0])


def ground(image: Image.Image) -> float:
    """The brightness, 0..255, of the colour that the page is mostly made of."""
    counted = image.getcolors(1 << 24) or []
    return sum(max(counted)[1]) / 3


async def test_the_doctors_page_shows_the_scan(tmp_path: Path) -> None:
    """The scan is fetched with the key, developed on the canvas and painted: so scripts, CSP and key work."""
    served = await serve(doctor_app(FakeDesk(), clock=lambda: NOW))
    middle = (0.3, 0.15, 0.65, 0.85)
    try:
        for _ in range(3):  # on a busy machine the picture is taken before the scan has come
            shown = await picture(served.url, tmp_path, (1400, 860))
            if brightness(shown, middle) > 30:
                break
        locked = await picture(served.url.split("#")[0], tmp_path, (1400, 860))
    finally:
        await served.close()
    assert brightness(shown, middle) > 30
    assert brightness(locked, middle) < 5
    assert colours(shown, (0.78, 0.1, 1, 0.9)) > 20


async def test_the_patients_page_lists_cases(tmp_path: Path) -> None:
    served = await serve(patient_app(FakePatientDesk()))
    try:
        shown = await picture(served.url, tmp_path, (500, 900))
    finally:
        await served.close()
    assert colours(shown, (0, 0.55, 1, 0.9)) > 20


async def test_the_classic_page_shows_the_scan(tmp_path: Path) -> None:
    async def predict(_: bytes) -> Prediction:
        return Prediction(True, 0.9)

    patient, doctor = classic_apps(predict, lambda _: None)
    one, two = await serve(patient), await serve(doctor)
    try:
        curl = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SEND, one.url + "image", stdin=asyncio.subprocess.PIPE
        )
        await curl.communicate(to_png(synthetic_scan()))
        assert curl.returncode == 0
        shown = await picture(two.url, tmp_path, (900, 1000))
    finally:
        await one.close()
        await two.close()
    assert colours(shown, (0.3, 0.3, 0.7, 0.8)) > 60


SEND = """
import sys, urllib.request
head = b'--b\\r\\nContent-Disposition: form-data; name="file"; filename="s.png"\\r\\n\\r\\n'
body = head + sys.stdin.buffer.read() + b"\\r\\n--b--\\r\\n"
form = {"Content-Type": "multipart/form-data; boundary=b"}
urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, form))
"""


@pytest.mark.parametrize("result", [settled(), refunded()], ids=["settled", "refunded"])
async def test_the_report_is_painted_in_both_themes(tmp_path: Path, result: dict[str, object]) -> None:
    page = write_report(result, to_png(synthetic_scan()), tmp_path / "report").as_uri()
    light = await picture(page, tmp_path, (1200, 2400), "--blink-settings=preferredColorScheme=1")
    dark = await picture(page, tmp_path, (1200, 2400), "--blink-settings=preferredColorScheme=0")
    assert ground(light) > 200
    assert ground(dark) < 60
    for image in (light, dark):
        assert colours(image, (0.1, 0.15, 0.4, 0.3)) > 60
        assert colours(image, (0.05, 0.5, 0.95, 0.65)) > 20


async def test_the_doctors_page_shows_a_volume_and_in_the_end_its_mask(tmp_path: Path) -> None:
    """Slices can be looked at one by one; the mask has colours, and is there only once the verdict is sealed."""
    desk = FakeDesk()
    desk.held = [desk_case(1, DeskState.COMMITTED, slices={"columns": 2, "rows": 2, "shown": 4, "of": 40})]
    served = await serve(doctor_app(desk, clock=lambda: NOW))
    try:
        shown = await picture(served.url, tmp_path, (1400, 860))
        desk.held = [desk_case(1, slices=desk.held[0].slices)]
        before = await picture(served.url, tmp_path, (1400, 860))
    finally:
        await served.close()
    assert brightness(shown, (0.3, 0.15, 0.65, 0.85)) > 30
    assert colours(shown, (0.78, 0.1, 1, 0.9)) > 20
    tools = (0.2, 0.93, 0.75, 1)
    assert colours(before, tools) > 5
