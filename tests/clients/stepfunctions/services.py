"""AWS services beside the server under test: moto's, each in a process of its own."""

import json
import os
import subprocess
import sys
import urllib.request

import boto3
import botocore.exceptions

NAMES = {"s3", "sqs", "sns", "dynamodb", "events", "secretsmanager"}

# Cases in which moto answers otherwise than AWS, and how: they tell nothing of the server under test.
DIFFERS = {
    "test_aws_sdk.py::TestAwsSdk::test_dynamodb_invalid_param": "fails where DynamoDB refuses",
    "test_task_service_dynamodb.py::TestTaskServiceDynamoDB::test_invalid_param": "fails where DynamoDB refuses",
    "test_put_item_invalid_table_name": "does not check the names of tables",
    "test_dynamodb_put_update_get_item": "tells the capacity without being asked",
    "DYNAMODB_PUT_UPDATE_GET_ITEM": "tells the capacity without being asked",
    "test_s3_put_object[": "does not answer with checksums and encryption",
    "test_put_events_malformed_detail": "refuses all entries for one",
    "test_put_events_mixed_malformed_detail": "refuses all entries for one",
    "test_fifo_message_attribute[input_params0-True]": "has another code for a missing group",
}

# Names that a recording has not replaced where its input has them replaced.
SLIPPED = {"no-such-queue-73e08fde": "no-such-queue-uid00002"}

SERVE = """
import sys, time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


class Services:
    def __init__(self, account):
        environment = {**os.environ, "MOTO_ACCOUNT_ID": account}
        # It ends when its standard input is closed, and so with this process.
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environment)
        self.url = self.process.stdout.readline().strip()

    def client(self, name):
        keys = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(name, endpoint_url=self.url, **keys)

    def clear(self):
        request = urllib.request.Request(self.url + "/moto-api/reset", method="POST", data=b"")
        urllib.request.urlopen(request, timeout=30).read()

    def do(self, resource):
        """Does what a recorded test did before its execution."""
        call, params = resource["call"], dict(resource.get("params") or {})
        client = self.client(resource["service"])
        if call == "CreateTable" and "table_name" in params:
            key = params["partition_key"]
            params = {
                "TableName": params["table_name"], "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            }
        if call == "PutRule" and isinstance(params.get("EventPattern"), dict):
            params["EventPattern"] = json.dumps(params["EventPattern"])
        name = "".join("_" + c.lower() if c.isupper() else c for c in call).lstrip("_")
        try:
            return getattr(client, name)(**params)
        except botocore.exceptions.ClientError as error:
            # moto knows less of policies and subscriptions than AWS; the execution shows what it needs.
            return error.response

    def stop(self):
        self.process.stdin.close()
        self.process.wait(30)
