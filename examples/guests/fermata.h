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

#endif
