//! How a service is spoken to: as its model says, where the operator gave one, and else as the table of
//! [`services`] says.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderMap;
use serde_json::{Map, Value};

use super::error::{Known, Names, Refusal};
use super::models::naming::{capital, small};
use super::models::{self, Api};
use super::send::Answer;
use super::services::{self, Case, Optimized, Protocol, Service};
use super::sign::{Unsigned, put};
use super::{FORM, Outside, Way, query, s3};

/// A service, and who knows how it is spoken to.
pub(super) enum Spoken {
    Table(&'static Service),
    Model {
        api: Arc<Api>,
        /// Its errors in an integration of its own, which no model tells.
        optimized: Option<Optimized>,
    },
}

/// An action of it.
pub(super) enum Action<'a> {
    Table { service: &'static Service, name: &'a str },
    Model(models::Action<'a>),
}

impl Outside {
    /// How the service of that name is spoken to.
    pub(super) async fn spoken(&self, service: &str) -> Result<Spoken, String> {
        let table = services::find(service);
        let api = match &self.models {
            Some(models) => models.find(service).await?,
            None => None,
        };
        match (api, table) {
            (Some(api), table) => {
                let optimized = table.and_then(|table| table.optimized);
                Ok(Spoken::Model { api, optimized })
            }
            (None, Some(table)) => Ok(Spoken::Table(table)),
            (None, None) if self.models.is_some() => Err(format!(
                "{service} is not among the models that --aws-models names, nor among the services that \
                 this server can call without one"
            )),
            (None, None) => Err(format!(
                "{service} is not among the services that this server can call without a model: start \
                 it with --aws-models DIR, botocore's folder of models, or set FERMATA_AWS_MODELS"
            )),
        }
    }
}

impl Spoken {
    /// What its errors are called.
    pub(super) fn names(&self) -> Names<'_> {
        match self {
            Self::Table(service) => service.names(),
            Self::Model { api, optimized } => {
                Names { client: &api.client, optimized: *optimized, known: Known::Modelled(api) }
            }
        }
    }

    /// What a signature is for.
    pub(super) fn signing(&self) -> &str {
        match self {
            Self::Table(service) => service.signing,
            Self::Model { api, .. } => &api.signing,
        }
    }

    pub(super) fn action<'a>(&'a self, name: &'a str, way: Way) -> Result<Action<'a>, String> {
        match self {
            Self::Table(service) => Ok(Action::Table { service, name }),
            Self::Model { api, .. } => models::Action::find(api, name, way).map(Action::Model),
        }
    }

    pub(super) fn refusal(&self, answer: &Answer) -> Refusal {
        let in_xml = match self {
            Self::Table(service) => !matches!(service.protocol, Protocol::Json { .. }),
            Self::Model { api, .. } => api.speaks_xml(),
        };
        if in_xml { query::refusal(answer) } else { refusal(answer) }
    }
}

impl Action<'_> {
    /// The request, or what is wrong with the parameters.
    pub(super) fn request(
        &self,
        endpoint: &str,
        parameters: Map<String, Value>,
    ) -> Result<Unsigned, String> {
        match self {
            Self::Table { service, name } => request(service, endpoint, name, parameters),
            Self::Model(action) => action.request(endpoint, parameters),
        }
    }

    /// Whether S3 began to answer well and then failed: AWS's client looks for an error in the body of
    /// each answer that is not an object itself.
    pub(super) fn failed_late(&self, answer: &Answer) -> bool {
        let may_be = match self {
            Self::Table { service, name } => {
                matches!(service.protocol, Protocol::S3) && !s3::gives_body(name)
            }
            Self::Model(action) => action.is_of("s3") && !action.gives_body(),
        };
        may_be && query::is_error(answer)
    }

    /// The result as a state sees it.
    pub(super) fn result(&self, answer: &Answer) -> Result<Map<String, Value>, String> {
        match self {
            Self::Table { service, name } => result(service, name, answer),
            Self::Model(action) => action.result(answer),
        }
    }
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
            put(&mut headers, "x-amz-target", &target)?;
            if service.case == Case::Camel {
                parameters = renamed(parameters, small);
            }
            let body = Value::Object(parameters).to_string();
            (format!("application/x-amz-json-{version}"), body)
        }
        Protocol::Query { version } => {
            let form = query::form(&operation, version, &parameters);
            (FORM.to_owned(), form)
        }
    };
    put(&mut headers, "content-type", &content)?;
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

/// A refusal in JSON.
fn refusal(answer: &Answer) -> Refusal {
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
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_in_a_good_answer_of_s3_is_one_unless_it_is_an_object() {
        let answer = |body: &'static str| Answer {
            status: hyper::StatusCode::OK,
            headers: HeaderMap::new(),
            body: body.into(),
        };
        let error =
            "  <?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>No.</Message></Error>";
        let service = services::find("s3").unwrap();
        let failed = |name: &str, body| Action::Table { service, name }.failed_late(&answer(body));
        for action in ["copyObject", "completeMultipartUpload", "uploadPartCopy"] {
            assert!(failed(action, error), "{action}");
            assert!(!failed(action, "<CopyObjectResult><ETag>e</ETag></CopyObjectResult>"));
        }
        assert!(!failed("getObject", error), "somebody may store such a text");
        assert!(!failed("putObject", ""));
        let refusal = Spoken::Table(service).refusal(&answer(error));
        assert_eq!((refusal.status, refusal.code.as_str()), (200, "SlowDown"));
        assert_eq!(refusal.message, "No.");
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
