// Grows in steps and tells when. Input: `STEPS MIB BUSY_MS SLEEP_MS`.
// Touches MIB mebibytes more in each of STEPS steps and computes for BUSY_MS after each; then sleeps
// SLEEP_MS and computes for BUSY_MS again. Answers with pairs of a time in microseconds (of the
// machine's clock) and the mebibytes it has touched until then, and at last the time of its end.
#include <time.h>

#include "guest.h"

enum { MIB_BYTES = 1 << 20, PAGE_BYTES = 4096 };

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void tell(int64_t mib) {
  say_number(now_us());
  say(" ");
  say_number(mib);
  say("\n");
}

static void compute_until(int64_t end) {
  while (now_us() < end) continue;
}

int main(void) {
  char *rest = take_input(NULL);
  long steps = strtol(rest, &rest, 10), mib = strtol(rest, &rest, 10);
  long busy = strtol(rest, &rest, 10), pause = strtol(rest, &rest, 10);
  tell(0);
  for (long step = 0; step < steps; step++) {
    size_t from = __builtin_wasm_memory_grow(0, (size_t)mib * MIB_BYTES / 65536);
    if (from == SIZE_MAX) __builtin_trap();
    volatile char *at = (char *)(from * 65536);
    for (long i = 0; i < mib * MIB_BYTES; i += PAGE_BYTES) at[i] = 1;
    tell((step + 1) * mib);
    compute_until(now_us() + busy * 1000);
    tell((step + 1) * mib);
  }
  if (pause > 0) usleep((useconds_t)pause * 1000);
  compute_until(now_us() + busy * 1000);
  tell(steps * mib);
  return 0;
}
