//! `fermata tenant`.

use serde_json::{Value, json};

use super::{Json, field, moment, show_list};
use crate::client::{Client, Failed};
use crate::text;

/// Tenants and their budgets (for admins)
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a tenant
    Create {
        name: String,
        /// µ¢ a month [default: unlimited]
        #[arg(long, value_name = "AMOUNT")]
        budget: Option<String>,
        /// Its functions may be given the network
        #[arg(long)]
        network: bool,
        #[command(flatten)]
        json: Json,
    },
    /// List tenants (all for an admin, one's own else)
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Change a tenant; what is not named stays
    Update {
        name: String,
        /// µ¢ a month, or `unlimited`
        #[arg(long, value_name = "AMOUNT")]
        budget: Option<String>,
        /// Its functions may be given the network
        #[arg(long, conflicts_with = "no_network")]
        network: bool,
        /// Its functions may not be given the network
        #[arg(long)]
        no_network: bool,
        #[command(flatten)]
        json: Json,
    },
}

pub(crate) fn run(client: &Client, command: Command) -> Result<(), Failed> {
    match command {
        Command::Create { name, budget, network, json } => {
            let body = json!({"name": name, "budget": budget, "network": network});
            show(json, &client.post("/v1/tenants", &body)?);
        }
        Command::List { json } => {
            show_list(json, &client.get("/v1/tenants")?, &HEADER, row);
        }
        Command::Update { name, budget, network, no_network, json } => {
            let network = (network || no_network).then_some(network);
            let body = json!({"budget": budget, "network": network});
            show(json, &client.patch(&format!("/v1/tenants/{name}"), &body)?);
        }
    }
    Ok(())
}

const HEADER: [&str; 5] = ["tenant", ">budget µ¢ a month", ">spent µ¢", "network", "made (UTC)"];

fn row(tenant: &Value) -> Vec<String> {
    let budget = tenant["budget"].as_str().unwrap_or("unlimited").to_owned();
    let (name, spent) = (field(tenant, "name"), field(tenant, "spent"));
    vec![name, budget, spent, field(tenant, "network"), moment(tenant, "created_ms")]
}

fn show(json: Json, tenant: &Value) {
    if json.json {
        text::print_json(tenant);
    } else {
        text::print(&text::table(&HEADER, &[row(tenant)]));
    }
}
