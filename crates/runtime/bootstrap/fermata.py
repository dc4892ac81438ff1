"""What a Python function can ask of the platform that runs it."""

import json
import os
import socket

__all__ = ["Failed", "Refused", "invoke"]


class Refused(Exception):
    """The call was not started; `code` says why, as in the platform's list of errors."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Failed(Exception):
    """The function that was called failed; `code` says how, `detail` is what it threw."""

    def __init__(self, code, message, detail=None):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.detail = detail


def invoke(name, payload=None, class_=None, wait=True):
    """Calls another function and returns its answer.

    A payload of bytes is sent as it is, any other as JSON. An answer that is JSON is decoded, any
    other is returned as bytes.

    `class_` states a price class; the effective one is never lower than the caller's. With
    `wait=False` the call is queued, and its invocation's id is returned at once.
    """
    headers = {"Content-Type": "application/json"}
    if "FERMATA_TOKEN" in os.environ:
        headers["Authorization"] = f"Bearer {os.environ['FERMATA_TOKEN']}"
    if class_ is not None:
        headers["X-Fermata-Class"] = class_
    if not wait:
        headers["X-Fermata-Async"] = "true"
    connection = Connection()
    try:
        is_raw = isinstance(payload, (bytes, bytearray))
        body = bytes(payload) if is_raw else json.dumps(payload).encode()
        status, _, answer = connection.ask("POST", f"/v1/functions/{name}/invoke", headers, body)
    finally:
        connection.close()
    if status == 200:
        return decoded(answer)
    problem = json.loads(answer)
    if status == 202:
        return problem["invocation"]
    code, message = problem.get("code", "internal"), problem.get("detail", "")
    if status == 424:
        raise Failed(code, message, problem.get("failure"))
    raise Refused(code, message)


def decoded(answer):
    try:
        return json.loads(answer) if answer else None
    except ValueError:
        return answer


class Connection:
    """HTTP/1.1 to the platform's endpoint, which is always on this machine."""

    def __init__(self):
        host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")

    def close(self):
        self._reader.close()
        self._socket.close()

    def ask(self, method, path, headers=None, body=b""):
        """Sends a request; returns status, headers in lower case, and body."""
        lines = [f"{method} {path} HTTP/1.1", "Host: fermata", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        status = self._reader.readline().split(None, 2)
        if len(status) < 2:
            raise ConnectionError("the platform closed the connection")
        received = {}
        while line := self._reader.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            received[name.lower()] = value.strip()
        length = int(received.get("content-length", 0))
        return int(status[1]), received, self._reader.read(length)
