//! `fermata store`: what an operator does with a store, without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use store::{Address, Options};

use crate::serve::DATA_DEFAULT;
use crate::text;

/// Check, copy or compact the store that a server keeps things in
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Look through everything for damage (the server must be stopped, but for PostgreSQL's)
    Check(Which),
    /// Copy the store into an empty directory (a server may go on meanwhile)
    Backup {
        /// Where to; `fermata serve --data` can start from it
        to: PathBuf,
        #[command(flatten)]
        which: Which,
    },
    /// Give back the room of what was removed (the server must be stopped, but for PostgreSQL's)
    Compact(Which),
}

/// Which store.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// The server's data directory [default: fermata-data]
    #[arg(long, env = "FERMATA_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The store, as `fermata serve --store` takes it [default: sqlite]
    #[arg(long, env = "FERMATA_STORE", value_name = "STORE", hide_env_values = true)]
    store: Option<String>,
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(which) => {
            let address = which.address()?;
            let store = open(&address)?;
            store.check().with_context(|| format!("check {address}"))?;
            say(&format!("{address} is sound"));
        }
        Command::Backup { to, which } => {
            let address = which.address()?;
            backup(&address, &to).with_context(|| format!("copy {address}"))?;
            say(&format!("copied {address} to {}", to.display()));
        }
        Command::Compact(which) => {
            let address = which.address()?;
            let done = open(&address)?.compact().with_context(|| format!("compact {address}"))?;
            say(&format!(
                "{address}: {} blobs ({}) removed, database {} before, {} after",
                done.swept.blobs,
                text::bytes(done.swept.bytes),
                text::bytes(done.bytes_before),
                text::bytes(done.bytes_after)
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Which {
    fn address(&self) -> anyhow::Result<Address> {
        let data = self.data.as_deref().unwrap_or_else(|| Path::new(DATA_DEFAULT));
        Ok(Address::parse(self.store.as_deref(), data)?)
    }
}

/// Opens a store that is there: a mistyped name must not make a new one.
fn open(address: &Address) -> anyhow::Result<std::sync::Arc<dyn store::Store>> {
    if let Address::Sqlite(directory) = address {
        let database = directory.join("fermata.db");
        anyhow::ensure!(database.is_file(), "there is no store in {}", directory.display());
    }
    // Nothing is committed here, so what is kept of old invocations does not matter.
    address.open(Options::default()).with_context(|| format!("open the store {address}"))
}

fn backup(address: &Address, to: &Path) -> anyhow::Result<()> {
    match address {
        Address::Sqlite(directory) => Ok(store::sqlite::backup(directory, to)?),
        Address::Memory | Address::Postgres(_) => Ok(open(address)?.backup(to)?),
    }
}

#[expect(clippy::print_stdout, reason = "a command-line tool talks")]
fn say(line: &str) {
    println!("{line}");
}
