"""The verbs on policy files as plain functions: checked, compared, linted and tried before anybody merges them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from juniperd.errors import JuniperError
from juniperd.http import Http
from juniperd.issuer import case_file, lint, lint_jobs, policy_diff, policy_file, rehearsal, review
from juniperd.issuer import config as configuration
from juniperd.issuer import policy_schema as schemas
from juniperd.issuer.commands import Outcome
from juniperd.issuer.config import IssuerConfig
from juniperd.issuer.gains import Gains, ScopeGains
from juniperd.issuer.gitlab import Gitlab
from juniperd.issuer.lint import Finding, Severity
from juniperd.issuer.policy import Policy
from juniperd.issuer.review import Review
from juniperd.model import Clock

UNUSABLE = 2
"""The status of a lint or a test that could not be made, of which 1 is a verdict."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files that are looked at; ``config`` where ``issuer.toml`` names them."""

    policy: Path
    relying_parties: Path | None = None
    config: IssuerConfig | None = None
    sandbox: bool = False

    def load(self) -> Policy:
        """The policy, as the issuer would read it."""
        return policy_file.load(self.policy, self.relying_parties, sandbox=self.sandbox)

    def findings(self, policy: Policy, today: date) -> list[Finding]:
        """What is worth a second look, of the policy and of what ``issuer.toml`` says."""
        return [*lint.of_policy(policy, today), *(lint.of_config(self.config) if self.config is not None else ())]


def configured(path: Path) -> Files:
    """The files that an ``issuer.toml`` names."""
    config = configuration.load(path)
    return Files(config.policy, config.relying_parties, config, config.sandbox)


def _ended(work: Callable[[], Outcome], *, unusable: int | None = None) -> Outcome:
    try:
        return work()
    except JuniperError as error:
        return Outcome(error.exit_status if unusable is None else unusable, str(error))


def _today(clock: Clock) -> date:
    return datetime.fromtimestamp(clock(), UTC).date()


# --- check ------------------------------------------------------------------------------------------------------------


def check(
    files: Callable[[], Files],
    *,
    against: Path | None = None,
    people: Path | None = None,
    form: str = "text",
    clock: Clock = time.time,
) -> Outcome:
    """Check the files as the issuer would read them; with ``against``, say who gains what, in ``text``, ``json`` or ``markdown``.

    ``people`` is the ``issuer.toml`` whose reader token GitLab is asked with, for the members who gain.
    """

    def work() -> Outcome:
        config = configuration.load(people) if people is not None else None
        given = files()
        found = given if config is None else Files(given.policy, given.relying_parties, given.config, config.sandbox)
        policy, today = found.load(), _today(clock)
        findings = found.findings(policy, today)
        if against is None:
            return Outcome(0, review.text(Review(policy, findings), form))
        old = _old_policy(against, found)
        known = {(finding.code, finding.where) for finding in lint.of_policy(old, today)}
        fresh = [finding for finding in findings if (finding.code, finding.where) not in known]
        who = asyncio.run(_gains(config, old, policy, clock)) if config is not None else None
        changes = policy_diff.compare(old, policy)
        shown = fresh if form == "markdown" else findings
        return Outcome(0, review.text(Review(policy, shown, old, changes, who), form))

    return _ended(work)


def _old_policy(path: Path, new: Files) -> Policy:
    """The policy compared with: another ``issuer.toml``, a folder that holds ``policy``, or policy files alone."""
    if path.name.endswith("issuer.toml"):
        return configured(path).load()
    if (path / "policy").is_dir():
        parties = path / "relying_parties"
        parties_or_new = parties if parties.exists() else new.relying_parties
        return policy_file.load(path / "policy", parties_or_new, sandbox=new.sandbox)
    return policy_file.load(path, new.relying_parties, sandbox=new.sandbox)


async def _gains(config: IssuerConfig, old: Policy, new: Policy, clock: Clock) -> list[ScopeGains]:
    network = config.network
    async with Http(
        ca_file=network.ca_file, proxy=network.proxy, no_proxy=network.no_proxy, plain_loopback=config.sandbox
    ) as http:
        gitlab = Gitlab(http, url=config.gitlab.url, token=config.gitlab.token(), clock=clock)
        return await Gains(gitlab, unlicensed=config.gitlab.unlicensed, clock=clock).run(old, new)


# --- lint -------------------------------------------------------------------------------------------------------------


def lint_files(
    files: Callable[[], Files],
    *,
    jobs: Path | None = None,
    strict: bool = False,
    as_json: bool = False,
    clock: Clock = time.time,
) -> Outcome:
    """Every finding with its place; the status is 1 where one is an error, or with ``strict`` where there is any."""

    def work() -> Outcome:
        given = files()
        policy = given.load()
        findings = given.findings(policy, _today(clock))
        findings += lint_jobs.of_jobs(policy, lint_jobs.read(jobs)) if jobs is not None else []
        config = given.config.path if given.config is not None else None
        places = policy_file.places(given.policy, given.relying_parties, config)
        failed = any(strict or finding.severity is Severity.ERROR for finding in findings)
        shown = review.findings_json if as_json else review.findings_text
        return Outcome(int(failed), shown(findings, places))

    return _ended(work, unusable=UNUSABLE)


# --- test -------------------------------------------------------------------------------------------------------------


def rehearse(files: Callable[[], Files], cases: Path, *, as_json: bool = False, clock: Clock = time.time) -> Outcome:
    """Every case judged offline; the status is 1 where one comes out otherwise than it expects."""

    def work() -> Outcome:
        policy = files().load()
        results = rehearsal.run(case_file.read(cases, policy), policy, _today(clock))
        left = rehearsal.untried(results, policy)
        wrong = any(result.differences for result in results)
        if as_json:
            return Outcome(int(wrong), json.dumps(rehearsal.document(results, left, policy.digest), indent=2))
        return Outcome(int(wrong), rehearsal.text(results, left, policy.digest))

    return _ended(work, unusable=UNUSABLE)


# --- schema -----------------------------------------------------------------------------------------------------------


def schema(*, markdown: bool = False) -> Outcome:
    """What an editor checks policy files by; or the same for people."""
    return Outcome(0, schemas.reference() if markdown else json.dumps(schemas.schema(), indent=1))
