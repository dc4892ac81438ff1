// Writes as many KiB of its heap anew as its input says and waits for the signal `go`, as many times
// as its input says; then answers with the monotonic clock in nanoseconds, two numbers a line: when it
// was about to wait, and its first instruction after that. For measuring. Input: `KIB ROUNDS`, and
// `text` where the bytes shall compress.
// build: -nostartfiles -Wl,--no-entry
#include "fermata.h"
#include "guest.h"
#include <time.h>

void __wasm_call_ctors(void);

static uint64_t *heap, *times, random_state = 88172645463325252;
static size_t words, rounds, round_now;
static int is_text;
static const char TEXT[] = "the quick brown fox jumps over the lazy dog, again and again and again";

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void touch_and_wait(void) {
  for (size_t i = 0; i < words; i++) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    heap[i] = random_state;
    // Three of four words are of a text.
    if (is_text && i % 4) memcpy(&heap[i], TEXT + random_state % 60, sizeof *heap);
  }
  times[2 * round_now] = now();
  int64_t signal = fermata_signal("go", 2);
  fermata_await(&signal, 1, FERMATA_ANY);
}

__attribute__((export_name("_start"))) void start(void) {
  __wasm_call_ctors();
  char *rest = take_input(NULL);
  words = (size_t)strtoul(rest, &rest, 10) << 7;
  rounds = (size_t)strtoul(rest, &rest, 10);
  is_text = strstr(rest, "text") != NULL;
  heap = malloc(words * sizeof *heap + 8);
  times = malloc(2 * rounds * sizeof *times + 16);
  if (!heap || !times) abort();
  touch_and_wait();
}

__attribute__((export_name("fermata_resume"))) void resume(void) {
  uint64_t woken = now();
  int64_t op;
  while ((op = fermata_next()) != 0) fermata_outcome(op);
  times[2 * round_now + 1] = woken;
  if (++round_now < rounds) {
    touch_and_wait();
    return;
  }
  for (size_t i = 0; i < rounds; i++) {
    say_number((int64_t)times[2 * i]);
    say(" ");
    say_number((int64_t)times[2 * i + 1]);
    say("\n");
  }
}
