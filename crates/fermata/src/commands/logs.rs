//! `fermata logs`.

use crate::client::{Client, Failed};
use crate::text;

/// Show what a function printed in its latest calls, or what one call printed
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A function, or an invocation (`inv_…`)
    name: String,
    /// As printed, with terminal escapes
    #[arg(long)]
    raw: bool,
}

pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failed> {
    let kind = if args.name.starts_with("inv_") { "invocations" } else { "functions" };
    let printed = client.get_bytes(&format!("/v1/{kind}/{}/logs", args.name))?;
    if args.raw {
        text::print_bytes(&printed);
    } else {
        text::print(&text::filtered(&printed));
    }
    Ok(())
}
