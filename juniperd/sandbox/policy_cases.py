"""What the sandbox's policy is meant to do, case by case, for `juniper policy test`.

GitLab's protections stand here a second time, as a reviewer of the policy would write them down; people come and go, and
their roles are the cases' own.
"""

from __future__ import annotations

from typing import Final

CASES: Final = """\
version = 1

[project."shop/billing"]
environments = ["staging", "production", "review/42"]
branches = ["main"]

[project."shop/billing".protected_branches]
main = { push = ["maintainer"], merge = ["developer"] }
"release/*" = { push = ["maintainer"], merge = ["maintainer"] }

[project."shop/billing".protected_environments]
staging = { deploy = ["developer"] }
production = { deploy = ["maintainer"] }

[project."shop/billing".group_protected_environments]
production = { deploy = ["maintainer"] }

[case."a developer works in staging"]
project = "shop/billing"
permit = [
  "invoice-archive-writer",
  "invoice-export-google", "invoice-archive-reader", "invoice-archive-janitor", "billing-debugger",
  "billing-batch-inspector", "billing-api-reader", "billing-image-reader", "billing-source-reader",
]

[case."what sleeps is not among it before a session is open"]
project = "shop/billing"
session = false
permit = [
  "invoice-archive-writer",
  "invoice-export-google", "invoice-archive-reader", "billing-debugger",
  "billing-batch-inspector", "billing-api-reader", "billing-image-reader", "billing-source-reader",
]

[case."whoever may only merge into main publishes nothing"]
project = "shop/billing"
scopes = ["billing-release-publisher"]
refuse = "merge_only"

[case."a maintainer publishes what main built"]
project = "shop/billing"
role = "maintainer"
scopes = ["billing-release-publisher"]
permit = ["billing-release-publisher"]

[case."production is for no laptop, not even a maintainer's"]
project = "shop/billing"
role = "maintainer"
scopes = ["invoice-archive-inspector"]
refuse = "production"

[case."a developer is kept out of production by GitLab already"]
project = "shop/billing"
scopes = ["invoice-archive-inspector"]
refuse = "environment_protected"

[case."nothing of staging is to be had for production"]
project = "shop/billing"
scopes = ["invoice-archive-writer", "invoice-archive-reader", "billing-debugger"]
environment = "production"
refuse = "environment_mismatch"

[case."a reporter reads nothing"]
project = "shop/billing"
role = "reporter"
refuse = "role"

[case."a stranger gets nothing"]
project = "shop/billing"
role = "none"
refuse = "not_a_member"

[case."a blocked account gets nothing"]
project = "shop/billing"
account = "blocked"
refuse = "user_inactive"

[case."nobody is let in by an unlinked sign-in"]
project = "shop/billing"
linked = false
refuse = "link_missing"

[case."an archived project is closed"]
project = "shop/billing"
state = "archived"
refuse = "project_closed"

[case."jobs of main hold all of staging, and of it alone"]
origin = "pipeline"
project = "shop/billing"
environment = "staging"
permit = [
  "invoice-archive-writer",
  "invoice-export-google", "billing-release-publisher", "invoice-archive-reader", "invoice-archive-janitor",
  "billing-debugger", "billing-batch-inspector", "billing-api-reader", "billing-image-reader", "billing-source-reader",
]

[case."a job reads production's archive"]
origin = "pipeline"
project = "shop/billing"
role = "maintainer"
environment = "production"
permit = ["invoice-archive-inspector"]

[case."a job on a branch publishes nothing"]
origin = "pipeline"
project = "shop/billing"
scopes = ["billing-release-publisher"]
ref = "branch:feature/x"
refuse = "ref_mismatch"

[case."a merge request's job holds nothing"]
origin = "pipeline"
source = "merge_request_event"
project = "shop/billing"
refuse = "source"

[case."a job that has ended holds nothing"]
origin = "pipeline"
status = "success"
project = "shop/payments/ledger"
refuse = "job_ended"

[case."the ledger's jobs"]
origin = "pipeline"
project = "shop/payments/ledger"
permit = ["ledger-journal-reader", "ledger-image-reader"]

[case."the tax office's jobs"]
origin = "pipeline"
project = "shop/tax"
permit = ["tax-return-reader"]

[case."a stranger's merge request to the tax office"]
origin = "pipeline"
project = "shop/tax"
fork = true
refuse = "fork"

[case."jobs of sales"]
origin = "pipeline"
project = "figures/sales"
permit = ["sales-report-reader"]

[case."jobs of sales that a former member started"]
origin = "pipeline"
project = "figures/sales"
role = "none"
refuse = "not_a_member"

[case."seasonal jobs"]
origin = "pipeline"
project = "figures/seasonal"
permit = ["season-price-reader"]

[case."seasonal jobs that a triggered pipeline brought"]
origin = "pipeline"
project = "figures/seasonal"
source = "trigger"
refuse = "source"

[case."the ledger's developers read its journal and its images"]
project = "shop/payments/ledger"
permit = ["ledger-journal-reader", "ledger-image-reader"]

[case."the ledger is not for reporters"]
project = "shop/payments/ledger"
role = "reporter"
refuse = "role"

[case."an auditor whose group is invited reads tax returns"]
project = "shop/tax"
permit = ["tax-return-reader"]

[case."an environment that is approved by somebody is for pipelines"]
project = "shop/tax"
protected_environments.staging = { deploy = ["developer"], approvals = true }
refuse = "approval_required"

[case."sales are for developers"]
project = "figures/sales"
permit = ["sales-report-reader"]

[case."a project's CI file elsewhere is somebody else's"]
project = "figures/sales"
ci_config_elsewhere = true
refuse = "ci_config_elsewhere"

[case."a season's helper reads prices"]
project = "figures/seasonal"
expires = 2026-12-31
day = 2026-12-30
permit = ["season-price-reader"]

[case."and no longer than the season"]
project = "figures/seasonal"
expires = 2026-12-31
day = 2026-12-31
refuse = "membership_ended"
"""
