"""Runs a durable function in Python inside the platform's WebAssembly engine. Its text is the first
argument. What it can ask of the platform is the module `fermata`, made here.

Everything goes through standard input: a request is written to it, its answer is read from it, and
reading the answer of a wait suspends the interpreter, as it stands, until the wait is over.
"""

import json
import os
import sys
import time
import types

FRAMES_BYTES = 1 << 20
REFUSALS = {-3: "an argument is malformed", -4: "it is over the cap", -6: "too many operations are open"}


def ask(words, *pieces):
    """Sends a request; gives the number and the bytes of its answer."""
    request = b"".join((words.encode(), b"\n", *pieces))
    try:
        os.write(0, request)
    except OSError as error:
        if len(request) > 1 << 16:
            raise Refused("invalid-argument", REFUSALS[-4]) from None
        raise RuntimeError("this runner is for functions deployed with --durable") from error
    answer = os.read(0, 4096)
    line, _, rest = answer.partition(b"\n")
    number, length = map(int, line.split())
    pieces = [rest]
    missing = length - len(rest)
    while missing > 0:
        pieces.append(os.read(0, min(missing, 1 << 20)))
        missing -= len(pieces[-1])
    return number, b"".join(pieces)


def encoded(value):
    return bytes(value) if isinstance(value, (bytes, bytearray)) else json.dumps(value).encode()


def decoded(answer):
    try:
        return json.loads(answer) if answer else None
    except ValueError:
        return answer


class Refused(Exception):
    """What was asked for was not started; `code` says why."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Failed(Exception):
    """What was waited for did not end well; `code` says how, `detail` is what it threw."""

    def __init__(self, code, message, detail=None):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.detail = detail


class Operation:
    """Something under way. `result()` waits for it."""

    def __init__(self, words, *pieces):
        self._op, _ = ask(words, *pieces)
        self._outcome = None
        if self._op < 0:
            raise Refused("invalid-argument", REFUSALS.get(self._op, f"refused ({self._op})"))

    def __repr__(self):
        return f"<operation {self._op}>"

    @property
    def token(self):
        """The text of a callback token."""
        return ask(f"token_text {self._op}")[1].decode()

    def cancel(self):
        """Takes it back. It must not be waited for after that."""
        if self._outcome is None:
            ask(f"drop {self._op}")

    def result(self):
        """Waits until it has ended. Its answer, or `Failed` or `Refused`."""
        if self._outcome is None:
            wait("all", [self])
            self._outcome = ask(f"outcome {self._op}")
        code, answer = self._outcome
        if code >= 0:
            return decoded(answer)
        head, _, detail = answer.partition(b"\n\n")
        name, _, message = head.decode().partition("\n")
        if code == -2:
            raise Refused(name, message.strip())
        raise Failed(name, message.strip(), decoded(detail))


def wait(mode, operations):
    """Suspends until any or all have ended; gives the number of the one that the platform names."""
    ops = [operation._op for operation in operations if operation._outcome is None]
    if not ops:
        return 0
    number, _ = ask(f"wait {mode} {' '.join(map(str, ops))}")
    if number < 0:
        raise Refused("invalid-argument", "it waits for nothing, or for what was cancelled")
    # What is drawn at random after a wait must not be what another run of this turn would draw.
    if "random" in sys.modules:
        sys.modules["random"].seed()
    return number


def milliseconds(seconds, **more):
    if more:
        import datetime

        seconds = datetime.timedelta(seconds=seconds, **more).total_seconds()
    return max(0, round(seconds * 1000))


def invocation(word, name, payload, class_):
    name, class_ = name.encode(), (class_ or "").encode()
    return Operation(f"{word} {len(name)} {len(class_)}", name, class_, encoded(payload))


def submit(name, payload=None, class_=None):
    """Calls another function; gives an operation that ends with its answer."""
    return invocation("call", name, payload, class_)


def call(name, payload=None, class_=None):
    """Another function's answer."""
    return submit(name, payload, class_).result()


def call_detached(name, payload=None, class_=None):
    """Calls another function and leaves it to itself; its id, once it is safely queued."""
    answer = invocation("call_detached", name, payload, class_).result()
    return answer.decode() if isinstance(answer, bytes) else answer


def invoke(name, payload=None, class_=None, wait=True):
    """As in a function that runs as a process."""
    return call(name, payload, class_) if wait else call_detached(name, payload, class_)


def timer(seconds=0, **more):
    """An operation that ends in so many seconds; more as `datetime.timedelta` takes it (`days=3`)."""
    return Operation(f"timer {milliseconds(seconds, **more)}")


def sleep(seconds=0, **more):
    """Waits without memory or core. `time.sleep` does the same."""
    timer(seconds, **more).result()


def sleep_until(when):
    """Waits until a `datetime`; one without a time zone is taken as UTC."""
    import datetime

    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.timezone.utc)
    Operation(f"timer_at {max(0, round(when.timestamp() * 1000))}").result()


def signal(name):
    """An operation that ends with the next signal of that name. One that came before was kept."""
    return Operation("signal", name.encode())


def wait_signal(name):
    """What the next signal of that name carries."""
    return signal(name).result()


def send_signal(to, name, payload=None):
    """Signals another execution, by its id or name."""
    to, name = to.encode(), name.encode()
    Operation(f"signal_send {len(to)} {len(name)}", to, name, encoded(payload)).result()


def token(heartbeat=0):
    """An operation that ends when somebody hands in its `.token`. With a heartbeat, at most so many
    seconds may lie between two signs of life."""
    return Operation(f"token {milliseconds(heartbeat)}")


def wait_any(*operations):
    """Waits until one of them has ended, and gives that one."""
    ended = [operation for operation in operations if operation._outcome is not None]
    if ended:
        return ended[0]
    number = wait("any", operations)
    return next(operation for operation in operations if operation._op == number)


def wait_all(*operations):
    """Waits until all of them have ended. Their answers; raises what the first that failed raises."""
    wait("all", operations)
    return [operation.result() for operation in operations]


def set_status(value):
    """What a person sees of the execution."""
    if ask("status", encoded(value))[0] < 0:
        raise Refused("invalid-argument", "the status is too long")


def continue_as_new(payload=None):
    """Ends this run and begins anew with that input. Does not return."""
    ask("again", encoded(payload))


def price_class():
    """The name of the effective price class."""
    return ask("class")[1].decode()


def made_module():
    module = types.ModuleType("fermata", "What a durable function can ask of the platform.")
    public = [
        Failed, Operation, Refused, call, call_detached, continue_as_new, invoke, price_class, send_signal,
        set_status, signal, sleep, sleep_until, submit, timer, token, wait_all, wait_any, wait_signal,
    ]
    for item in public:
        item.__module__ = "fermata"
        setattr(module, item.__name__, item)
    module.__all__ = [item.__name__ for item in public]
    return module


def handler_of(module):
    handler = getattr(module, "handler", None)
    if not callable(handler):
        raise AttributeError("the function exports no `handler`")
    return handler


def main(source, fermata):
    module = types.ModuleType("function")
    module.__file__ = "function.py"
    sys.modules["fermata"], sys.modules["function"] = fermata, module
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    handler = handler_of(module)
    arguments = [decoded(ask("input")[1]), fermata]
    takes = getattr(getattr(handler, "__code__", None), "co_argcount", 1)
    return encoded(handler(*arguments[: max(takes, 1)]))


def describe(error, source):
    """A traceback with the function's own lines, which lie in no file."""
    import linecache
    import traceback

    linecache.cache["function.py"] = (len(source), None, source.splitlines(True), "function.py")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != "<string>"]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    return "".join([*lines, *traceback.format_exception_only(error)])


def run():
    # What a function prints is its log; standard output is its answer.
    sys.stdout = sys.stderr
    sys.stderr.reconfigure(line_buffering=True)
    # Where the interpreter's frames go while it waits: bytes of ours that nobody else looks at. The
    # address of an object is its id, and the contents of bytes lie behind a head of this size.
    frames = bytes(FRAMES_BYTES)
    ask(f"frames {id(frames) + sys.getsizeof(b'') - 1} {FRAMES_BYTES}")
    time.sleep = sleep
    source, code = sys.argv[1], 0
    try:
        answer = main(source, made_module())
        while answer:
            answer = answer[os.write(1, answer) :]
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:  # noqa: B902 - whatever it is, its author has to see it
        code = 1
        sys.stderr.write(describe(error, source))
    sys.stderr.flush()
    os._exit(code)


run()
