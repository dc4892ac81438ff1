// Ends with the exit code that its input names, after a word on standard error.
#include "guest.h"

int main(void) {
  put(2, "leaving\n", 8);
  say("an answer that does not count where the code is not zero");
  exit(atoi(take_input(NULL)));
}
