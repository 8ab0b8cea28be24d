"""First light: a sign-in, a scope, the JSON an AWS SDK reads; then the same from memory."""

from __future__ import annotations

import json

from .harness import Running


async def test_a_sign_in_and_then_credentials(running: Running) -> None:
    signed_in = await running.login()
    assert signed_in["login"] == "developer"
    first = await running.aws()
    assert (first.status, first.stderr) == (0, b"")
    document = json.loads(first.stdout)
    assert document["Version"] == 1
    assert document["AccessKeyId"].startswith("ASIA")
    assert document["Expiration"] == "2027-01-15T09:00:00Z"
    assert document["AccountId"] == "111122223333"
    assert await running.aws() == first
    assert running.world.sts.calls["/"] == 1
