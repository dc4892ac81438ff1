// Answers with the name of its effective class, and logs that it did.
#include "fermata.h"
#include "guest.h"

int main(void) {
  char name[64];
  int32_t length = fermata_class(name, sizeof name);
  if (length > (int32_t)sizeof name) length = sizeof name;
  fermata_log(FERMATA_INFO, name, (size_t)length);
  put(1, name, (size_t)length);
  return 0;
}
