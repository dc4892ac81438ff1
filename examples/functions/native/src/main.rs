//! A function as one writes it for AWS Lambda, with the crates.io `lambda_runtime` as it is.
//!
//! It answers with what it was given and how it was called. `{"fail": "why"}` makes it fail.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(answer)).await
}

async fn answer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (payload, context) = event.into_parts();
    if let Some(why) = payload.get("fail").and_then(Value::as_str) {
        return Err(why.into());
    }
    Ok(json!({
        "got": payload,
        "invocation": context.request_id,
        "function": context.env_config.function_name,
    }))
}
