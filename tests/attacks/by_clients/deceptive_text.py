"""Text that is none, or shows as what it is not: lone surrogates, NUL, marks that turn the direction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from clients import client, load, post

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """It is refused, or comes back as JSON in one line; no answer and no header carries it raw."""
    async with client(daemon) as attacker:
        digest = await load(attacker)
        for text in (
            r"\ud800",
            r"\udfff\ud800",
            r"\u0000",
            r"\u202e\u2066evil",
            r"\r\nX-Evil: 1",
            "\U0001f4a3" * 1_000,
        ):
            for body in (
                f'{{"module":"{text}","export":"sum","args":[1]}}',
                f'{{"module":"{digest}","export":"{text}","args":[1]}}',
                f'{{"module":"{digest}","export":"sum","args":["{text}"]}}',
                f'{{"module":"{digest}","export":"sum","args":[1],"key":"{text}"}}',
                f'{{"module":"{digest}","export":"sum","args":[1],"tenant":"{text}"}}',
                f'{{"module":"{digest}","export":"sum","args":[1],"{text}":1}}',
            ):
                answer = await post(daemon, body.encode())
                assert answer.status in (202, 400, 403, 404, 422), body
                assert "x-evil" not in answer.headers
                detail = json.loads(answer.body).get("detail", "")
                assert len(detail.splitlines()) <= 1, detail
        for raw in (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\xf8\x88\x80\x80\x80", "\ufeff{}".encode()):
            body = b'{"module":"' + raw + b'","export":"sum"}'
            assert (await post(daemon, body)).status in (400, 404, 422), raw
            assert (
                await post(daemon, b"{}", "Idempotency-Key: " + raw.decode("utf-8", "surrogateescape"))
            ).status < 500
