"""Requests that state machines make by botocore's models, held against those that botocore makes itself.

    serialized.py FERMATA_BINARY [SEED]

Of each service a few actions are called with made-up parameters; a server of this script takes the requests.
"""

import datetime
import http.server
import json
import pathlib
import random
import sys
import threading
import urllib.parse
import xml.etree.ElementTree

import botocore
import botocore.loaders
import botocore.model
import botocore.serialize
import corpus

MODELS = pathlib.Path(botocore.__file__).parent / "data"
SPOKEN = ["json", "rest-json", "rest-xml", "query", "ec2"]
ACTIONS_OF_A_SERVICE = 2
DEPTH = 4
AT = datetime.datetime(2024, 11, 15, 13, 57, 13, tzinfo=datetime.timezone.utc)
# What botocore knows beside its models, or adds for its own sake.
NOT_COMPARED = {"content-length", "x-amzn-query-mode"}
NESTED = ("structure", "list", "map")


class Recorder(http.server.BaseHTTPRequestHandler):
    """Keeps the last request and answers with nothing."""

    protocol_version = "HTTP/1.1"
    last = None

    def take(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        Recorder.last = {"method": self.command, "url": self.path, "headers": headers, "body": body}
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = take

    def log_message(self, *_):
        pass


class Services:
    """Stands for all of AWS."""

    def __init__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def stop(self):
        self.server.shutdown()


def state_name(name):
    """A member as a state names it, but for large letters, which do not matter in parameters."""
    return name[0].upper() + name[1:]


def action_name(name):
    """Small letters at the beginning, up to the last large one before a small one."""
    small = 1
    while name[small:small + 1].isupper() and not name[small + 1:small + 2].islower():
        small += 1
    return name[:small].lower() + name[small:]


def value(shape, depth=DEPTH, around=()):
    """Something of that shape: for botocore, and for a state."""
    kind = shape.type_name
    if kind in NESTED:
        around = {*around, shape.name}
    if kind == "structure":
        if shape.is_document_type:
            return {"x": 1}, {"x": 1}
        ours, theirs = {}, {}
        for name, member in shape.members.items():
            payload = shape.serialization.get("payload") == name
            left_out = depth <= 0 or random.random() < 0.25 and not payload
            # A token that is left out is made up, and what is JSON in a header is given as such.
            wanted = name in shape.required_members or "idempotencyToken" in member.metadata
            json_header = "jsonvalue" in member.serialization and member.serialization.get("location") == "header"
            if member.name in around or json_header or left_out and not wanted:
                continue
            whole = payload and member.type_name == "blob"
            theirs[name], ours[state_name(name)] = (b"hi", "hi") if whole else value(member, depth - 1, around)
        return theirs, ours
    if kind == "list":
        items = [] if shape.member.name in around else [value(shape.member, depth - 1, around) for _ in range(2)]
        return [item[0] for item in items], [item[1] for item in items]
    if kind == "map":
        if shape.value.name in around:
            return {}, {}
        theirs, ours = value(shape.value, depth - 1, around)
        return {"k": theirs}, {"k": ours}
    number = random.randint(1, 9)
    return {
        "string": (f"a<&\" {number}",) * 2, "character": ("c", "c"), "integer": (number, number),
        "long": (number, number), "float": (1.5, 1.5), "double": (1.5, 1.5), "boolean": (True, True),
        "timestamp": (AT, "2024-11-15T13:57:13Z"), "blob": (b"hi", "aGk="),
    }[kind]


def read(body):
    """A body without what does not matter: the order of fields, and blanks around elements."""
    if body[:1] in (b"{", b"["):
        return json.loads(body)
    if body[:1] == b"<":
        def element(node):
            return node.tag, sorted(node.attrib.items()), (node.text or "").strip(), [element(one) for one in node]
        return element(xml.etree.ElementTree.fromstring(body))
    if b"Action=" in body:
        return sorted(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
    return body


def differences(made, wanted):
    body = wanted["body"]
    if isinstance(body, dict):
        body = urllib.parse.urlencode(body)
    body = body.encode() if isinstance(body, str) else body or b""
    path, _, query = made["url"].partition("?")
    wanted_path, _, wanted_query = wanted["url_path"].partition("?")
    queried = wanted["query_string"]
    queried = list(queried.items() if isinstance(queried, dict) else queried)
    queried = [(name, str(one)) for name, of in queried for one in (of if isinstance(of, list) else [of])]
    of_query = urllib.parse.parse_qsl(wanted_query, keep_blank_values=True) + queried
    pairs = {
        "method": (made["method"], wanted["method"]),
        "path": (urllib.parse.unquote(path), urllib.parse.unquote(wanted_path)),
        "query": (sorted(urllib.parse.parse_qsl(query, keep_blank_values=True)), sorted(of_query)),
        "body": (read(made["body"]), read(body)),
    }
    for name, wanted_value in wanted["headers"].items():
        if name.lower() not in NOT_COMPARED:
            found = made["headers"].get(name.lower(), "")
            pairs[name] = found.split(";")[0], str(wanted_value).split(";")[0]
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def call(server, service, action, parameters):
    """Calls the action from a state, and gives why it could not be called."""
    state = {"Type": "Task", "Resource": f"arn:aws:states:::aws-sdk:{service}:{action}", "Parameters": parameters, "End": True}
    role = f"arn:aws:iam::{corpus.ACCOUNT}:role/role"
    definition = json.dumps({"StartAt": "T", "States": {"T": state}})
    machine = server.states.create_state_machine(name="m", definition=definition, type="EXPRESS", roleArn=role)
    arn = machine["stateMachineArn"]
    ended = server.states.start_sync_execution(stateMachineArn=arn, input="{}")
    server.states.delete_state_machine(stateMachineArn=arn)
    return ended.get("cause")


def check(server, name, raw):
    """What differs in some actions of a service, and how many are the same."""
    offered = raw["metadata"].get("protocols") or [raw["metadata"]["protocol"]]
    protocol = next((one for one in offered if one in SPOKEN), None)
    for operation in raw["operations"].values():
        # An endpoint of the operator gets no prefix.
        operation.pop("endpoint", None)
    model = botocore.model.ServiceModel(raw, name)
    found, same = [], 0
    for operation in random.sample(sorted(model.operation_names), min(ACTIONS_OF_A_SERVICE, len(model.operation_names))):
        shown = model.operation_model(operation)
        if shown.has_event_stream_input or shown.has_event_stream_output:
            continue
        theirs, ours = value(shown.input_shape) if shown.input_shape else ({}, {})
        Recorder.last = None
        cause = call(server, name, action_name(operation), ours)
        if protocol is None:
            if "it speaks " not in (cause or ""):
                found.append((name, operation, cause))
            continue
        if Recorder.last is None:
            found.append((name, operation, cause))
            continue
        serializer = botocore.serialize.create_serializer(protocol, include_validation=False)
        if differs := differences(Recorder.last, serializer.serialize_to_request(theirs, shown)):
            found.append((name, operation, differs))
        else:
            same += 1
    return found, same


def main():
    random.seed(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    server = corpus.Server(sys.argv[1], f'aws-models = "{MODELS}"\n', Services())
    loader = botocore.loaders.Loader(include_default_extras=False)
    found, same = [], 0
    try:
        for name in loader.list_available_services("service-2"):
            # Step Functions is the server itself.
            if name != "stepfunctions":
                differs, alike = check(server, name, loader.load_service_model(name, "service-2"))
                found, same = found + differs, same + alike
    finally:
        server.stop()
    for one in found:
        print("differs:", *one)
    print(f"{same} requests are the same as botocore's, {len(found)} are not")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
