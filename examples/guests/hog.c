// Grows its memory by N MiB and touches it. Input:
//   N         answers with the number of MiB it got, whether all or not
//   N trap    gives up with a trap where it did not get all
//   N sleep M holds them for M milliseconds
#include "guest.h"

enum { PAGES_PER_MIB = 16, PAGE_BYTES = 65536, STEP_BYTES = 4096 };

int main(void) {
  char *input = take_input(NULL), *rest;
  long wanted = strtol(input, &rest, 10), got = 0;
  for (; got < wanted; got++) {
    size_t page = __builtin_wasm_memory_grow(0, PAGES_PER_MIB);
    if (page == SIZE_MAX) {
      if (strstr(rest, "trap")) __builtin_trap();
      break;
    }
    volatile char *block = (volatile char *)(page * PAGE_BYTES);
    for (size_t at = 0; at < (size_t)PAGES_PER_MIB * PAGE_BYTES; at += STEP_BYTES) block[at] = 1;
  }
  char *sleeps = strstr(rest, "sleep ");
  if (sleeps) usleep((useconds_t)atol(sleeps + 6) * 1000);
  say_number(got);
  return 0;
}
