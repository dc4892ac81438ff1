//! `fermata prices`.

use super::{Json, field, show_list};
use crate::client::{Client, Failed};

/// Show the price classes, cheapest first
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    json: Json,
}

pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failed> {
    let list = client.get("/v1/prices")?;
    show_list(args.json, &list, &["class", ">µ¢ per CPU second"], |class| {
        vec![field(class, "name"), field(class, "price")]
    });
    Ok(())
}
