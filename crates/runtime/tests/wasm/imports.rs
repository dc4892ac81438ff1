//! What a guest sees of its invocation through its imports.

use crate::house::House;

#[test]
fn input_comes_on_stdin_and_output_goes_to_stdout() {
    let house = House::new();
    let echo = house.deploy("echo");
    let large = "x".repeat(100_000);
    assert_eq!(house.answer(&echo, "hi"), "hi");
    assert_eq!(house.answer(&echo, large.clone()), large);
    assert_eq!(house.answer(&house.deploy("empty"), "ignored"), "");
}

/// All 45 calls of preview 1: each answers, with the number and value written here.
#[test]
fn every_call_of_wasi_preview_1_answers() {
    let house = House::new();
    let code = house.deploy("wasi");
    let id = house.start(&code, "12345");
    let finished = house.finished(id);
    let answer = String::from_utf8(finished.answer().unwrap().to_vec()).unwrap();
    let expected = EXPECTED.replace("<ID>", &id.to_string());
    assert_eq!(answer, expected);
    assert_eq!(finished.logs.bytes, b"to the log\n");
}

const EXPECTED: &str = "\
args_sizes_get 0
args_get 0 1
wasi
environ_sizes_get 0
environ_get 0 7
GREETING=hello
FERMATA_INVOCATION_ID=<ID>
FERMATA_FUNCTION=wasi
FERMATA_FUNCTION_VERSION=1
FERMATA_CLASS=interactive
FERMATA_DEADLINE_MS=123456
TRACEPARENT=00-trace
clock_res_get 0
clock_time_get 0 1
clock_time_get monotonic 0 1
clock_time_get unknown 28
random_get 0 1
sched_yield 0
fd_read 0 5
fd_read end 0 0
fd_read stdout 8
fd_write 0 11
fd_write stdin 8
fd_fdstat_get 0 0
fd_fdstat_get 3 8
fd_filestat_get 0
fd_fdstat_set_flags 0
fd_seek 70
fd_tell 70
fd_close 0
fd_close again 8
fd_read closed 8
poll_oneoff sleep 0 7
poll_oneoff ready 0 8
poll_oneoff none 28
fd_advise 8
fd_allocate 8
fd_datasync 8
fd_fdstat_set_rights 8
fd_filestat_set_size 8
fd_filestat_set_times 8
fd_pread 8
fd_prestat_dir_name 8
fd_prestat_get 8
fd_pwrite 8
fd_readdir 8
fd_renumber 8
fd_sync 8
path_create_directory 8
path_filestat_get 8
path_filestat_set_times 8
path_link 8
path_open 8
path_readlink 8
path_remove_directory 8
path_rename 8
path_symlink 8
path_unlink_file 8
sock_accept 57
sock_recv 57
sock_send 57
sock_shutdown 57
proc_raise 52
";

#[test]
fn a_guest_reads_its_effective_class_and_logs() {
    let house = House::new();
    let finished = house.run(&house.deploy("class"), "");
    assert_eq!(finished.answer().unwrap(), "interactive");
    assert_eq!(finished.logs.bytes, b"[info] interactive\n");
}

#[test]
fn the_home_page_is_rendered_for_its_query() {
    let house = House::new();
    let home = house.deploy("home");
    let page = house.answer(&home, r#"{"seed": 7, "query": "brass <lmp>"}"#);
    assert!(page.contains("<q>brass &lt;lmp&gt;</q>"), "{page}");
    assert_eq!(page.matches("<li>").count(), 24);
    let first = page.split("<h2>").nth(1).unwrap();
    assert!(first.split("</h2>").next().unwrap().ends_with("lamp"), "{first}");
    assert_ne!(house.answer(&home, r#"{"seed": 7}"#), house.answer(&home, r#"{"seed": 8}"#));
    assert_eq!(house.answer(&home, ""), house.answer(&home, "not JSON"));
}
