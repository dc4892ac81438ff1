// Returns nothing: the shortest invocation there is.
// build: -nostartfiles
void _start(void) {}
