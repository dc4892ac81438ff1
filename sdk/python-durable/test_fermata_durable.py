"""`python3 -m unittest` in this folder."""

import copy
import datetime
import json
import unittest

from fermata_durable import Failed, Misstep, durable


class Platform:
    """An execution, as the platform keeps one: a turn gets what ended of what it waits for."""

    def __init__(self, function, payload=None):
        self.function, self.input = durable(function), payload
        self.state, self.open, self.ended, self.next_op, self.turns = None, {}, {}, 1, 0
        self.until, self.status, self.given = None, None, []
        self.turn()

    def turn(self):
        tokens = [f"token {op}" for op in range(self.next_op, self.next_op + 16)]
        event = {"execution": "exe_1", "turn": self.turns, "input": self.input, "state": self.state,
                 "resolved": self.given, "next_op": self.next_op, "tokens": tokens}
        self.turns += 1
        answer = self.function(json.loads(json.dumps({"$fermata": event})))
        wait = answer.get("$fermata", {}).get("wait") if isinstance(answer, dict) else None
        if wait is None:
            self.answer = answer
            return
        wait = json.loads(json.dumps(wait))
        for op in wait["drops"]:
            self.open.pop(op, None)
            self.ended.pop(op, None)
        for ask in wait["asks"]:
            op = ask.pop("op")
            assert op >= self.next_op, "numbers rise"
            self.next_op, self.open[op] = op + 1, ask
        self.state, self.status = wait["state"], wait.get("status")
        ((self.mode, self.until),) = wait["until"].items()
        assert all(op in self.open or op in self.ended for op in self.until), "it waits for what there is"

    def end(self, *ends):
        """Ends what was asked for as `(text of the ask, how)`; a turn where it may begin then."""
        for text, how in ends:
            op = next(op for op, ask in self.open.items() if text in json.dumps(ask))
            del self.open[op]
            self.ended[op] = how if isinstance(how, dict) and ("failed" in how or "refused" in how) else {"ok": how}
        ready = [op for op in self.ended if op in self.until]
        if ready and (self.mode == "any" or len(ready) == len(self.until)):
            self.given = [{"op": op, **self.ended.pop(op)} for op in ready]
            self.turn()
        return self


def failed(code="handler-error", detail=None):
    return {"failed": {"code": code, "message": "no lamps", "detail": detail}}


class Waits(unittest.TestCase):
    def test_state_is_what_stays_and_the_yield_gives_the_answer(self):
        def order(f):
            if "receipt" not in f.state:
                f.set_status("charging")
                f.state["receipt"] = yield f.call("charge", {"order": f.input}, class_="critical")
            if "parcel" not in f.state:
                f.state["parcel"] = yield f.call("ship")
            return [f.execution, f.state]

        run = Platform(order, 7)
        call = {"function": "charge", "payload": {"order": 7}, "detach": False, "class": "critical"}
        self.assertEqual((run.open, run.status), ({1: {"invoke": call}}, "charging"))
        run.end(("charge", "r")).end(("ship", "p"))
        self.assertEqual(run.answer, ["exe_1", {"receipt": "r", "parcel": "p"}])
        self.assertEqual(run.turns, 3)

    def test_a_loop_goes_on_where_it_was(self):
        def ship(f):
            sent = f.state.get("sent", [])
            for item in f.input[len(sent):]:
                sent = sent + [(yield f.call("ship", item))]
                f.state["sent"] = sent
            return sent

        run = Platform(ship, ["a", "b", "c"])
        for item in "abc":
            run.end((f'"{item}"', item.upper()))
        self.assertEqual((run.answer, run.turns), (["A", "B", "C"], 4))

    def test_any_gives_the_first_and_takes_the_others_back(self):
        def decide(f):
            if "got" not in f.state:
                f.state["got"] = yield f.any(yes=f.signal("yes"), no=f.signal("no"), late=f.sleep(days=3))
            if "place" not in f.state:
                f.state["place"] = yield f.any(f.sleep(1), f.signal("go"))
            return f.state

        run = Platform(decide)
        self.assertEqual(run.open[3], {"after_ms": 3 * 24 * 3600 * 1000})
        run.end(("no", 5))
        self.assertEqual(list(run.open), [4, 5])
        run.end(("go", 6))
        self.assertEqual(run.answer, {"got": ["no", 5], "place": (1, 6)})

    def test_all_gives_all_and_raises_the_first_failure_in_order_at_the_end(self):
        def both(f):
            try:
                return (yield f.all(a=f.call("a"), b=f.call("b")))
            except Failed as error:
                return [error.code, error.message, error.detail, (yield f.all(f.call("undo")))]

        run = Platform(both).end(("\"b\"", 2))
        self.assertEqual(run.turns, 1, "one of two is not all")
        self.assertEqual(run.end(("\"a\"", 1)).answer, {"a": 1, "b": 2})
        run = Platform(both).end(("\"a\"", failed(detail={"n": 1}))).end(("\"b\"", failed("timed-out")))
        with self.assertRaisesRegex(Misstep, "comes first to 'all of a=call a"):
            run.end(("undo", 3))

    def test_what_fails_is_raised_at_the_yield(self):
        def careful(f):
            if "failure" not in f.state:
                try:
                    yield f.call("charge")
                except Failed as error:
                    f.state["failure"] = error.code
            return [f.state["failure"], (yield f.call("undo"))]

        run = Platform(careful).end(("charge", {"refused": {"code": "not-found", "message": "gone"}}))
        self.assertEqual(run.end(("undo", 1)).answer, ["not-found", 1])
        with self.assertRaises(Failed):
            Platform(lambda f: (yield f.call("x"))).end(("x", failed()))

    def test_what_was_started_by_name_outlives_other_waits(self):
        def approve(f):
            approval = f.token("approval", heartbeat=60)
            if "mailed" not in f.state:
                yield f.call("mail", {"token": approval.token})
                f.state["mailed"] = True
            if "by" not in f.state:
                key, f.state["by"] = yield f.any(approval=approval, patience=f.sleep(days=1))
            return [f.state["by"], (yield f.call("done", approval.token))]

        run = Platform(approve)
        self.assertEqual(run.open[1], {"token": {"heartbeat_ms": 60000}})
        self.assertEqual(run.open[2]["invoke"]["payload"], {"token": "token 1"})
        run.end(("token\": {", "Ada"))
        self.assertEqual(run.turns, 1)
        run.end(("mail", None)).end()
        self.assertEqual(run.open[4]["invoke"]["payload"], "token 1", "the same token in each turn")
        self.assertEqual(run.end(("done", 9)).answer, ["Ada", 9])

    def test_a_named_loser_keeps_what_it_got_and_can_be_cancelled(self):
        def race(f):
            one, two = f.start("one", f.signal("one")), f.start("two", f.signal("two"))
            f.start("three", f.call("three"))
            if "first" not in f.state:
                f.state["first"] = yield f.any(one, two)
            if "both" not in f.state:
                f.state["both"] = yield f.all(two, f.signal("more"))
            f.cancel("three")
            return [f.state["first"], f.state["both"], (yield f.sleep(1))]

        run = Platform(race).end(("one", 1), ("two", 2))
        self.assertEqual(run.until, [4], "what came already is not waited for again")
        run.end(("more", 3))
        self.assertEqual(list(run.open), [5], "three was taken back")
        self.assertEqual(run.end(("after", 0)).answer, [[0, 1], [2, 3], 0])

    def test_bytes_times_sendings_and_beginning_anew(self):
        def all_sorts(f):
            if f.input == "again":
                return "over"
            at = datetime.datetime(2030, 1, 1)
            yield f.all(f.sleep_until(at), f.send_signal("other", "go", b"\xff"), f.call_detached("log"))
            return f.continue_as_new("again")

        run = Platform(all_sorts)
        self.assertEqual(run.open[1], {"at_ms": 1893456000000})
        self.assertEqual(run.open[2]["send"]["payload"], {"$base64": "/w=="})
        self.assertTrue(run.open[3]["invoke"]["detach"])
        run.end(("at_ms", None), ("send", None), ("log", {"$base64": "AAE="}))
        self.assertEqual(run.answer, {"$fermata": {"again": "again"}})
        self.assertEqual(Platform(all_sorts, "again").answer, "over")
        self.assertEqual(Platform(lambda f: 5).answer, 5, "a function that never waits")

    def test_finally_around_a_yield_is_for_the_end_of_a_turn(self):
        closed = []

        def careful(f):
            try:
                return (yield f.signal("go"))
            finally:
                closed.append(f.execution)

        run = Platform(careful)
        self.assertEqual(len(closed), 1)
        self.assertEqual((run.end(("go", 1)).answer, len(closed)), (1, 2))


class Missteps(unittest.TestCase):
    def check(self, function, message, *ends):
        with self.assertRaisesRegex(Misstep, message):
            Platform(function).end(*ends)

    def test_a_done_step_that_is_not_skipped(self):
        def forgetful(f):
            yield f.call("a")
            yield f.call("b")

        run = Platform(forgetful).end(("\"a\"", 1))
        with self.assertRaisesRegex(Misstep, "stopped at 'call b' and comes first to 'call a'"):
            run.end(("\"b\"", 1))

    def test_state_that_changes_on_the_way(self):
        def counting(f):
            f.state["tries"] = f.state.get("tries", 0) + 1
            yield f.call("a")

        self.check(counting, "its state changed on the way", ("\"a\"", 1))

    def test_what_cannot_be_waited_for_or_kept(self):
        def unjson(f):
            f.state["at"] = datetime.datetime.now()
            yield f.sleep(1)

        def twice(f):
            go = f.start("go", f.signal("go"))
            f.state["got"] = yield go
            yield go

        self.check(unjson, "not JSON")
        self.check(lambda f: (yield 5), "nobody can wait for")
        self.check(lambda f: (yield f.any(f.all(f.sleep(1)))), "nobody can wait for")
        self.check(lambda f: (yield f.any()), "one at least")
        self.check(lambda f: (yield f.start("x", f.any(f.sleep(1)))), "start takes")
        self.check(twice, "was waited for or cancelled already", ("go", 1))
        with self.assertRaisesRegex(Misstep, "--durable"):
            durable(lambda f: 1)({"order": 1})

    def test_a_token_needs_a_number_among_those_given(self):
        def many(f):
            for number in range(17):
                f.token(str(number))
            yield f.sleep(1)

        self.check(many, "among the first 16 asks")


if __name__ == "__main__":
    unittest.main()
