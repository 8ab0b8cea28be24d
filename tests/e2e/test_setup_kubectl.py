"""From ``juniper setup kubectl`` to clusters that read our tokens, on a clock that tests turn: no hour is waited for."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from juniperd.issuer.keys import JWKS_MAX_AGE, PUBLISHED_AHEAD
from juniperd.sandbox.cluster import ClusterDouble
from tests.agent.harness import until
from tests.peers.clients import kubectls

from .company import installed
from .conftest import Companies
from .test_token import LIMIT, Shell

NEWEST = kubectls()[-1]
PODS = ("get", "pods", "-o", "name")
USER = "juniper:7-developer"


class Desk(Shell):
    """A shell with a kubeconfig of ``juniper setup kubectl``."""

    @property
    def cluster(self) -> ClusterDouble:
        """The cluster that trusts the issuer."""
        return self.inside.doubles.places.staging

    @property
    def batch(self) -> ClusterDouble:
        """The cluster on EKS."""
        return self.inside.doubles.places.batch

    async def kubectl(self, *words: str, context: str = "staging-eu") -> tuple[int, str, str]:
        """One command at a cluster."""
        return await self.run(str(NEWEST.path()), "--context", context, *words)

    def minted(self) -> int:
        """Tokens that the issuer signed."""
        return len([one for one in self.inside.events("decision") if one["verdict"] == "permitted"])


@asynccontextmanager
async def desks(companies: Companies, home: Path, *, behind: float = 0.0) -> AsyncIterator[Desk]:
    """The shell of a person who signed in, on a company's clock that many seconds behind the system's."""
    async with companies() as inside:
        inside.clock.now -= behind
        await inside.sign_in()
        place = inside.socket.parent
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "JUNIPER_SOCKET": str(inside.socket)}
        env |= {"JUNIPER_CONFIG": str(place / "juniper.toml"), "KUBECONFIG": str(place / "kubeconfig")}
        made = Desk(inside, env)
        status, out, err = await made.juniper("setup", "kubectl")
        assert (status, err) == (0, "")
        assert out.splitlines()[-1].startswith("written: ")
        yield made


@pytest.fixture
async def desk(companies: Companies, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desks(companies, tmp_path) as made:
        yield made


async def test_a_persons_first_command_at_a_cluster(desk: Desk) -> None:
    status, out, err = await desk.kubectl(*PODS)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 2
    assert {one.username for one in desk.cluster.seen} == {USER}
    assert {one.status for one in desk.cluster.seen} == {200}


async def test_with_a_warm_lease_a_command_is_one_request_and_nothing_is_asked_upstream(desk: Desk) -> None:
    await desk.kubectl(*PODS)
    before, desk.cluster.seen[:] = desk.minted(), []
    assert (await desk.kubectl(*PODS))[0] == 0
    assert [one.path.partition("?")[0] for one in desk.cluster.seen] == ["/api/v1/namespaces/billing/pods"]
    assert desk.minted() == before


async def test_the_doctor_finds_it_well_and_then_what_was_broken(desk: Desk) -> None:
    status, out, err = await desk.juniper("doctor", "kubectl")
    assert (status, err) == (0, ""), out
    found = {line for line in out.splitlines() if "context" in line}
    assert any(line.startswith("ok   context staging-eu: in billing: ") and "pods" in line for line in found), found
    await desk.inside.control("logout")
    status, out, _ = await desk.juniper("doctor", "kubectl", "--json")
    bad = [row["check"] for row in json.loads(out)["findings"] if not row["ok"]]
    assert (status, bad) == (1, ["context batch-staging", "context staging-eu"])


async def test_an_hour_later_there_is_another_token_and_no_401(desk: Desk) -> None:
    await desk.kubectl(*PODS)
    before = desk.minted()
    desk.inside.clock.pass_by(3600)
    assert (await desk.kubectl(*PODS))[0] == 0
    assert desk.minted() == before + 1
    assert 401 not in {one.status for one in desk.cluster.seen}


async def test_what_kubectl_takes_for_over_it_asks_for_again_and_goes_on(companies: Companies, tmp_path: Path) -> None:
    """Kubectl has the system's clock: a token that ends by it within the minute is asked for before each request."""
    async with desks(companies, tmp_path, behind=3570) as desk:
        status, out, err = await desk.kubectl(*PODS)
        assert (status, err, len(out.splitlines())) == (0, "", 2)
        assert desk.minted() == 1


async def test_who_lost_the_right_is_refused_when_the_token_ends(desk: Desk) -> None:
    await desk.kubectl(*PODS)
    desk.inside.drill("gitlab", "remove-member", "developer", "shop/billing")
    desk.inside.clock.pass_by(3600)
    status, out, err = await desk.kubectl(*PODS)
    assert (status, out) == (1, "")
    assert "juniper-kubectl: scope 'billing-debugger' is refused" in err


async def test_while_the_issuer_is_away_what_counts_is_served_and_status_says_so(desk: Desk) -> None:
    await desk.kubectl(*PODS)
    desk.inside.clock.pass_by(3350)
    desk.inside.drill("gitlab", "break", "503")
    assert (await desk.kubectl(*PODS))[0] == 0
    await until(lambda: any(held.problem for held in desk.inside.agent.broker.held()))
    _, shown, _ = await desk.juniper("status")
    assert "GitLab" in shown
    desk.inside.clock.pass_by(240)
    status, _, err = await desk.kubectl(*PODS)
    assert (status, len({line for line in err.splitlines() if line.startswith("juniper-kubectl: ")})) == (1, 1)


# --- kuberc -----------------------------------------------------------------------------------------------------------


def kuberc(desk: Desk, **words: object) -> None:
    """The person's own rules for plugins, where kubectl 1.35 and later read them."""
    head = {"apiVersion": "kubectl.config.k8s.io/v1beta1", "kind": "Preference"}
    (Path(desk.env["HOME"]) / ".kube").mkdir()
    (Path(desk.env["HOME"]) / ".kube/kuberc").write_text(json.dumps({**head, **words}))


async def doctors_word(desk: Desk) -> list[dict[str, Any]]:
    _, out, _ = await desk.juniper("doctor", "kubectl", "--json")
    return [row for row in json.loads(out)["findings"] if row["check"] == "kuberc"]


async def test_a_kuberc_that_denies_plugins_is_kubectls_no_and_the_doctor_knows_it(desk: Desk) -> None:
    kuberc(desk, credentialPluginPolicy="DenyAll")
    status, out, err = await desk.kubectl(*PODS)
    assert (status, out) == (1, "")
    assert "not allowed" in err
    (word,) = await doctors_word(desk)
    assert not word["ok"]


async def test_a_kuberc_that_lists_the_helper_lets_it_run(desk: Desk) -> None:
    kuberc(
        desk, credentialPluginPolicy="Allowlist", credentialPluginAllowlist=[{"command": installed("juniper-kubectl")}]
    )
    assert (await desk.kubectl(*PODS))[0] == 0
    (word,) = await doctors_word(desk)
    assert word["ok"]


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_a_key_that_is_published_ahead_is_no_news_to_the_cluster(desk: Desk) -> None:
    await desk.kubectl(*PODS)
    keys, clock = desk.inside.issuer.keys, desk.inside.clock
    first = keys.signer(clock()).kid
    keys.rotate(clock())
    clock.pass_by(PUBLISHED_AHEAD + 1)
    assert keys.signer(clock()).kid != first
    desk.inside.agent.broker.forget("sandbox")
    assert (await desk.kubectl(*PODS))[0] == 0
    assert 401 not in {one.status for one in desk.cluster.seen}


async def test_a_key_that_replaces_a_stolen_one_counts_once_the_cluster_asks_anew(desk: Desk) -> None:
    await desk.kubectl(*PODS)
    desk.inside.issuer.keys.replace(desk.inside.clock())
    desk.inside.agent.broker.forget("sandbox")
    status, out, err = await desk.kubectl(*PODS)
    assert (status, out) == (1, "")
    assert "You must be logged in to the server" in err
    desk.inside.clock.pass_by(JWKS_MAX_AGE - 29)
    assert (await desk.kubectl(*PODS))[0] == 0


# --- EKS --------------------------------------------------------------------------------------------------------------


async def test_eks_takes_what_the_laptop_signs_with_the_scopes_role(desk: Desk) -> None:
    status, out, err = await desk.kubectl(*PODS, context="batch-staging")
    assert (status, err) == (0, "")
    assert out.startswith("pod/")
    assert {one.status for one in desk.batch.seen} == {200}
    decision = desk.inside.last_decision()
    assert decision["scope"] == "billing-batch-inspector"
    shown = json.loads((await desk.kubectl("auth", "whoami", "-o", "json", context="batch-staging"))[1])
    assert "juniper:scope:billing-batch-inspector" in shown["status"]["userInfo"]["groups"]


async def test_an_eks_token_is_signed_anew_before_its_fourteen_minutes_and_asks_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now() -> datetime:
        """Botocore asks no clock of ours for the date of a signature."""
        return datetime.fromtimestamp(desk.inside.clock(), UTC).replace(tzinfo=None)

    monkeypatch.setattr("botocore.auth.get_current_datetime", now)
    await desk.kubectl(*PODS, context="batch-staging")
    before = desk.minted()
    for _ in range(3):
        desk.inside.clock.pass_by(840)
        assert (await desk.kubectl(*PODS, context="batch-staging"))[0] == 0
    assert desk.minted() <= before + 1
    assert 401 not in {one.status for one in desk.batch.seen}


async def test_a_pod_elsewhere_on_eks_is_forbidden(desk: Desk) -> None:
    status, _, err = await desk.kubectl("-n", "kube-system", "get", "pods", context="batch-staging")
    assert status == 1
    assert err.startswith("Error from server (Forbidden)")


# --- sessions ---------------------------------------------------------------------------------------------------------


async def test_in_a_session_the_cluster_hears_of_it_and_after_it_nothing_is_had(desk: Desk) -> None:
    opened = await desk.inside.open_session(reason="invoices stuck")
    within = Desk(desk.inside, {**desk.env, "JUNIPER_SESSION_SOCKET": str(opened["socket"])})
    shown = json.loads((await within.kubectl("auth", "whoami", "-o", "json"))[1])["status"]["userInfo"]
    assert [opened["id"]] in shown["extra"].values()
    await desk.inside.control("session_close", id=opened["id"])
    status, out, err = await within.kubectl(*PODS)
    assert (status, out) == (1, "")
    assert "juniper-kubectl: the session has ended; run: juniper session open" in err


def claims_of(header: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(header.split(".")[1] + "=="))
    return found


async def test_the_internal_api_takes_the_token_and_no_clusters(desk: Desk) -> None:
    """Curl as in the README; a token for the cluster is for somebody else."""
    api, ca = desk.inside.doubles.places.api.url, desk.inside.socket.parent / "ca.pem"

    async def curl(authorization: str) -> str:
        headers = desk.inside.socket.parent / "header"
        headers.write_text(authorization)
        ask = ["curl", "-sS", "--noproxy", "*", "--cacert", str(ca), "-H", f"@{headers}", f"{api}/invoices"]
        return (await asyncio.wait_for(desk.run(*ask), LIMIT))[1]

    _, header, _ = await desk.token("--header", "--audience", "billing-api")
    assert json.loads(await curl(header))["invoices"][0]["id"] == 1001
    assert claims_of(header)["scope"] == "billing-api-reader"


async def test_a_cluster_that_moved_is_reached_after_setup_and_its_old_place_gets_nothing_more(desk: Desk) -> None:
    await desk.kubectl(*PODS)
    folder = desk.inside.socket.parent
    old = (folder / "kubeconfig").read_text()
    moved = desk.cluster.url.replace("127.0.0.1", "localhost")
    parties = folder / "relying_parties/shop.toml"
    parties.write_text(parties.read_text().replace(desk.cluster.url, moved))
    desk.inside.issuer.reload()
    assert (await desk.juniper("setup", "kubectl"))[0] == 0
    assert (await desk.kubectl(*PODS))[0] == 0
    (folder / "kubeconfig").write_text(old)
    status, out, err = await desk.kubectl(*PODS)
    assert (status, out) == (1, "")
    assert (
        f"is for {moved} with the CA that policy names, not for {desk.cluster.url}; run: juniper setup kubectl" in err
    )
