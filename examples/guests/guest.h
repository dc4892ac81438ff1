// What the guests share: the whole input, output, numbers. No printf, which is large.
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void put(int fd, const void *bytes, size_t length) {
  const char *at = bytes;
  while (length > 0) {
    ssize_t written = write(fd, at, length);
    if (written < 0) _Exit(74);
    at += written;
    length -= (size_t)written;
  }
}

static inline void say(const char *text) { put(1, text, strlen(text)); }

static inline void say_number(int64_t value) {
  char digits[21], *at = digits + sizeof digits;
  uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
  do *--at = (char)('0' + rest % 10);
  while (rest /= 10);
  if (value < 0) *--at = '-';
  put(1, at, (size_t)(digits + sizeof digits - at));
}

// The whole input with a NUL after it; its length without.
static inline char *take_input(size_t *length) {
  size_t capacity = 4096, used = 0;
  char *input = malloc(capacity);
  for (;;) {
    if (!input) _Exit(71);
    ssize_t got = read(0, input + used, capacity - used - 1);
    if (got < 0) _Exit(74);
    used += (size_t)got;
    input[used] = 0;
    if (got == 0) break;
    if (used + 1 == capacity) input = realloc(input, capacity *= 2);
  }
  if (length) *length = used;
  return input;
}

#endif
