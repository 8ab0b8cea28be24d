"""A GitLab that runs jobs, for the issuer's tests: its ID tokens claim by claim, and what its API says of each job."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestServer

from tests.issuer.doubles import Clock, Company, Gitlab, Idp, Laptop, Row, company, open_company

JTIS = itertools.count(1)


@dataclass
class Pipelines:
    """A company whose issuer takes jobs' tokens, and the key set that signs them."""

    company: Company
    ci: Idp

    def runs(self, number: int = 900, **others: Any) -> None:
        """GitLab has this job, as its API says it."""
        row: Row = {
            "id": number,
            "status": "running",
            "name": "deploy",
            "stage": "deploy",
            "ref": "main",
            "tag": False,
            "user": {"id": 8, "username": "maintainer", "state": "active"},
            "pipeline": {"id": 700, "project_id": 42, "ref": "main", "status": "running", "source": "push"},
        }
        self.company.gitlab.one[f"projects/42/jobs/{number}"] = row | others

    def claims(self, **others: Any) -> Row:
        """What GitLab signs of that job; ``None`` leaves a claim out."""
        now = int(self.company.clock())
        claims: Row = {
            "iss": self.ci.url,
            "sub": "project_path:shop/billing:ref_type:branch:ref:main",
            "aud": self.company.url,
            "iat": now,
            "nbf": now - 5,
            "exp": now + 3600,
            "jti": f"00000000-0000-4000-8000-{next(JTIS):012}",
            "namespace_id": "5",
            "namespace_path": "shop",
            "project_id": "42",
            "project_path": "shop/billing",
            "job_project_id": "42",
            "job_project_path": "shop/billing",
            "user_id": "8",
            "user_login": "maintainer",
            "user_email": "maintainer@shop.example",
            "user_access_level": "maintainer",
            "pipeline_id": "700",
            "pipeline_source": "push",
            "job_id": "900",
            "ref": "main",
            "ref_type": "branch",
            "ref_path": "refs/heads/main",
            "ref_protected": "true",
            "environment": "staging",
            "environment_protected": "true",
            "environment_action": "start",
            "deployment_tier": "staging",
            "runner_id": 3,
            "runner_environment": "self-hosted",
            "sha": "d3b07384d113edec49eaa6238ad5ff00d3b07384",
            "project_visibility": "private",
            "ci_config_ref_uri": "gitlab.shop.example/shop/billing//.gitlab-ci.yml@refs/heads/main",
            "ci_config_sha": "d3b07384d113edec49eaa6238ad5ff00d3b07384",
        }
        return {k: v for k, v in (claims | others).items() if v is not None}

    def token(self, **others: Any) -> str:
        """The job's ID token."""
        return self.ci.key.sign(self.claims(**others))

    def agent(self) -> Laptop:
        """A key, and what it sends: in a job it is the same program."""
        return self.company.laptop()

    async def ask(self, *, scope: str = "release-publisher", **claims: Any) -> tuple[int, Row]:
        """What a job with these claims is answered, asked by a new key."""
        return await self.agent().token(self.token(**claims), scope=scope)


@asynccontextmanager
async def open_pipelines(
    folder: Path,
    *,
    gitlab: Gitlab | None = None,
    change: Any = None,
    clock: Clock | None = None,
    extra: str = "",
) -> AsyncIterator[Pipelines]:
    """An issuer that takes jobs, with job 900 of the project running."""
    clock = clock or Clock()
    ci = Idp(clock)
    async with TestServer(ci.app()) as server:
        ci.url = str(server.make_url("")).rstrip("/")
        extra += f'[pipelines]\nissuer = "{ci.url}"\n'
        async with open_company(folder, extra=extra, gitlab=gitlab or company(), change=change, clock=clock) as found:
            pipelines = Pipelines(found, ci)
            pipelines.runs()
            yield pipelines
