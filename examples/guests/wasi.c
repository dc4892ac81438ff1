// Calls everything of WASI preview 1 once and answers with a line for each call: its name, the
// error number, and what it gave.
#include <wasi/api.h>

#include "guest.h"

static void line(const char *name, int error) {
  say(name);
  say(" ");
  say_number(error);
  say("\n");
}

static void line_with(const char *name, int error, int64_t value) {
  say(name);
  say(" ");
  say_number(error);
  say(" ");
  say_number(value);
  say("\n");
}

// wasi-libc no longer declares it.
__attribute__((import_module("wasi_snapshot_preview1"), import_name("proc_raise")))
int32_t __wasi_proc_raise(int32_t signal);

#define CHECK(call, ...) line(#call, __wasi_##call(__VA_ARGS__))

static void strings(void) {
  static uint8_t text[4096], *list[64];
  __wasi_size_t count, size;
  line("args_sizes_get", __wasi_args_sizes_get(&count, &size));
  line_with("args_get", __wasi_args_get(list, text), count);
  for (unsigned i = 0; i < count; i++) say((char *)list[i]), say("\n");
  line("environ_sizes_get", __wasi_environ_sizes_get(&count, &size));
  line_with("environ_get", __wasi_environ_get(list, text), count);
  for (unsigned i = 0; i < count; i++) say((char *)list[i]), say("\n");
}

static void clocks(void) {
  __wasi_timestamp_t first, second;
  CHECK(clock_res_get, 1, &first);
  int error = __wasi_clock_time_get(0, 0, &first) + __wasi_clock_time_get(0, 0, &second);
  line_with("clock_time_get", error, first > 0 && second >= first);
  error = __wasi_clock_time_get(1, 0, &first) + __wasi_clock_time_get(1, 0, &second);
  line_with("clock_time_get monotonic", error, first > 0 && second >= first);
  line("clock_time_get unknown", __wasi_clock_time_get(9, 0, &first));
  uint8_t bytes[16] = {0}, sum = 0;
  error = __wasi_random_get(bytes, sizeof bytes);
  for (unsigned i = 0; i < sizeof bytes; i++) sum |= bytes[i];
  line_with("random_get", error, sum != 0);
  CHECK(sched_yield);
}

static void streams(void) {
  char block[8];
  __wasi_fdstat_t stat;
  __wasi_filestat_t file;
  __wasi_filesize_t at;
  __wasi_size_t count;
  __wasi_iovec_t parts[2] = {{(uint8_t *)block, 2}, {(uint8_t *)block + 2, 6}};
  line_with("fd_read", __wasi_fd_read(0, parts, 2, &count), count);
  line_with("fd_read end", __wasi_fd_read(0, parts, 2, &count), count);
  line("fd_read stdout", __wasi_fd_read(1, parts, 2, &count));
  __wasi_ciovec_t out = {(uint8_t *)"to the log\n", 11};
  line_with("fd_write", __wasi_fd_write(2, &out, 1, &count), count);
  line("fd_write stdin", __wasi_fd_write(0, &out, 1, &count));
  line_with("fd_fdstat_get", __wasi_fd_fdstat_get(1, &stat), stat.fs_filetype);
  line("fd_fdstat_get 3", __wasi_fd_fdstat_get(3, &stat));
  CHECK(fd_filestat_get, 1, &file);
  CHECK(fd_fdstat_set_flags, 1, 0);
  CHECK(fd_seek, 0, 0, 0, &at);
  CHECK(fd_tell, 1, &at);
  CHECK(fd_close, 0);
  line("fd_close again", __wasi_fd_close(0));
  line("fd_read closed", __wasi_fd_read(0, parts, 2, &count));
}

static void polls(void) {
  __wasi_subscription_t wanted[2] = {{.userdata = 7}, {.userdata = 8}};
  __wasi_event_t events[2];
  __wasi_size_t count;
  wanted[0].u.tag = __WASI_EVENTTYPE_CLOCK;
  wanted[0].u.u.clock.id = 1;
  wanted[0].u.u.clock.timeout = 1000000;
  line_with("poll_oneoff sleep", __wasi_poll_oneoff(wanted, events, 1, &count), events[0].userdata);
  wanted[1].u.tag = __WASI_EVENTTYPE_FD_WRITE;
  wanted[1].u.u.fd_write.file_descriptor = 1;
  line_with("poll_oneoff ready", __wasi_poll_oneoff(wanted, events, 2, &count), events[0].userdata);
  line("poll_oneoff none", __wasi_poll_oneoff(wanted, events, 0, &count));
}

static void files(void) {
  uint8_t byte;
  __wasi_size_t count;
  __wasi_iovec_t into = {&byte, 1};
  __wasi_ciovec_t from = {&byte, 1};
  __wasi_filestat_t file;
  __wasi_prestat_t stat;
  __wasi_fd_t fd;
  CHECK(fd_advise, 3, 0, 0, 0);
  CHECK(fd_allocate, 3, 0, 0);
  CHECK(fd_datasync, 3);
  CHECK(fd_fdstat_set_rights, 3, 0, 0);
  CHECK(fd_filestat_set_size, 3, 0);
  CHECK(fd_filestat_set_times, 3, 0, 0, 0);
  CHECK(fd_pread, 3, &into, 1, 0, &count);
  CHECK(fd_prestat_dir_name, 3, &byte, 1);
  CHECK(fd_prestat_get, 3, &stat);
  CHECK(fd_pwrite, 3, &from, 1, 0, &count);
  CHECK(fd_readdir, 3, &byte, 1, 0, &count);
  CHECK(fd_renumber, 3, 4);
  CHECK(fd_sync, 3);
  CHECK(path_create_directory, 3, "a");
  CHECK(path_filestat_get, 3, 0, "a", &file);
  CHECK(path_filestat_set_times, 3, 0, "a", 0, 0, 0);
  CHECK(path_link, 3, 0, "a", 3, "b");
  CHECK(path_open, 3, 0, "a", 0, 0, 0, 0, &fd);
  CHECK(path_readlink, 3, "a", &byte, 1, &count);
  CHECK(path_remove_directory, 3, "a");
  CHECK(path_rename, 3, "a", 3, "b");
  CHECK(path_symlink, "a", 3, "b");
  CHECK(path_unlink_file, 3, "a");
}

static void sockets(void) {
  uint8_t byte;
  __wasi_size_t count;
  __wasi_roflags_t flags;
  __wasi_fd_t fd;
  __wasi_iovec_t into = {&byte, 1};
  __wasi_ciovec_t from = {&byte, 1};
  CHECK(sock_accept, 3, 0, &fd);
  CHECK(sock_recv, 3, &into, 1, 0, &count, &flags);
  CHECK(sock_send, 3, &from, 1, 0, &count);
  CHECK(sock_shutdown, 3, 0);
  CHECK(proc_raise, 9);
}

int main(void) {
  strings();
  clocks();
  streams();
  polls();
  files();
  sockets();
  __wasi_proc_exit(0);
}
