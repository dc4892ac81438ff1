// Sleeps until the time that its input says, in milliseconds since 1970, between two calls: asleep it
// is stored and in no memory. Answers with how late it woke, in microseconds. For measuring.
// build: -nostartfiles -Wl,--no-entry
#include "fermata.h"
#include "guest.h"
#include <time.h>

void __wasm_call_ctors(void);

static int64_t at;

__attribute__((export_name("_start"))) void start(void) {
  __wasm_call_ctors();
  at = atoll(take_input(NULL));
  int64_t timer = fermata_timer_at(at);
  fermata_await(&timer, 1, FERMATA_ANY);
}

__attribute__((export_name("fermata_resume"))) void resume(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  say_number((now.tv_sec * 1000 - at) * 1000 + now.tv_nsec / 1000);
}
