// Calls another function and answers with its answer. Input: a line `name [class] [async]`, where
// `-` stands for the caller's class, then the payload. A payload can itself be such an input, so
// "call\ncall\necho\nhi" is a chain of three. Where there is no answer: `error CODE`, and what the
// platform says.
#include "fermata.h"
#include "guest.h"

int main(void) {
  size_t length;
  char *input = take_input(&length), *line_end = memchr(input, '\n', length);
  const char *payload = input + length;
  if (line_end) {
    *line_end = 0;
    payload = line_end + 1;
  }
  size_t payload_len = (size_t)(input + length - payload);
  const char *name = strtok(input, " "), *class_name = strtok(NULL, " ");
  const char *mode = strtok(NULL, " ");
  if (!name) name = "";
  if (!class_name || strcmp(class_name, "-") == 0) class_name = "";
  int32_t (*invoke)(const char *, size_t, const char *, size_t, const void *, size_t) =
      mode && strcmp(mode, "async") == 0 ? fermata_invoke_async : fermata_invoke;
  int32_t result =
      invoke(name, strlen(name), class_name, strlen(class_name), payload, payload_len);
  if (result < 0) {
    say("error ");
    say_number(result);
    say("\n");
  }
  char block[4096];
  for (int32_t got; (got = fermata_result_read(block, sizeof block)) > 0;)
    put(1, block, (size_t)got);
  return 0;
}
