// Traps, in the way its input names: unreachable, divide, memory, stack or null-call.
#include "guest.h"

static int __attribute__((noinline)) descend(volatile int depth) {
  return depth < 0 ? 0 : descend(depth + 1) + depth;
}

int main(void) {
  char *how = take_input(NULL);
  volatile int zero = 0;
  if (strcmp(how, "divide") == 0) return 100 / zero;
  if (strcmp(how, "memory") == 0) return *(volatile int *)0xfffffff0u;
  if (strcmp(how, "stack") == 0) return descend(1);
  if (strcmp(how, "null-call") == 0) return ((int (*)(void))(uintptr_t)zero)();
  __builtin_trap();
}
