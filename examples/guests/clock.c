// Reads the monotonic clock with its first instruction and answers with the nanoseconds, so that a
// bench can tell how long it took to get here.
// build: -nostartfiles
#include <wasi/api.h>

void _start(void) {
  __wasi_timestamp_t now = 0;
  (void)__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &now);
  uint8_t digits[20];
  uint32_t at = sizeof digits;
  do digits[--at] = (uint8_t)('0' + now % 10);
  while (now /= 10);
  __wasi_ciovec_t part = {digits + at, sizeof digits - at};
  __wasi_size_t written;
  (void)__wasi_fd_write(1, &part, 1, &written);
}
