//! The warden of the process runtime as a program of its own, for tests and benches of this crate.
//! `fermata` carries the warden within.

fn main() -> std::process::ExitCode {
    runtime::process::warden_main()
}
