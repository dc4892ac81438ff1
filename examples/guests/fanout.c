// build: -nostartfiles -Wl,--no-entry
// Calls a function once for each word of its input, all at the same time, and answers with the answers
// in the order of their arrival. Durable, and it waits between calls: it says what it waits for and
// returns, and fermata_resume is called when something has ended.
#include "fermata.h"
#include "guest.h"

void __wasm_call_ctors(void);

static int open_calls;
static char *answer;

static void wait_or_end(void) {
  if (open_calls > 0)
    fermata_await(NULL, 0, FERMATA_NEXT);
  else
    say(answer);
}

__attribute__((export_name("_start"))) void start(void) {
  __wasm_call_ctors();
  answer = calloc(1, 65536);
  for (char *word = strtok(take_input(NULL), " "); word; word = strtok(NULL, " ")) {
    fermata_call("work", 4, "", 0, word, strlen(word));
    open_calls++;
  }
  wait_or_end();
}

__attribute__((export_name("fermata_resume"))) void resume(void) {
  int64_t op;
  while ((op = fermata_next()) != 0) {
    int32_t length = fermata_outcome(op);
    open_calls--;
    if (*answer) strcat(answer, " ");
    char *end = answer + strlen(answer);
    end[fermata_result_read(end, 4096)] = 0;
    if (length < 0) *strchr(end, '\n') = '!';
  }
  wait_or_end();
}
