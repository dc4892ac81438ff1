// What a durable function finds after a wait: what it had printed and not flushed, fresh random bytes,
// a clock that moved on, a token of its own. Input: anything.
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "fermata.h"

FERMATA_FRAMES(65536)

static int64_t now(clockid_t clock) {
  struct timespec at;
  clock_gettime(clock, &at);
  return at.tv_sec * 1000000000 + at.tv_nsec;
}

int main(void) {
  printf("before ");
  int64_t real = now(CLOCK_REALTIME), monotonic = now(CLOCK_MONOTONIC);
  fermata_wait_signal("go");
  real = now(CLOCK_REALTIME) - real;
  monotonic = now(CLOCK_MONOTONIC) - monotonic;
  uint64_t random = 0;
  getentropy(&random, sizeof random);
  char token[512] = "";
  fermata_token_text(fermata_token(0), token, sizeof token - 1);
  printf("after %lld %lld %016llx %s", (long long)real, (long long)monotonic, (unsigned long long)random, token);
  return 0;
}
