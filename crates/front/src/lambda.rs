//! The part of AWS Lambda's REST API that a test needs to set functions up: create, look, call, delete.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{Durable, FunctionName};
use node::{Error, ErrorKind, FunctionInfo, Handle, Invoke, NewFunction, Principal};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::own::CREATE_BYTES_MAX;
use crate::signed::Gate;
use crate::stepfunctions::Settings;

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const CLASS: HeaderName = HeaderName::from_static("x-fermata-class");

/// A refusal in Lambda's words.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn missing(arn: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            format!("Function not found: {arn}"),
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "Type": "User", "Message": self.message });
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(self.code));
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (status, code) = match error.kind {
            ErrorKind::UnknownFunction => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::ClassNotAllowed => {
                (StatusCode::FORBIDDEN, "AccessDeniedException")
            }
            ErrorKind::Conflict => (StatusCode::CONFLICT, "ResourceConflictException"),
            ErrorKind::PayloadTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException")
            }
            ErrorKind::OverBudget | ErrorKind::Overloaded => {
                (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException")
            }
            ErrorKind::Draining
            | ErrorKind::OwnerAway
            | ErrorKind::Storage
            | ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "ServiceException"),
            _ => (StatusCode::BAD_REQUEST, "InvalidParameterValueException"),
        };
        Self::new(status, code, error.to_string())
    }
}

/// Whose request it is, as its signature told.
type Who = Extension<Principal>;
/// A function's name, or ARN, in the path.
type Name = Path<String>;

/// The routes of this protocol.
pub(crate) fn routes(handle: &Handle, settings: &Settings) -> Router<Handle> {
    let (creates, gets) = (settings.clone(), settings.clone());
    let shows = settings.clone();
    let gate = Gate {
        handle: handle.clone(),
        service: |_| "lambda",
        region: settings.region.clone(),
        refuse: |refused| {
            Refusal::new(StatusCode::FORBIDDEN, refused.code, &refused.message).into_response()
        },
    };
    let create =
        post(move |State(handle): State<Handle>, Extension(who): Who, body: Bytes| async move {
            create(&creates, &handle, &who, &body).await
        });
    let one = get(
        move |State(handle): State<Handle>, Extension(who): Who, Path(name): Name| async move {
            describe(&gets, &handle, &who, &name).await
        },
    )
    .delete(|State(handle): State<Handle>, Extension(who): Who, Path(name): Name| async move {
        delete(&handle, &who, &name).await
    });
    let configuration = get(
        move |State(handle): State<Handle>, Extension(who): Who, Path(name): Name| async move {
            configuration(&shows, &handle, &who, &name).await
        },
    );
    let (guard, payload) =
        (|route, most| gate.clone().guard(route, most), handle.payload_bytes_max());
    Router::new()
        .route("/2015-03-31/functions", guard(create, CREATE_BYTES_MAX))
        .route("/2015-03-31/functions/{name}", guard(one, 0))
        .route("/2015-03-31/functions/{name}/configuration", guard(configuration, 0))
        .route("/2015-03-31/functions/{name}/invocations", guard(post(invoke), payload))
}

/// The name in a name, a partial ARN or an ARN.
fn parse_name(text: &str) -> Result<FunctionName, Refusal> {
    let name = text.split_once("function:").map_or(text, |(_, rest)| rest);
    let name = name.split(':').next().unwrap_or_default();
    name.parse().map_err(|_| {
        let message = format!("{text:?} is not the name of a function");
        Refusal::new(StatusCode::BAD_REQUEST, "InvalidParameterValueException", message)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    function_name: String,
    runtime: Option<String>,
    handler: Option<String>,
    code: Code,
    timeout: Option<u64>,
    description: Option<String>,
    environment: Option<Environment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Code {
    zip_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Environment {
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

async fn create(
    settings: &Settings,
    handle: &Handle,
    who: &Principal,
    body: &[u8],
) -> Result<Response, Refusal> {
    let invalid = |message: String| {
        Refusal::new(StatusCode::BAD_REQUEST, "InvalidParameterValueException", message)
    };
    let wanted: Create = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the request is not understood: {error}")))?;
    let name = parse_name(&wanted.function_name)?;
    if handle.function(who, &name, None).await.is_ok() {
        let message = format!("Function already exist: {name}");
        return Err(Refusal::new(StatusCode::CONFLICT, "ResourceConflictException", message));
    }
    let zip =
        wanted.code.zip_file.ok_or_else(|| invalid("only code in ZipFile is taken".to_owned()))?;
    let package = STANDARD.decode(zip).map_err(|_| invalid("ZipFile is not base64".to_owned()))?;
    let new = NewFunction {
        name,
        runtime: wanted.runtime.unwrap_or_else(|| "provided".to_owned()),
        handler: wanted.handler.unwrap_or_default(),
        timeout: Some(wanted.timeout.map_or(TIMEOUT_DEFAULT, Duration::from_secs)),
        environment: wanted
            .environment
            .map_or_else(Vec::new, |environment| environment.variables.into_iter().collect()),
        description: wanted.description.unwrap_or_default(),
        package: package.into(),
        class: None,
        network: false,
        durable: Durable::No,
    };
    let info = handle.create_function(who, new).await?;
    Ok((StatusCode::CREATED, Json(shown(settings, &info))).into_response())
}

fn shown(settings: &Settings, info: &FunctionInfo) -> Value {
    let arn =
        format!("arn:aws:lambda:{}:{}:function:{}", settings.region, settings.account, info.name);
    let role = format!("arn:aws:iam::{}:role/fermata", settings.account);
    let variables: serde_json::Map<String, Value> =
        info.environment.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    json!({
        "FunctionName": info.name.as_str(),
        "FunctionArn": arn,
        "Runtime": info.runtime,
        "Role": role,
        "Handler": info.handler,
        "CodeSize": info.code_bytes,
        "CodeSha256": STANDARD.encode(info.code_hash),
        "Description": info.description,
        "Timeout": info.timeout.as_secs(),
        "MemorySize": 128,
        "Environment": { "Variables": variables },
        "Version": "$LATEST",
        "PackageType": "Zip",
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "RevisionId": info.version.0.to_string(),
    })
}

async fn find(handle: &Handle, who: &Principal, name: &str) -> Result<FunctionInfo, Refusal> {
    let parsed = parse_name(name)?;
    handle.function(who, &parsed, None).await.map_err(|error| match error.kind {
        ErrorKind::UnknownFunction | ErrorKind::NotFound => Refusal::missing(name),
        _ => error.into(),
    })
}

async fn describe(
    settings: &Settings,
    handle: &Handle,
    who: &Principal,
    name: &str,
) -> Result<Response, Refusal> {
    let info = find(handle, who, name).await?;
    let body = json!({
        "Configuration": shown(settings, &info),
        "Code": { "RepositoryType": "S3", "Location": "" },
    });
    Ok(Json(body).into_response())
}

async fn configuration(
    settings: &Settings,
    handle: &Handle,
    who: &Principal,
    name: &str,
) -> Result<Response, Refusal> {
    Ok(Json(shown(settings, &find(handle, who, name).await?)).into_response())
}

async fn delete(handle: &Handle, who: &Principal, name: &str) -> Result<StatusCode, Refusal> {
    let info = find(handle, who, name).await?;
    handle.delete_function(who, &info.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn invoke(
    State(handle): State<Handle>,
    Extension(who): Who,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let call = Invoke {
        function: parse_name(&name)?,
        version: None,
        class: text(&CLASS).map(str::to_owned),
        payload: if body.is_empty() { Bytes::from_static(b"{}") } else { body },
        traceparent: None,
        received: handle.now(),
    };
    match text(&INVOCATION_TYPE).unwrap_or("RequestResponse") {
        "Event" => {
            handle.invoke_async(&who, call).await?;
            Ok(StatusCode::ACCEPTED.into_response())
        }
        "DryRun" => {
            find(&handle, &who, &name).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => {
            let invoked = handle.invoke(&who, call).await.map_err(|error| match error.kind {
                ErrorKind::UnknownFunction => Refusal::missing(&name),
                _ => error.into(),
            })?;
            let (body, failed) = match invoked.outcome {
                Ok(answer) => (answer, false),
                Err(failure) => (Bytes::from(asl::answer::error_body(&failure).to_string()), true),
            };
            let mut response = Response::new(Body::from(body));
            let headers = response.headers_mut();
            headers.insert(EXECUTED_VERSION, HeaderValue::from_static("$LATEST"));
            if failed {
                headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
            }
            Ok(response)
        }
    }
}
