"""The browser flow in Okta's shape: org and custom authorization server."""

from __future__ import annotations

import pytest

from juniperd.errors import UpstreamAnswer

from .browser import Hands
from .browser_cases import BrowserCases
from .person import Person
from .shaped import Shaped


@pytest.mark.parametrize("shape", ["okta-org", "okta-custom"], indirect=True)
class TestOkta(BrowserCases):
    KEY = "u-developer"

    async def test_nobody_assigned_the_person(self, place: Shaped, tab: Hands) -> None:
        text = "User is not assigned to the client application."
        await place.peer.mode(browser="page", page={"error": "access_denied", "error_description": text})
        line = await self.refused(place.person(), tab)
        assert line.startswith("you are not assigned to juniper's application (access_denied: User is not assigned")
        assert line.endswith("ask your Okta administrator to assign you, then run: juniper login --browser")

    async def test_a_policy_that_does_not_allow_the_code(self, place: Shaped, tab: Hands) -> None:
        await place.peer.mode(blocked="code")
        line = await self.refused(place.person(), tab)
        assert line.startswith("no access policy of the authorization server allows this sign-in (access_denied: ")
        assert line.endswith("for an access policy rule that allows the code grant to juniper's application")

    async def test_a_policy_that_changed_refuses_the_refresh_and_the_sign_in_stays(self, signed_in: Person) -> None:
        await signed_in.peer.mode(blocked="refresh", grace=60)
        with pytest.raises(UpstreamAnswer, match=r"does not renew the sign-in .*ask your Okta administrator"):
            await signed_in.sign_in.subject(fresh=True)
        await signed_in.peer.mode(blocked="")
        await signed_in.sign_in.subject(fresh=True)
