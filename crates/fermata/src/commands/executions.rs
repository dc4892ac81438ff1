//! `fermata executions`: durable instances of orchestrating functions.

use bytes::Bytes;
use hyper::Method;
use serde_json::Value;

use super::invoke::{payload as read_payload, show};
use super::{Json, field, moment, number, show_list};
use crate::client::{Client, Failed};
use crate::text;

/// Durable executions: start them, see what they wait for, act on them
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Start one and return at once; `fermata invoke` starts one and waits
    Start {
        /// The function, or NAME:VERSION
        function: String,
        /// Its input: JSON, @FILE, or - for standard input
        #[arg(default_value = "")]
        payload: String,
        /// A name, unique among your executions that are kept
        #[arg(long)]
        name: Option<String>,
        /// Where there is one of that name
        #[arg(long, value_enum, default_value_t = IfExists::Refuse)]
        if_exists: IfExists,
        /// Price class; the function's own where absent
        #[arg(long, value_name = "NAME")]
        class: Option<String>,
        #[command(flatten)]
        json: Json,
    },
    /// List them, newest first
    List {
        /// running, suspended, paused, succeeded, failed or cancelled
        #[arg(long)]
        status: Option<String>,
        /// Of this function only
        #[arg(long, value_name = "NAME")]
        function: Option<String>,
        /// Only those whose name begins so
        #[arg(long, value_name = "PREFIX")]
        name: Option<String>,
        /// Only those called by this one
        #[arg(long, value_name = "ID")]
        parent: Option<String>,
        /// Only those started in the last so many hours
        #[arg(long, value_name = "HOURS")]
        hours: Option<u64>,
        /// Only older ones than this
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        json: Json,
    },
    /// Show one: what it waits for and since when, its class, its cost so far
    Show {
        /// Its id or its name
        which: String,
        #[command(flatten)]
        json: Json,
    },
    /// Show what happened to one, in order, with reasons
    History {
        /// Its id or its name
        which: String,
        /// Only records after this one
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most this many
        #[arg(long, default_value_t = 500)]
        limit: usize,
        /// Go on showing what comes, until it ends
        #[arg(long, short)]
        follow: bool,
        #[command(flatten)]
        json: Json,
    },
    /// Wait for the end of one and print its answer
    Wait {
        /// Its id or its name
        which: String,
    },
    /// Send one a named signal; it is kept where nothing waits for it yet
    Signal {
        /// Its id or its name
        which: String,
        /// The signal's name
        signal: String,
        /// What it carries: JSON, @FILE, or - for standard input
        #[arg(default_value = "")]
        payload: String,
        /// Names this signal, so that repeating the command signals once
        #[arg(long, value_name = "ID")]
        event_id: Option<String>,
    },
    /// End one, and the calls it waits for
    Cancel(Act),
    /// Let no further turn begin; events are kept
    Pause(Act),
    /// Let a paused one go on
    Resume(Act),
    /// Let a failed one go on from its last suspended state
    Redrive(Act),
    /// Forget one that has ended, with its history
    Purge {
        /// Its id or its name
        which: String,
    },
    /// Answer a callback token with success
    Succeed {
        /// The token
        token: String,
        /// The answer: JSON, @FILE, or - for standard input
        #[arg(default_value = "")]
        payload: String,
    },
    /// Answer a callback token with a failure
    Fail {
        /// The token
        token: String,
        /// Why
        #[arg(default_value = "")]
        message: String,
    },
    /// Tell that the holder of a callback token is alive
    Heartbeat {
        /// The token
        token: String,
    },
}

/// Something done to one execution.
#[derive(clap::Args)]
pub(crate) struct Act {
    /// Its id or its name
    which: String,
    /// Why, for the history
    #[arg(long, default_value = "")]
    reason: String,
}

/// What to do where an execution of the wanted name is there already.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum IfExists {
    /// Refuse
    Refuse,
    /// Take it, open or ended
    Join,
    /// Replace it where it has ended
    Replace,
}

const HEADER: [&str; 6] = ["id", "name", "function", "class", "status", "waits for"];

pub(crate) fn run(client: &Client, command: &Command) -> Result<(), Failed> {
    match command {
        Command::Start { function, payload, name, if_exists, class, json } => {
            let options = StartOptions { function, name, if_exists: *if_exists, class };
            start(client, &options, payload, *json)
        }
        Command::List { status, function, name, parent, hours, before, limit, json } => {
            let mut query = vec![format!("limit={limit}")];
            query.extend(status.iter().map(|status| format!("status={status}")));
            query.extend(function.iter().map(|name| format!("function={name}")));
            query.extend(name.iter().map(|name| format!("name_prefix={}", escaped(name))));
            query.extend(parent.iter().map(|id| format!("parent={id}")));
            query.extend(before.iter().map(|id| format!("before={id}")));
            query.extend(hours.map(|hours| format!("from_ms={}", text::hours_ago_ms(hours))));
            let list = client.get(&format!("/v1/executions?{}", query.join("&")))?;
            show_list(*json, &list, &HEADER, row);
            Ok(())
        }
        Command::Show { which, json } => {
            let execution: Value = client.get(&path(which, ""))?;
            if json.json {
                text::print_json(&execution);
            } else {
                text::print(&story(&execution));
            }
            Ok(())
        }
        Command::History { which, after, limit, follow, json } => match follow {
            true => follow_history(client, which, *after, *json),
            false => history(client, which, *after, *limit, *json),
        },
        Command::Wait { which } => {
            let bytes = client.outcome(&path(which, "/output"))?;
            show(&bytes);
            Ok(())
        }
        Command::Signal { which, signal, payload, event_id } => {
            let headers: Vec<(&str, String)> =
                event_id.iter().map(|id| ("x-fermata-event-id", id.clone())).collect();
            let path = path(which, &format!("/signals/{}", escaped(signal)));
            client.post_bytes(&path, &headers, read_payload(payload)?)?;
            text::print(&format!("{which} was sent {signal}\n"));
            Ok(())
        }
        Command::Cancel(act) => done(client, act, "cancel", "is cancelled"),
        Command::Pause(act) => done(client, act, "pause", "is paused"),
        Command::Resume(act) => done(client, act, "resume", "goes on"),
        Command::Redrive(act) => done(client, act, "redrive", "goes on"),
        Command::Purge { which } => {
            client.act(Method::DELETE, &path(which, ""))?;
            text::print(&format!("{which} is gone\n"));
            Ok(())
        }
        Command::Succeed { token, payload } => {
            answer(client, token, "success", read_payload(payload)?)
        }
        Command::Fail { token, message } => {
            answer(client, token, "failure", Bytes::from(message.clone()))
        }
        Command::Heartbeat { token } => answer(client, token, "heartbeat", Bytes::new()),
    }
}

struct StartOptions<'a> {
    function: &'a str,
    name: &'a Option<String>,
    if_exists: IfExists,
    class: &'a Option<String>,
}

fn start(
    client: &Client,
    options: &StartOptions<'_>,
    payload: &str,
    json: Json,
) -> Result<(), Failed> {
    let if_exists = match options.if_exists {
        IfExists::Refuse => "refuse",
        IfExists::Join => "join",
        IfExists::Replace => "replace",
    };
    let name = options.name.iter().map(|name| format!("&name={}", escaped(name)));
    let name: String = name.collect();
    let path = format!("/v1/functions/{}/executions?if_exists={if_exists}{name}", options.function);
    let headers: Vec<(&str, String)> =
        options.class.iter().map(|class| ("x-fermata-class", class.clone())).collect();
    let answer = client.post_bytes(&path, &headers, read_payload(payload)?)?;
    let started: Value = serde_json::from_slice(&answer).unwrap_or_default();
    if json.json {
        text::print_json(&started);
    } else {
        text::print(&format!("{}\n", field(&started, "execution")));
    }
    Ok(())
}

fn history(
    client: &Client,
    which: &str,
    after: u64,
    limit: usize,
    json: Json,
) -> Result<(), Failed> {
    let list = client.get(&path(which, &format!("/history?after={after}&limit={limit}")))?;
    show_list(json, &list, &[">", "at (UTC)", "what", "why"], |entry| {
        vec![
            field(entry, "seq"),
            moment(entry, "at_ms"),
            field(entry, "what"),
            text::filtered(field(entry, "why").as_bytes()),
        ]
    });
    Ok(())
}

/// Each entry as a line, as it comes.
fn follow_history(client: &Client, which: &str, after: u64, json: Json) -> Result<(), Failed> {
    client.events(&path(which, &format!("/tail?after={after}")), |data| {
        if json.json {
            text::print(&format!("{data}\n"));
            return;
        }
        let entry: Value = serde_json::from_str(data).unwrap_or_default();
        let why = text::filtered(field(&entry, "why").as_bytes());
        let (at, what) = (moment(&entry, "at_ms"), field(&entry, "what"));
        text::print(&format!("{:>4}  {at}  {what:<12}  {why}\n", number(&entry, "seq")));
    })
}

fn done(client: &Client, act: &Act, verb: &str, told: &str) -> Result<(), Failed> {
    let reason = escaped(&act.reason);
    client.act(Method::POST, &path(&act.which, &format!("/{verb}?reason={reason}")))?;
    text::print(&format!("{} {told}\n", act.which));
    Ok(())
}

fn answer(client: &Client, token: &str, word: &str, payload: Bytes) -> Result<(), Failed> {
    client.post_bytes(&format!("/v1/tokens/{}/{word}", escaped(token)), &[], payload)?;
    text::print("taken\n");
    Ok(())
}

fn row(execution: &Value) -> Vec<String> {
    vec![
        field(execution, "id"),
        text::filtered(field(execution, "name").as_bytes()),
        format!("{}:{}", field(execution, "function"), field(execution, "version")),
        field(execution, "class"),
        field(execution, "status"),
        text::filtered(field(execution, "waits").as_bytes()),
    ]
}

/// One execution in words.
fn story(execution: &Value) -> String {
    let mut text = format!(
        "{} of {}:{} in class {}: {}\n",
        field(execution, "id"),
        field(execution, "function"),
        field(execution, "version"),
        field(execution, "class"),
        field(execution, "status"),
    );
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let value = text::filtered(value.as_bytes());
            text.push_str(&format!("  {name:<9} {value}\n"));
        }
    };
    line("name", field(execution, "name"));
    line("started", moment(execution, "created_ms"));
    line("waits for", field(execution, "waits"));
    line("since", moment(execution, "updated_ms"));
    line("ended", moment(execution, "finished_ms"));
    line("parent", field(execution, "parent"));
    line("says", field(execution, "custom_status"));
    line("answer", field(execution, "output"));
    let failure = &execution["failure"];
    if failure.is_object() {
        line("failed", format!("{}: {}", field(failure, "code"), field(failure, "message")));
    }
    let cost = &execution["cost"];
    line(
        "cost",
        format!(
            "{} µ¢: compute {}, storage {} ({} byte seconds), {} transitions {}",
            field(cost, "total"),
            field(cost, "compute"),
            field(cost, "storage"),
            field(cost, "stored_byte_seconds"),
            field(cost, "transitions"),
            field(cost, "transition"),
        ),
    );
    line("calls", format!("{} µ¢, billed there", field(cost, "children")));
    text
}

fn path(which: &str, rest: &str) -> String {
    format!("/v1/executions/{}{rest}", escaped(which))
}

/// Percent-encodes what has a meaning in a URL.
fn escaped(text: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.~".contains(&c);
    text.bytes()
        .map(|c| if plain(c) { char::from(c).to_string() } else { format!("%{c:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_a_path() {
        assert_eq!(escaped("order 1/ä"), "order%201%2F%C3%A4");
        assert_eq!(path("a b", "/x"), "/v1/executions/a%20b/x");
    }
}
