/**
 * Durable functions for Fermata as generators that yield what they wait for.
 *
 *     const { durable } = require("fermata-durable"); // or import { durable } from …
 *
 *     exports.handler = durable(function* (f) {
 *       f.state.receipt ??= yield f.call("charge", f.input);
 *       if (!("by" in f.state)) {
 *         const [key, by] = yield f.any({ approval: f.signal("approval"), patience: f.sleep("3d") });
 *         f.state.by = key === "approval" ? by : null;
 *       }
 *       return { receipt: f.state.receipt, by: f.state.by };
 *     });
 *
 * Each `yield` of what has not ended yet ends the turn: `f.state` is saved, and the process is free.
 * When that has ended, in whichever process, the generator begins again at its top with `f.state` as
 * it was, and its first `yield` has to be the one at which it stopped; that one then gives the answer.
 * So what is done is skipped by asking the state, and the state is changed after a `yield`, not on the
 * way to one. Both are checked: a generator that comes to another wait, or there with another state,
 * fails. An `async function*` may also `await` what needs no waiting for long.
 *
 * This file stands alone: the platform puts it beside every Node function, and a copy in a package or
 * an `npm install` of its folder works as well.
 */

"use strict";

const { isDeepStrictEqual } = require("node:util");

const KEY = "$fermata";
const BASE64 = "$base64";
const FORMAT = 1;
const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** What was waited for did not end well: `code` says how, `detail` is what it threw. */
class Failed extends Error {
  constructor(code, message, detail) {
    super(`${code}: ${message}`);
    this.name = "Failed";
    this.code = code;
    this.detail = detail;
  }
}

/** The generator does not do what a durable one has to. */
class Misstep extends Error {
  constructor(message) {
    super(message);
    this.name = "Misstep";
  }
}

/** Makes a handler of a generator function that takes one argument, a `Turn`. */
function durable(generator) {
  return async (event) => {
    const turn = event?.[KEY];
    if (!turn) throw new Misstep("this is a durable function: deploy it with --durable");
    return run(new Turn(turn), generator);
  };
}

/** Something to wait for. `what` is as the platform takes it; `text` says it to a person. */
class Wait {
  constructor(text, what) {
    this.text = text;
    this.what = what;
  }
}

/** Something under way under a name. */
class Started extends Wait {
  constructor(name, entry) {
    super(`${name} (${entry.is})`);
    this.name = name;
    this.entry = entry;
  }

  /** The text of a callback token. */
  get token() {
    return this.entry.token;
  }
}

/** Several waits: the first of them, or all. */
class Many {
  constructor(mode, waits, keys) {
    this.mode = mode;
    this.waits = waits;
    this.keys = keys;
  }
}

class Again {
  constructor(input) {
    this.input = input;
  }
}

/** One turn of an execution: its input, its state, and what it can wait for. */
class Turn {
  #stateBefore;
  #stoppedAt;
  #started;
  /** In the order in which they ended. */
  #ended;
  #tokens;
  #first;
  #next;
  #asks = new Map();
  #drops = [];
  #status;

  constructor(turn) {
    const saved = turn.state ?? { format: FORMAT, state: {} };
    if (saved.format !== FORMAT) throw new Misstep(`the saved state has format ${saved.format}, not ${FORMAT}`);
    /** The id of the execution. */
    this.execution = turn.execution;
    /** What the execution was started with. */
    this.input = valueOf(turn.input);
    /** What is kept from turn to turn: anything that JSON can say; an object at the beginning. */
    this.state = saved.state;
    this.#stateBefore = structuredClone(saved.state);
    this.#stoppedAt = saved.wait;
    this.#started = saved.started ?? {};
    this.#ended = new Map([...(saved.ended ?? []), ...turn.resolved].map((entry) => [entry.op, entry]));
    this.#tokens = turn.tokens;
    this.#first = this.#next = turn.next_op;
  }

  // ---- What can be waited for.

  /** Another function's answer; throws `Failed` where it fails. `options.class` states a price class. */
  call(name, input, options = {}) {
    return invoke(name, input, options, false);
  }

  /** The id of a call that nobody waits for, once it is safely queued. */
  callDetached(name, input, options = {}) {
    return invoke(name, input, options, true);
  }

  /** Time: milliseconds, or a text like "90s", "15m", "8h", "3d". */
  sleep(time) {
    return new Wait("sleep", { after_ms: milliseconds(time) });
  }

  /** Until a `Date`. */
  sleepUntil(date) {
    return new Wait("sleep", { at_ms: Math.max(0, date.getTime()) });
  }

  /** What the next signal of that name carries. One that came before was kept. */
  signal(name) {
    return new Wait(`signal ${name}`, { signal: name });
  }

  /** Signals another execution, by id or name; ends once it was delivered. */
  sendSignal(to, name, payload) {
    return new Wait(`send ${name}`, { send: { to, signal: name, payload: plain(payload) } });
  }

  /**
   * The first that ends, as a pair of its place or key and its answer. Takes an array or an object of
   * waits. The others are taken back, unless they were started by name.
   */
  any(waits) {
    return many("any", waits);
  }

  /**
   * All of them: an array of answers, or an object of them by key. Where some failed, throws what the
   * first of those in order threw, once all have ended.
   */
  all(waits) {
    return many("all", waits);
  }

  // ---- What is begun now and waited for later.

  /**
   * Begins something now; yield what this returns to wait for it, in this turn or a later one. A name
   * is used once: the same line gives the same thing again in each turn.
   */
  start(name, wait) {
    if (!Object.hasOwn(this.#started, name)) {
      if (!(wait instanceof Wait) || wait instanceof Started) {
        throw new Misstep("start takes a call, sleep, signal or sending");
      }
      this.#started[name] = { op: this.#ask(wait), is: wait.text, taken: false };
    }
    return new Started(name, this.#started[name]);
  }

  /**
   * Starts a wait for whoever hands in `.token` of what this returns. With `options.heartbeat`, at most
   * so much time may lie between two signs of life.
   */
  token(name, options = {}) {
    const isNew = !Object.hasOwn(this.#started, name);
    const heartbeat = options.heartbeat;
    const what = heartbeat === undefined ? {} : { heartbeat_ms: milliseconds(heartbeat) };
    const started = this.start(name, new Wait("token", { token: what }));
    if (isNew) {
      started.entry.token = this.#tokens[started.entry.op - this.#first];
      if (!started.entry.token) {
        throw new Misstep(`a token has to be among the first ${this.#tokens.length} asks of a turn`);
      }
    }
    return started;
  }

  /** Takes back what was started under that name. */
  cancel(name) {
    const entry = this.#started[name];
    if (!entry) throw new Misstep(`nothing was started as "${name}"`);
    if (!entry.taken) this.#drop(entry.op);
    entry.taken = true;
  }

  // ---- What is said.

  /** What a person sees of the execution while it waits next. */
  setStatus(value) {
    this.#status = value;
  }

  /** `return` this to end this run and begin anew with that input, without state. */
  continueAsNew(input) {
    return new Again(input);
  }

  // ---- How it works; for `run`.

  /** The numbers of what is waited for. */
  ops({ waits, text }) {
    const stopped = this.#stoppedAt;
    this.#stoppedAt = undefined;
    if (!stopped) return waits.map((wait) => this.#op(wait));
    if (stopped.for !== text) {
      throw new Misstep(
        `it stopped at "${stopped.for}" and comes first to "${text}" now: skip what is done by asking the state`,
      );
    }
    if (!isDeepStrictEqual(json(this.state), this.#stateBefore)) {
      const [before, now] = [JSON.stringify(this.#stateBefore), JSON.stringify(this.state)];
      throw new Misstep(`its state changed on the way to "${text}", from ${before} to ${now}: change it after a yield`);
    }
    return stopped.ops;
  }

  isOver({ mode }, ops) {
    return mode === "all" ? ops.every((op) => this.#ended.has(op)) : ops.some((op) => this.#ended.has(op));
  }

  /** What the yield gives. What is taken is forgotten. */
  outcome({ mode, waits, keys }, ops) {
    if (mode === "all") {
      const values = waits.map((wait, place) => this.#take(wait, ops[place])).map(resolved);
      return keys ? Object.fromEntries(keys.map((key, place) => [key, values[place]])) : values;
    }
    const first = [...this.#ended.keys()].find((op) => ops.includes(op));
    const place = ops.indexOf(first);
    const entry = this.#take(waits[place], first);
    waits.forEach((wait, other) => {
      if (other !== place && !(wait instanceof Started)) this.#drop(ops[other]);
    });
    const value = resolved(entry);
    return mode === "one" ? value : [keys ? keys[place] : place, value];
  }

  suspended({ mode, text }, ops) {
    const saved = {
      format: FORMAT,
      state: this.state,
      wait: { for: text, ops },
      started: this.#started,
      ended: [...this.#ended.values()],
    };
    const wait = {
      asks: [...this.#asks].map(([op, what]) => ({ op, ...what })),
      drops: this.#drops,
      until: { [mode === "all" ? "all" : "any"]: ops.filter((op) => !this.#ended.has(op)) },
      state: json(saved),
    };
    if (this.#status !== undefined) wait.status = this.#status;
    return { [KEY]: { wait } };
  }

  #op(wait) {
    if (!(wait instanceof Started)) return this.#ask(wait);
    if (wait.entry.taken) throw new Misstep(`"${wait.text}" was waited for or cancelled already`);
    return wait.entry.op;
  }

  #ask(wait) {
    const op = this.#next++;
    this.#asks.set(op, wait.what);
    return op;
  }

  #drop(op) {
    if (!this.#ended.delete(op) && !this.#asks.delete(op)) this.#drops.push(op);
  }

  #take(wait, op) {
    if (wait instanceof Started) wait.entry.taken = true;
    const entry = this.#ended.get(op);
    this.#ended.delete(op);
    return entry;
  }
}

async function run(turn, generator) {
  const steps = generator(turn);
  if (typeof steps?.next !== "function") return answer(await steps);
  let step = await steps.next();
  while (!step.done) {
    const wait = parts(step.value);
    const ops = turn.ops(wait);
    if (!turn.isOver(wait, ops)) {
      const suspended = turn.suspended(wait, ops);
      // What stands in `finally` around the yield is for the end of a turn.
      await steps.return();
      return suspended;
    }
    let value;
    try {
      value = turn.outcome(wait, ops);
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      step = await steps.throw(error);
      continue;
    }
    step = await steps.next(value);
  }
  return answer(step.value);
}

function answer(value) {
  return value instanceof Again ? { [KEY]: { again: plain(value.input) } } : value;
}

function invoke(name, input, options, detach) {
  const call = { function: name, payload: plain(input), detach };
  if (options.class !== undefined) call.class = options.class;
  return new Wait(`call ${name}`, { invoke: call });
}

function many(mode, waits) {
  const keys = Array.isArray(waits) ? null : Object.keys(waits ?? {});
  const list = keys ? keys.map((key) => waits[key]) : waits;
  if (list.length === 0) throw new Misstep(`${mode} takes an array or an object of waits, one at least`);
  return new Many(mode, list, keys);
}

/** The mode, the single waits, their keys, and what to call it all. */
function parts(wait) {
  if (wait instanceof Wait) return { mode: "one", waits: [wait], keys: null, text: wait.text };
  if (!(wait instanceof Many) || !wait.waits.every((one) => one instanceof Wait)) {
    throw new Misstep("it yields something that nobody can wait for: yield f.call(…), f.sleep(…) and the like");
  }
  const { mode, waits, keys } = wait;
  const texts = waits.map((one, place) => (keys ? `${keys[place]}=${one.text}` : one.text));
  return { mode, waits, keys, text: `${mode} of ${texts.join(", ")}` };
}

function resolved(entry) {
  if ("ok" in entry) return valueOf(entry.ok);
  const { code, message, detail } = entry.failed ?? entry.refused;
  throw new Failed(code, message, valueOf(detail));
}

/** A payload as JSON. */
function plain(value) {
  if (value instanceof Uint8Array) return { [BASE64]: Buffer.from(value).toString("base64") };
  return value ?? null;
}

/** The inverse: bytes that are no JSON come in base64. */
function valueOf(value) {
  const isBytes = typeof value === "object" && value !== null && Object.keys(value).length === 1 && BASE64 in value;
  return isBytes ? Buffer.from(value[BASE64], "base64") : value;
}

function json(value) {
  const text = JSON.stringify(value);
  if (text === undefined) throw new Misstep("the state is not JSON");
  return JSON.parse(text);
}

function milliseconds(time) {
  if (typeof time === "number") return Math.max(0, Math.round(time));
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(String(time).trim()) ?? [];
  if (!unit) throw new Misstep(`"${time}" is not a time: milliseconds, or as "90s", "15m", "8h", "3d"`);
  return Math.round(Number(number) * UNITS[unit]);
}

exports.Failed = Failed;
exports.Misstep = Misstep;
exports.durable = durable;
