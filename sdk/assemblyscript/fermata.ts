// Durable functions in AssemblyScript: waiting in the middle of a call. Compile with
//   asc function.ts -O2 --runtime incremental --use abort= --exportStart _start
// and deploy with --durable.

@external("fermata", "timer") declare function rawTimer(afterMs: i64): i64;
@external("fermata", "call")
declare function rawCall(n: usize, nl: i32, c: usize, cl: i32, p: usize, pl: i32): i64;
@external("fermata", "signal") declare function rawSignal(name: usize, length: i32): i64;
@external("fermata", "drop") declare function rawDrop(op: i64): i32;
@external("fermata", "outcome") declare function rawOutcome(op: i64): i32;
@external("fermata", "result_read") declare function rawResultRead(to: usize, capacity: i32): i32;
@external("fermata", "status") declare function rawStatus(text: usize, length: i32): i32;
@external("fermata", "wait") declare function rawWait(ops: usize, count: i32, mode: i32): i64;
@external("wasi_snapshot_preview1", "fd_read")
declare function rawRead(fd: i32, parts: usize, count: i32, got: usize): i32;
@external("wasi_snapshot_preview1", "fd_write")
declare function rawWrite(fd: i32, parts: usize, count: i32, put: usize): i32;

const ANY = 0;
const ALL = 1;
const FRAMES_BYTES = 65536;
const frames = memory.data(65536, 16);
const words = memory.data(16, 8);
const piece = memory.data(4096);

// Where the frames of the waiting function's calls go.
export function fermata_frames(): u64 {
  return <u64>frames | (<u64>FRAMES_BYTES << 32);
}

function collect(read: (to: usize, capacity: i32) => i32): string {
  let bytes = new Uint8Array(0);
  while (true) {
    const got = read(piece, 4096);
    if (got <= 0) break;
    const longer = new Uint8Array(bytes.length + got);
    longer.set(bytes);
    memory.copy(longer.dataStart + bytes.length, piece, got);
    bytes = longer;
  }
  return String.UTF8.decode(bytes.buffer);
}

// The whole payload.
export function input(): string {
  return collect((to: usize, capacity: i32): i32 => {
    store<u32>(words, <u32>to);
    store<u32>(words, <u32>capacity, 4);
    return rawRead(0, words, 1, words + 8) == 0 ? load<i32>(words, 8) : 0;
  });
}

// Adds to the answer.
export function answer(text: string): void {
  const bytes = String.UTF8.encode(text);
  store<u32>(words, <u32>changetype<usize>(bytes));
  store<u32>(words, bytes.byteLength, 4);
  rawWrite(1, words, 1, words + 8);
}

export function timer(ms: i64): i64 {
  return rawTimer(ms);
}

export function call(name: string, payload: string): i64 {
  const n = String.UTF8.encode(name);
  const p = String.UTF8.encode(payload);
  return rawCall(
    changetype<usize>(n), n.byteLength, 0, 0, changetype<usize>(p), p.byteLength);
}

export function signal(name: string): i64 {
  const n = String.UTF8.encode(name);
  return rawSignal(changetype<usize>(n), n.byteLength);
}

export function cancel(op: i64): void {
  rawDrop(op);
}

export function setStatus(text: string): void {
  const t = String.UTF8.encode(text);
  rawStatus(changetype<usize>(t), t.byteLength);
}

// Suspends until any of them has ended, and tells which.
export function waitAny(ops: i64[]): i64 {
  return rawWait(ops.dataStart, ops.length, ANY);
}

// Suspends until all of them have ended. Returns the first that did not end well, or 0.
export function waitAll(ops: i64[]): i64 {
  return rawWait(ops.dataStart, ops.length, ALL);
}

// How one ended: its text, which after a failure begins with "!".
export function outcome(op: i64): string {
  const code = rawOutcome(op);
  const text = collect(rawResultRead);
  return code < 0 ? "!" + text : text;
}

export function sleep(ms: i64): void {
  const op = rawTimer(ms);
  const ops = [op];
  rawWait(ops.dataStart, 1, ANY);
  rawOutcome(op);
}

// Calls and suspends while the callee runs.
export function callParked(name: string, payload: string): string {
  const op = call(name, payload);
  const ops = [op];
  rawWait(ops.dataStart, 1, ANY);
  return outcome(op);
}
