//! `fermata key`.

use hyper::Method;
use serde_json::{Value, json};

use super::{Json, field, moment, show_list};
use crate::client::{Client, Failed};
use crate::text;

/// Keys and the highest class each may state (for admins)
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key; its secret is shown this once
    Create {
        /// For which tenant
        #[arg(long, value_name = "NAME", default_value = "default")]
        tenant: String,
        /// What it is used for
        #[arg(long, default_value = "")]
        label: String,
        /// The highest class it may state [default: the dearest]
        #[arg(long, value_name = "CLASS")]
        max_class: Option<String>,
        /// It also manages tenants and keys
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        json: Json,
    },
    /// List keys, oldest first
    List {
        /// Of this tenant only
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        #[command(flatten)]
        json: Json,
    },
    /// End a key's validity at once
    Revoke { id: String },
    /// Show the key in use as AWS's clients want it, for ~/.aws/credentials
    Aws {
        #[command(flatten)]
        json: Json,
    },
}

pub(crate) fn run(client: &Client, command: Command) -> Result<(), Failed> {
    match command {
        Command::Create { tenant, label, max_class, admin, json } => {
            let body =
                json!({"tenant": tenant, "label": label, "max_class": max_class, "admin": admin});
            let key: Value = client.post("/v1/keys", &body)?;
            if json.json {
                text::print_json(&key);
            } else {
                let (id, class) = (field(&key, "id"), field(&key, "max_class"));
                text::print(&format!("{}\n", field(&key, "secret")));
                note(&format!(
                    "{id} for {tenant}, up to class {class}; the secret is not shown again"
                ));
            }
            Ok(())
        }
        Command::List { tenant, json } => {
            let query = tenant.map(|name| format!("?tenant={name}")).unwrap_or_default();
            let list = client.get(&format!("/v1/keys{query}"))?;
            let header =
                ["id", "tenant", "label", "admin", "highest class", "made (UTC)", "revoked (UTC)"];
            show_list(json, &list, &header, |key| {
                let mut cells: Vec<String> = ["id", "tenant", "label", "admin", "max_class"]
                    .map(|name| field(key, name))
                    .into();
                cells.extend([moment(key, "created_ms"), moment(key, "revoked_ms")]);
                cells
            });
            Ok(())
        }
        Command::Aws { json } => {
            let key = client.get("/v1/access-key")?;
            if json.json {
                text::print_json(&key);
            } else {
                let (id, secret) = (field(&key, "access_key_id"), field(&key, "secret_access_key"));
                text::print(&format!(
                    "[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"
                ));
            }
            Ok(())
        }
        Command::Revoke { id } => {
            client.act(Method::DELETE, &format!("/v1/keys/{id}"))?;
            text::print(&format!("{id} is revoked\n"));
            Ok(())
        }
    }
}

#[expect(clippy::print_stderr, reason = "the secret alone goes to standard output")]
fn note(text: &str) {
    eprintln!("{text}");
}
