// Answers with its input.
#include "guest.h"

int main(void) {
  char block[16384];
  ssize_t got;
  while ((got = read(0, block, sizeof block)) > 0) put(1, block, (size_t)got);
  return got < 0;
}
