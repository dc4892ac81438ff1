"""A server with keys: unmodified boto3 signs, and nothing else gets in.

    signed.py FERMATA_BINARY
"""

import datetime
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
import zipfile

import boto3
import botocore.auth
import botocore.config
import botocore.exceptions

PASS = json.dumps({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}})
ROLE = "arn:aws:iam::000000000000:role/role"
SERVER = None


class Server:
    def __init__(self, binary):
        self.binary, self.folder = binary, tempfile.TemporaryDirectory()
        data = os.path.join(self.folder.name, "data")
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--data", data], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        with open(os.path.join(data, "admin-key")) as file:
            self.admin = file.read().strip()

    def fermata(self, *arguments, key=None):
        environment = {**os.environ, "FERMATA_SERVER": self.url, "FERMATA_KEY": key or self.admin}
        done = subprocess.run([self.binary, *arguments], env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    def tenant(self, name):
        """A key of a new tenant, its id, and the secret to sign with."""
        self.fermata("tenant", "create", name)
        key = json.loads(self.fermata("key", "create", "--tenant", name, "--json"))["secret"]
        pair = json.loads(self.fermata("key", "aws", "--json", key=key))
        return key, pair["access_key_id"], pair["secret_access_key"]

    def client(self, service, key_id, secret, **more):
        # A refusal is an answer here, and no reason to try again.
        config = botocore.config.Config(inject_host_prefix=False, retries={"max_attempts": 0})
        return boto3.client(
            service, endpoint_url=self.url, region_name=more.pop("region_name", "us-east-1"), config=config,
            aws_access_key_id=key_id, aws_secret_access_key=secret, **more)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()


class Signed(unittest.TestCase):
    tenants = 0

    def setUp(self):
        Signed.tenants += 1
        self.key, self.id, self.secret = SERVER.tenant(f"tenant-{Signed.tenants}")

    def states(self, **more):
        pair = {"key_id": self.id, "secret": self.secret, **more}
        return SERVER.client("stepfunctions", pair.pop("key_id"), pair.pop("secret"), **pair)

    def refused(self, call, code, words, status=400):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call()
        response = caught.exception.response
        self.assertEqual(response["Error"]["Code"], code)
        self.assertIn(words, response["Error"]["Message"])
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], status)

    def test_a_key_s_owner_makes_and_runs_machines_of_its_own(self):
        client = self.states()
        arn = client.create_state_machine(name="m", definition=PASS, roleArn=ROLE)["stateMachineArn"]
        execution = client.start_execution(stateMachineArn=arn, input='{"a":1}')["executionArn"]
        while client.describe_execution(executionArn=execution)["status"] == "RUNNING":
            pass
        self.assertEqual(client.describe_execution(executionArn=execution)["output"], '{"a":1}')
        express = client.create_state_machine(name="e", definition=PASS, roleArn=ROLE, type="EXPRESS")
        ended = client.start_sync_execution(stateMachineArn=express["stateMachineArn"])
        self.assertEqual(ended["status"], "SUCCEEDED")
        _, other_id, other_secret = SERVER.tenant("other")
        others = SERVER.client("stepfunctions", other_id, other_secret).list_state_machines()
        self.assertEqual(others["stateMachines"], [])

    def test_functions_are_made_and_called(self):
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as file:
            file.writestr("main.py", "def handler(event, context):\n    return {'got': event}\n")
        client = SERVER.client("lambda", self.id, self.secret)
        client.create_function(
            FunctionName="hello", Runtime="python3.11", Handler="main.handler", Role=ROLE,
            Code={"ZipFile": package.getvalue()})
        arn = client.get_function(FunctionName="hello")["Configuration"]["FunctionArn"]
        # An ARN stands encoded in the path, and is signed as it stands there.
        answer = client.invoke(FunctionName=arn, Payload=b'{"n":1}')
        self.assertEqual(json.load(answer["Payload"]), {"got": {"n": 1}})
        wrong = SERVER.client("lambda", self.id, "wrong")
        self.refused(lambda: wrong.invoke(FunctionName="hello"), "InvalidSignatureException", "does not match", 403)

    def test_log_groups_are_made_listed_page_by_page_and_asked_for(self):
        def logged(group):
            arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{group}:*"
            destination = {"cloudWatchLogsLogGroup": {"logGroupArn": arn}}
            return self.states().create_state_machine(
                name="logged", definition=PASS, roleArn=ROLE,
                loggingConfiguration={"level": "ALL", "destinations": [destination]})

        logs = SERVER.client("logs", self.id, self.secret)
        for number in range(60):
            logs.create_log_group(logGroupName=f"/states/{number}")
        pages = list(logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/states/"))
        self.assertEqual([len(page["logGroups"]) for page in pages], [50, 10])
        logged("/states/7")
        logs.delete_log_group(logGroupName="/states/8")
        self.refused(lambda: logged("/states/8"), "InvalidLoggingConfiguration", "Log Destination not found.")
        gone = lambda: logs.delete_log_group(logGroupName="/states/8")  # noqa: E731
        self.refused(gone, "ResourceNotFoundException", "does not exist")
        again = lambda: logs.create_log_group(logGroupName="/states/7")  # noqa: E731
        self.refused(again, "ResourceAlreadyExistsException", "already exists")
        wrong = SERVER.client("logs", self.id, "wrong").describe_log_groups
        self.refused(wrong, "InvalidSignatureException", "signature")

    def test_events_of_a_log_group_are_read_by_stream_by_page_and_by_their_words(self):
        logs, group, states = SERVER.client("logs", self.id, self.secret), "/read", self.states()
        logs.create_log_group(logGroupName=group)
        self.assertEqual(logs.filter_log_events(logGroupName=group)["events"], [])
        self.assertEqual(logs.describe_log_streams(logGroupName=group)["logStreams"], [])
        destination = {"cloudWatchLogsLogGroup": {
            "logGroupArn": f"arn:aws:logs:us-east-1:000000000000:log-group:{group}:*"}}
        machine = states.create_state_machine(
            name="read", definition=PASS, roleArn=ROLE,
            loggingConfiguration={"level": "ALL", "includeExecutionData": True, "destinations": [destination]})
        for number in range(3):
            states.start_execution(stateMachineArn=machine["stateMachineArn"], input=json.dumps({"number": number}))
        ends = {"logGroupName": group, "filterPattern": "ExecutionSucceeded"}
        until = time.monotonic() + 20
        while len(logs.filter_log_events(**ends)["events"]) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        streams = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime")["logStreams"]
        self.assertEqual(len(streams), 3)
        name = streams[0]["logStreamName"]
        self.assertTrue(name.startswith("states/read/"), name)
        all_of = [json.loads(event["message"])["type"] for event in logs.get_log_events(
            logGroupName=group, logStreamName=name, startFromHead=True)["events"]]
        self.assertEqual(all_of, ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"])
        page = logs.get_log_events(logGroupName=group, logStreamName=name, startFromHead=True, limit=3)
        rest = logs.get_log_events(logGroupName=group, logStreamName=name, nextToken=page["nextForwardToken"])
        self.assertEqual([len(page["events"]), len(rest["events"])], [3, 1])
        back = logs.get_log_events(logGroupName=group, logStreamName=name, nextToken=rest["nextBackwardToken"], limit=2)
        self.assertEqual(back["events"], page["events"][1:])
        end = logs.get_log_events(logGroupName=group, logStreamName=name, limit=1)["events"]
        self.assertEqual(json.loads(end[0]["message"])["type"], "ExecutionSucceeded")
        pages = list(logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, logStreamNames=[name], PaginationConfig={"PageSize": 3}))
        self.assertEqual([len(page["events"]) for page in pages], [3, 1])

        def found(pattern, **more):
            return len(logs.filter_log_events(logGroupName=group, filterPattern=pattern, **more)["events"])
        self.assertEqual(found('PassStateEntered -"nobody"'), 3)
        self.assertEqual(found("-PassStateEntered"), 9)
        self.assertEqual(found('"no such phrase"'), 0)
        self.assertEqual(found("", startTime=streams[0]["lastEventTimestamp"] + 60_000), 0)
        self.assertEqual(found("", endTime=streams[0]["firstEventTimestamp"]), 0)
        self.refused(lambda: found('{ $.type = "x" }'), "InvalidParameterException", "words and quoted phrases")
        stream = lambda: logs.get_log_events(logGroupName=group, logStreamName="no")  # noqa: E731
        self.refused(stream, "ResourceNotFoundException", "log stream does not exist")
        logs.delete_log_group(logGroupName=group)
        self.refused(lambda: found(""), "ResourceNotFoundException", "log group does not exist")
        logs.create_log_group(logGroupName=group)
        self.assertEqual(found(""), 0)

    def test_a_wrong_secret_an_unknown_key_and_a_revoked_one_are_refused(self):
        does_not_match = "The request signature we calculated does not match the signature you provided."
        wrong = self.states(secret=self.secret[::-1])
        self.refused(wrong.list_state_machines, "InvalidSignatureException", does_not_match)
        # What is sent as a bearer token is not what is signed with.
        bearer = self.states(secret=self.key)
        self.refused(bearer.list_state_machines, "InvalidSignatureException", does_not_match)
        invalid = "The security token included in the request is invalid."
        unknown = self.states(key_id="AKIAIOSFODNN7EXAMPLE")
        self.refused(unknown.list_state_machines, "UnrecognizedClientException", invalid)
        session = self.states(aws_session_token="token")
        self.refused(session.list_state_machines, "UnrecognizedClientException", invalid)
        SERVER.fermata("key", "revoke", self.id)
        self.refused(self.states().list_state_machines, "UnrecognizedClientException", invalid)

    def test_a_request_is_good_for_five_minutes(self):
        def at(minutes):
            now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
            botocore.auth.get_current_datetime = lambda remove_tzinfo=True: (
                now.replace(tzinfo=None) if remove_tzinfo else now)
            return self.states().list_state_machines

        real = botocore.auth.get_current_datetime
        try:
            at(-4)()
            self.refused(at(-6), "InvalidSignatureException", "Signature expired: ")
            self.refused(at(6), "InvalidSignatureException", "Signature not yet current: ")
        finally:
            botocore.auth.get_current_datetime = real

    def test_what_was_changed_on_the_way_is_refused(self):
        def changed(change):
            client = self.states()
            client.meta.events.register("before-send.*", lambda request, **_: change(request))
            return lambda: client.create_activity(name="good")

        def body(request):
            request.body = request.body.replace(b"good", b"evil")

        def action(request):
            request.headers["X-Amz-Target"] = "AWSStepFunctions.DeleteActivity"

        does_not_match = "The request signature we calculated does not match"
        for change in (body, action):
            self.refused(changed(change), "InvalidSignatureException", does_not_match)
        self.assertEqual(self.states().list_activities()["activities"], [])

    def test_other_regions_and_requests_without_a_signature_are_refused(self):
        abroad = self.states(region_name="eu-west-1")
        self.refused(abroad.list_state_machines, "InvalidSignatureException", "valid region, not 'eu-west-1'")
        headers = {"x-amz-target": "AWSStepFunctions.ListStateMachines"}
        for extra in ({}, {"authorization": f"Bearer {self.key}"}):
            request = urllib.request.Request(SERVER.url, b"{}", {**headers, **extra})
            with self.assertRaises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=30)
            refusal = json.load(caught.exception)
            expected = "IncompleteSignatureException" if extra else "MissingAuthenticationTokenException"
            self.assertEqual((caught.exception.code, refusal["__type"]), (400, expected))


if __name__ == "__main__":
    SERVER = Server(sys.argv[1])
    try:
        result = unittest.main(argv=[sys.argv[0], *sys.argv[2:]], exit=False, verbosity=2).result
    finally:
        SERVER.stop()
    sys.exit(not result.wasSuccessful())
