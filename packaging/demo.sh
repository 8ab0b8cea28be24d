#!/bin/sh
# `make demo`: a small company on loopback, one sign-in by device flow, and the real aws, kubectl, curl, git and skopeo with
# the scopes GitLab allows.
# Leaves nothing behind. On a terminal a person approves the sign-in; without one the sandbox approves it by itself.
set -eu
folder=$(mktemp -d "${TMPDIR:-/tmp}/juniper-demo.XXXXXX")
company=$folder/company

finish() {
    status=$?
    trap - EXIT INT TERM
    juniper sandbox down --dir "$company" >/dev/null 2>&1 || true
    rm -rf "$folder"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n# %s\n' "$*"; }
show() {
    printf '$ %s\n' "$*"
    "$@"
}
refused() {
    printf '$ %s\n' "$*"
    if "$@" >"$folder/out" 2>&1; then
        cat "$folder/out"
        echo "demo: that should have been refused" >&2
        exit 1
    fi
    cat "$folder/out"
}

say "a company on loopback: identity provider, GitLab, AWS, two clusters, an API, a real issuer with its minter; and an agent"
show juniper sandbox up --dir "$company"
eval "$(juniper sandbox env --dir "$company")"
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_REGION AWS_DEFAULT_REGION || true
export AWS_PAGER=

say "sign in once (device flow, RFC 8628)"
if [ -t 0 ] && [ -t 1 ]; then
    juniper sandbox idp --dir "$company" --ask
    echo "approve it on the page behind the link; if no browser reaches this host, say in another terminal:"
    echo "  $(command -v juniper) sandbox idp --dir $company --as developer"
fi
show juniper login

say "who AWS thinks we are: a role that GitLab's facts and the policy allow, for one hour"
show aws --profile invoice-archive-writer sts get-caller-identity

say "the bucket this scope allows"
printf 'invoice 1001\n' >"$folder/invoice.txt"
show aws --profile invoice-archive-writer s3 cp "$folder/invoice.txt" s3://invoice-archive-staging/invoice.txt --no-progress
show aws --profile invoice-archive-writer s3 cp s3://invoice-archive-staging/invoice.txt -

say "another bucket is out of reach"
refused aws --profile invoice-archive-writer s3 ls s3://invoice-archive-production

say "a scope that this person's rights in GitLab do not reach, with the reason"
refused aws --profile billing-release-publisher sts get-caller-identity
refused juniper explain billing-release-publisher

if command -v kubectl >/dev/null 2>&1; then
    say "the cluster's namespace that the project's staging jobs work in, and no other"
    show kubectl -n billing get pods
    show kubectl -n billing logs -l app=api
    refused kubectl -n kube-system get pods

    say "a cluster on EKS, whose token is signed here with the scope's AWS role"
    show kubectl --context batch-staging get pods
else
    say "kubectl is not installed here, so the clusters of this company are left out"
fi

if command -v curl >/dev/null 2>&1; then
    say "an API that verifies tokens itself; the token stands in no argument"
    echo "\$ curl --cacert \$JUNIPER_SANDBOX_CA -H @<(juniper token --header --audience billing-api) $BILLING_API/invoices"
    (umask 077 && juniper token --header --audience billing-api >"$folder/header")
    curl -sS --noproxy '*' --cacert "$JUNIPER_SANDBOX_CA" -H "@$folder/header" "$BILLING_API/invoices"
    rm "$folder/header"
    echo
fi

if command -v git >/dev/null 2>&1; then
    say "the project's code over https, with a deploy token that GitLab made for this hour; pushing stays with one's own key"
    show git clone --quiet "$BILLING_CODE" "$folder/billing"
    show cat "$folder/billing/README.md"
fi

if command -v skopeo >/dev/null 2>&1 && command -v docker-registry >/dev/null 2>&1; then
    say "the project's images, through Docker's own credential helper; not those of another project"
    show skopeo inspect --format '{{.Name}} {{.Digest}}' "docker://$BILLING_IMAGES/api:staging"
    refused skopeo inspect "docker://${BILLING_IMAGES%%/*}/shop/payments/ledger/api:staging"
else
    say "skopeo or docker-registry is not installed here, so the images of this company are left out"
fi

say "a job of GitLab's comes through the same policy: its tools hold what the job may, and nothing of it is left"
show juniper sandbox job archive-invoices --dir "$company" --user maintainer -- \
    juniper ci --scope invoice-archive-writer -- aws sts get-caller-identity --query Arn

say "this laptop beside a job of the same person's, claim by claim"
show juniper parity invoice-archive-writer

say "a scope that sleeps, until a debugging session wakes it for a while and for a reason"
refused aws --profile invoice-archive-janitor sts get-caller-identity
echo "\$ eval \"\$(juniper session open shop/billing --env staging --for 30m --reason 'invoices stuck')\""
session=$(juniper session open shop/billing --env staging --for 30m --reason 'invoices stuck')
eval "$session"
show aws --profile invoice-archive-janitor s3 rm s3://invoice-archive-staging/invoice.txt

say "what the agent holds"
show juniper status

say "the session ends, and with it what it woke"
show juniper session close
refused aws --profile invoice-archive-janitor sts get-caller-identity
unset JUNIPER_SESSION_SOCKET

say "what the issuer wrote down of all this"
show juniper audit tail -n 6
show juniper audit verify

show juniper logout
echo
echo "demo: ok"
