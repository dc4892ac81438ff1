// The import module `fermata`: what a WebAssembly function can ask of the platform beyond WASI.
// docs/wasm-abi.md describes it in full.
#ifndef FERMATA_H
#define FERMATA_H

#include <stddef.h>
#include <stdint.h>

#define FERMATA_IMPORT(name) __attribute__((import_module("fermata"), import_name(name)))

// What fermata_invoke and fermata_invoke_async return where there is no answer.
enum {
  FERMATA_FAILED = -1,     // the callee ran and failed
  FERMATA_REFUSED = -2,    // the call was not started
  FERMATA_INVALID = -3,    // an argument is malformed
  FERMATA_TOO_LARGE = -4,  // the payload or the answer is over the cap
};

enum { FERMATA_ERROR, FERMATA_WARN, FERMATA_INFO, FERMATA_DEBUG, FERMATA_TRACE };

// Calls another function of the same tenant and waits. `name` is `function` or `function:version`.
// An empty class stands for the caller's; the effective class is never lower than the caller's.
// Returns the length of the answer, or one of the codes above. Either way fermata_result_read
// reads it: the answer, or a line with the public error code and a line with the message, and
// where the callee threw something, an empty line and that.
FERMATA_IMPORT("invoke")
int32_t fermata_invoke(const char *name, size_t name_len, const char *class_name, size_t class_len,
                       const void *payload, size_t payload_len);

// As fermata_invoke, but goes on once the call is safely queued; what can be read is its id.
FERMATA_IMPORT("invoke_async")
int32_t fermata_invoke_async(const char *name, size_t name_len, const char *class_name,
                             size_t class_len, const void *payload, size_t payload_len);

// Reads the next bytes of what the last call left, at most `capacity`. Returns how many; 0 at the
// end.
FERMATA_IMPORT("result_read") int32_t fermata_result_read(void *to, size_t capacity);

// Writes the name of the effective class, at most `capacity` bytes and without a terminator.
// Returns the name's length.
FERMATA_IMPORT("class") int32_t fermata_class(char *to, size_t capacity);

// Adds a line to the invocation's log.
FERMATA_IMPORT("log") void fermata_log(int32_t level, const char *line, size_t length);

// ---- Durable functions (deployed with --durable). docs/durable-functions.md tells how to use them.
//
// What is asked for has a number. Nothing is done before the function waits or ends. A number below
// zero is one of the codes above or below. In a function that is not durable each of these traps.

enum {
  FERMATA_PENDING = -5,   // it has not ended
  FERMATA_TOO_MANY = -6,  // too many are open
};

// Ends so many milliseconds from now, or at that time.
FERMATA_IMPORT("timer") int64_t fermata_timer(int64_t after_ms);
FERMATA_IMPORT("timer_at") int64_t fermata_timer_at(int64_t unix_ms);

// Calls another function; ends when it ends, with its answer.
FERMATA_IMPORT("call")
int64_t fermata_call(const char *name, size_t name_len, const char *class_name, size_t class_len,
                     const void *payload, size_t payload_len);

// Calls another function and leaves it to itself; ends once it is safely queued, with its id.
FERMATA_IMPORT("call_detached")
int64_t fermata_call_detached(const char *name, size_t name_len, const char *class_name,
                              size_t class_len, const void *payload, size_t payload_len);

// Ends with the next signal of that name. One that came before was kept.
FERMATA_IMPORT("signal") int64_t fermata_signal(const char *name, size_t length);

// Sends a signal to another execution, by its id or name.
FERMATA_IMPORT("signal_send")
int64_t fermata_signal_send(const char *to, size_t to_len, const char *name, size_t name_len,
                            const void *payload, size_t payload_len);

// Ends when somebody hands in the token whose text fermata_token_text gives. Where heartbeat_ms is
// above zero, at most that much time may lie between two signs of life.
FERMATA_IMPORT("token") int64_t fermata_token(int64_t heartbeat_ms);
FERMATA_IMPORT("token_text") int32_t fermata_token_text(int64_t op, char *to, size_t capacity);

// It is no longer wanted.
FERMATA_IMPORT("drop") int32_t fermata_drop(int64_t op);

// How it ended: as fermata_invoke's return value, with the same text for fermata_result_read. The
// number is used up by that.
FERMATA_IMPORT("outcome") int32_t fermata_outcome(int64_t op);

// What a person sees of the execution.
FERMATA_IMPORT("status") int32_t fermata_status(const void *text, size_t length);

// Ends this run and begins anew with that input. Never returns.
FERMATA_IMPORT("continue_as_new") _Noreturn
void fermata_continue_as_new(const void *payload, size_t length);

enum { FERMATA_ANY, FERMATA_ALL, FERMATA_NEXT };

// Suspends in the middle of a call until any or all of these have ended, or until anything has that
// was not named before (then `ops` is not looked at). Returns the number of the one that ended; for
// all of them the first that did not end well, or 0. Needs FERMATA_FRAMES.
FERMATA_IMPORT("wait") int64_t fermata_wait(const int64_t *ops, size_t count, int32_t mode);

// Says what the function waits for once it returns; fermata_resume is called then.
FERMATA_IMPORT("await") int32_t fermata_await(const int64_t *ops, size_t count, int32_t mode);

// The next that ended and was not named yet; 0 if there is none.
FERMATA_IMPORT("next") int64_t fermata_next(void);

// Put this once into a program that waits in the middle of a call: room for the frames of its
// functions while it waits. 64 KiB are enough for some hundred frames.
#define FERMATA_FRAMES(bytes)                                                        \
  static _Alignas(16) char fermata_frames_room[bytes];                               \
  __attribute__((export_name("fermata_frames"))) uint64_t fermata_frames(void) {     \
    return (uint64_t)(uintptr_t)fermata_frames_room | (uint64_t)(bytes) << 32;       \
  }

// ---- What most programs want, built on the above.

static inline void fermata_sleep(int64_t ms) {
  int64_t timer = fermata_timer(ms);
  fermata_wait(&timer, 1, FERMATA_ANY);
  fermata_outcome(timer);
}

// Calls and parks while the callee runs. Returns as fermata_invoke does.
static inline int32_t fermata_call_parked(const char *name, const void *payload, size_t length) {
  int64_t call = fermata_call(name, __builtin_strlen(name), "", 0, payload, length);
  if (call < 0) return (int32_t)call;
  fermata_wait(&call, 1, FERMATA_ANY);
  return fermata_outcome(call);
}

// Parks until the signal comes. Returns the length of what it carries.
static inline int32_t fermata_wait_signal(const char *name) {
  int64_t signal = fermata_signal(name, __builtin_strlen(name));
  if (signal < 0) return (int32_t)signal;
  fermata_wait(&signal, 1, FERMATA_ANY);
  return fermata_outcome(signal);
}

static inline int64_t fermata_wait_any(const int64_t *ops, size_t count) {
  return fermata_wait(ops, count, FERMATA_ANY);
}

static inline int64_t fermata_wait_all(const int64_t *ops, size_t count) {
  return fermata_wait(ops, count, FERMATA_ALL);
}

#endif
