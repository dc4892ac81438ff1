//! The project's tasks. `cargo xtask` without arguments lists them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks")]

mod ci;
mod command;
mod corpus;
mod deps;
mod guests;
mod languages;
mod python;
mod setup;
mod simfaas;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
The project's tasks:
  demo [ARGS]       build everything and run the demo (`fermata demo`)
  ci                install what the tests need, check everything, run all tests
  test [ARGS]       install what the tests need, run all tests (ARGS go to the runner)
  deps              check the edges between crates against docs/architecture.md
  tidy              check what no lint can: file sizes, paths in docs, purity, manifests
  guests [--check]  rebuild the Wasm guests, or compare a rebuild with the committed bytes
  python            make the interpreter of durable Python functions (also done by guests)
  bench NAME [ARGS] build and run a bench: flood, preempt, start, steps, states, sleep, kills, memory, agree (`fermata bench`)
  simfaas           compare the simulator with SimFaaS, which is installed for it
  corpus [ARGS]     run the recorded Step Functions cases against the server, with boto3
  setup             install what the tests need
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some("demo") => run_fermata("demo", rest),
        Some("bench") => run_fermata("bench", rest),
        Some("ci") => ci::run(),
        Some("test") => ci::test(rest),
        Some("deps") => deps::check(),
        Some("tidy") => tidy::check(),
        Some("python") => python::run().map(|path| println!("{}", path.display())),
        Some("guests") => guests::run(rest.iter().any(|arg| arg == "--check")),
        Some("corpus") => corpus::stepfunctions(rest),
        Some("simfaas") => simfaas::run(),
        Some("setup") => setup::run(),
        None | Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => {
            eprint!("no task {other:?}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The demo and the benches need the example programs beside the binary, so the whole workspace is
/// built. Figures name the commit that they belong to.
fn run_fermata(subcommand: &str, args: &[String]) -> anyhow::Result<()> {
    let commit = command::output("git", ["describe", "--always", "--dirty"]).unwrap_or_default();
    let build = ["build", "--release", "--workspace"];
    command::run_with("cargo", build, &[("FERMATA_COMMIT", commit.trim())])?;
    let fermata = command::root().join("target/release/fermata");
    let fermata = fermata.to_str().ok_or_else(|| anyhow::anyhow!("the path is not UTF-8"))?;
    command::run(fermata, [subcommand].into_iter().chain(args.iter().map(String::as_str)))
}
