"""Durable functions for Fermata as generators that yield what they wait for.

    from fermata_durable import durable

    @durable
    def handler(f):
        if "receipt" not in f.state:
            f.state["receipt"] = yield f.call("charge", f.input)
        if "by" not in f.state:
            key, by = yield f.any(approval=f.signal("approval"), patience=f.sleep(days=3))
            f.state["by"] = by if key == "approval" else None
        return {"receipt": f.state["receipt"], "by": f.state["by"]}

Each `yield` of what has not ended yet ends the turn: `f.state` is saved, and the process is free. When
that has ended, in whichever process, the generator begins again at its top with `f.state` as it was,
and its first `yield` has to be the one at which it stopped; that one then gives the answer. So what is
done is skipped by asking the state, and the state is changed after a `yield`, not on the way to one.
Both are checked: a generator that comes to another wait, or there with another state, fails.

This file stands alone: the platform puts it beside every Python function, and a copy in a package or
a `pip install` of its folder works as well.
"""

import base64
import datetime
import functools
import json

__all__ = ["Failed", "Misstep", "durable"]

_KEY = "$fermata"
_BASE64 = "$base64"
_FORMAT = 1


class Failed(Exception):
    """What was waited for did not end well: `code` says how, `detail` is what it threw."""

    def __init__(self, code, message, detail=None):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.detail = detail


class Misstep(Exception):
    """The generator does not do what a durable one has to."""


def durable(function):
    """Makes a handler of a generator function that takes one argument, a `Turn`."""

    @functools.wraps(function)
    def handler(event, context=None):
        turn = event.get(_KEY) if isinstance(event, dict) else None
        if turn is None:
            raise Misstep("this is a durable function: deploy it with --durable")
        return Turn(turn)._run(function)

    return handler


class _Wait:
    """Something to wait for. `what` is as the platform takes it; `text` says it to a person."""

    def __init__(self, text, what):
        self.text = text
        self.what = what


class _Started(_Wait):
    """Something under way under a name."""

    def __init__(self, name, entry):
        super().__init__(f"{name} ({entry['is']})", None)
        self.name = name
        self.entry = entry

    @property
    def token(self):
        """The text of a callback token."""
        return self.entry["token"]


class _Many:
    """Several waits: the first of them, or all."""

    def __init__(self, mode, waits, keys):
        self.mode = mode
        self.waits = waits
        self.keys = keys


class _Again:
    def __init__(self, payload):
        self.payload = payload


class Turn:
    """One turn of an execution: its input, its state, and what it can wait for."""

    def __init__(self, turn):
        saved = turn["state"] or {"format": _FORMAT, "state": {}}
        if saved.get("format") != _FORMAT:
            raise Misstep(f"the saved state has format {saved.get('format')}, not {_FORMAT}")
        #: The id of the execution.
        self.execution = turn["execution"]
        #: What the execution was started with.
        self.input = _value(turn["input"])
        #: What is kept from turn to turn: anything that JSON can say; a dict at the beginning.
        self.state = saved["state"]
        self._state_before = _text(self.state)
        self._stopped_at = saved.get("wait")
        self._started = saved.get("started", {})
        # In the order in which they ended.
        self._ended = {entry["op"]: entry for entry in saved.get("ended", [])}
        self._ended.update((entry["op"], entry) for entry in turn["resolved"])
        self._tokens = turn["tokens"]
        self._first = self._next = turn["next_op"]
        self._asks = {}
        self._drops = []
        self._status = None

    # ---- What can be waited for.

    def call(self, function, payload=None, class_=None):
        """Another function's answer. Raises `Failed` where it fails."""
        return self._invoke(function, payload, class_, False)

    def call_detached(self, function, payload=None, class_=None):
        """The id of a call that nobody waits for, once it is safely queued."""
        return self._invoke(function, payload, class_, True)

    def sleep(self, seconds=0, **more):
        """Time: seconds, or as `datetime.timedelta` takes it (`days=3`)."""
        length = datetime.timedelta(seconds=seconds, **more)
        return _Wait("sleep", {"after_ms": max(0, round(length.total_seconds() * 1000))})

    def sleep_until(self, when):
        """A `datetime`; one without a time zone is taken as UTC."""
        if when.tzinfo is None:
            when = when.replace(tzinfo=datetime.timezone.utc)
        return _Wait("sleep", {"at_ms": max(0, round(when.timestamp() * 1000))})

    def signal(self, name):
        """What the next signal of that name carries. One that came before was kept."""
        return _Wait(f"signal {name}", {"signal": name})

    def send_signal(self, to, name, payload=None):
        """Signals another execution, by id or name; ends once it was delivered."""
        what = {"to": to, "signal": name, "payload": _plain(payload)}
        return _Wait(f"send {name}", {"send": what})

    def any(self, *waits, **named):
        """The first that ends, as a pair of its place or name and its answer. The others are taken
        back, unless they were started by name."""
        return _many("any", waits, named)

    def all(self, *waits, **named):
        """All of them: a list of answers, or a dict of them by name. Where some failed, raises what
        the first of those in order raised, once all have ended."""
        return _many("all", waits, named)

    # ---- What is begun now and waited for later.

    def start(self, name, wait):
        """Begins something now; yield what this returns to wait for it, in this turn or a later one.
        A name is used once: the same line gives the same thing again in each turn."""
        if name not in self._started:
            if not isinstance(wait, _Wait) or isinstance(wait, _Started):
                raise Misstep("start takes a call, sleep, signal or sending")
            self._started[name] = {"op": self._ask(wait), "is": wait.text, "taken": False}
        return _Started(name, self._started[name])

    def token(self, name, heartbeat=None):
        """Starts a wait for whoever hands in `.token` of what this returns. With a heartbeat, at most
        so many seconds may lie between two signs of life."""
        what = {} if heartbeat is None else {"heartbeat_ms": round(heartbeat * 1000)}
        is_new = name not in self._started
        started = self.start(name, _Wait("token", {"token": what}))
        if is_new:
            place = started.entry["op"] - self._first
            if place >= len(self._tokens):
                raise Misstep(f"a token has to be among the first {len(self._tokens)} asks of a turn")
            started.entry["token"] = self._tokens[place]
        return started

    def cancel(self, name):
        """Takes back what was started under that name."""
        entry = self._started[name]
        if not entry["taken"]:
            entry["taken"] = True
            self._drop(entry["op"])

    # ---- What is said.

    def set_status(self, value):
        """What a person sees of the execution while it waits next."""
        self._status = value

    def continue_as_new(self, payload):
        """`return` this to end this run and begin anew with that input, without state."""
        return _Again(payload)

    # ---- How it works.

    def _invoke(self, function, payload, class_, detach):
        what = {"function": function, "payload": _plain(payload), "detach": detach}
        if class_ is not None:
            what["class"] = class_
        return _Wait(f"call {function}", {"invoke": what})

    def _run(self, function):
        generator = function(self)
        if not hasattr(generator, "send"):
            return self._answer(generator)
        resume, value = generator.send, None
        while True:
            try:
                wait = resume(value)
            except StopIteration as end:
                return self._answer(end.value)
            mode, waits, keys, text = _parts(wait)
            ops = self._ops(waits, text)
            if not self._is_over(mode, ops):
                answer = self._suspended(mode, ops, text)
                # What stands in `finally` around the yield is for the end of a turn.
                generator.close()
                return answer
            try:
                resume, value = generator.send, self._outcome(mode, waits, ops, keys)
            except Failed as failed:
                resume, value = generator.throw, failed

    def _ops(self, waits, text):
        """The numbers of what is waited for."""
        stopped, self._stopped_at = self._stopped_at, None
        if stopped is None:
            return [self._op(wait) for wait in waits]
        if stopped["for"] != text:
            raise Misstep(
                f"it stopped at {stopped['for']!r} and comes first to {text!r} now: "
                "skip what is done by asking the state"
            )
        if _text(self.state) != self._state_before:
            raise Misstep(
                f"its state changed on the way to {text!r}, from {self._state_before} to "
                f"{_text(self.state)}: change it after a yield"
            )
        return stopped["ops"]

    def _op(self, wait):
        if not isinstance(wait, _Started):
            return self._ask(wait)
        if wait.entry["taken"]:
            raise Misstep(f"{wait.text!r} was waited for or cancelled already")
        return wait.entry["op"]

    def _ask(self, wait):
        op, self._next = self._next, self._next + 1
        self._asks[op] = wait.what
        return op

    def _drop(self, op):
        if self._ended.pop(op, None) is None and self._asks.pop(op, None) is None:
            self._drops.append(op)

    def _is_over(self, mode, ops):
        ended = [op in self._ended for op in ops]
        return all(ended) if mode == "all" else any(ended)

    def _outcome(self, mode, waits, ops, keys):
        """What the yield gives. What is taken is forgotten."""
        if mode == "all":
            results = [self._take(wait, op) for wait, op in zip(waits, ops)]
            values = [_resolved(result) for result in results]
            return dict(zip(keys, values)) if keys else values
        first = next(op for op in self._ended if op in ops)
        place = ops.index(first)
        result = self._take(waits[place], first)
        for wait, op in zip(waits, ops):
            if op != first and not isinstance(wait, _Started):
                self._drop(op)
        value = _resolved(result)
        if mode == "one":
            return value
        return (keys[place] if keys else place), value

    def _take(self, wait, op):
        if isinstance(wait, _Started):
            wait.entry["taken"] = True
        return self._ended.pop(op)

    def _suspended(self, mode, ops, text):
        saved = {
            "format": _FORMAT,
            "state": self.state,
            "wait": {"for": text, "ops": ops},
            "started": self._started,
            "ended": list(self._ended.values()),
        }
        wait = {
            "asks": [{"op": op, **what} for op, what in self._asks.items()],
            "drops": self._drops,
            "until": {"all" if mode == "all" else "any": [op for op in ops if op not in self._ended]},
            "state": json.loads(_text(saved)),
        }
        if self._status is not None:
            wait["status"] = self._status
        return {_KEY: {"wait": wait}}

    def _answer(self, value):
        if isinstance(value, _Again):
            return {_KEY: {"again": _plain(value.payload)}}
        return value


def _many(mode, waits, named):
    if bool(waits) == bool(named):
        raise Misstep(f"{mode} takes waits or named waits, one at least")
    return _Many(mode, list(waits or named.values()), list(named))


def _parts(wait):
    """The mode, the single waits, their names, and what to call it all."""
    if isinstance(wait, _Wait):
        return "one", [wait], [], wait.text
    if not isinstance(wait, _Many) or not all(isinstance(one, _Wait) for one in wait.waits):
        raise Misstep(f"it yields {wait!r}, which nobody can wait for")
    texts = [one.text for one in wait.waits]
    if wait.keys:
        texts = [f"{key}={text}" for key, text in zip(wait.keys, texts)]
    return wait.mode, wait.waits, wait.keys, f"{wait.mode} of {', '.join(texts)}"


def _resolved(entry):
    if "ok" in entry:
        return _value(entry["ok"])
    problem = entry.get("failed") or entry["refused"]
    raise Failed(problem["code"], problem["message"], _value(problem.get("detail")))


def _plain(value):
    """A payload as JSON."""
    if isinstance(value, (bytes, bytearray)):
        return {_BASE64: base64.b64encode(value).decode()}
    return value


def _value(plain):
    """The inverse: bytes that are no JSON come in base64."""
    if isinstance(plain, dict) and list(plain) == [_BASE64]:
        return base64.b64decode(plain[_BASE64])
    return plain


def _text(state):
    try:
        return json.dumps(state, sort_keys=True)
    except TypeError as error:
        raise Misstep(f"the state is not JSON: {error}") from None
