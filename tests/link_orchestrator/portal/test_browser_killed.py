"""The server is killed under open pages in the middle of a run, and started again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser

from tests.infra.test_serve import lines_until_ready
from tests.link_orchestrator.portal.browser import IN_A_BROWSER
from tests.link_orchestrator.portal.runs import plan_demo
from tests.link_orchestrator.running import TOKEN, Api, connected
from tests.waiting import process

pytestmark = IN_A_BROWSER

HELD = """
import asyncio, pathlib, sys
from infra.local import serve
from link_orchestrator.passes import apply
link, go_on = apply._link, pathlib.Path(sys.argv.pop())

async def held(*args, **options):
    while not go_on.exists():
        await asyncio.sleep(0.05)
    return await link(*args, **options)

apply._link = held
serve.main()
"""
"""The local server, in which nobody is linked before a file is there."""


@asynccontextmanager
async def served(folder: Path, port: int = 0) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Start the server over a folder, and hand out its process and its address."""
    options = ("--data", str(folder), "--token", TOKEN, "--port", str(port), "--workers", "0", str(folder / "go"))
    async with process(sys.executable, "-c", HELD, *options, stdout=asyncio.subprocess.PIPE) as server:
        yield server, (await lines_until_ready(server))[-1].removeprefix("ready: ")


async def test_open_pages_say_it_and_go_on_by_themselves_and_keep_what_was_typed(
    browser: Browser, tmp_path: Path
) -> None:
    context = await browser.new_context(reduced_motion="reduce")
    progress, policy = await context.new_page(), await context.new_page()
    async with served(tmp_path) as (server, url):
        async with connected(url) as session:
            run = await plan_demo(Api(session), 60, 70)
            await Api(session).approve(run)
        await progress.goto(f"{url}/portal/runs/{run['id']}")
        await progress.get_by_role("heading", name="Accounts are being linked").wait_for()
        await policy.goto(f"{url}/portal/policy")
        domains = policy.get_by_label("Verified domains", exact=True)
        await domains.fill("contoso.com\nnew.example")
        server.kill()
        await server.wait()
        await progress.get_by_text("The server does not answer. What was started goes on").wait_for()
        await policy.get_by_role("button", name="Save the policy").last.click()
        await policy.get_by_text("Nothing was sent").wait_for()
        assert await domains.input_value() == "contoso.com\nnew.example"
    async with served(tmp_path, int(url.rpartition(":")[2])):
        await progress.get_by_text("The server does not answer").wait_for(state="hidden")
        assert await progress.get_by_role("heading", name="Accounts are being linked").count() == 1
        (tmp_path / "go").touch()
        await progress.get_by_role("heading", name=f"{run['links']} accounts linked").wait_for()
        await policy.get_by_role("button", name="Save the policy").last.click()
        await policy.get_by_text("The policy is saved").wait_for()
        assert "new.example" in await domains.input_value()
    await context.close()
