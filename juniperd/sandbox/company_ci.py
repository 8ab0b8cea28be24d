"""The CI configuration of the shop's projects: the jobs whose scopes a laptop is to hold."""

from __future__ import annotations

from typing import Final

from juniperd.sandbox.world import RepositoryFile

ISSUER: Final = "https://juniper.shop.example"
"""The audience of the jobs' tokens where nobody names the issuer."""
_BILLING: Final = """\
stages: [build, deploy, look]

include:
  - local: /ci/deploy.yml

variables:
  INVOICE_BUCKET: invoice-archive-staging

render-invoices:
  stage: build
  script:
    - ./render

preview-invoices:
  stage: look
  script:
    - ./preview
  environment:
    name: review/$CI_COMMIT_REF_SLUG
    deployment_tier: development
  id_tokens:
    JUNIPER_ID_TOKEN:
      aud: {issuer}
  rules:
    - if: $CI_COMMIT_BRANCH && $CI_COMMIT_BRANCH != "main"
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
"""
_DEPLOY: Final = """\
archive-invoices:
  stage: deploy
  environment:
    name: staging
  id_tokens:
    JUNIPER_ID_TOKEN:
      aud: {issuer}
  variables:
    AWS_ROLE_ARN: arn:aws:iam::111122223333:role/invoice-archive-writer
    AWS_REGION: eu-west-1
  script:
    - juniper ci -- aws s3 sync rendered "s3://$INVOICE_BUCKET"
  rules:
    - if: $CI_COMMIT_BRANCH == "main"

publish-release:
  stage: deploy
  environment:
    name: staging
    action: prepare
  id_tokens:
    JUNIPER_ID_TOKEN:
      aud: {issuer}
    REGISTRY_ID_TOKEN:
      aud: [https://registry.shop.example, https://mirror.shop.example]
  script:
    - >-
      aws sts assume-role-with-web-identity --role-session-name "job-$CI_JOB_ID"
      --role-arn arn:aws:iam::111122223333:role/billing-release-publisher --web-identity-token "$JUNIPER_ID_TOKEN"
  rules:
    - if: $CI_COMMIT_BRANCH == "main"
    - if: $CI_COMMIT_TAG

archive-production-invoices:
  stage: deploy
  environment: production
  id_tokens:
    JUNIPER_ID_TOKEN:
      aud: {issuer}
  script:
    - juniper ci -- aws s3 sync rendered s3://invoice-archive-production
  rules:
    - if: $CI_COMMIT_BRANCH == "main"
      when: manual
"""
_LEDGER: Final = """\
read-journal:
  script:
    - juniper ci -- aws s3 ls s3://ledger-journal-staging
  environment: staging
  timeout: 15 minutes
  id_tokens:
    JUNIPER_ID_TOKEN:
      aud: {issuer}
"""


def files(issuer: str = ISSUER) -> list[RepositoryFile]:
    """What the repositories hold on every ref; the tokens are meant for this issuer."""
    rows = (
        (42, ".gitlab-ci.yml", _BILLING),
        (42, "ci/deploy.yml", _DEPLOY),
        (43, ".gitlab-ci.yml", _LEDGER),
        (48, ".gitlab-ci.yml", _BILLING),
        (48, "ci/deploy.yml", _DEPLOY),
    )
    return [RepositoryFile(project, path, text.format(issuer=issuer)) for project, path, text in rows]
