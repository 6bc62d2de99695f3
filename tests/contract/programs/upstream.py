"""What routes lead to in the tests: says who answered and what came in, and fails, waits or echoes when asked to.

Ends at once on SIGTERM, as programs do that know nothing of draining.
"""

import asyncio
import os
import sys
from collections import Counter

from aiohttp import WSMsgType, web

VERSION, PORT = sys.argv[1], int(sys.argv[2])
seen = Counter()


async def answer(request):
    body = await request.text()
    seen[request.path] += 1
    if times := request.headers.get("x-fail-first"):
        seen[request.headers["x-case"]] += 1
        if seen[request.headers["x-case"]] <= int(times):
            return web.Response(status=503, text="not yet")
    await asyncio.sleep(float(request.headers.get("x-wait", "0")))
    headers = {name.lower(): value for name, value in request.headers.items()}
    said = {
        "version": VERSION,
        "pod": os.environ["HOSTNAME"],
        "path": request.path_qs,
        "headers": headers,
        "body": body,
    }
    return web.json_response(said)


async def count(_request):
    return web.json_response(dict(seen))


async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(f"{VERSION}: {message.data}")
    return socket


async def main():
    app = web.Application()
    app.router.add_get("/count", count)
    app.router.add_get("/ws", echo)
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, os.environ["POD_IP"], PORT, backlog=1024).start()
    await asyncio.Event().wait()


asyncio.run(main())
