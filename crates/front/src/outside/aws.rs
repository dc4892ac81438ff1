//! Calls an action of an AWS service.

use std::time::SystemTime;

use asl::ask::Failed;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request};
use serde_json::{Map, Value, json};

use super::error::{Refusal, unreachable};
use super::send::Answer;
use super::services::{self, Case, Metadata, Protocol, Service};
use super::sign::{Scope, Unsigned};
use super::{Outside, query, s3};

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
        let service = services::find(name).ok_or_else(|| {
            runtime(format!("{name} is not among the services that this server can call"))
        })?;
        let endpoint = self.settings.endpoint(service.name).ok_or_else(|| no_endpoint(name))?;
        let mut parameters = parameters.as_object().cloned().unwrap_or_default();
        if service.name == "eventbridge" && *way == Way::Optimized {
            add_resources(&mut parameters, by);
        }
        texts(service, &mut parameters);
        if let Some(host) = elsewhere(service, &parameters) {
            let why = format!("{host}: Name or service not known");
            return Err(unreachable(service, *way, &why));
        }
        let request = request(service, endpoint, action, parameters).map_err(runtime)?;
        let answer = self.exchange(service, request).await;
        let answer = answer.map_err(|why| unreachable(service, *way, &why))?;
        if !answer.status.is_success() {
            return Err(refusal(service, &answer).told(service, *way));
        }
        let mut result = result(service, action, &answer).map_err(|why| {
            unreachable(service, *way, &format!("the answer is no answer: {why}"))
        })?;
        if let Some(failed) = failed_entries(service, *way, &result) {
            return Err(failed);
        }
        if service.optimized.is_some_and(|optimized| optimized.metadata == Metadata::Shown)
            && *way == Way::Optimized
        {
            add_metadata(&mut result, &answer);
        }
        Ok(Value::Object(result))
    }

    /// Signs a request, sends it and waits for the whole answer.
    pub(super) async fn exchange(
        &self,
        service: &Service,
        request: Unsigned,
    ) -> Result<Answer, String> {
        let _room = self.room.acquire().await.map_err(|error| error.to_string())?;
        self.client.send(self.signed(service, request)?).await
    }

    /// Signs a request.
    pub(super) fn signed(
        &self,
        service: &Service,
        request: Unsigned,
    ) -> Result<Request<Full<Bytes>>, String> {
        let scope = Scope {
            keys: &self.settings.keys,
            region: &self.region,
            service: service.signing,
            now: SystemTime::now(),
        };
        request.sign(&scope)
    }
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
fn elsewhere<'p>(service: &Service, parameters: &'p Map<String, Value>) -> Option<&'p str> {
    if service.name != "sqs" {
        return None;
    }
    let url = parameters.get("QueueUrl")?.as_str()?;
    let (_, rest) = url.split_once("://")?;
    let (host, queue) = rest.split_once('/').unwrap_or((rest, ""));
    queue.is_empty().then_some(host)
}

fn request(
    service: &Service,
    endpoint: &str,
    action: &str,
    mut parameters: Map<String, Value>,
) -> Result<Unsigned, String> {
    let operation = capital(action);
    let mut headers = HeaderMap::new();
    let (content, body) = match service.protocol {
        Protocol::S3 => return s3::request(endpoint, action, &parameters),
        Protocol::Json { version, target } => {
            let target = format!("{target}.{operation}");
            let target = HeaderValue::from_str(&target).map_err(|error| error.to_string())?;
            headers.insert("x-amz-target", target);
            if service.case == Case::Camel {
                parameters = renamed(parameters, small);
            }
            let body = Value::Object(parameters).to_string();
            (format!("application/x-amz-json-{version}"), body)
        }
        Protocol::Query { version } => {
            let form = query::form(&operation, version, &parameters);
            ("application/x-www-form-urlencoded; charset=utf-8".to_owned(), form)
        }
    };
    let content = HeaderValue::from_str(&content).map_err(|error| error.to_string())?;
    headers.insert(header::CONTENT_TYPE, content);
    let (url, body) = (format!("{endpoint}/"), Bytes::from(body));
    Ok(Unsigned { method: Method::POST, url, headers, body })
}

fn result(service: &Service, action: &str, answer: &Answer) -> Result<Map<String, Value>, String> {
    match service.protocol {
        Protocol::S3 => s3::result(action, answer),
        Protocol::Query { .. } => {
            query::result(&capital(action), &String::from_utf8_lossy(&answer.body))
        }
        Protocol::Json { .. } => {
            if answer.body.is_empty() {
                return Ok(Map::new());
            }
            let mut fields: Map<String, Value> =
                serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
            // What is null is not there to AWS's client.
            fields.retain(|_, value| !value.is_null());
            Ok(match service.case {
                Case::Pascal => fields,
                Case::Camel => renamed(fields, capital),
            })
        }
    }
}

fn refusal(service: &Service, answer: &Answer) -> Refusal {
    if !matches!(service.protocol, Protocol::Json { .. }) {
        return query::refusal(answer);
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text =
        |names: &[&str]| names.iter().find_map(|name| body.get(*name)?.as_str()).map(str::to_owned);
    let header = |name: &str| {
        answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let code = text(&["__type", "code"]).or_else(|| header("x-amzn-errortype")).unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    Refusal {
        status: answer.status.as_u16(),
        code: code.to_owned(),
        message: text(&["message", "Message", "errorMessage"]).unwrap_or_else(|| "null".to_owned()),
        request: header("x-amzn-requestid").unwrap_or_default(),
        host: None,
    }
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
fn texts(service: &Service, parameters: &mut Map<String, Value>) {
    let to_text = |value: &mut Value| {
        if !value.is_string() && !value.is_null() {
            *value = value.to_string().into();
        }
    };
    let field = match service.name {
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
fn failed_entries(service: &Service, way: Way, result: &Map<String, Value>) -> Option<Failed> {
    let failed = result.get("FailedEntryCount").and_then(Value::as_u64).unwrap_or_default();
    (service.name == "eventbridge" && way == Way::Optimized && failed > 0).then(|| Failed {
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

fn capital(text: &str) -> String {
    with_first(text, char::to_ascii_uppercase)
}

fn small(text: &str) -> String {
    with_first(text, char::to_ascii_lowercase)
}

fn with_first(text: &str, to: fn(&char) -> char) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| to(&first).to_string() + chars.as_str())
}

/// Fields under other names, at every depth.
fn renamed(fields: Map<String, Value>, to: fn(&str) -> String) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (to(&name), renamed_value(value, to))).collect()
}

fn renamed_value(value: Value, to: fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => Value::Object(renamed(fields, to)),
        Value::Array(items) => items.into_iter().map(|item| renamed_value(item, to)).collect(),
        other => other,
    }
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
            elsewhere(services::find(service).unwrap(), &parameters).map(str::to_owned)
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
        texts(services::find("events").unwrap(), &mut parameters);
        let expected = json!([{ "Detail": "{\"a\":1}", "Resources": ["arn:execution"] }]);
        assert_eq!(parameters["Entries"], expected);
    }

    #[test]
    fn a_service_with_small_letters_gets_and_gives_them_at_every_depth() {
        let service = services::find("ecs").unwrap();
        let mut parameters = Map::new();
        parameters.insert("Overrides".to_owned(), json!({ "List": [{ "Name": "N" }] }));
        let request = request(service, "http://e", "runTask", parameters).unwrap();
        assert_eq!(&request.body[..], br#"{"overrides":{"list":[{"name":"N"}]}}"#);
        let target = "AmazonEC2ContainerServiceV20141113.RunTask";
        assert_eq!(request.headers["x-amz-target"], target);
    }
}
