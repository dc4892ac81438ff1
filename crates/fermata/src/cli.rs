//! The command line: every command, and what the process's exit code tells.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::{Client, Failed};
use crate::commands::{
    bill, dead_letters, deploy, executions, functions, invocations, invoke, keys, logs, nodes,
    prices, store, tenants, top,
};
use crate::{bench, demo, serve, sim};

/// Functions in price classes: what users wait for goes first.
///
/// Exit codes: 0 done, 1 the function failed, 2 wrong usage, 3 the server refused, 4 no server
/// answers.
#[derive(Parser)]
#[command(name = "fermata", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which server, and who asks.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct ServerArgs {
    /// The server [default: http://127.0.0.1:4566]
    #[arg(long, env = "FERMATA_SERVER", value_name = "URL", global = true)]
    pub(crate) server: Option<String>,
    /// The key (`fk_…`); a server started with --dev needs none
    #[arg(long, env = "FERMATA_KEY", value_name = "KEY", global = true, hide_env_values = true)]
    pub(crate) key: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// See what price classes do: a shop under overload, with and without them
    Demo(demo::Args),
    Serve(Box<serve::Args>),
    Deploy(deploy::Args),
    Invoke(invoke::Args),
    #[command(subcommand)]
    Functions(functions::Command),
    Logs(logs::Args),
    #[command(subcommand)]
    Invocations(invocations::Command),
    #[command(subcommand)]
    Executions(executions::Command),
    Bill(bill::Args),
    Prices(prices::Args),
    Nodes(nodes::Args),
    Top(top::Args),
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    #[command(subcommand)]
    Tenant(tenants::Command),
    #[command(subcommand)]
    Key(keys::Command),
    #[command(subcommand)]
    Store(store::Command),
    Bench(bench::Args),
    Sim(Box<sim::Args>),
}

/// Parses the command line and runs the command.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let client = || Client::new(&cli.server);
    let done = match cli.command {
        Command::Demo(args) => return told(demo::run(args)),
        Command::Bench(args) => return told(bench::run(args)),
        Command::Sim(args) => return told(sim::run(*args)),
        Command::Serve(args) => return told(serve::run(*args)),
        Command::Store(command) => return told(store::run(command)),
        Command::Deploy(args) => client().and_then(|client| deploy::run(&client, &args)),
        Command::Invoke(args) => client().and_then(|client| invoke::run(&client, &args)),
        Command::Functions(command) => {
            client().and_then(|client| functions::run(&client, &command))
        }
        Command::Logs(args) => client().and_then(|client| logs::run(&client, &args)),
        Command::Invocations(command) => {
            client().and_then(|client| invocations::run(&client, &command))
        }
        Command::Executions(command) => {
            client().and_then(|client| executions::run(&client, &command))
        }
        Command::Bill(args) => client().and_then(|client| bill::run(&client, &args)),
        Command::Prices(args) => client().and_then(|client| prices::run(&client, &args)),
        Command::Nodes(args) => client().and_then(|client| nodes::run(&client, &args)),
        Command::Top(args) => client().and_then(|client| top::run(&client, &args)),
        Command::DeadLetters(command) => {
            client().and_then(|client| dead_letters::run(&client, &command))
        }
        Command::Tenant(command) => client().and_then(|client| tenants::run(&client, command)),
        Command::Key(command) => client().and_then(|client| keys::run(&client, command)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            complain(&failed.to_string());
            failed.exit_code()
        }
    }
}

/// Commands that are no clients fail with 2: what they were told cannot be done.
fn told(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        Failed::Usage(String::new()).exit_code()
    })
}

#[expect(clippy::print_stderr, reason = "errors of a command line go there")]
fn complain(message: &str) {
    eprintln!("error: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
