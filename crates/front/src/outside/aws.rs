//! Calls an action of an AWS service.

use std::time::SystemTime;

use asl::ask::Failed;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Map, Value, json};

use super::Outside;
use super::error::{Refusal, unreachable};
use super::send::Answer;
use super::services::{self, Metadata};
use super::sign::{Scope, Unsigned};

/// By which of AWS's clients an action is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// An integration of its own.
    Optimized,
    /// `aws-sdk:…`.
    Plain,
}

/// A call of a Task state.
pub(crate) struct Call<'a> {
    pub(crate) service: &'a str,
    /// `sendMessage` …
    pub(crate) action: &'a str,
    pub(crate) way: Way,
    pub(crate) parameters: &'a Value,
    /// The execution and its machine, which EventBridge is told.
    pub(crate) by: &'a [String],
}

impl Outside {
    /// Calls the action and gives its result as a state sees it.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Value, Failed> {
        let Call { service: name, action, way, parameters, by } = call;
        let service = services::canonical(name);
        let spoken = self.spoken(service).await.map_err(runtime)?;
        let endpoint = self.settings.endpoint(service).ok_or_else(|| no_endpoint(name))?;
        let parameters = prepared(service, *way, parameters, by);
        let names = spoken.names();
        if let Some(host) = elsewhere(service, &parameters) {
            let why = format!("{host}: Name or service not known");
            return Err(unreachable(&names, *way, &why));
        }
        let action = spoken.action(action, *way).map_err(runtime)?;
        let request = action.request(endpoint, parameters).map_err(runtime)?;
        let answer = self.exchange(spoken.signing(), request).await;
        let answer = answer.map_err(|why| unreachable(&names, *way, &why))?;
        if !answer.status.is_success() || action.failed_late(&answer) {
            return Err(spoken.refusal(&answer).told(&names, *way));
        }
        let mut result = action
            .result(&answer)
            .map_err(|why| unreachable(&names, *way, &format!("the answer is no answer: {why}")))?;
        if let Some(failed) = failed_entries(service, *way, &result) {
            return Err(failed);
        }
        if names.optimized.is_some_and(|optimized| optimized.metadata == Metadata::Shown)
            && *way == Way::Optimized
        {
            add_metadata(&mut result, &answer);
        }
        Ok(Value::Object(result))
    }

    /// Signs a request, sends it and waits for the whole answer.
    pub(super) async fn exchange(
        &self,
        signing: &str,
        request: Unsigned,
    ) -> Result<Answer, String> {
        let _room = self.room.acquire().await.map_err(|error| error.to_string())?;
        self.client.send(self.signed(signing, request)?).await
    }

    /// Signs a request.
    pub(super) fn signed(
        &self,
        signing: &str,
        request: Unsigned,
    ) -> Result<Request<Full<Bytes>>, String> {
        let scope = Scope {
            keys: self.settings.keys(&self.role),
            region: &self.region,
            service: signing,
            now: SystemTime::now(),
        };
        request.sign(&scope)
    }
}

/// The parameters of an action as the service is given them.
pub(crate) fn prepared(
    service: &str,
    way: Way,
    parameters: &Value,
    by: &[String],
) -> Map<String, Value> {
    let mut parameters = parameters.as_object().cloned().unwrap_or_default();
    if service == "eventbridge" && way == Way::Optimized {
        add_resources(&mut parameters, by);
    }
    texts(service, &mut parameters);
    parameters
}

/// What a state is told where a service that is part of this server refuses an action.
pub(crate) fn refused(service: &str, way: Way, code: &str, message: &str) -> Failed {
    let Some(service) = services::find(service) else { return runtime(message.to_owned()) };
    let refusal = Refusal {
        status: 400,
        code: code.to_owned(),
        message: message.to_owned(),
        request: crate::uuid::draw().unwrap_or_default(),
        host: None,
    };
    refusal.told(&service.names(), way)
}

fn runtime(cause: String) -> Failed {
    Failed { error: "States.Runtime".to_owned(), cause: Some(cause) }
}

/// No endpoint is set, and where one is.
pub(super) fn no_endpoint(service: &str) -> Failed {
    runtime(format!(
        "no endpoint is configured for {service}: start the server with --aws-endpoint \
         {service}=URL, or set FERMATA_AWS_ENDPOINT"
    ))
}

/// The host of a queue's URL that names no queue, so that only that host could know what is meant.
/// It is not asked.
fn elsewhere<'p>(service: &str, parameters: &'p Map<String, Value>) -> Option<&'p str> {
    if service != "sqs" {
        return None;
    }
    let url = parameters.get("QueueUrl")?.as_str()?;
    let (_, rest) = url.split_once("://")?;
    let (host, queue) = rest.split_once('/').unwrap_or((rest, ""));
    queue.is_empty().then_some(host)
}

/// The execution that puts an event is among the event's resources.
fn add_resources(parameters: &mut Map<String, Value>, by: &[String]) {
    for entry in parameters.get_mut("Entries").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(entry) = entry.as_object_mut() {
            let resources = entry.entry("Resources").or_insert_with(|| json!([]));
            if let Some(resources) = resources.as_array_mut() {
                resources.extend(by.iter().map(|arn| arn.as_str().into()));
            }
        }
    }
}

/// What a service has as a text may be given as JSON.
fn texts(service: &str, parameters: &mut Map<String, Value>) {
    let to_text = |value: &mut Value| {
        if !value.is_string() && !value.is_null() {
            *value = value.to_string().into();
        }
    };
    let field = match service {
        "sns" => "Message",
        "sqs" => "MessageBody",
        "eventbridge" => {
            let entries = parameters.get_mut("Entries").and_then(Value::as_array_mut);
            for detail in entries.into_iter().flatten().filter_map(|entry| entry.get_mut("Detail"))
            {
                to_text(detail);
            }
            return;
        }
        _ => return,
    };
    if let Some(value) = parameters.get_mut(field) {
        to_text(value);
    }
}

/// EventBridge answers well where some entries were refused; the state fails.
pub(crate) fn failed_entries(
    service: &str,
    way: Way,
    result: &Map<String, Value>,
) -> Option<Failed> {
    let failed = result.get("FailedEntryCount").and_then(Value::as_u64).unwrap_or_default();
    (service == "eventbridge" && way == Way::Optimized && failed > 0).then(|| Failed {
        error: "EventBridge.FailedEntry".to_owned(),
        cause: Some(Value::Object(result.clone()).to_string()),
    })
}

/// What an integration of its own tells of the HTTP answer.
fn add_metadata(result: &mut Map<String, Value>, answer: &Answer) {
    let (mut all, mut one) = (Map::new(), Map::new());
    for (name, value) in &answer.headers {
        let Ok(value) = value.to_str() else { continue };
        all.insert(name.as_str().to_owned(), json!([value]));
        one.insert(name.as_str().to_owned(), value.into());
    }
    let request = answer.headers.get("x-amzn-requestid").and_then(|value| value.to_str().ok());
    let request = request.map(str::to_owned).or_else(|| {
        let body = String::from_utf8_lossy(&answer.body);
        let document = super::xml::parse(&body).ok()?;
        super::xml::text(&document, "RequestId").map(str::to_owned)
    });
    let status = answer.status.as_u16();
    result.insert(
        "SdkHttpMetadata".to_owned(),
        json!({ "AllHttpHeaders": all, "HttpHeaders": one, "HttpStatusCode": status }),
    );
    result.insert("SdkResponseMetadata".to_owned(), json!({ "RequestId": request }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_an_endpoint_is_told_with_the_setting_that_gives_it_one() {
        let Failed { error, cause } = no_endpoint("sqs");
        assert_eq!(error, "States.Runtime");
        assert!(cause.unwrap().contains("--aws-endpoint sqs=URL"));
    }

    #[test]
    fn only_a_queues_url_without_a_queue_is_told_to_lead_elsewhere() {
        let host = |service: &str, url: &str| {
            let mut parameters = Map::new();
            parameters.insert("QueueUrl".to_owned(), url.into());
            elsewhere(service, &parameters).map(str::to_owned)
        };
        assert_eq!(host("sqs", "http://no-such-queue").as_deref(), Some("no-such-queue"));
        assert_eq!(host("sqs", "https://host:80/").as_deref(), Some("host:80"));
        assert_eq!(host("sqs", "https://sqs.us-east-1.amazonaws.com/000000000000/q"), None);
        assert_eq!(host("sqs", "q"), None, "the service tells what it is not");
        assert_eq!(host("sns", "http://host"), None);
    }

    #[test]
    fn an_event_tells_its_execution_and_its_detail_is_a_text() {
        let mut parameters = Map::new();
        parameters.insert("Entries".to_owned(), json!([{ "Detail": { "a": 1 } }]));
        add_resources(&mut parameters, &["arn:execution".to_owned()]);
        texts("eventbridge", &mut parameters);
        let expected = json!([{ "Detail": "{\"a\":1}", "Resources": ["arn:execution"] }]);
        assert_eq!(parameters["Entries"], expected);
    }
}
