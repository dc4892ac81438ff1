// Prints lines without end. Input: `forever`, a number of bytes, or `stdout` to flood the answer.
#include "guest.h"

int main(void) {
  static const char line[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
  char *input = take_input(NULL);
  int is_answer = strcmp(input, "stdout") == 0;
  long left = is_answer || strcmp(input, "forever") == 0 ? -1 : atol(input);
  while (left != 0) {
    size_t length = left > 0 && left < 64 ? (size_t)left : 64;
    put(is_answer ? 1 : 2, line, length);
    if (left > 0) left -= (long)length;
  }
  return 0;
}
