"""Numbers that are too large, too long or too small for anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import client, load, post

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """Each is refused, in a short time, whichever field it stands in."""
    async with client(daemon) as attacker:
        digest = await load(attacker)
    numbers = (
        "1e999999999",
        "-1e999999999",
        "9" * 500_000,
        "-" + "9" * 400,
        "1e-999999999",
        "1." + "0" * 100_000 + "1",
    )
    for number in (*numbers, "NaN", "Infinity", "00", "1e", '"' + "9" * 100_000 + '"', str(2**63), str(2**64)):
        for field in (
            f'"args":[{number}]',
            f'"args":[1],"priority":{number}',
            f'"args":[1],"delay":{number}',
            f'"args":[1],"limits":{{"fuel":{number}}}',
            f'"args":[1],"limits":{{"memory":{number}}}',
            f'"args":[1],"limits":{{"timeout":{number}}}',
        ):
            answer = await post(daemon, f'{{"module":"{digest}","export":"sum",{field}}}'.encode())
            assert answer.status in (202, 400, 422), (number[:20], field[:40], answer)
            assert len(answer.body) < 2_000, field[:40]
