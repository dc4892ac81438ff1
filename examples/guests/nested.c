// build: -Wl,-z,stack-size=4194304
// A recursion that sleeps at its bottom and at every fourth level on its way back, durable. Input: its
// depth, and `dry` where it shall not sleep. Each level has locals and a piece of heap of its own and
// looks at them again afterwards, so that the answer is the same with and without sleep.
#include "fermata.h"
#include "guest.h"

FERMATA_FRAMES(65536)

struct node {
  struct node *next;
  int64_t value;
  unsigned char filling[];
};

static int is_dry;
static int64_t slept;

static void sleep_once(int64_t ms) {
  slept++;
  if (!is_dry) fermata_sleep(ms);
}

static int64_t sum(const struct node *list) {
  int64_t sum = 0;
  for (; list; list = list->next) sum = sum * 7 + list->value;
  return sum;
}

static double dig(int depth, int64_t seed, struct node *list) {
  int64_t here = seed * 6364136223846793005 + depth;
  double part = (double)here / 3e9;
  size_t size = (size_t)(depth % 97);
  struct node *node = malloc(sizeof *node + size);
  if (!node) abort();
  node->next = list;
  node->value = here;
  memset(node->filling, depth, size);
  int64_t before = sum(node);
  double below = 0.5;
  if (depth == 0)
    sleep_once(1000);
  else
    below = dig(depth - 1, here, node);
  if (depth % 4 == 3) sleep_once(depth);
  for (size_t i = 0; i < size; i++)
    if (node->filling[i] != (unsigned char)depth) abort();
  if (sum(node) != before) abort();
  free(node);
  return below * 0.75 + part;
}

int main(void) {
  char *input = take_input(NULL);
  is_dry = strstr(input, "dry") != NULL;
  say("depth ");
  double result = dig(atoi(input), 42, NULL);
  int64_t bits;
  memcpy(&bits, &result, sizeof bits);
  say_number(bits);
  say(" after ");
  say_number(slept);
  return 0;
}
