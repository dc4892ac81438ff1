// An order: it is charged, waits for an approval or three days, and is shipped or paid back. Durable:
// while it waits it is not in memory, and it survives the server. Input: the order, any text.
#include "fermata.h"
#include "guest.h"

FERMATA_FRAMES(65536)

static const int64_t DAY_MS = 24LL * 60 * 60 * 1000;

// What the last outcome left to read, as a string.
static char *reply(void) {
  size_t used = 0;
  char *text = malloc(4096);
  int32_t got;
  while (used < 4095 && (got = fermata_result_read(text + used, 4095 - used)) > 0) used += (size_t)got;
  text[used] = 0;
  return text;
}

static char *step(const char *function, const char *payload) {
  if (fermata_call_parked(function, payload, strlen(payload)) >= 0) return reply();
  say(function);
  say(" failed: ");
  say(reply());
  exit(0);
}

static void set_status(const char *text) { fermata_status(text, strlen(text)); }

int main(void) {
  const char *order = take_input(NULL);
  set_status("charging");
  const char *receipt = step("charge", order);

  set_status("waiting for approval");
  int64_t approval = fermata_signal("approval", 8);
  int64_t patience = fermata_timer(3 * DAY_MS);
  int64_t both[] = {approval, patience};
  if (fermata_wait_any(both, 2) == patience) {
    say("expired; ");
    say(step("refund", receipt));
    return 0;
  }
  fermata_drop(patience);
  fermata_outcome(approval);
  const char *by = reply();

  set_status("shipping");
  const char *parcel = step("ship", order);
  say(order);
  say(": ");
  say(receipt);
  say(", approved by ");
  say(by);
  say(", ");
  say(parcel);
  return 0;
}
