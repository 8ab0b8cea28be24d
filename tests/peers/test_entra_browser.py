"""The browser flow in Microsoft Entra's shape, which is what a tenant that blocks device code is left with."""

from __future__ import annotations

import pytest

from juniperd.errors import LoginDeclined, LoginExpired

from .browser import Hands
from .browser_cases import BrowserCases
from .person import Person
from .shaped import OID, TENANT, Shaped

BY_POLICY = (
    "ask your Microsoft Entra administrator to look up which policy stopped it, then run: juniper login --browser"
)


@pytest.mark.parametrize("shape", ["entra"], indirect=True)
class TestEntra(BrowserCases):
    KEY = f"{TENANT}/{OID}"

    @pytest.mark.parametrize(
        ("code", "text", "problem", "cure"),
        [
            (
                "access_denied",
                "AADSTS50105: Your administrator has configured the application to block users.",
                "you are not assigned to juniper's application (access_denied: AADSTS50105: ",
                "ask your Microsoft Entra administrator to assign you to it",
            ),
            (
                "consent_required",
                "AADSTS65001: The user or administrator has not consented to use the application.",
                "nobody consented to juniper's application (consent_required: AADSTS65001: ",
                "ask your Microsoft Entra administrator to grant consent for it",
            ),
            (
                "interaction_required",
                "AADSTS50076: Due to a configuration change you must use multi-factor authentication.",
                "a second factor is asked for (interaction_required: AADSTS50076: ",
                "run: juniper login --browser",
            ),
            (
                "interaction_required",
                "AADSTS53003: Access has been blocked by Conditional Access policies.",
                "Conditional Access does not allow this sign-in (interaction_required: AADSTS53003: ",
                BY_POLICY,
            ),
        ],
    )
    async def test_what_the_browser_comes_back_with_is_told_in_entras_words(
        self, place: Shaped, tab: Hands, code: str, text: str, problem: str, cure: str
    ) -> None:
        await place.peer.mode(browser="page", page={"error": code, "error_description": text})
        line = await self.refused(place.person(), tab)
        assert line.startswith(problem)
        assert line.endswith(f"; {cure}")

    async def test_declined_on_entras_page(self, place: Shaped, tab: Hands) -> None:
        page = {"error": "access_denied", "error_description": "AADSTS65004: User declined to consent to the app."}
        await place.peer.mode(browser="page", page=page)
        line = await self.refused(place.person(), tab)
        assert line == "the sign-in was declined in the browser; run: juniper login --browser"

    async def test_blocked_where_the_code_is_traded(self, place: Shaped, tab: Hands) -> None:
        """No device code is to blame here, and the browser no cure."""
        await place.peer.mode(blocked="code")
        line = await self.refused(place.person(), tab)
        assert line.startswith("Conditional Access does not allow this sign-in (invalid_grant: AADSTS53003: ")
        assert "trace id 0f1e2d3c" in line
        assert line.endswith(f"; {BY_POLICY}")

    async def test_a_tenant_that_blocks_device_code_is_signed_in_to_by_browser(self, place: Shaped, tab: Hands) -> None:
        await place.peer.mode(blocked="device")
        person = place.person()
        with pytest.raises(LoginDeclined, match="your tenant blocks device code"):
            await person.login()
        await person.browse(tab)
        await person.sign_in.subject(fresh=True)

    async def test_a_policy_that_comes_later_ends_it_with_the_browsers_cure(self, signed_in: Person) -> None:
        await signed_in.peer.mode(blocked="refresh")
        with pytest.raises(LoginExpired, match=r"Conditional Access does not allow .*AADSTS53003.*login --browser$"):
            await signed_in.sign_in.subject(fresh=True)
        assert signed_in.vault.entries == {}

    async def test_what_only_another_person_has(self, place: Shaped, tab: Hands) -> None:
        """The one that comes back with the code must be whom the nonce was made for."""
        await place.peer.mode(claims={"nonce": "of-another-run"})
        person = place.person()
        with pytest.raises(Exception, match=r"answered with the ID token of another sign-in; run: juniper login --br"):
            await person.browse(tab)
        await tab.rest()
