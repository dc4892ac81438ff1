"""Runs the recorded Step Functions cases against a server, with an unmodified boto3, and prints a table.

    corpus.py FERMATA_BINARY CORPUS_DIR [--only TEXT] [--jobs N] [--long SECONDS] [--verbose] [--list]

Each case is judged: passed (answers and the whole history), outcome only (the end agrees, the history does
not), failed, or not applicable with the reason.
"""

import argparse
import base64
import collections
import concurrent.futures
import io
import json
import pathlib
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import boto3
import botocore.config
import botocore.exceptions

import services

ACCOUNT = "111111111111"
# The server runs the Python that is installed.
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SERVICES_HERE = {"lambda", "activity", "states", "logs", "cross-account"} | services.NAMES
# Added to the API after many of the recordings were made.
LATER_FIELDS = {
    "encryptionConfiguration", "failuresNotRedrivable", "pendingRedrive", "redriveCount", "RedriveCount",
    "RedriveStatus", "RedriveStatusReason",
}
# Of the applicable cases, in percent: those of this server alone, and those that call moto's services.
WHOLE_AT_LEAST = 97
WHOLE_AT_LEAST_WITH_SERVICES = 90
# Up to so many cases that differ are named without being asked for.
FEW = 20
IGNORED = {
    "SdkHttpMetadata", "SdkResponseMetadata", "HttpHeaders", "AllHttpHeaders", "RequestId", "requestId",
    "stackTrace", "X-Amzn-Trace-Id", "ResponseMetadata", "timestamp", "BillingDetails", "billingDetails",
}


class Differs(Exception):
    pass


class Matcher:
    """Compares an answer with a recording, in which tokens stand for any text."""

    def __init__(self, case):
        self.bare = sorted((t for t in case.get("wildcards") or [] if isinstance(t, str)), key=len, reverse=True)

    def check(self, expected, actual, place=""):
        if isinstance(expected, (dict, list)) and isinstance(actual, str):
            try:
                actual = json.loads(actual)
            except ValueError:
                raise Differs(f"{place}: expected {expected!r:.300}, was {actual!r:.300}")
        if isinstance(expected, dict) and isinstance(actual, dict):
            for key, value in expected.items():
                if key in IGNORED:
                    continue
                if key not in actual:
                    raise Differs(f"{place}: {key} is missing; there are {sorted(actual)}")
                self.check(value, actual[key], f"{place}/{key}")
            extra = [key for key in actual if key not in expected and key not in IGNORED | LATER_FIELDS]
            if extra:
                raise Differs(f"{place}: {extra} too much: {[actual[key] for key in extra]!r:.200}")
            return
        if isinstance(expected, list) and isinstance(actual, list):
            if len(expected) != len(actual):
                raise Differs(f"{place}: expected {len(expected)} items, was {len(actual)}: {actual!r:.300}")
            for index, (want, got) in enumerate(zip(expected, actual)):
                self.check(want, got, f"{place}[{index}]")
            return
        if isinstance(expected, str):
            text = actual if isinstance(actual, str) else json.dumps(actual, default=str)
            if self.fits(expected, text):
                return
            try:
                parsed_expected, parsed_actual = json.loads(expected), json.loads(text)
            except ValueError:
                raise Differs(f"{place}: expected {expected!r:.600}, was {text!r:.600}")
            if isinstance(parsed_expected, str) and isinstance(parsed_actual, str):
                if self.fits(parsed_expected, parsed_actual):
                    return
                raise Differs(f"{place}: expected {expected!r:.600}, was {text!r:.600}")
            if isinstance(parsed_expected, str):
                raise Differs(f"{place}: expected {expected!r:.600}, was {text!r:.600}")
            self.check(parsed_expected, parsed_actual, place)
            return
        if isinstance(expected, (int, float)) and isinstance(actual, (int, float)):
            if isinstance(expected, bool) == isinstance(actual, bool) and abs(expected - actual) <= abs(expected) * 1e-12:
                return
        if expected != actual:
            raise Differs(f"{place}: expected {expected!r:.600}, was {actual!r:.600}")

    def fits(self, expected, text):
        if expected == text or expected in ("timestamp", "datetime"):
            return True
        parts, rest = [""], expected
        while rest:
            if rest[0] == "<" and (end := self.token_end(rest)):
                parts.append("")
                rest = rest[end:]
                continue
            token = next((t for t in [*self.bare, "date"] if rest.startswith(t)), None)
            if token:
                parts.append("")
                rest = rest[len(token):]
                continue
            parts[-1] += rest[0]
            rest = rest[1:]
        if len(parts) == 1:
            return False
        pattern = "(?s:.+)".join(re.escape(part) for part in parts)
        return re.fullmatch(pattern, text) is not None

    @staticmethod
    def token_end(text):
        depth = 0
        for at, char in enumerate(text):
            depth += (char == "<") - (char == ">")
            if char == "\n":
                return None
            if depth == 0:
                return at + 1
        return None


HANDLERS = {
    "echo": "def handler(event, context):\n    return event\n",
    "return": "import json\ndef handler(event, context):\n    return json.loads({value!r})\n",
    "decorate": "def handler(event, context):\n    return {prefix!r} + str(event)\n",
    "repeat": "def handler(event, context):\n    return {char!r} * {times}\n",
    "sleep-echo": "import time\ndef handler(event, context):\n    time.sleep({seconds})\n    return event\n",
    "raise": "class {errorType}(Exception):\n    pass\ndef handler(event, context):\n    raise {errorType}({errorMessage!r})\n",
}


def code_of(behaviour):
    values = {key: value for key, value in behaviour.items()}
    values["value"] = json.dumps(behaviour.get("value"))
    kind = behaviour["kind"]
    if kind == "raise" and behaviour["errorType"] in dir(__builtins__):
        return f"def handler(event, context):\n    raise {behaviour['errorType']}({behaviour['errorMessage']!r})\n"
    return HANDLERS[kind].format(**values)


class Server:
    def __init__(self, binary, configuration="", others=None, store="memory"):
        self.dir = tempfile.TemporaryDirectory()
        self.services = others or services.Services(ACCOUNT)
        command = [binary, "serve", "--dev", "--store", store, "--listen", "127.0.0.1:0",
                   "--data", self.dir.name, "--aws-account", ACCOUNT, "--aws-endpoint", self.services.url]
        if configuration:
            file = pathlib.Path(self.dir.name) / "fermata.toml"
            file.write_text(configuration)
            command += ["--config", str(file)]
        self.log = open(pathlib.Path(self.dir.name) / "log", "w")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        config = botocore.config.Config(
            retries={"max_attempts": 0}, inject_host_prefix=False, read_timeout=90, max_pool_connections=64)
        keys = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.states = boto3.client("stepfunctions", endpoint_url=self.url, config=config, **keys)
        self.functions = boto3.client("lambda", endpoint_url=self.url, config=config, **keys)
        self.logs = boto3.client("logs", endpoint_url=self.url, config=config, **keys)

    def clear(self):
        """Forgets what an earlier case left: names repeat among cases, and a machine that still runs
        takes what is meant for others."""
        for machine in self.states.list_state_machines(maxResults=1000)["stateMachines"]:
            if machine["type"] == "EXPRESS":
                continue
            running = self.states.list_executions(
                stateMachineArn=machine["stateMachineArn"], statusFilter="RUNNING")["executions"]
            for execution in running:
                self.states.stop_execution(executionArn=execution["executionArn"])
        for machine in self.states.list_state_machines(maxResults=1000)["stateMachines"]:
            self.states.delete_state_machine(stateMachineArn=machine["stateMachineArn"])
        for activity in self.states.list_activities(maxResults=1000)["activities"]:
            self.states.delete_activity(activityArn=activity["activityArn"])
        for group in self.logs.describe_log_groups()["logGroups"]:
            self.logs.delete_log_group(logGroupName=group["logGroupName"])
        self.services.clear()

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
        self.services.stop()


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Case:
    def __init__(self, server, case, long_seconds):
        self.server, self.case, self.long = server, case, long_seconds
        self.matcher = Matcher(case)
        self.answers = {}
        self.callback = {}

    def not_applicable(self):
        needs = [need for need in self.case.get("needs") or [] if need not in SERVICES_HERE]
        if needs:
            return "needs " + ", ".join(sorted(needs))
        if differs := next((why for name, why in services.DIFFERS.items() if name in self.case["id"]), None):
            return f"moto {differs}"
        if (self.case.get("seconds_hint") or 0) > self.long:
            return f"waits {self.case['seconds_hint']} s"
        if self.case.get("trace_stopped"):
            return "its recording is not whole"
        if self.case.get("background_worker") and self.case["kind"] != "script" and not self.worker_is_known():
            return "has a background worker that is not known"
        return None

    def worker_is_known(self):
        calls = self.case["background_worker"]
        return isinstance(calls, list)

    def run(self):
        for function in self.case.get("lambdas") or []:
            self.deploy(function)
        for resource in self.case.get("resources") or []:
            if resource["service"] in services.NAMES and not (resource.get("after_step") or resource.get("background")):
                self.server.services.do(resource)
        self.log_groups("CreateLogGroup")
        kind = self.case["kind"]
        if kind in ("execution", "batch"):
            runs = self.case.get("runs") or [self.case]
            notes = [self.execution(run) for run in runs]
            return next((note for note in notes if note), None)
        if kind == "express_sync":
            return self.express_sync()
        if kind == "express_async":
            return self.express_async()
        if kind == "test_state":
            for call in self.case["calls"]:
                params = dict(call["params"])
                params["definition"] = json.dumps(params["definition"])
                self.call("TestState", params, call)
            return None
        return self.script()

    def log_groups(self, call, step=0):
        """Makes the log groups of the case, or deletes those that it deletes after that step."""
        for resource in self.case.get("resources") or []:
            if resource["service"] == "logs" and resource["call"] == call:
                if call == "CreateLogGroup" or (resource.get("after_step") or 0) == step:
                    getattr(self.server.logs, snake(call))(**resource["params"])

    def deploy(self, function):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as package:
            package.writestr("handler.py", code_of(function["behaviour"]))
        try:
            self.server.functions.delete_function(FunctionName=function["name"])
        except botocore.exceptions.ClientError:
            pass
        self.server.functions.create_function(
            FunctionName=function["name"], Runtime=PYTHON, Handler="handler.handler", Timeout=30,
            Role=f"arn:aws:iam::{ACCOUNT}:role/role", Code={"ZipFile": archive.getvalue()})

    def call(self, op, params, step):
        expected, expected_error = step.get("expect"), step.get("expect_error")
        if expected_error and expected_error.get("client_side"):
            return None
        try:
            answer = getattr(self.server.states, snake(op))(**params)
        except botocore.exceptions.ClientError as error:
            found = error.response["Error"]
            if not expected_error:
                raise Differs(f"{op} was refused: {found}")
            if expected_error.get("code") and found["Code"] != expected_error["code"]:
                raise Differs(f"{op}: expected {expected_error}, was {found}")
            if expected_error.get("message"):
                self.matcher.check(expected_error["message"], found["Message"], f"{op} error")
            return None
        if expected_error:
            raise Differs(f"{op} was taken: expected {expected_error}")
        answer.pop("ResponseMetadata", None)
        if expected is not None:
            self.matcher.check(expected, answer, op)
        return answer

    def fill(self, value):
        """Puts what earlier steps answered into parameters."""
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if not isinstance(value, str):
            return value

        def answer_of(match):
            root, *steps = re.findall(r"[^.\[\]]+", match.group(1))
            found = self.callback if root == "callback" else self.answers.get(root)
            for step in steps:
                found = found[int(step)] if isinstance(found, list) else (found or {}).get(step)
            return str(found)
        return re.sub(r"\$\{([^}]+)\}", answer_of, value)

    def execution(self, run):
        client, case = self.server.states, self.case
        definition = run.get("definition") or case["definition"]
        name = case.get("machine_name") or "machine"
        for activity in case.get("activities") or []:
            client.create_activity(name=activity["name"] if isinstance(activity, dict) else activity)
        for extra in case.get("auxiliary_machines") or []:
            created = client.create_state_machine(
                name=extra["machine_name"], definition=json.dumps(extra["definition"]),
                type=extra.get("machine_type") or "STANDARD", roleArn=f"arn:aws:iam::{ACCOUNT}:role/role")
            for start in extra.get("start_before_main") or []:
                client.start_execution(stateMachineArn=created["stateMachineArn"], input=start["input"])
        role = case.get("role_arn") or f"arn:aws:iam::{ACCOUNT}:role/test-sfn-role"
        params = {"name": name, "definition": json.dumps(definition), "roleArn": role}
        if case.get("machine_type"):
            params["type"] = case["machine_type"]
        if case.get("loggingConfiguration"):
            params["loggingConfiguration"] = case["loggingConfiguration"]
        arn = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:{name}"
        client.delete_state_machine(stateMachineArn=arn)
        try:
            client.create_state_machine(**params)
        except botocore.exceptions.ClientError as error:
            raise Differs(f"the definition was refused: {error.response['Error']}")
        self.log_groups("DeleteLogGroup", 1)
        start = {"stateMachineArn": arn}
        text = run.get("input_text", case.get("input_text"))
        if text is None and run.get("input") is not None:
            text = json.dumps(run["input"])
        if text is not None:
            start["input"] = text
        for update in case.get("updates_before_start") or []:
            client.update_state_machine(**update)
        execution = client.start_execution(**start)["executionArn"]
        worker = self.start_worker(execution)
        described = self.wait_for_end(execution)
        if worker:
            worker.join(5)
        return self.compare(run.get("expected") or case["expected"], execution, described)

    def start_worker(self, execution):
        calls = self.case.get("background_worker")
        if not calls:
            return None

        def work():
            self.receive()
            for step in calls:
                op, params = step.get("op"), step.get("params") or {}
                if not op:
                    continue
                try:
                    answer = getattr(self.server.states, snake(op))(**self.fill(params))
                except botocore.exceptions.ClientError:
                    continue
                if op == "GetActivityTask":
                    self.callback = {"TaskToken": answer.get("taskToken"), "taskToken": answer.get("taskToken")}
                self.answers[f"s{step.get('step', 0)}"] = answer
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def receive(self):
        """Takes the message that a worker waits for: its body has the token."""
        resources = self.case.get("resources") or []
        wanted = next((one for one in resources if one.get("background") and one["call"] == "ReceiveMessage"), None)
        for _ in range(200 if wanted else 0):
            messages = self.server.services.do(wanted).get("Messages") or []
            if messages:
                self.callback = json.loads(messages[0]["Body"])
                return
            time.sleep(0.05)

    def wait_for_end(self, execution, seconds=75):
        deadline = time.monotonic() + seconds
        pause = 0.005
        while time.monotonic() < deadline:
            described = self.server.states.describe_execution(executionArn=execution)
            if described["status"] != "RUNNING":
                return described
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)
        raise Differs("it did not end")

    def compare(self, expected, execution, described):
        if expected.get("incomplete"):
            return None
        for field in ("status", "output", "error", "cause"):
            if field in expected or described.get(field) is not None:
                if expected.get(field) is None and field != "status":
                    if described.get(field) is not None:
                        raise Differs(f"{field}: expected none, was {described[field]!r:.600}")
                    continue
                if field == "status" and expected.get(field) is None:
                    continue
                self.matcher.check(expected[field], described.get(field), field)
        self.compare_logs(expected.get("logged_execution_events") or [])
        history = expected.get("history")
        if not history or self.case.get("history_fidelity") == "lossy":
            return None
        events, token = [], {}
        while True:
            page = self.server.states.get_execution_history(executionArn=execution, maxResults=1000, **token)
            events += page["events"]
            if "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
        try:
            self.compare_history(history, events)
        except Differs as differs:
            return str(differs)
        return None

    def logged(self):
        """The events in the log group of the case; none where it has none, or deletes it."""
        calls = {resource["call"]: resource["params"] for resource in self.case.get("resources") or []
                 if resource["service"] == "logs"}
        if "CreateLogGroup" not in calls or "DeleteLogGroup" in calls:
            return None
        pages = self.server.logs.get_paginator("filter_log_events")
        pages = pages.paginate(logGroupName=calls["CreateLogGroup"]["logGroupName"])
        return [json.loads(event["message"]) for page in pages for event in page["events"]]

    def compare_logs(self, wanted):
        events = self.logged()
        if events is None:
            return
        # An end is told of a moment before it is logged.
        deadline = time.monotonic() + 5
        while len(events) < len(wanted) and time.monotonic() < deadline:
            time.sleep(0.02)
            events = self.logged()
        if [event["type"] for event in wanted] != [event["type"] for event in events]:
            raise Differs(f"logged: expected {wanted}, was {events}")
        for expected, event in zip(wanted, events):
            self.matcher.check(expected, event, f"logged event {event['id']}")

    def compare_history(self, wanted, events):
        if self.case.get("concurrent_history"):
            def count(events):
                found = collections.Counter()
                for event in events:
                    details = next((v for k, v in event.items() if k.endswith("Details")), None) or {}
                    found[event["type"], details.get("name")] += 1
                return found
            if count(wanted) != count(events):
                raise Differs(f"events: missing {count(wanted) - count(events)}, too much {count(events) - count(wanted)}")
            return
        want, got = [event["type"] for event in wanted], [event["type"] for event in events]
        if want != got:
            raise Differs(f"events: expected {want}, was {got}")
        for expected, event in zip(wanted, events):
            expected = dict(expected)
            if expected["type"] in ("MapStateExited", "MapStateSucceeded"):
                expected["previousEventId"] = event["previousEventId"]
            self.matcher.check(expected, event, f"event {event['id']} {event['type']}")

    def express_sync(self):
        client, case = self.server.states, self.case
        name = case.get("machine_name") or "machine"
        client.create_state_machine(
            name=name, definition=json.dumps(case["definition"]), type="EXPRESS",
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/test-sfn-role")
        start = {"stateMachineArn": f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:{name}"}
        if case.get("input_text") is not None:
            start["input"] = case["input_text"]
        answer = client.start_sync_execution(**start)
        answer.pop("ResponseMetadata", None)
        self.matcher.check(case["expected"]["response"], answer, "response")

    def express_async(self):
        client, case = self.server.states, self.case
        name, expected = case.get("machine_name") or "machine", case["expected"]
        created = client.create_state_machine(
            name=name, definition=json.dumps(case["definition"]), type="EXPRESS",
            loggingConfiguration=case["loggingConfiguration"], roleArn=f"arn:aws:iam::{ACCOUNT}:role/test-sfn-role")
        client.start_execution(stateMachineArn=created["stateMachineArn"], input=case.get("input_text") or "{}")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            last = (self.logged() or [{}])[-1]
            if last.get("type") in ("ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"):
                self.matcher.check(expected["end_event"], last, "last event")
                return
            time.sleep(0.02)
        raise Differs("its end is not in its log group")

    def script(self):
        self.log_groups("DeleteLogGroup")
        for step in self.case["steps"]:
            if "wait" in step:
                self.wait(step)
            elif "op" in step:
                params = self.fill(step.get("params") or {})
                answer = self.call(step["op"], params, step)
                self.answers[f"s{step['step']}"] = answer or {}
            if step.get("step"):
                self.log_groups("DeleteLogGroup", step["step"])
        return None

    def wait(self, step):
        condition, params = step["wait"], self.fill(step.get("params") or {})
        arn = params.get("execution_arn")
        if condition in ("execution_terminated", "execution_success", "execution_aborted"):
            self.wait_for_end(arn)
        elif condition in ("execution_started", "on_execution_events"):
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                history = self.server.states.get_execution_history(executionArn=arn)["events"]
                if len(history) >= (2 if condition == "on_execution_events" else 1):
                    return
                time.sleep(0.02)
            raise Differs(f"{condition} did not come")


def judge(servers, path, options):
    server = servers.get()
    try:
        return judge_on(server, path, options)
    finally:
        servers.put(server)


def judge_on(server, path, options):
    text = path.read_text()
    for name, meant in services.SLIPPED.items():
        text = text.replace(name, meant)
    case = json.loads(text)
    run = Case(server, case, options.long)
    reason = run.not_applicable()
    if reason:
        return case, "not applicable", reason
    try:
        server.clear()
        note = run.run()
    except Differs as differs:
        return case, "failed", str(differs)
    except Exception as error:  # noqa: BLE001: whatever it was, this case did not pass
        return case, "failed", f"{type(error).__name__}: {error}"
    return case, ("outcome only" if note else "passed"), note


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--long", type=float, default=900, help="cases whose limits are longer are left out")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    paths = sorted((options.corpus / "open").glob("*.json"))
    started = [Server(options.binary) for _ in range(options.jobs)]
    servers = queue.Queue()
    for server in started:
        servers.put(server)
    with_services = collections.Counter()
    verdicts = ("passed", "outcome only", "failed", "not applicable")
    table, reasons, failures = collections.defaultdict(collections.Counter), collections.defaultdict(list), []
    try:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            chosen = [path for path in paths if options.only in path.read_text()] if options.only else paths
            for case, verdict, note in pool.map(lambda path: judge(servers, path, options), chosen):
                table[case["area"]][verdict] += 1
                if set(case.get("needs") or []) & services.NAMES:
                    with_services[verdict] += 1
                if verdict == "not applicable":
                    reasons[note].append(case["id"])
                elif note:
                    failures.append((case["area"], verdict, case["id"], note))
    finally:
        for server in started:
            server.stop()
    width = max(map(len, table), default=4) + 2
    print(f"{'area':{width}}" + "".join(f"{verdict:>15}" for verdict in verdicts))
    for area in sorted(table):
        print(f"{area:{width}}" + "".join(f"{table[area][verdict]:>15}" for verdict in verdicts))
    total = sum(table.values(), collections.Counter())
    print(f"{'all':{width}}" + "".join(f"{total[verdict]:>15}" for verdict in verdicts))
    for reason, names in sorted(reasons.items()):
        print(f"not applicable, {reason}:", *names, sep="\n    ")
    if options.verbose or len(failures) <= FEW:
        for area, verdict, name, note in failures:
            print(f"\n{verdict}: [{area}] {name}\n    {note}")
    alone = total - with_services
    kinds = (("of this server alone", alone, WHOLE_AT_LEAST),
             ("that call moto's services", with_services, WHOLE_AT_LEAST_WITH_SERVICES))
    code = 0
    for kind, counts, least in kinds:
        tried = sum(counts.values()) - counts["not applicable"]
        share = 100 * (counts["passed"] + counts["outcome only"]) / max(tried, 1)
        whole = 100 * counts["passed"] / max(tried, 1)
        print(f"{kind}: of {tried} applicable cases {counts['passed']} passed whole ({whole:.1f} %), "
              f"{share:.1f} % have the same outcome")
        if whole < least and not options.only:
            print(f"fewer than {least} % passed whole")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
