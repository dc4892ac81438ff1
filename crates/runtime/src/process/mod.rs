//! Functions as sandboxed processes that speak the AWS Lambda Runtime API.

mod bootstrap;
mod cgroup;
mod filter;
mod init;
mod interpreter;
mod payload;
mod place;
mod sys;
mod warden;
mod wire;

pub use warden::{WARDEN_ARG, warden_main};
