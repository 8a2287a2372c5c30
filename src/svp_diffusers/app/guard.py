"""What stands between the app and the network: no link is followed, no message is endless."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MOST_BYTES = 2**20
"""Of a message other than an upload (our choice): forms have some hundred."""
LINKS = ("http:", "https:", "data:", "ftp:", "file:")


class Guard:
    """An ASGI middleware that refuses messages naming a file by a link, or longer than a form is.

    Gradio would download what a link leads to, without a limit of size; uploads have their own.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http" or scope["method"] != "POST" or _is_upload(scope):
            await self.app(scope, receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MOST_BYTES:
                await _answer(send, 413, f"a message has {MOST_BYTES} bytes at most")
                return
        if has_link(body):
            await _answer(send, 400, "files are uploaded here, links are not opened")
            return

        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)


def has_link(body: bytes) -> bool:
    """Whether any `path` in a JSON text is a link, or it is nested too deeply to say."""
    try:
        waiting = [json.loads(body)] if body else []
    except RecursionError:
        return True
    except ValueError:
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and path.strip().lower().startswith(LINKS):
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def _is_upload(scope: Message) -> bool:
    return str(scope["path"]).rstrip("/").endswith("/upload")


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"detail": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
