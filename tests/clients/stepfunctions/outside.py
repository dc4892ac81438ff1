"""What state machines reach outside of the server: moto's services, and two servers of this script, one of
them over TLS.

    outside.py FERMATA_BINARY

The recorded cases (corpus.py) say what AWS answers; what they do not cover is here.
"""

import gzip
import http.server
import json
import pathlib
import ssl
import sys
import threading
import time
import unittest

import botocore
import botocore.exceptions
import corpus

# One without models of services, and one that has those of botocore.
SERVER = MODELLED = None

HERE = pathlib.Path(__file__).resolve().parent
MODELS = pathlib.Path(botocore.__file__).parent / "data"
# What signed for the server over TLS.
CERTIFICATES = HERE.parents[2] / "crates/front/src/outside/send"


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked; /moved leads elsewhere, /broken fails."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("location", "http://127.0.0.1:1/")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        answer = json.dumps({"path": self.path, "body": body, "key": self.headers.get("x-key")}).encode()
        self.send_response(500 if self.path.startswith("/broken") else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *_):
        pass


def run(states, start, data=None, express=False, server=None):
    """Runs a machine to its end."""
    server = server or SERVER
    name = "outside"
    arn = f"arn:aws:states:us-east-1:{corpus.ACCOUNT}:stateMachine:{name}"
    client = server.states
    client.delete_state_machine(stateMachineArn=arn)
    client.create_state_machine(
        name=name, definition=json.dumps({"StartAt": start, "States": states}),
        type="EXPRESS" if express else "STANDARD", roleArn=f"arn:aws:iam::{corpus.ACCOUNT}:role/role")
    if express:
        return client.start_sync_execution(stateMachineArn=arn, input=json.dumps(data or {}))
    execution = client.start_execution(stateMachineArn=arn, input=json.dumps(data or {}))["executionArn"]
    return corpus.Case(server, {}, 0).wait_for_end(execution)


def task(resource, parameters, express=False, server=None):
    state = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Parameters": parameters, "End": True}
    ended = run({"T": state}, "T", express=express, server=server)
    if ended["status"] == "SUCCEEDED":
        return json.loads(ended["output"])
    return ended.get("error"), ended.get("cause")


def mapped(reader, extra=None, writer=None):
    state = {
        "Type": "Map", "ItemReader": reader, "End": True,
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}},
        **(extra or {}),
    }
    if writer:
        state["ResultWriter"] = writer
    ended = run({"M": state}, "M")
    if ended["status"] == "SUCCEEDED":
        return json.loads(ended["output"])
    return ended.get("error"), ended.get("cause")


def reader(key, kind, **config):
    return {"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": kind, **config},
            "Parameters": {"Bucket": "bucket", "Key": key}}


class Outside(unittest.TestCase):
    def setUp(self):
        SERVER.clear()
        self.s3 = SERVER.services.client("s3")
        self.s3.create_bucket(Bucket="bucket")

    def put(self, key, body):
        self.s3.put_object(Bucket="bucket", Key=key, Body=body)

    def test_an_express_machine_calls_services_too(self):
        queue = SERVER.services.client("sqs").create_queue(QueueName="q")["QueueUrl"]
        sent = task("sqs:sendMessage", {"QueueUrl": queue, "MessageBody": {"a": 1}}, express=True)
        self.assertEqual(sent["SdkHttpMetadata"]["HttpStatusCode"], 200)
        got = task("aws-sdk:sqs:receiveMessage", {"QueueUrl": queue})
        self.assertEqual(json.loads(got["Messages"][0]["Body"]), {"a": 1})

    def test_a_service_that_speaks_the_query_protocol_takes_lists_and_gives_them(self):
        topic = task("aws-sdk:sns:createTopic", {"Name": "t", "Tags": [{"Key": "k", "Value": "v"}]})
        self.assertTrue(topic["TopicArn"].endswith(":t"))
        topics = task("aws-sdk:sns:listTopics", {})["Topics"]
        self.assertEqual(topics, [{"TopicArn": topic["TopicArn"]}])
        tags = task("aws-sdk:sns:listTagsForResource", {"ResourceArn": topic["TopicArn"]})
        self.assertEqual(tags["Tags"], [{"Key": "k", "Value": "v"}])

    def test_objects_are_written_read_listed_and_deleted(self):
        task("aws-sdk:s3:putObject", {"Bucket": "bucket", "Key": "a b/ü", "Body": "text", "Metadata": {"m": "1"}})
        got = task("aws-sdk:s3:getObject", {"Bucket": "bucket", "Key": "a b/ü"})
        self.assertEqual((got["Body"], got["ContentLength"], got["Metadata"]), ("text", 4, {"m": "1"}))
        listed = task("aws-sdk:s3:listObjectsV2", {"Bucket": "bucket", "Prefix": "a b/"})
        self.assertEqual([(one["Key"], one["Size"]) for one in listed["Contents"]], [("a b/ü", 4)])
        gone = task("aws-sdk:s3:deleteObjects", {"Bucket": "bucket", "Delete": {"Objects": [{"Key": "a b/ü"}]}})
        self.assertEqual([one["Key"] for one in gone["Deleted"]], ["a b/ü"])
        error, cause = task("aws-sdk:s3:getObject", {"Bucket": "bucket", "Key": "gone"})
        self.assertEqual(error, "S3.NoSuchKeyException")
        self.assertIn("Status Code: 404", cause)

    def test_items_are_read_from_every_kind_of_file(self):
        self.put("lines", b'1\n\n{"a": 2}\n')
        self.assertEqual(mapped(reader("lines", "JSONL")), [1, {"a": 2}])
        self.put("nested", b'{"a": {"b": [1, 2]}}')
        self.assertEqual(mapped(reader("nested", "JSON", ItemsPointer="/a/b")), [1, 2])
        self.put("pipes", b'a|b\n1|"x\ny"\n')
        pipes = reader("pipes", "CSV", CSVHeaderLocation="FIRST_ROW", CSVDelimiter="PIPE")
        self.assertEqual(mapped(pipes), [{"a": "1", "b": "x\ny"}])
        self.put("lines.gz", gzip.compress(b"1\n2\n"))
        self.assertEqual(mapped(reader("lines.gz", "JSONL")), [1, 2])
        self.put("fields", b'{"a": {"x": 1, "y": [2]}}')
        fields = [{"Key": "x", "Value": 1}, {"Key": "y", "Value": [2]}]
        self.assertEqual(mapped(reader("fields", "JSON", ItemsPointer="/a")), fields)
        key = {"ItemSelector": {"k.$": "$$.Map.Item.Key", "v.$": "$$.Map.Item.Value", "s.$": "$$.Map.Item.Source"}}
        [_, last] = mapped(reader("fields", "JSON", ItemsPointer="/a"), key)
        self.assertEqual(last, {"k": "y", "v": [2], "s": "s3://bucket/fields"})
        # One frame of Zstandard, not packed any further.
        self.put("lines.zstd", bytes.fromhex("28b52ffd2004210000") + b"1\n2\n")
        self.assertEqual(mapped(reader("lines.zstd", "JSONL")), [1, 2])
        self.put("wrong", b"{")
        self.assertEqual(mapped(reader("wrong", "JSON"))[0], "States.ItemReaderFailed")
        error, cause = mapped(reader("not there", "JSON"))
        self.assertEqual(error, "States.ItemReaderFailed")
        self.assertIn("NoSuchKey", cause)

    def test_manifests_lead_to_their_files(self):
        self.put("inv/1.csv.gz", gzip.compress(b'"bucket","k1"\n"bucket","k2"\n'))
        self.put("inv/2.csv.gz", gzip.compress(b'"bucket","k3"\n'))
        manifest = {"fileFormat": "CSV", "fileSchema": "Bucket, Key", "destinationBucket": "arn:aws:s3:::bucket",
                    "files": [{"key": "inv/1.csv.gz"}, {"key": "inv/2.csv.gz"}]}
        self.put("inv/manifest.json", json.dumps(manifest))
        items = [{"Bucket": "bucket", "Key": f"k{n}"} for n in (1, 2, 3)]
        self.assertEqual(mapped(reader("inv/manifest.json", "MANIFEST")), items)
        self.assertEqual(mapped(reader("inv/manifest.json", "MANIFEST", MaxItems=2)), items[:2])
        self.put("unload/1", b"1\n")
        self.put("unload/2", b"2\n")
        self.put("unload/manifest.csv", b"s3://bucket/unload/1\ns3://bucket/unload/2\n")
        athena = reader("unload/manifest.csv", "JSONL", ManifestType="ATHENA_DATA")
        self.assertEqual(mapped(athena), [1, 2])

    def test_a_listing_gives_objects_page_by_page_or_what_is_in_them(self):
        for n in range(5):
            self.put(f"p/{n}", json.dumps([n]))
        listing = {"Resource": "arn:aws:states:::s3:listObjectsV2",
                   "Parameters": {"Bucket": "bucket", "Prefix": "p/", "MaxKeys": 2}}
        self.assertEqual([item["Key"] for item in mapped(listing)], [f"p/{n}" for n in range(5)])
        listing["ReaderConfig"] = {"InputType": "JSON", "Transformation": "LOAD_AND_FLATTEN"}
        self.assertEqual(mapped(listing), list(range(5)))
        source = {"ItemSelector": {"from.$": "$$.Map.Item.Source"}}
        self.assertEqual([item["from"] for item in mapped(listing, source)], [f"s3://bucket/p/{n}" for n in range(5)])
        del listing["ReaderConfig"]
        self.assertEqual({item["from"] for item in mapped(listing, source)}, {"s3://bucket"})

    def test_results_are_written_with_a_manifest_that_names_them(self):
        self.put("lines", b"1\n[2]\n")
        writer = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "bucket", "Prefix": "out"}}
        details = mapped(reader("lines", "JSONL"), writer=writer)["ResultWriterDetails"]
        self.assertEqual(details["Bucket"], "bucket")
        manifest = self.read(details["Key"])
        [file] = manifest["ResultFiles"]["SUCCEEDED"]
        self.assertTrue(file["Key"].endswith("/SUCCEEDED_0.json"), file)
        outputs = self.read(file["Key"])
        self.assertEqual([one["Output"] for one in outputs], ["1", "[2]"])
        self.assertEqual({one["Status"] for one in outputs}, {"SUCCEEDED"})
        writer["WriterConfig"] = {"Transformation": "FLATTEN", "OutputType": "JSONL"}
        details = mapped(reader("lines", "JSONL"), writer=writer)["ResultWriterDetails"]
        [file] = self.read(details["Key"])["ResultFiles"]["SUCCEEDED"]
        self.assertEqual(self.s3.get_object(Bucket="bucket", Key=file["Key"])["Body"].read(), b"1\n2\n")

    def test_results_that_cannot_be_written_fail_the_state(self):
        self.put("lines", b"1\n")
        writer = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "no-bucket"}}
        error, cause = mapped(reader("lines", "JSONL"), writer=writer)
        self.assertEqual(error, "States.ResultWriterFailed")
        self.assertIn("NoSuchBucket", cause)

    def test_a_map_run_under_way_takes_other_limits(self):
        activity = SERVER.states.create_activity(name="nobody-works")["activityArn"]
        machine = {"StartAt": "M", "States": {"M": {
            "Type": "Map", "MaxConcurrency": 1, "End": True,
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "T", "States": {"T": {"Type": "Task", "Resource": activity, "End": True}}}}}}
        states = SERVER.states
        arn = states.create_state_machine(
            name="limits", definition=json.dumps(machine),
            roleArn=f"arn:aws:iam::{corpus.ACCOUNT}:role/role")["stateMachineArn"]
        execution = states.start_execution(stateMachineArn=arn, input="[1,2,3]")["executionArn"]

        def until(found):
            for _ in range(1000):
                runs = states.list_map_runs(executionArn=execution)["mapRuns"]
                shown = runs and states.describe_map_run(mapRunArn=runs[0]["mapRunArn"])
                if shown and found(shown):
                    return shown
                time.sleep(0.02)
            self.fail(str(shown))

        run = until(lambda shown: shown["executionCounts"]["running"] == 1)
        self.assertEqual((run["maxConcurrency"], run["toleratedFailureCount"]), (1, 0))
        limits = {"maxConcurrency": 2, "toleratedFailureCount": 3, "toleratedFailurePercentage": 12.5}
        states.update_map_run(mapRunArn=run["mapRunArn"], **limits)
        run = until(lambda shown: shown["executionCounts"]["running"] == 2)
        self.assertEqual({name: run[name] for name in limits}, limits)
        states.update_map_run(mapRunArn=run["mapRunArn"], maxConcurrency=0)
        until(lambda shown: shown["executionCounts"]["running"] == 3)
        for wrong in ({"toleratedFailurePercentage": 100.5}, {"maxConcurrency": -1}):
            with self.assertRaises((botocore.exceptions.ClientError, botocore.exceptions.ParamValidationError)):
                states.update_map_run(mapRunArn=run["mapRunArn"], **wrong)
        states.stop_execution(executionArn=execution)
        until(lambda shown: shown["status"] == "ABORTED")
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            states.update_map_run(mapRunArn=run["mapRunArn"], maxConcurrency=1)
        self.assertEqual(caught.exception.response["Error"]["Code"], "ValidationException")

    def read(self, key):
        return json.loads(self.s3.get_object(Bucket="bucket", Key=key)["Body"].read())

    def test_http_is_invoked_at_hosts_that_are_allowed_and_nowhere_else(self):
        here = f"http://127.0.0.1:{HTTP.server_port}"
        arn = "arn:aws:events:us-east-1:111111111111:connection/echo/0"
        asked = {"ApiEndpoint": f"{here}/a", "Method": "POST", "Authentication": {"ConnectionArn": arn},
                 "QueryParameters": {"q": ["1", "x y"]}, "RequestBody": {"b": 1}}
        answer = task("http:invoke", asked)
        self.assertEqual((answer["StatusCode"], answer["StatusText"]), (200, "OK"))
        self.assertEqual(answer["ResponseBody"], {"path": "/a?q=1&q=x%20y", "body": '{"b":1}', "key": "secret"})
        self.assertEqual(answer["Headers"]["content-type"], ["application/json"])
        form = {**asked, "RequestBody": {"a": [1, 2]}, "Transform": {"RequestBodyEncoding": "URL_ENCODED"}}
        self.assertEqual(task("http:invoke", form)["ResponseBody"]["body"], "a%5B0%5D=1&a%5B1%5D=2")
        error, _ = task("http:invoke", {**asked, "ApiEndpoint": f"{here}/broken"})
        self.assertEqual(error, "States.Http.StatusCode.500")
        error, _ = task("http:invoke", {**asked, "ApiEndpoint": f"{here}/moved"})
        self.assertEqual(error, "States.Http.StatusCode.302")
        error, cause = task("http:invoke", {**asked, "ApiEndpoint": SERVER.services.url})
        self.assertEqual(error, "States.Runtime")
        self.assertIn("--http-allow 127.0.0.1:", cause)


    def test_an_endpoint_over_tls_is_trusted_where_its_authority_is_named(self):
        answer = task("aws-sdk:translate:listLanguages", {})
        self.assertEqual((answer["path"], answer["body"]), ("/", "{}"))
        error, cause = task("aws-sdk:translate:listLanguages", {}, server=MODELLED)
        self.assertEqual(error, "Translate.SdkClientException")
        self.assertIn("invalid peer certificate: UnknownIssuer", cause)
        self.assertIn("--aws-ca FILE", cause)

    def test_a_service_of_which_nothing_is_known_is_told_with_the_setting_that_helps(self):
        error, cause = task("aws-sdk:ec2:describeVpcs", {})
        self.assertEqual(error, "States.Runtime")
        self.assertIn("--aws-models DIR", cause)


class Modelled(unittest.TestCase):
    """Any service, by botocore's models."""

    def setUp(self):
        MODELLED.clear()

    def task(self, resource, parameters):
        return task(f"aws-sdk:{resource}", parameters, server=MODELLED)

    def test_rest_in_json(self):
        made = self.task("apigateway:createRestApi", {"Name": "shop", "Tags": {"a b": "c"}})
        self.assertRegex(made["CreatedDate"], r"^\d{4}-\d\d-\d\dT.*Z$")
        got = self.task("apigateway:getRestApi", {"RestApiId": made["Id"]})
        self.assertEqual((got["Name"], got["Tags"]), ("shop", {"a b": "c"}))
        listed = self.task("apigateway:getRestApis", {"Limit": 5})
        self.assertEqual([one["Id"] for one in listed["Items"]], [made["Id"]])
        error, cause = self.task("apigateway:getRestApi", {"RestApiId": "none"})
        self.assertEqual(error, "ApiGateway.NotFoundException")
        self.assertIn("(Service: ApiGateway, Status Code: 404, Request ID: ", cause)
        error, _ = self.task("lambda:getFunction", {"FunctionName": "none"})
        self.assertEqual(error, "Lambda.ResourceNotFoundException")
        cluster = {"Name": "c", "RoleArn": "arn:aws:iam::123456789012:role/r", "ResourcesVpcConfig": {"SubnetIds": []}}
        self.assertEqual(self.task("eks:createCluster", cluster)["Cluster"]["Name"], "c")
        self.assertEqual(self.task("eks:listClusters", {})["Clusters"], ["c"])

    def test_rest_in_xml(self):
        zone = {"Name": "example.com", "CallerReference": "1", "HostedZoneConfig": {"Comment": "a<b&", "PrivateZone": False}}
        made = self.task("route53:createHostedZone", zone)["HostedZone"]
        self.assertEqual((made["Config"], made["Name"]), ({"Comment": "a<b&", "PrivateZone": False}, "example.com."))
        change = {"Action": "CREATE", "ResourceRecordSet": {
            "Name": "www.example.com", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "1.2.3.4"}]}}
        changed = self.task("route53:changeResourceRecordSets", {
            "HostedZoneId": made["Id"], "ChangeBatch": {"Changes": [change]}})
        self.assertIn("Status", changed["ChangeInfo"])
        listed = self.task("route53:listResourceRecordSets", {"HostedZoneId": made["Id"]})
        [found] = [one for one in listed["ResourceRecordSets"] if one["Type"] == "A"]
        self.assertEqual((found["Ttl"], found["ResourceRecords"]), (60, [{"Value": "1.2.3.4"}]))
        self.assertEqual(self.task("cloudfront:listDistributions", {})["DistributionList"]["Quantity"], 0)
        error, _ = self.task("route53:getHostedZone", {"Id": "none"})
        self.assertEqual(error, "Route53.NoSuchHostedZoneException")

    def test_s3_has_all_its_actions(self):
        self.assertEqual(self.task("s3:createBucket", {"Bucket": "bucket"})["Location"], "/bucket")
        tags = {"TagSet": [{"Key": "k", "Value": "<v>"}]}
        self.task("s3:putBucketTagging", {"Bucket": "bucket", "Tagging": tags})
        self.assertEqual(self.task("s3:getBucketTagging", {"Bucket": "bucket"}), tags)
        self.assertIn("LocationConstraint", self.task("s3:getBucketLocation", {"Bucket": "bucket"}))
        put = {"Bucket": "bucket", "Key": "a b/ü", "Body": "text", "Metadata": {"m": "1"}}
        self.assertIn("ETag", self.task("s3:putObject", put))
        got = self.task("s3:getObject", {"Bucket": "bucket", "Key": "a b/ü"})
        self.assertEqual((got["Body"], got["ContentLength"], got["Metadata"]), ("text", 4, {"m": "1"}))
        listed = self.task("s3:listObjectsV2", {"Bucket": "bucket"})
        self.assertEqual([(one["Key"], one["Size"]) for one in listed["Contents"]], [("a b/ü", 4)])
        self.assertIs(listed["IsTruncated"], False)
        gone = self.task("s3:deleteObjects", {"Bucket": "bucket", "Delete": {"Objects": [{"Key": "a b/ü"}]}})
        self.assertEqual([one["Key"] for one in gone["Deleted"]], ["a b/ü"])
        error, _ = self.task("s3:getObject", {"Bucket": "bucket", "Key": "gone"})
        self.assertEqual(error, "S3.NoSuchKeyException")

    def test_ec2(self):
        made = self.task("ec2:createVpc", {"CidrBlock": "10.9.0.0/16"})["Vpc"]
        self.assertIs(made["IsDefault"], False)
        vpcs = self.task("ec2:describeVpcs", {"Filters": [{"Name": "cidr", "Values": ["10.9.0.0/16", "10.8.0.0/16"]}]})
        self.assertEqual([one["VpcId"] for one in vpcs["Vpcs"]], [made["VpcId"]])
        error, cause = self.task("ec2:describeVpcs", {"VpcIds": ["vpc-00000000"]})
        self.assertEqual(error, "Ec2.Ec2Exception")
        self.assertIn("vpc-00000000", cause)

    def test_json_of_a_service_that_the_server_does_not_know(self):
        recorder = {"ConfigurationRecorder": {"Name": "r", "RoleARN": "arn:aws:iam::123456789012:role/r"}}
        self.assertEqual(self.task("config:putConfigurationRecorder", recorder), {})
        [shown] = self.task("config:describeConfigurationRecorders", {})["ConfigurationRecorders"]
        self.assertEqual((shown["Name"], shown["RoleARN"]), ("r", "arn:aws:iam::123456789012:role/r"))
        error, _ = self.task("config:describeConfigurationRecorders", {"ConfigurationRecorderNames": ["none"]})
        self.assertEqual(error, "Config.NoSuchConfigurationRecorderException")

    def test_the_query_protocol_gives_numbers_and_times(self):
        made = self.task("rds:createDBInstance", {
            "DbInstanceIdentifier": "d", "DbInstanceClass": "db.t3.micro", "Engine": "postgres", "AllocatedStorage": 5})
        self.assertEqual(made["DbInstance"]["AllocatedStorage"], 5)
        [shown] = self.task("rds:describeDBInstances", {})["DbInstances"]
        self.assertRegex(shown["InstanceCreateTime"], r"^\d{4}-\d\d-\d\dT.*Z$")
        error, _ = self.task("rds:describeDBInstances", {"DbInstanceIdentifier": "none"})
        self.assertEqual(error, "Rds.DbInstanceNotFoundException")
        self.assertEqual(self.task("elasticloadbalancingv2:describeLoadBalancers", {})["LoadBalancers"], [])

    def test_what_is_wrong_is_told_before_anything_is_sent(self):
        for resource, parameters, expected in [
            ("ec2:createSubnet", {"Cidr": 1}, "The field 'Cidr' is not supported by Step Functions, "
                                              "The field 'VpcId' is required but was missing"),
            ("ec2:describeVPCs", {}, "EC2 has no action describeVPCs; it is called describeVpcs"),
            ("lambda:invokeWithResponseStream", {"FunctionName": "f"}, "stream of events"),
            ("nothing:do", {}, "nothing is not among the models that --aws-models names"),
        ]:
            error, cause = self.task(resource, parameters)
            self.assertEqual(error, "States.Runtime")
            self.assertIn(expected, cause)


def serve(tls=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    HTTP = serve()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / "server.pem", CERTIFICATES / "key.pem")
    secure = f'[aws-endpoints]\ntranslate = "https://localhost:{serve(tls).server_port}"\n'
    host = f"127.0.0.1:{HTTP.server_port}"
    connection = f'[http-connections.echo]\nhosts = ["{host}"]\nheaders = {{ x-key = "secret" }}\n'
    authority = f'aws-ca = "{CERTIFICATES / "authority.pem"}"\n'
    SERVER = corpus.Server(sys.argv[1], f'http-allow = ["{host}"]\n{authority}{secure}{connection}')
    MODELLED = corpus.Server(sys.argv[1], f'aws-models = "{MODELS}"\n{secure}')
    try:
        result = unittest.main(argv=[sys.argv[0], *sys.argv[2:]], exit=False, verbosity=2).result
    finally:
        SERVER.stop()
        MODELLED.stop()
    sys.exit(not result.wasSuccessful())
