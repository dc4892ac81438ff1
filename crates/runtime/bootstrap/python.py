"""Runs a Python handler: asks the platform what to run, imports it, serves invocation after
invocation. Until it is told what to run it is a generic interpreter, ready for any function."""

import importlib
import json
import os
import sys
import time
import traceback

sys.path.insert(0, "/var/runtime")
from fermata import Connection  # noqa: E402

# Each line is a write of its own. Not unbuffered: then Python drops what a write interrupted by a
# stop did not take.
sys.stdout.reconfigure(line_buffering=True)

RUNTIME = "/2018-06-01/runtime"


class Context:
    """The second argument of a handler, as on AWS Lambda."""

    def __init__(self, headers):
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers["lambda-runtime-invoked-function-arn"]
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = self.aws_request_id
        self.fermata_class = headers.get("fermata-class")
        self.traceparent = headers.get("traceparent")
        self.identity = None
        self.client_context = None
        self._deadline_ms = int(headers["lambda-runtime-deadline-ms"])

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline_ms - time.time_ns() // 1_000_000)


def describe(error):
    """An exception as the platform reports it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    return {
        "errorType": type(error).__name__,
        "errorMessage": str(error),
        "stackTrace": traceback.format_list(own),
    }


def load(name):
    """The handler `module.function`; the module may be in folders (`a/b.handler`)."""
    module, dot, function = name.rpartition(".")
    if not dot:
        raise ValueError(f"the handler {name!r} is not of the form module.function")
    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    return getattr(importlib.import_module(module.replace("/", ".")), function)


def main():
    connection = Connection()
    _, _, assignment = connection.ask("GET", "/fermata/assignment")
    assignment = json.loads(assignment)
    os.environ.update(assignment["environment"])
    if "TZ" in assignment["environment"]:
        time.tzset()
    try:
        handler = load(os.environ["_HANDLER"])
    except BaseException as error:  # noqa: B902 - also a module that exits
        traceback.print_exc()
        body = json.dumps(describe(error)).encode()
        connection.ask("POST", f"{RUNTIME}/init/error", {"Lambda-Runtime-Function-Error-Type": "Init"}, body)
        return 1
    while True:
        serve(connection, handler)


def serve(connection, handler):
    """One invocation."""
    _, headers, payload = connection.ask("GET", f"{RUNTIME}/invocation/next")
    path = f"{RUNTIME}/invocation/{headers['lambda-runtime-aws-request-id']}"
    os.environ["FERMATA_TOKEN"] = headers["fermata-token"]
    os.environ["_X_AMZN_TRACE_ID"] = headers.get("lambda-runtime-trace-id", "")
    try:
        answer = handler(json.loads(payload) if payload else None, Context(headers))
        body, end, extra = json.dumps(answer).encode(), "response", {}
    except Exception as error:
        traceback.print_exc()
        body, end = json.dumps(describe(error)).encode(), "error"
        extra = {"Lambda-Runtime-Function-Error-Type": type(error).__name__}
    sys.stdout.flush()
    sys.stderr.flush()
    connection.ask("POST", f"{path}/{end}", extra, body)


if __name__ == "__main__":
    sys.exit(main())
