// Passes the import that its input names an address outside its memory.
#include <wasi/api.h>

#include "fermata.h"
#include "guest.h"

#define OUTSIDE ((void *)0xfffffff0u)

static int is(const char *input, const char *name) { return strcmp(input, name) == 0; }

int main(void) {
  char *input = take_input(NULL), byte;
  __wasi_size_t count;
  __wasi_ciovec_t from = {OUTSIDE, 64};
  __wasi_iovec_t into = {OUTSIDE, 64};
  if (is(input, "fd_write")) return __wasi_fd_write(1, &from, 1, &count);
  if (is(input, "fd_write_parts")) return __wasi_fd_write(1, OUTSIDE, 4, &count);
  if (is(input, "fd_read")) return __wasi_fd_read(0, &into, 1, &count);
  if (is(input, "random_get")) return __wasi_random_get(OUTSIDE, 64);
  if (is(input, "clock_time_get")) return __wasi_clock_time_get(0, 0, (void *)0xfffffffcu);
  if (is(input, "environ_get")) return __wasi_environ_get(OUTSIDE, OUTSIDE);
  if (is(input, "poll_oneoff")) return __wasi_poll_oneoff(OUTSIDE, OUTSIDE, 9, &count);
  if (is(input, "invoke")) return fermata_invoke(OUTSIDE, 64, "", 0, "", 0);
  if (is(input, "invoke_payload")) return fermata_invoke("echo", 4, "", 0, &byte, SIZE_MAX);
  if (is(input, "result_read")) return fermata_result_read(OUTSIDE, 64);
  if (is(input, "class")) return fermata_class(OUTSIDE, 64);
  if (is(input, "log")) fermata_log(0, OUTSIDE, 64);
  return 99;
}
