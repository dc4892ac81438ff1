// Holds memory whose every byte matters. Input: `MIB ROUNDS SLEEP_MS SEED`.
// Fills MIB mebibytes with numbers drawn from SEED (a quarter of the pages stays zero), then changes
// some in each of ROUNDS rounds and sleeps SLEEP_MS after each, where that is not zero. Answers with
// a checksum over all of it.
#include "guest.h"

enum { PAGES_PER_MIB = 16, PAGE_BYTES = 65536, STEP_WORDS = 61, SMALL_PAGE_WORDS = 512 };

static uint64_t mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  return x ^ (x >> 29);
}

int main(void) {
  char *rest = take_input(NULL);
  size_t wanted = (size_t)strtol(rest, &rest, 10);
  long rounds = strtol(rest, &rest, 10), pause = strtol(rest, &rest, 10);
  uint64_t state = mix((uint64_t)strtoll(rest, &rest, 10) + 1), *all = NULL;
  for (size_t mib = 0; mib < wanted; mib++) {
    size_t page = __builtin_wasm_memory_grow(0, PAGES_PER_MIB);
    if (page == SIZE_MAX) __builtin_trap();
    uint64_t *block = (uint64_t *)(page * PAGE_BYTES);
    if (!all) all = block;
    for (size_t at = 0; at < (size_t)PAGES_PER_MIB * PAGE_BYTES / 8; at++) {
      state += 0x9e3779b97f4a7c15;
      block[at] = at / SMALL_PAGE_WORDS % 4 == 3 ? 0 : state ^ (state << 21);
    }
  }
  size_t words = wanted * PAGES_PER_MIB * PAGE_BYTES / 8;
  for (long round = 0; round < rounds; round++) {
    for (size_t at = (size_t)round % STEP_WORDS; at < words; at += STEP_WORDS)
      state = mix(state ^ (all[at] += state));
    if (pause > 0) usleep((useconds_t)pause * 1000);
  }
  for (size_t at = 0; at < words; at++) state = (state ^ all[at]) * 0x9e3779b97f4a7c15 + 1;
  say_number((int64_t)(mix(state) >> 1));
  return 0;
}
