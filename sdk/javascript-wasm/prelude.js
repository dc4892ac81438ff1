// What a durable function in JavaScript sees of the platform: the global `fermata`. It is evaluated
// before the function's own module, by the runner, which gives `native`.
(function (native) {
  "use strict";
  const open = new Map();

  class FermataError extends Error {
    constructor(code, message, detail) {
      super(message);
      this.name = "FermataError";
      this.code = code;
      if (detail !== undefined) this.detail = detail;
    }
  }

  const REFUSALS = {
    "-3": "an argument is malformed",
    "-4": "the payload is over the cap",
    "-6": "too many operations are open",
  };

  // The promise of an operation. `cancel` takes it back: it is never settled then.
  function promised(op, read) {
    op = Number(op);
    if (op < 0) throw new FermataError("invalid-argument", REFUSALS[op] ?? `refused (${op})`);
    const promise = new Promise((resolve, reject) => open.set(op, { resolve, reject, read }));
    promise.cancel = () => {
      if (open.delete(op)) native.drop(op);
    };
    promise.op = op;
    return promise;
  }

  const encode = (value) => (value === undefined ? "" : JSON.stringify(value));
  const decode = (text) => {
    if (text === "") return undefined;
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  };

  const UNITS = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 };
  function milliseconds(time) {
    if (typeof time === "number") return Math.max(0, Math.ceil(time));
    const parts = /^\s*([0-9.]+)\s*(ms|s|m|h|d)\s*$/.exec(String(time));
    if (!parts) throw new TypeError(`${time} is no time: use milliseconds, or a text such as "3d"`);
    return Math.ceil(parts[1] * UNITS[parts[2]]);
  }

  const nothing = () => undefined;
  const id = (text) => text;

  globalThis.fermata = Object.freeze({
    FermataError,
    call: (name, input, { class: klass = "" } = {}) =>
      promised(native.call(name, klass, encode(input), false), decode),
    callDetached: (name, input, { class: klass = "" } = {}) =>
      promised(native.call(name, klass, encode(input), true), id),
    sleep: (time) => promised(native.timer(milliseconds(time)), nothing),
    sleepUntil: (date) => promised(native.timerAt(Math.ceil(Number(date))), nothing),
    signal: (name) => promised(native.signal(name), decode),
    sendSignal: (to, name, payload) =>
      promised(native.signalSend(to, name, encode(payload)), nothing),
    token: ({ heartbeat = 0 } = {}) => {
      const promise = promised(native.token(heartbeat && milliseconds(heartbeat)), decode);
      promise.text = native.tokenText(promise.op);
      return promise;
    },
    setStatus: (value) => native.status(typeof value === "string" ? value : encode(value)),
    continueAsNew: (input) => native.again(encode(input)),
  });

  const line = (values) =>
    values.map((v) => (typeof v === "string" ? v : v instanceof Error ? `${v}\n${v.stack}` : encode(v))).join(" ");
  globalThis.console = {
    error: (...values) => native.log(0, line(values)),
    warn: (...values) => native.log(1, line(values)),
    info: (...values) => native.log(2, line(values)),
    log: (...values) => native.log(2, line(values)),
    debug: (...values) => native.log(3, line(values)),
  };

  // Timers are durable like everything that is waited for.
  const timeouts = new Map();
  globalThis.setTimeout = (run, time = 0, ...values) => {
    const timer = fermata.sleep(Number(time));
    timeouts.set(timer.op, timer);
    timer.then(() => timeouts.delete(timer.op) && run(...values));
    return timer.op;
  };
  globalThis.clearTimeout = (op) => {
    timeouts.get(op)?.cancel();
    timeouts.delete(op);
  };

  // Numbers drawn from a seed in memory would repeat where an image is gone on from twice.
  Math.random = native.random;

  function failure(text) {
    const [code, message, empty, ...rest] = text.split("\n");
    return new FermataError(code, message, rest.length > 0 && empty === "" ? decode(rest.join("\n")) : undefined);
  }

  let main = null;
  return {
    // Begins the function.
    begin(handler, input) {
      main = { state: "pending" };
      if (typeof handler !== "function") throw new TypeError("the module exports no function as default or `handler`");
      Promise.resolve(handler(decode(input), fermata)).then(
        (value) => (main = { state: "done", text: typeof value === "string" ? value : encode(value) }),
        (error) => (main = { state: "failed", error }),
      );
    },
    // Something that was asked for ended.
    settle(op, code, text) {
      const waiting = open.get(op);
      if (!waiting) return;
      open.delete(op);
      if (code < 0) waiting.reject(failure(text));
      else waiting.resolve(waiting.read(text));
    },
    // What is to be done after all jobs have run: an answer, a failure, or waiting.
    state() {
      if (main.state === "failed") {
        const { error } = main;
        return ["failed", error instanceof Error ? `${error}\n${error.stack ?? ""}` : String(error)];
      }
      if (main.state === "done") return ["done", main.text];
      if (open.size === 0) return ["failed", "the function waits for something that nothing will bring about"];
      return ["pending", ""];
    },
  };
});
