"""What a session reaches through the proxy, and what the proxy refuses."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from juniperd.sandbox.company import ACCOUNT, REGION
from juniperd.sandbox.faults import Fault

from .bench import Bench


async def test_the_session_is_the_role_and_reaches_its_bucket_alone(bench: Bench) -> None:
    keys = (await bench.assume())["Credentials"]
    sts, s3 = bench.client("sts", keys), bench.client("s3", keys)
    identity = await asyncio.to_thread(sts.get_caller_identity)
    assert identity["Account"] == ACCOUNT
    assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{bench.role_arn.rpartition('/')[2]}/7-developer"
    place = {"Bucket": "invoice-archive-staging", "Key": "2026/a b+c=ü.txt"}
    await asyncio.to_thread(s3.put_object, Body=b"paid", **place)
    got = await asyncio.to_thread(s3.get_object, **place)
    assert got["Body"].read() == b"paid"
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(s3.put_object, Body=b"paid", Bucket="invoice-archive-production", Key="a")
    assert caught.value.response["Error"]["Code"] == "AccessDenied"


async def test_a_session_reaches_no_other_role_and_no_account_data(bench: Bench) -> None:
    keys = (await bench.assume())["Credentials"]
    sts, iam = bench.client("sts", keys), bench.client("iam", keys)
    for call, parameters in (
        (sts.assume_role, {"RoleArn": bench.role_arn, "RoleSessionName": "again"}),
        (sts.get_session_token, {}),
        (sts.get_federation_token, {"Name": "again"}),
        (iam.list_roles, {}),
    ):
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(call, **parameters)
        assert caught.value.response["Error"]["Code"] == "AccessDenied"


async def test_virtual_host_addresses_reach_the_bucket(bench: Bench) -> None:
    """Signed for `bucket.localhost`, as SDKs do for an endpoint with a name; the name itself is not looked up."""
    keys = (await bench.assume())["Credentials"]
    port = bench.aws.url.rpartition(":")[2]
    host = f"invoice-archive-staging.localhost:{port}"
    request = AWSRequest("PUT", f"http://{host}/by-host.txt", data=b"paid")
    S3SigV4Auth(Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]), "s3", REGION).add_auth(
        request
    )
    headers = dict(request.headers) | {"Host": host}
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{bench.aws.url}/by-host.txt", data=b"paid", headers=headers) as got,
    ):
        assert got.status == 200, await got.text()
    s3 = bench.client("s3", keys)
    found = await asyncio.to_thread(s3.get_object, Bucket="invoice-archive-staging", Key="by-host.txt")
    assert found["Body"].read() == b"paid"


async def test_a_session_ends(bench: Bench) -> None:
    keys = (await bench.assume(DurationSeconds=900))["Credentials"]
    bench.clock.now += 900
    for service, call, parameters, code in (
        ("s3", "list_objects_v2", {"Bucket": "invoice-archive-staging"}, ("ExpiredToken", 400)),
        ("sts", "get_caller_identity", {}, ("ExpiredToken", 403)),
    ):
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(getattr(bench.client(service, keys), call), **parameters)
        answer = caught.value.response
        assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == code


async def test_foreign_keys_and_unsigned_calls_reach_nothing(bench: Bench) -> None:
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(bench.client("s3").list_objects_v2, Bucket="invoice-archive-staging")
    assert caught.value.response["Error"]["Code"] == "InvalidAccessKeyId"
    async with aiohttp.ClientSession() as session:
        for path in ("/invoice-archive-staging/a", "/moto-api/data.json", "/?Action=GetCallerIdentity"):
            async with session.get(bench.aws.url + path) as got:
                assert got.status == 403


async def test_faults_of_sts(bench: Bench) -> None:
    bench.aws.faults.add(Fault(status=503, body="<html>late</html>", content_type="text/html"))
    with pytest.raises(ClientError) as caught:
        await bench.assume()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
