"""Google's own clients through the agent: google-auth by each of its sources on a clock of ours, and gcloud."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.auth import _helpers, exceptions, identity_pool, pluggable
from google.auth.transport.requests import AuthorizedSession, Request

from juniperd.sandbox import google_cloud
from juniperd.sandbox.company import EXPORT_ACCOUNT, EXPORT_BUCKET, GOOGLE, GOOGLE_PROVIDER
from juniperd.sandbox.folder import Folder

from .company import Company
from .conftest import Companies
from .whole import Answer, Whole

pytestmark = pytest.mark.e2e
SCOPE = "invoice-export-google"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
EXPORT = f"/storage/v1/b/{EXPORT_BUCKET}/o/2026-11%2Finvoices.csv?alt=media"
# Google types only some of its functions.
_URL_SOURCE: Any = identity_pool.Credentials
_EXECUTABLE: Any = pluggable.Credentials
_SESSION: Any = AuthorizedSession
HOST = "europe-west1-docker.pkg.dev"
PARTIES = f"""\
version = 1
[relying_party.images-gar]
kind = "registry"
provider = "gar"
host = "{HOST}"
[relying_party.batch-gke]
kind = "kubernetes"
audience = "batch-gke"
server = "https://gke.shop.example"
gke = "projects/shop-staging/locations/europe-west1/clusters/batch"
"""
POLICY = f"""\
version = 1
[scope.export-images-reader]
about = "Pull what makes the exports, look at it in the cluster"
project = "shop/billing"
project_id = 42
environment = "staging"
origins = ["laptop"]
access = "read"
[scope.export-images-reader.google]
relying_party = "{GOOGLE}"
[scope.export-images-reader.kubernetes]
relying_party = "batch-gke"
namespace = "export"
[scope.export-images-reader.registry]
relying_party = "images-gar"
"""


def change(folder: Folder) -> None:
    """A scope at GKE and Artifact Registry; the files of `juniper setup gcloud`, and an agent with the URL source."""
    folder.write("relying_parties/google.toml", PARTIES)
    folder.write("policy/google.toml", POLICY)
    folder.write(f"google/{SCOPE}.json", (folder / f"gcloud/{SCOPE}.json").read_text())
    toml = folder / "juniper.toml"
    toml.write_text(toml.read_text() + "\n[google]\nurl_source = true\n")


@pytest.fixture
async def shop(companies: Companies, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    """The company, its developer signed in, on the clock that google-auth goes by too."""
    async with companies(change=change) as made:
        monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
        monkeypatch.setenv("JUNIPER_SOCKET", str(made.socket))
        utcnow = lambda: dt.datetime.fromtimestamp(made.clock(), dt.UTC).replace(tzinfo=None)  # noqa: E731
        monkeypatch.setattr(_helpers, "utcnow", utcnow)
        provider = made.doubles.google.cloud.providers[GOOGLE_PROVIDER]
        condition = provider.condition.replace("]", ", 'scope:export-images-reader:origin:laptop:project_id:42']")
        made.doubles.google.cloud.providers[GOOGLE_PROVIDER] = google_cloud.Provider(
            provider.name, provider.issuer, provider.mapping, condition
        )
        await made.sign_in()
        yield made


def credentials(shop: Whole, source: str) -> Any:
    """By the class of the source: what finds it out by itself also asks Google which project it is in."""
    folder = shop.socket.parent / "google"
    if source == "url":
        return _URL_SOURCE.from_file(str(folder / "url" / f"{SCOPE}.json"), scopes=[CLOUD_PLATFORM])
    return _EXECUTABLE.from_file(str(folder / f"{SCOPE}.json"), scopes=[CLOUD_PLATFORM])


async def read(shop: Whole, found: Any) -> str:
    """The export, by whatever google-auth does for it."""

    def get() -> str:
        with _SESSION(found) as session:
            answer = session.get(shop.doubles.google.url + EXPORT)
            answer.raise_for_status()
            text: str = answer.text
            return text

    return await asyncio.to_thread(get)


@pytest.mark.parametrize("source", ["executable", "url"])
async def test_google_auth_reads_the_bucket_as_the_account(shop: Whole, source: str) -> None:
    found = credentials(shop, source)
    assert (await read(shop, found)).startswith("invoice,net\n")
    access = shop.doubles.google.tokens.find(found.token)
    assert access is not None
    assert access.subject == EXPORT_ACCOUNT
    assert [one.subject for one in shop.doubles.google.sts.traded] == [f"laptop:7:{SCOPE}"]
    decision = shop.last_decision()
    assert (decision["scope"], decision["relying_party"], decision["session"]) == (SCOPE, GOOGLE, None)


@pytest.mark.parametrize("source", ["executable", "url"])
async def test_google_auth_asks_again_when_its_token_is_over(shop: Whole, source: str) -> None:
    found = credentials(shop, source)
    await read(shop, found)
    first, before = found.token, len(shop.events("decision"))
    shop.clock.pass_by(3000)
    await read(shop, found)
    assert (found.token, len(shop.events("decision"))) == (first, before), "nothing is minted while it is good"
    shop.clock.pass_by(600)
    await read(shop, found)
    assert found.token != first
    assert len(shop.events("decision")) == before + 1


async def test_an_issued_token_that_waits_for_its_library_is_not_renewed_ahead(shop: Whole) -> None:
    await read(shop, credentials(shop, "executable"))
    before = len(shop.events("decision"))
    for _ in range(4):
        shop.clock.pass_by(80)
        await shop.agent.broker.renew_due()
        await shop.agent.broker._flights.drain(5.0)
    assert len(shop.events("decision")) == before
    assert [held.lease.key.untraded for held in shop.agent.broker.held()] == []


async def test_in_a_session_the_helper_goes_by_its_socket(shop: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = await shop.open_session(scopes=[SCOPE])
    monkeypatch.delenv("JUNIPER_SOCKET")
    monkeypatch.setenv("JUNIPER_SESSION_SOCKET", str(opened["socket"]))
    found = credentials(shop, "executable")
    assert (await read(shop, found)).startswith("invoice")
    assert shop.last_decision()["session"] == opened["id"]
    await shop.control("session_close", session=opened["id"])
    with pytest.raises(
        exceptions.RefreshError, match="code: 503, message: juniper-google: the session has ended; run: "
    ):
        await asyncio.to_thread(credentials(shop, "executable").refresh, Request())


async def test_who_is_not_signed_in_reads_our_line_in_the_library_s(shop: Whole) -> None:
    assert (await shop.control("logout")).status == 0
    with pytest.raises(exceptions.RefreshError, match=r"code: 401, message: .*; run: juniper login"):
        await asyncio.to_thread(credentials(shop, "executable").refresh, Request())
    with pytest.raises(exceptions.RefreshError, match="juniper login"):
        await asyncio.to_thread(credentials(shop, "url").refresh, Request())


async def access_token(shop: Whole, scope: str = SCOPE) -> Answer:
    return await shop._speak("juniper-google", "--scope", scope, "--access-token")


async def test_what_google_refuses_is_our_one_line(shop: Whole) -> None:
    shop.doubles.google.cloud.accounts[EXPORT_ACCOUNT].clear()
    answer = await access_token(shop)
    assert answer.line.startswith(f"juniper-google: the scope may not act as its service account: {EXPORT_ACCOUNT}")
    assert answer.status == 77


async def test_while_google_is_down_what_is_held_is_served(shop: Whole) -> None:
    first = (await access_token(shop)).result
    shop.drill("google", "break", "503")
    shop.clock.pass_by(2500)
    assert (await access_token(shop)).result == first
    shop.clock.pass_by(1100)
    assert "Google answered 503" in (await access_token(shop)).line


async def test_a_cluster_on_gke_and_a_registry_have_the_access_token(shop: Whole) -> None:
    await shop.control("catalogue")
    name = "export-images-reader"
    login = json.loads((await shop.docker(f"{HOST}/shop-staging/images/render")).stdout)
    token = (await access_token(shop, name)).result["token"]
    assert (login["Username"], login["Secret"]) == ("oauth2accesstoken", token)
    cluster = {"server": "https://gke.shop.example", "config": {"scope": name}}
    info = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "spec": {"cluster": cluster}}
    answer = await shop._speak("juniper-kubectl", variables={"KUBERNETES_EXEC_INFO": json.dumps(info)})
    assert answer.result["status"]["token"] == token  # type: ignore[index]
    leases = {held.lease.key.kind.value: held.lease.expires_at for held in shop.agent.broker.held()}
    assert len(set(leases.values())) == 1
    assert leases.keys() == {"google", "registry", "kubernetes"}
    access = shop.doubles.google.tokens.find(str(token))
    assert access is not None
    assert google_cloud.principal_set(name) in access.members, "no account, so the pool's own principal"
    shop.clock.pass_by(3000)
    await shop.docker(HOST)
    ends = {held.lease.key.kind.value: held.lease.expires_at for held in shop.agent.broker.held()}
    assert min(ends["google"], ends["registry"]) > shop.clock() + 3000, "the first pull had waited for both"


# --- as a person has it -----------------------------------------------------------------------------------------------


def test_exec_gives_a_command_the_access_token_and_the_project(up: Company) -> None:
    up.sign_in()
    script = 'curl -sH "Authorization: Bearer $GOOGLE_OAUTH_ACCESS_TOKEN" "$INVOICE_EXPORT" | grep -o "2026-11/[a-z.]*" | head -1'
    theirs = up.under(CLOUDSDK_AUTH_ACCESS_TOKEN="mine")
    done = theirs.juniper(
        "exec",
        "--scope",
        SCOPE,
        "--",
        "sh",
        "-c",
        f"{script}; echo $GOOGLE_CLOUD_PROJECT; echo $CLOUDSDK_AUTH_ACCESS_TOKEN | cut -c1-13",
    )
    assert done.good().splitlines() == ["2026-11/invoices.csv", "shop-staging", "ya29.sandbox-"]


def test_set_up_writes_and_takes_back_its_own_files_alone(up: Company) -> None:
    up.sign_in()
    folder = up.folder / "google"
    shown = up.juniper("setup", "gcloud").good()
    path = folder / f"{SCOPE}.json"
    assert f"gcloud auth login --cred-file={path}" in shown
    assert path.stat().st_mode & 0o777 == 0o600
    assert "nothing to change" in up.juniper("setup", "gcloud", "--diff").good()
    (folder / "mine.json").write_text("{}")
    assert "mine.json is not as juniper wrote it" in up.juniper("setup", "gcloud", "--undo").line
    (folder / "mine.json").unlink()
    assert f"removed: {path}" in up.juniper("setup", "gcloud", "--undo").good()
    assert list(folder.glob("*.json")) == []
    assert up.juniper("setup", "gcloud", "--undo").good() == "nothing to change\n"


@pytest.fixture
def gcloud(up: Company, tmp_path: Path) -> Company:
    """Only Google packages it, so that nobody can be promised one."""
    if shutil.which("gcloud", path=os.defpath) is None:
        pytest.skip("needs gcloud: there is none")
    up.sign_in()
    # It looks for updates, surveys and a metadata server otherwise: tests speak to loopback alone.
    quiet = ("CORE_DISABLE_PROMPTS", "CORE_DISABLE_USAGE_REPORTING", "COMPONENT_MANAGER_DISABLE_UPDATE_CHECK")
    return up.under(HOME=str(tmp_path), **dict.fromkeys((f"CLOUDSDK_{name}" for name in quiet), "true"))


def cloud(shop: Company, *words: str) -> list[str]:
    script = 'exec gcloud storage cat "gs://$0/2026-11/invoices.csv" 2>&1'
    return shop.juniper(*words, "--", "sh", "-c", script, EXPORT_BUCKET).stdout.splitlines()


def test_gcloud_reads_by_credential_file_in_a_session_and_by_token(gcloud: Company) -> None:
    for words in (("debug", "shop/billing", "--env", "staging", "--scope", SCOPE), ("exec", "--scope", SCOPE)):
        assert cloud(gcloud, *words)[0] == "invoice,net"
    here = gcloud.under(CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE="")
    file = f"--cred-file={gcloud.folder}/gcloud/{SCOPE}.json"
    script = f'gcloud auth login {file} >/dev/null 2>&1; exec gcloud storage ls "gs://{EXPORT_BUCKET}"'
    made = here.juniper("exec", "--scope", "billing-api-reader", "--", "sh", "-c", f"unset CLOUDSDK_CONFIG; {script}")
    assert made.good().strip() == f"gs://{EXPORT_BUCKET}/2026-11/"
