// Touches as many KiB of its heap as its input says, with text where it says `text` and with random
// bytes otherwise, and waits between calls for ever, changing one byte each time. For measuring.
// build: -nostartfiles -Wl,--no-entry
#include "fermata.h"
#include "guest.h"

void __wasm_call_ctors(void);

static unsigned char *touched;

static void wait_again(void) {
  touched[17]++;
  int64_t timer = fermata_timer(1000);
  fermata_await(&timer, 1, FERMATA_ANY);
}

__attribute__((export_name("_start"))) void start(void) {
  static const char TEXT[] = "the quick brown fox jumps over the lazy dog ";
  __wasm_call_ctors();
  const char *input = take_input(NULL);
  size_t size = (size_t)atol(input) << 10;
  touched = malloc(size);
  if (!touched) abort();
  uint64_t random = 88172645463325252;
  for (size_t i = 0; i < size; i++) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    touched[i] = strstr(input, "text") ? (unsigned char)TEXT[i % 44] : (unsigned char)random;
  }
  wait_again();
}

__attribute__((export_name("fermata_resume"))) void resume(void) {
  int64_t op;
  while ((op = fermata_next()) != 0) fermata_outcome(op);
  wait_again();
}
