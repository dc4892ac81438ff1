//! `fermata logs`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client::{Client, Failed};
use crate::text;

/// Show what a function printed in its latest calls, what one call printed, or a log group
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A function, or an invocation (`inv_…`)
    #[arg(required_unless_present = "group")]
    name: Option<String>,
    /// A log group of state machines, as their logging configurations name it
    #[arg(long, value_name = "GROUP", conflicts_with = "name")]
    group: Option<String>,
    /// As printed, with terminal escapes
    #[arg(long)]
    raw: bool,
}

pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failed> {
    let path = match (&args.group, args.name.as_deref().unwrap_or_default()) {
        (Some(group), _) => {
            format!("/v1/log-groups/{}", utf8_percent_encode(group, NON_ALPHANUMERIC))
        }
        (None, name) if name.starts_with("inv_") => format!("/v1/invocations/{name}/logs"),
        (None, name) => format!("/v1/functions/{name}/logs"),
    };
    let printed = client.get_bytes(&path)?;
    if args.raw {
        text::print_bytes(&printed);
    } else {
        text::print(&text::filtered(&printed));
    }
    Ok(())
}
