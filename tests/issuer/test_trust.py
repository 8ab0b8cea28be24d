"""What relying parties are told, and static files for those that cannot reach the issuer."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from juniperd.issuer import commands
from juniperd.issuer.trust import aws
from juniperd.model import Origin
from juniperd.sandbox import sts_trust
from tests.issuer.doubles import Row, open_company, write_files
from tests.issuer.jobs import open_pipelines

NAME = "invoice-archive-writer"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_files(
        tmp_path, gitlab="http://127.0.0.1:1", idp="http://127.0.0.1:2", url="https://issuer.test/juniper"
    )


def test_iam_is_told_provider_role_and_conditions(config: Path) -> None:
    found = commands.trust_aws(config, NAME)
    assert found.exit == 0
    document = json.loads(found.text)
    assert document["CreateOpenIDConnectProvider"] == {
        "Url": "https://issuer.test/juniper",
        "ClientIDList": ["juniper:aws:111122223333"],
    }
    role = document["CreateRole"]
    assert (role["RoleName"], role["MaxSessionDuration"], "Path" in role) == (NAME, 3600, False)
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Sid"] == "JuniperLaptopPipeline"
    assert statement["Principal"] == {"Federated": "arn:aws:iam::111122223333:oidc-provider/issuer.test/juniper"}
    assert set(statement["Action"]) == {"sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"}
    assert statement["Condition"] == {
        "StringEquals": {
            "issuer.test/juniper:aud": "juniper:aws:111122223333",
            "issuer.test/juniper:sub": [f"scope:{NAME}:origin:{one}:project_id:42" for one in ("laptop", "pipeline")],
            "aws:RequestTag/juniper_scope": NAME,
            "aws:RequestTag/juniper_origin": ["laptop", "pipeline"],
            "aws:RequestTag/project_id": "42",
        }
    }


def test_a_role_that_lies_in_a_path_is_made_there(config: Path) -> None:
    policy = config.parent / "policy/billing.toml"
    policy.write_text(policy.read_text().replace(f":role/{NAME}", f":role/teams/shop/{NAME}"))
    role = json.loads(commands.trust_aws(config, NAME).text)["CreateRole"]
    assert (role["Path"], role["RoleName"]) == ("/teams/shop/", NAME)
    written = commands.trust_aws(config, NAME, form="terraform").text
    assert f'name                 = "{NAME}"\n  path                 = "/teams/shop/"\n  max' in written


def test_the_role_pin_is_behind_a_flag(config: Path) -> None:
    pinned = json.loads(commands.trust_aws(config, NAME, pin_role=True).text)
    (statement,) = pinned["CreateRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"]["Bool"] == {"sts:RoleAuthorizedByIdp": "true"}


def test_terraform_says_the_same(config: Path) -> None:
    text = commands.trust_aws(config, NAME, form="terraform").text
    assert "max_session_duration = 3600" in text
    policy = json.loads(text.partition("jsonencode(")[2].rpartition(")")[0])
    document = json.loads(commands.trust_aws(config, NAME).text)
    assert policy == document["CreateRole"]["AssumeRolePolicyDocument"]
    assert text.count("{") == text.count("}")


def test_an_unknown_scope_is_told(config: Path) -> None:
    found = commands.trust_aws(config, "nothing")
    assert found.exit == 78
    assert found.text == "there is no scope 'nothing'; run: juniper policy check"


async def test_tokens_of_each_origin_pass_where_the_scope_has_it_and_nowhere_else(tmp_path: Path) -> None:
    async with open_pipelines(tmp_path) as pipelines:
        company = pipelines.company
        laptop, token = await company.signed_in()
        _, body = await laptop.token(token)
        _, of_job = await pipelines.ask(scope=NAME)
        claims = {"laptop": unverified(body), "pipeline": unverified(of_job)}
        both = company.issuer.in_force.policy.scopes[NAME]
        for named in ({Origin.LAPTOP}, {Origin.PIPELINE}, {Origin.LAPTOP, Origin.PIPELINE}):
            document = aws.trust_policy(replace(both, origins=frozenset(named)), issuer_url=company.url)
            for origin, said in claims.items():
                assert passes(document, said) is (origin in named), (named, origin)
            assert not passes(document, claims["laptop"] | {"sub": f"scope:{NAME}:origin:laptop:project_id:43"})


def unverified(body: Row) -> Row:
    found: Row = json.loads(base64.urlsafe_b64decode(body["access_token"].split(".")[1] + "=="))
    return found


def passes(document: Mapping[str, object], claims: Row) -> bool:
    """Whether IAM, as the sandbox has it, lets this token have the role."""
    tags = claims["https://aws.amazon.com/tags"]["principal_tags"]
    said = {"issuer.test:aud": (claims["aud"],), "issuer.test:sub": (claims["sub"],)}
    said |= {f"aws:requesttag/{key}": tuple(values) for key, values in tags.items()}
    provider = "arn:aws:iam::111122223333:oidc-provider/issuer.test"
    return sts_trust.first_denied(document, (sts_trust.ASSUME, sts_trust.TAG), provider, said) is None


@pytest.mark.parametrize(
    ("named", "sid"), [("laptop", "JuniperLaptop"), ("pipeline", "JuniperPipeline")], ids=["laptop", "pipeline"]
)
def test_a_scope_of_one_origin_admits_no_other(config: Path, named: str, sid: str) -> None:
    policy = config.parent / "policy" / "billing.toml"
    policy.write_text(policy.read_text().replace('origins = ["pipeline", "laptop"]', f'origins = ["{named}"]'))
    document = json.loads(commands.trust_aws(config, NAME).text)
    (statement,) = document["CreateRole"]["AssumeRolePolicyDocument"]["Statement"]
    equals = statement["Condition"]["StringEquals"]
    assert (statement["Sid"], equals["aws:RequestTag/juniper_origin"]) == (sid, named)
    assert equals["issuer.test/juniper:sub"] == f"scope:{NAME}:origin:{named}:project_id:42"


def test_a_scope_of_many_projects_has_no_subject_to_pin(config: Path) -> None:
    policy = config.parent / "policy" / "billing.toml"
    text = policy.read_text().replace(
        'project = "shop/billing"\nproject_id = 42', 'project = "shop/*"\nnamespace_id = 5', 1
    )
    policy.write_text(text.replace('origins = ["pipeline", "laptop"]', 'origins = ["pipeline"]', 1))
    found = commands.trust_aws(config, NAME)
    assert found.exit == 78
    assert found.text == (
        f"scope {NAME} is for shop/* without project_id, so its tokens have no one subject to pin; "
        "give it project_id, with a scope of its own for each project"
    )


async def test_published_files_are_what_the_issuer_serves(tmp_path: Path) -> None:
    async with open_company(tmp_path) as company:
        found = await asyncio.to_thread(commands.publish, company.issuer.config.path, tmp_path / "site")
        assert found.exit == 0
        names = (
            ".well-known/openid-configuration",
            ".well-known/oauth-authorization-server",
            ".well-known/juniper",
            "jwks",
        )
        for name in names:
            async with company.session.get(f"{company.wire}/{name}") as answer:
                assert json.loads((tmp_path / "site" / name).read_text()) == await answer.json()


def test_a_url_with_a_path_is_published_below_it(config: Path, tmp_path: Path) -> None:
    assert commands.publish(config, tmp_path / "site").exit == 0
    document = json.loads((tmp_path / "site/juniper/.well-known/openid-configuration").read_text())
    assert document["jwks_uri"] == "https://issuer.test/juniper/jwks"
    assert (tmp_path / "site/juniper/jwks").exists()


def test_a_folder_that_cannot_be_written_is_told(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = commands.publish(config, tmp_path / "file")
    assert found.exit == 78
    assert "cannot be written" in found.text
