// Grows its memory by N MiB and fills that in one instruction, in the middle of which nothing stops
// it. Input: N. Answers with N.
#include "guest.h"

enum { PAGES_PER_MIB = 16, PAGE_BYTES = 65536 };

// Becomes `memory.fill`.
__attribute__((noinline, target("bulk-memory"))) static void fill(char *block, size_t bytes) {
  __builtin_memset(block, 1, bytes);
}

int main(void) {
  long wanted = strtol(take_input(NULL), NULL, 10);
  size_t page = __builtin_wasm_memory_grow(0, (size_t)wanted * PAGES_PER_MIB);
  if (page == SIZE_MAX) __builtin_trap();
  fill((char *)(page * PAGE_BYTES), (size_t)wanted * PAGES_PER_MIB * PAGE_BYTES);
  say_number(((volatile char *)(page * PAGE_BYTES))[0] * wanted);
  return 0;
}
