// Sleeps as many milliseconds as its input says, then answers with the nanoseconds it took.
#include <wasi/api.h>

#include "guest.h"

static uint64_t now_nanos(void) {
  __wasi_timestamp_t now = 0;
  (void)__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &now);
  return now;
}

int main(void) {
  uint64_t began = now_nanos();
  usleep((useconds_t)atol(take_input(NULL)) * 1000);
  say_number((int64_t)(now_nanos() - began));
  return 0;
}
