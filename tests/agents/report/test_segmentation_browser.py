"""The page of a volume in a real browser: every way of moving, marks where they belong, no word of complaint.

Needs Debian's `chromium` (or `CHROMIUM` naming another); without it these tests say so and are passed over.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image
from test_segmentation_pages import body, sample

from agents.report.segmentation import write_pages

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium here: apt-get install chromium, or set CHROMIUM"
    ),
]


class Tab:
    """One page of the browser, spoken to in its debugging protocol."""

    def __init__(self, wire: aiohttp.ClientWebSocketResponse) -> None:
        self.wire = wire
        self.sent = 0
        self.complaints: list[str] = []

    async def call(self, method: str, **given: Any) -> dict[str, Any]:
        self.sent += 1
        await self.wire.send_json({"id": self.sent, "method": method, "params": given})
        while True:
            said = await self.wire.receive_json(timeout=60)
            if said.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(said["params"]))
            if said.get("id") == self.sent:
                assert "error" not in said, said
                return dict(said["result"])

    async def ask(self, expression: str) -> Any:
        said = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def open(self, page: Path, size: tuple[int, int], dark: bool = False) -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call("Page.navigate", url=page.as_uri())
        for _ in range(200):
            if await self.ask("document.readyState") == "complete":
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)

    async def told(self) -> str:
        """The line about the slice that is shown."""
        await asyncio.sleep(0.15)
        return str(await self.ask("document.getElementById('told').textContent"))

    async def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element that is scrolled into view."""
        found = await self.ask(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            f"return [r.left, r.top, r.width, r.height]; }})(document.querySelector({json.dumps(selector)}))"
        )
        left, top, width, height = found
        return left, top, width, height

    async def press(self, key: str) -> None:
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key)

    async def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1
            )

    async def picture(self) -> np.ndarray:
        shot = await self.call("Page.captureScreenshot", format="png")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")).astype(int)

    async def canvas(self) -> np.ndarray:
        """The drawing itself, (height, width, 3)."""
        text = await self.ask("document.getElementById('stage').toDataURL()")
        image = Image.open(io.BytesIO(base64.b64decode(text.split(",")[1])))
        return np.asarray(image.convert("RGB")).astype(int)


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Tab]:
    process = await asyncio.create_subprocess_exec(
        str(CHROMIUM),
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        port = None
        while port is None:
            line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
            assert line, "the browser ended before it opened its port"
            port = re.search(r"ws://[^/]*:(\d+)/", line)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port[1]}/json") as answer:
                tabs = await answer.json()
            place = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(place, max_msg_size=0) as wire:
                tab = Tab(wire)
                for domain in ("Page", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                yield tab
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def page(folder: Path, **changes: Any) -> Path:
    return write_pages(folder / "pages", sample(), **{**body(), **changes})[-1]


def spread(drawing: np.ndarray, near: tuple[int, int, int]) -> tuple[float, float]:
    """The middle of the pixels of about one colour, as shares of the width and the height."""
    rows, columns = np.nonzero((np.abs(drawing - near) < 40).all(axis=2))
    assert rows.size > 20
    return columns.mean() / drawing.shape[1], rows.mean() / drawing.shape[0]


async def test_every_way_of_moving_through_the_slices(tmp_path: Path) -> None:
    async with browser(tmp_path) as tab:
        await tab.open(page(tmp_path), (1280, 900))
        assert (await tab.told()).startswith("Slice 6 of 16, 15 mm from the first (feet): infection 11.4 %")
        left, top, width, height = await tab.box("#stage")
        x, y = left + width / 2, top + height / 2
        for turn, wanted in ((-100, 7), (100, 6), (100, 5)):
            await tab.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=turn)
            assert (await tab.told()).startswith(f"Slice {wanted} of 16")
        await tab.ask("document.getElementById('stage').focus()")
        for key, wanted in (
            ("ArrowUp", 6),
            ("ArrowRight", 7),
            ("ArrowDown", 6),
            ("ArrowLeft", 5),
            ("PageUp", 15),
            ("PageDown", 5),
            ("End", 16),
            ("ArrowUp", 16),
            ("Home", 1),
            ("PageDown", 1),
        ):
            await tab.press(key)
            assert (await tab.told()).startswith(f"Slice {wanted} of 16"), key
        for button, wanted in (("on", 2), ("on", 3), ("back", 2)):
            await tab.ask(f"document.getElementById('{button}').click()")
            assert (await tab.told()).startswith(f"Slice {wanted} of 16")
        left, top, width, height = await tab.box("#chart-z svg")
        await tab.click(left + width * 11.5 / 16, top + height / 2)
        assert (await tab.told()).startswith("Slice 12 of 16")
        await tab.ask(
            "(s => { s.value = 8; s.dispatchEvent(new Event('input')); })(document.getElementById('slice'))"
        )
        assert (await tab.told()).startswith("Slice 9 of 16, 24 mm")
        assert await tab.ask("document.querySelector('#chart-z .cursor').getAttribute('x1')") == "8.5"
        await tab.ask("document.querySelector('[name=axis][value=x]').click()")
        assert (await tab.told()).startswith("Slice 4 of 20, 4.5 mm from the first (left)")
        assert await tab.ask("document.getElementById('chart-z').hidden")
        assert not await tab.ask("document.getElementById('chart-x').hidden")
        await tab.ask("document.querySelector('[name=axis][value=z]').click()")
        assert (await tab.told()).startswith("Slice 9 of 16")
        assert tab.complaints == []


async def test_marks_lie_where_they_belong_and_can_be_hidden(tmp_path: Path) -> None:
    """Infection is left of the middle of the body and to its back: right of, and below, the drawing's middle."""
    grey = np.zeros_like(body()["grey"])
    async with browser(tmp_path) as tab:
        await tab.open(page(tmp_path, grey=grey), (1280, 900))
        await tab.ask("document.getElementById('show-lung').click()")
        await tab.ask("document.getElementById('show-label').click()")
        for axis, across, down in (("z", 1, 1), ("y", 1, 0), ("x", 1, 0)):
            await tab.ask(f"document.querySelector('[name=axis][value={axis}]').click()")
            await tab.told()
            x, y = spread(await tab.canvas(), (255, 112, 32))
            assert (x > 0.52) == bool(across)
            assert (y > 0.52) == bool(down)
        await tab.ask("document.getElementById('show-infection').click()")
        await tab.told()
        dark = await tab.canvas()
        assert not (np.abs(dark - (255, 112, 32)) < 40).all(axis=2).any()
        await tab.ask("document.getElementById('show-label').click()")
        await tab.ask("document.getElementById('on').click()")  # the label begins one slice further
        await tab.told()
        spread(await tab.canvas(), (240, 228, 66))
        assert tab.complaints == []


async def test_the_fill_follows_its_slider(tmp_path: Path) -> None:
    grey = np.zeros_like(body()["grey"])
    async with browser(tmp_path) as tab:
        await tab.open(page(tmp_path, grey=grey), (1280, 900))
        sums = []
        for fill in (0, 50, 100):
            await tab.ask(
                f"(s => {{ s.value = {fill}; s.dispatchEvent(new Event('input')); }})(document.getElementById('fill'))"
            )
            await tab.told()
            sums.append((await tab.canvas())[..., 0].sum())
        assert sums[0] * 1.3 < sums[1]
        assert sums[1] * 1.3 < sums[2]


async def test_a_phone_s_width_and_a_finger(tmp_path: Path) -> None:
    async with browser(tmp_path) as tab:
        await tab.call("Emulation.setTouchEmulationEnabled", enabled=True)
        await tab.open(page(tmp_path), (390, 844))
        assert await tab.ask("document.documentElement.scrollWidth") == 390
        small = await tab.ask(
            "[...document.querySelectorAll('button, input')].filter(e => e.getBoundingClientRect().height < 43).length"
        )
        assert small == 0
        left, top, width, height = await tab.box("#stage")
        x, y = left + width / 2, top + height / 2
        await tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        for step in range(1, 9):
            point = {"x": x + 12 * step, "y": y}
            await tab.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[point])
        await tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        slice_ = int((await tab.told()).split()[1])
        assert 8 <= slice_ <= 12
        assert tab.complaints == []


@pytest.mark.parametrize("dark", [False, True])
async def test_both_themes(tmp_path: Path, dark: bool) -> None:
    async with browser(tmp_path) as tab:
        await tab.open(page(tmp_path), (1280, 900), dark)
        corner = (await tab.picture())[5:50, 5:50].mean()
        assert corner < 60 if dark else corner > 200


async def test_without_scripts_charts_and_pictures_remain(tmp_path: Path) -> None:
    target = page(tmp_path)
    async with browser(tmp_path) as tab:
        await tab.call("Emulation.setScriptExecutionDisabled", value=True)
        await tab.open(target, (1280, 2200))
        shown = await tab.picture()
        orange = (np.abs(shown - (217, 87, 15)) < 12).all(axis=2)
        assert orange[:1400].sum() > 1000
        rows = np.flatnonzero((shown.max(axis=2) < 40).sum(axis=1) > 300)
        assert rows.size > 100  # the montages' ground
        assert await tab.ask("document.querySelector('.stage').getBoundingClientRect().height") == 0


@pytest.mark.parametrize("shape", [(20, 30, 2), (1, 1, 1), (2, 40, 300)])
@pytest.mark.parametrize("lungs", [True, False])
async def test_odd_volumes_raise_no_complaint(
    tmp_path: Path, shape: tuple[int, int, int], lungs: bool
) -> None:
    lung = np.full(shape, lungs)
    given = {
        "grey": np.full(shape, 128, np.uint8),
        "lung": lung,
        "infection": np.zeros(shape, np.bool_),
        "labels": None,
        "spacing": (0.7, 0.7, 5.0),
    }
    async with browser(tmp_path) as tab:
        await tab.open(page(tmp_path, **given), (900, 900))
        for axis in "xyz":
            await tab.ask(f"document.querySelector('[name=axis][value={axis}]').click()")
            assert ("no lung here" in await tab.told()) != lungs
            drawing = await tab.canvas()
            assert (np.abs(drawing - 128) < 6).all(axis=2).any()
        assert tab.complaints == []
