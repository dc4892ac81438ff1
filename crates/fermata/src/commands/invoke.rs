//! `fermata invoke`.

use std::io::Read as _;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::{field, micros, nanos};
use crate::client::{Answer, Client, Failed, problem_text, refusal};
use crate::text;

/// Call a function and print its answer
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The function, or NAME:VERSION
    name: String,
    /// Its input: text (JSON, mostly), @FILE, or - for standard input
    #[arg(default_value = "")]
    payload: String,
    /// Price class of the call [default: the function's own]
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// Version [default: the latest]
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Queue the call and print its id
    #[arg(long = "async")]
    asynchronous: bool,
    /// Also print the bill and where the time went, to standard error
    #[arg(long)]
    receipt: bool,
    /// Print answer, id and receipt as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failed> {
    let mut headers = vec![("content-type", "application/octet-stream".to_owned())];
    headers.extend(args.class.iter().map(|class| ("x-fermata-class", class.clone())));
    headers.extend(args.version.iter().map(|version| ("x-fermata-version", version.to_string())));
    if args.asynchronous {
        headers.push(("x-fermata-async", "true".to_owned()));
    }
    let path = format!("/v1/functions/{}/invoke", args.name);
    let answer = client.send(Method::POST, &path, &headers, payload(&args.payload)?)?;
    let ran = answer.headers.contains_key("x-fermata-receipt");
    if !answer.status.is_success() && !ran {
        return Err(refusal(&answer));
    }
    if args.asynchronous {
        let accepted: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let id = field(&accepted, "invocation");
        text::print(&if args.json { format!("{accepted}\n") } else { format!("{id}\n") });
        return Ok(());
    }
    if args.json {
        text::print_json(&as_json(&answer));
    } else if answer.status.is_success() {
        show(&answer.body);
    }
    if args.receipt && !args.json {
        print_receipt(&answer);
    }
    if answer.status.is_success() {
        Ok(())
    } else {
        let problem = text::filtered(problem_text(&answer).as_bytes());
        Err(Failed::Function(format!("{problem}\n  see `fermata logs {}`", id_of(&answer))))
    }
}

/// Text as it is, `@FILE` from a file, `-` from standard input.
pub(super) fn payload(text: &str) -> Result<Bytes, Failed> {
    if text == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|error| Failed::Usage(format!("read standard input: {error}")))?;
        return Ok(bytes.into());
    }
    match text.strip_prefix('@') {
        None => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(file) => {
            let bytes = std::fs::read(file);
            bytes.map(Bytes::from).map_err(|error| Failed::Usage(format!("read {file}: {error}")))
        }
    }
}

/// A terminal gets text that cannot steer it, with a newline at its end; a pipe gets the bytes.
pub(super) fn show(answer: &[u8]) {
    if text::is_terminal() {
        let shown = text::filtered(answer);
        text::print(&if shown.ends_with('\n') { shown } else { format!("{shown}\n") });
    } else {
        text::print_bytes(answer);
    }
}

fn as_json(answer: &Answer) -> Value {
    let body = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer.body).into_owned()));
    let name = if answer.status.is_success() { "answer" } else { "problem" };
    json!({"invocation": id_of(answer), "receipt": receipt_of(answer), name: body})
}

#[expect(clippy::print_stderr, reason = "the answer alone goes to standard output")]
fn print_receipt(answer: &Answer) {
    let receipt = receipt_of(answer);
    eprintln!(
        "{} in class {}: {} CPU, {} µ¢, {} in all (queued {}, waiting {}, starting {}, preempted {} \
         in {} times, blocked {}, without memory {}, swapped out {} times, running {})",
        id_of(answer),
        field(&receipt, "class"),
        nanos(&receipt, "cpu_ns"),
        field(&receipt, "total"),
        micros(&receipt, "total_us"),
        micros(&receipt, "queued_us"),
        micros(&receipt, "waiting_us"),
        micros(&receipt, "starting_us"),
        micros(&receipt, "preempted_us"),
        field(&receipt, "preemptions"),
        micros(&receipt, "blocked_us"),
        micros(&receipt, "memory_us"),
        field(&receipt, "swap_outs"),
        micros(&receipt, "running_us"),
    );
}

fn id_of(answer: &Answer) -> String {
    let id = answer.headers.get("x-fermata-invocation");
    id.and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
}

fn receipt_of(answer: &Answer) -> Value {
    let receipt = answer.headers.get("x-fermata-receipt");
    receipt.and_then(|text| serde_json::from_slice(text.as_bytes()).ok()).unwrap_or_default()
}
