// Computes and never gives its core back by itself. Input:
//   forever    until it is ended
//   N          for N milliseconds of CPU time; answers with the number of rounds
//   work N     N rounds; answers with a checksum that depends on every one of them
#include <wasi/api.h>

#include "guest.h"

static uint64_t table[4096];

static uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccd;
  x ^= x >> 29;
  return x * 0xc4ceb9fe1a85ec53;
}

// A round on the stack, in memory and in floating point, so that each of them must survive being
// preempted.
static uint64_t __attribute__((noinline)) climb(uint64_t seed, unsigned depth) {
  volatile uint64_t local = mix(seed + depth);
  if (depth == 0) return local;
  uint64_t below = climb(seed ^ local, depth - 1);
  return mix(below ^ local);
}

static uint64_t run_round(uint64_t state) {
  double sum = 0;
  for (unsigned i = 0; i < 64; i++) {
    uint64_t *place = &table[(state + i * 61) % 4096];
    *place = mix(*place + state + i);
    sum += 1.0 / (double)(1 + *place % 1000);
  }
  return mix(state ^ climb(state, 12) ^ (uint64_t)(sum * 1e9));
}

static uint64_t cpu_nanos(void) {
  __wasi_timestamp_t now = 0;
  (void)__wasi_clock_time_get(__WASI_CLOCKID_PROCESS_CPUTIME_ID, 0, &now);
  return now;
}

int main(void) {
  char *input = take_input(NULL);
  uint64_t state = 1;
  if (strncmp(input, "forever", 7) == 0)
    for (;;) state = run_round(state);
  if (strncmp(input, "work ", 5) == 0) {
    for (long left = atol(input + 5); left > 0; left--) state = run_round(state);
    for (unsigned i = 0; i < 4096; i++) state = mix(state ^ table[i]);
    say_number((int64_t)(state >> 1));
    return 0;
  }
  uint64_t end = cpu_nanos() + (uint64_t)atol(input) * 1000000;
  long rounds = 0;
  while (cpu_nanos() < end) {
    for (unsigned i = 0; i < 16; i++) state = run_round(state);
    rounds += 16;
  }
  table[0] = state;
  say_number(rounds);
  return 0;
}
