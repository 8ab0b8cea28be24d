"""The contract of every plug: found by its file's name, and the same promises kept by each."""

from __future__ import annotations

import json
import re

import pytest

from juniperd import exchanges, identity, protocols
from juniperd.address import is_host
from juniperd.errors import ConfigError, JuniperError, LoginRequired, TargetUnknown
from juniperd.exchanges import ExchangeSettings
from juniperd.identity import ErrorRead
from juniperd.model import (
    AwsCredential,
    BasicLogin,
    BearerToken,
    Credential,
    CredentialRequest,
    Kind,
    Lease,
    LeaseKey,
    Secret,
)
from juniperd.protocols import Reply, ToolProtocol
from juniperd.wire import Request

TOOLS = protocols.discover()
PROVIDERS = identity.discover()
KINDS = sorted(kind for kind in Kind if kind in exchanges.kinds())
EXEC_INFO = {
    "kind": "ExecCredential",
    "apiVersion": "client.authentication.k8s.io/v1",
    "spec": {"interactive": False, "cluster": {"server": "https://k8s.example.com", "config": {"scope": "archive"}}},
}
ASKS: dict[str, Request] = {
    "juniper-aws": Request((b"juniper-aws", b"--scope", b"archive")),
    "juniper-google": Request((b"juniper-google", b"--scope", b"archive")),
    "juniper-kubectl": Request((b"juniper-kubectl",), {"KUBERNETES_EXEC_INFO": json.dumps(EXEC_INFO)}),
    "juniper-token": Request((b"juniper-token", b"--audience", b"billing-api", b"--scope", b"archive")),
    "docker-credential-juniper": Request((b"docker-credential-juniper", b"get"), {}, b"registry.example.com"),
    "git-credential-juniper": Request(
        (b"git-credential-juniper", b"get"), {}, b"protocol=https\nhost=gitlab.example.com\npath=shop/billing.git\n\n"
    ),
}
"""A request that each tool really makes; a new protocol adds its own."""
SAY_NO_IN_JSON = {"juniper-google"}
"""The tools whose contract has a member for it, and takes any other status for a crash."""
CREDENTIALS: dict[Kind, Credential] = {
    Kind.AWS: AwsCredential("ASIA1", Secret("key"), Secret("token"), "111122223333", "arn"),
    Kind.GOOGLE: BearerToken(Secret("token")),
    Kind.KUBERNETES: BearerToken(Secret("token")),
    Kind.API: BearerToken(Secret("token")),
    Kind.REGISTRY: BasicLogin("juniper-7-developer", Secret("token")),
    Kind.GIT: BasicLogin("juniper-7-developer", Secret("token")),
}


def asked_of(tool: ToolProtocol) -> CredentialRequest:
    asked = tool.parse(ASKS[tool.HELPER])
    assert isinstance(asked, CredentialRequest)
    return asked


def test_the_plugs_of_this_release() -> None:
    assert set(TOOLS) == set(ASKS)
    assert set(PROVIDERS) == {"oidc", "okta", "entra"}
    assert KINDS == [Kind.API, Kind.AWS, Kind.GIT, Kind.GOOGLE, Kind.KUBERNETES, Kind.REGISTRY]


@pytest.mark.parametrize("tool", TOOLS.values(), ids=list(TOOLS))
class TestProtocols:
    def test_its_helper_has_a_name_fit_for_a_file(self, tool: ToolProtocol) -> None:
        assert re.fullmatch(r"[a-z][a-z-]+", tool.HELPER)

    def test_it_understands_its_tool(self, tool: ToolProtocol) -> None:
        asked = asked_of(tool)
        assert (asked.scope == "archive") != is_host(asked.host)
        assert asked == asked_of(tool)

    def test_it_is_asked_with_its_input_where_it_needs_that(self, tool: ToolProtocol) -> None:
        request = ASKS[tool.HELPER]
        assert bool(request.stdin) == (request.arguments[:1] != () and request.arguments[0] in tool.INPUT)

    @pytest.mark.parametrize("arguments", [(), (b"\xff\xfe",), (b"",) * 200, (b"--scope", b"\x00"), (b"x" * 60000,)])
    def test_rubbish_is_no_request(self, tool: ToolProtocol, arguments: tuple[bytes, ...]) -> None:
        """One of our errors; a tool whose contract has words or silence for it is answered in those."""
        try:
            answer = tool.parse(Request((tool.HELPER.encode(), *arguments)))
        except JuniperError:
            return
        assert tool.INPUT
        assert isinstance(answer, Reply)
        assert (answer.stdout + answer.stderr).count(b"\n") <= 1

    @pytest.mark.parametrize("stdin", [b"", b"\xff\xfe", b"\n" * 200, b"\x00=\x00", b"x" * 65_536, b"[]", b"a=b\n\nc"])
    def test_rubbish_as_input_is_no_request_either(self, tool: ToolProtocol, stdin: bytes) -> None:
        for action in tool.INPUT:
            try:
                answer = tool.parse(Request((tool.HELPER.encode(), action.encode()), {}, stdin))
            except JuniperError:
                continue
            assert isinstance(answer, Reply)

    def test_a_failure_is_one_line_and_never_success(self, tool: ToolProtocol) -> None:
        reply = tool.render_error(LoginRequired("nobody is signed in"), ASKS[tool.HELPER])
        shown = reply.stderr or reply.stdout
        assert shown.count(b"\n") == 1
        if tool.HELPER in SAY_NO_IN_JSON:
            said = json.loads(shown)
            assert (said["success"], reply.stderr, reply.status) == (False, b"", 0)
            assert said["message"].endswith("; run: juniper login")
            return
        assert shown.endswith(b"run: juniper login\n")
        assert 0 < reply.status < 256

    def test_an_answer_has_nothing_on_standard_error(self, tool: ToolProtocol) -> None:
        asked = asked_of(tool)
        key = LeaseKey("team", "k", None, "archive", asked.kind, None, None, None, None, ())
        lease = Lease(key, CREDENTIALS[asked.kind], 0.0, 3600.0)
        reply = tool.render(lease, asked.form)
        assert reply.stdout
        assert (reply.stderr, reply.status) == (b"", 0)
        assert reply == tool.render(lease, asked.form)


@pytest.mark.parametrize("kind", PROVIDERS)
class TestProviders:
    def test_it_is_found_by_its_kind(self, kind: str) -> None:
        plug = identity.plug(kind)
        assert kind == plug.KIND
        assert plug.DECLINED
        assert plug.EXPIRED
        assert not plug.DECLINED & plug.EXPIRED

    def test_it_reads_a_discovery_document(self, kind: str) -> None:
        found = identity.plug(kind).endpoints(
            {"token_endpoint": "https://idp/token", "device_authorization_endpoint": "https://idp/device"}
        )
        assert (found.token, found.device) == ("https://idp/token", "https://idp/device")

    @pytest.mark.parametrize("document", [{}, {"token_endpoint": None}, {"token_endpoint": 7}, {"token_endpoint": ""}])
    def test_a_document_without_a_token_endpoint_is_refused(self, kind: str, document: dict[str, object]) -> None:
        with pytest.raises(ConfigError):
            identity.plug(kind).endpoints(document)

    @pytest.mark.parametrize("body", [None, [], {}, {"error": 7}, {"error": {}}, "<html>"])
    @pytest.mark.parametrize("flow", ["device", "browser"])
    def test_an_error_that_says_nothing_is_told_by_its_status(self, kind: str, body: object, flow: str) -> None:
        assert identity.error_of(kind, flow)(body, "status 502") == ErrorRead("status 502")

    @pytest.mark.parametrize("flow", ["device", "browser"])
    def test_text_from_outside_is_one_clean_line(self, kind: str, flow: str) -> None:
        body = {"error": "x\x1b[31m", "error_description": "a\r\nb" * 5000, "trace_id": "t\x07" * 900, "errorId": "\n"}
        read = identity.error_of(kind, flow)(body, "status 400")
        assert read.said.isprintable()
        assert len(read.said) < 400

    def test_every_cure_says_what_to_do(self, kind: str) -> None:
        plug = identity.plug(kind)
        assert "invalid_grant" in plug.ENDED
        assert "juniper login" in plug.UNCONFIRMED
        assert "auth_time" in plug.AUTH_TIME

    def test_it_says_how_long_a_used_refresh_token_lives(self, kind: str) -> None:
        assert identity.plug(kind).GRACE >= 0

    @pytest.mark.parametrize(
        ("listed", "takes"),
        [
            (["RS256", "ES256"], True),
            (["RS256"], False),
            ([], False),
            ("ES256", False),
            (None, False),
            ({"ES256": 1}, False),
        ],
    )
    def test_it_reads_whether_tokens_are_bound(self, kind: str, listed: object, takes: bool) -> None:
        document = {"token_endpoint": "https://idp/token", "dpop_signing_alg_values_supported": listed}
        assert identity.plug(kind).endpoints(document).takes_proofs is takes


@pytest.mark.parametrize("kind", KINDS)
class TestExchanges:
    def test_it_is_found_by_its_kind_and_imports_nothing_slow(self, kind: Kind) -> None:
        module = exchanges.load(kind)
        assert module.KIND is kind
        exchange = module.make(ExchangeSettings())
        assert exchange.window == module.WINDOW
        exchange.close()

    def test_its_window_leaves_a_margin_to_renew_in(self, kind: Kind) -> None:
        window = exchanges.load(kind).WINDOW
        assert window.renew_ahead > window.wait_below >= window.margin >= 0


def test_a_kind_without_a_file_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "kinds", lambda: frozenset({"aws"}))
    with pytest.raises(TargetUnknown, match="kind 'api'"):
        exchanges.load(Kind.API)
    with pytest.raises(ConfigError, match="unknown kind 'saml'"):
        identity.plug("saml")
