// `node --test` in this folder.
import assert from "node:assert/strict";
import test from "node:test";

import { Failed, Misstep, durable } from "./index.cjs";

const copy = (value) => JSON.parse(JSON.stringify(value));

/** An execution, as the platform keeps one: a turn gets what ended of what it waits for. */
class Platform {
  state = null;
  open = new Map();
  ended = new Map();
  nextOp = 1;
  turns = 0;
  given = [];

  static async start(generator, input = null) {
    const platform = new Platform();
    Object.assign(platform, { handler: durable(generator), input });
    await platform.turn();
    return platform;
  }

  async turn() {
    const { state, input, given, nextOp } = this;
    const tokens = Array.from({ length: 16 }, (_, place) => `token ${nextOp + place}`);
    const turn = { execution: "exe_1", turn: this.turns++, input, state, resolved: given, next_op: nextOp, tokens };
    const answer = copy((await this.handler(copy({ $fermata: turn }))) ?? null);
    const wait = answer?.$fermata?.wait;
    if (!wait) return void (this.answer = answer);
    for (const op of wait.drops) {
      this.open.delete(op);
      this.ended.delete(op);
    }
    for (const { op, ...ask } of wait.asks) {
      assert(op >= this.nextOp, "numbers rise");
      this.nextOp = op + 1;
      this.open.set(op, ask);
    }
    [this.state, this.status] = [wait.state, wait.status];
    [[this.mode, this.until]] = Object.entries(wait.until);
    assert(this.until.every((op) => this.open.has(op) || this.ended.has(op)), "it waits for what there is");
  }

  /** Ends what was asked for as `[text of the ask, how]`; a turn where it may begin then. */
  async end(...ends) {
    for (const [text, how] of ends) {
      const [op] = [...this.open].find(([, ask]) => JSON.stringify(ask).includes(text));
      this.open.delete(op);
      this.ended.set(op, how?.failed || how?.refused ? how : { ok: how });
    }
    const ready = [...this.ended.keys()].filter((op) => this.until.includes(op));
    if (ready.length && (this.mode === "any" || ready.length === this.until.length)) {
      this.given = ready.map((op) => ({ op, ...this.ended.get(op) }));
      ready.forEach((op) => this.ended.delete(op));
      await this.turn();
    }
    return this;
  }
}

const failed = (code = "handler-error", detail = null) => ({ failed: { code, message: "no lamps", detail } });

test("state is what stays, and the yield gives the answer", async () => {
  const run = await Platform.start(function* (f) {
    f.setStatus("charging");
    f.state.receipt ??= yield f.call("charge", { order: f.input }, { class: "critical" });
    f.state.parcel ??= yield f.call("ship");
    return [f.execution, f.state];
  }, 7);
  const invoke = { function: "charge", payload: { order: 7 }, detach: false, class: "critical" };
  assert.deepEqual([[...run.open], run.status], [[[1, { invoke }]], "charging"]);
  await run.end(["charge", "r"]);
  await run.end(["ship", "p"]);
  assert.deepEqual(run.answer, ["exe_1", { receipt: "r", parcel: "p" }]);
  assert.equal(run.turns, 3);
});

test("a loop goes on where it was, in an async generator too", async () => {
  const run = await Platform.start(async function* (f) {
    await null;
    const done = () => f.state.sent ?? [];
    for (const item of f.input.slice(done().length)) {
      const parcel = yield f.call("ship", item);
      f.state.sent = [...done(), parcel];
    }
    return f.state.sent;
  }, ["a", "b", "c"]);
  for (const item of "abc") await run.end([`"${item}"`, item.toUpperCase()]);
  assert.deepEqual([run.answer, run.turns], [["A", "B", "C"], 4]);
});

test("any gives the first and takes the others back", async () => {
  const run = await Platform.start(function* (f) {
    f.state.got ??= yield f.any({ yes: f.signal("yes"), no: f.signal("no"), late: f.sleep("3d") });
    f.state.place ??= yield f.any([f.sleep(1000), f.signal("go")]);
    return f.state;
  });
  assert.deepEqual(run.open.get(3), { after_ms: 3 * 24 * 3600 * 1000 });
  await run.end(["no", 5]);
  assert.deepEqual([...run.open.keys()], [4, 5]);
  await run.end(["go", 6]);
  assert.deepEqual(run.answer, { got: ["no", 5], place: [1, 6] });
});

test("all gives all, and throws the first failure in order at the end", async () => {
  const both = function* (f) {
    if (!f.state.failure) {
      try {
        return yield f.all({ a: f.call("a"), b: f.call("b") });
      } catch (error) {
        f.state.failure = [error.code, error.message, error.detail];
      }
    }
    return [f.state.failure, yield f.all([f.call("undo")])];
  };
  const well = await Platform.start(both);
  await well.end(['"b"', 2]);
  assert.equal(well.turns, 1, "one of two is not all");
  await well.end(['"a"', 1]);
  assert.deepEqual(well.answer, { a: 1, b: 2 });
  const badly = await Platform.start(both);
  await badly.end(['"a"', failed("handler-error", { n: 1 })], ['"b"', failed("timed-out")]);
  await badly.end(["undo", 3]);
  assert.deepEqual(badly.answer, [["handler-error", "handler-error: no lamps", { n: 1 }], [3]]);
});

test("what fails and is not caught fails the execution", async () => {
  const run = await Platform.start(function* (f) {
    yield f.call("x");
  });
  await assert.rejects(run.end(["x", { refused: { code: "not-found", message: "gone" } }]), Failed);
});

test("what was started by name outlives other waits", async () => {
  const run = await Platform.start(function* (f) {
    const approval = f.token("approval", { heartbeat: "1m" });
    if (!f.state.mailed) {
      yield f.call("mail", { token: approval.token });
      f.state.mailed = true;
    }
    f.state.by ??= (yield f.any({ approval, patience: f.sleep("1d") }))[1];
    return [f.state.by, yield f.call("done", approval.token)];
  });
  assert.deepEqual(run.open.get(1), { token: { heartbeat_ms: 60000 } });
  assert.deepEqual(run.open.get(2).invoke.payload, { token: "token 1" });
  await run.end(['token":{', "Ada"]);
  assert.equal(run.turns, 1);
  await run.end(["mail", null]);
  await run.end();
  assert.equal(run.open.get(4).invoke.payload, "token 1", "the same token in each turn");
  await run.end(["done", 9]);
  assert.deepEqual(run.answer, ["Ada", 9]);
});

test("a named loser keeps what it got and can be cancelled", async () => {
  const run = await Platform.start(function* (f) {
    const [one, two] = [f.start("one", f.signal("one")), f.start("two", f.signal("two"))];
    f.start("three", f.call("three"));
    f.state.first ??= yield f.any([one, two]);
    f.state.both ??= yield f.all([two, f.signal("more")]);
    f.cancel("three");
    return [f.state.first, f.state.both, yield f.sleep(1)];
  });
  await run.end(["one", 1], ["two", 2]);
  assert.deepEqual(run.until, [4], "what came already is not waited for again");
  await run.end(["more", 3]);
  assert.deepEqual([...run.open.keys()], [5], "three was taken back");
  await run.end(["after", 0]);
  assert.deepEqual(run.answer, [[0, 1], [2, 3], 0]);
});

test("bytes, times, sendings and beginning anew", async () => {
  const generator = function* (f) {
    if (f.input === "again") return "over";
    const sending = f.sendSignal("other", "go", Buffer.from([255]));
    yield f.all([f.sleepUntil(new Date("2030-01-01T00:00:00Z")), sending, f.callDetached("log")]);
    return f.continueAsNew("again");
  };
  const run = await Platform.start(generator);
  assert.deepEqual(run.open.get(1), { at_ms: 1893456000000 });
  assert.deepEqual(run.open.get(2).send.payload, { $base64: "/w==" });
  assert.equal(run.open.get(3).invoke.detach, true);
  await run.end(["at_ms", null], ["send", null], ["log", { $base64: "AAE=" }]);
  assert.deepEqual(run.answer, { $fermata: { again: "again" } });
  assert.equal((await Platform.start(generator, "again")).answer, "over");
  assert.equal((await Platform.start(() => 5)).answer, 5, "a function that never waits");
});

test("finally around a yield is for the end of a turn", async () => {
  let closed = 0;
  const run = await Platform.start(function* (f) {
    try {
      return yield f.signal("go");
    } finally {
      closed += 1;
    }
  });
  assert.equal(closed, 1);
  await run.end(["go", 1]);
  assert.deepEqual([run.answer, closed], [1, 2]);
});

test("missteps fail and say what to do", async () => {
  const check = (message, generator, ...ends) =>
    assert.rejects(
      Platform.start(generator).then((run) => ends.reduce((before, end) => before.then(() => run.end(end)), Promise.resolve())),
      (error) => error instanceof Misstep && message.test(error.message),
    );
  const forgetful = function* (f) {
    yield f.call("a");
    yield f.call("b");
  };
  await check(/stopped at "call b" and comes first to "call a"/, forgetful, ['"a"', 1], ['"b"', 1]);
  const counting = function* (f) {
    f.state.tries = (f.state.tries ?? 0) + 1;
    yield f.call("a");
  };
  await check(/its state changed on the way/, counting, ['"a"', 1]);
  const twice = function* (f) {
    const go = f.start("go", f.signal("go"));
    f.state.got = yield go;
    yield go;
  };
  await check(/was waited for or cancelled already/, twice, ["go", 1]);
  const many = function* (f) {
    for (let number = 0; number < 17; number += 1) f.token(String(number));
    yield f.sleep(1);
  };
  await check(/among the first 16 asks/, many);
  for (const [message, wrong] of [
    [/nobody can wait for/, () => 5],
    [/nobody can wait for/, (f) => f.any([f.all([f.sleep(1)])])],
    [/one at least/, (f) => f.any({})],
    [/start takes/, (f) => f.start("x", f.any([f.sleep(1)]))],
    [/is not a time/, (f) => f.sleep("soon")],
    [/nothing was started/, (f) => f.cancel("x")],
  ]) {
    await check(message, function* (f) {
      yield wrong(f);
    });
  }
  await assert.rejects(durable(() => 1)({ order: 1 }), /--durable/);
});
