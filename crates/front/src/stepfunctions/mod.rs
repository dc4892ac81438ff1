//! AWS Step Functions: JSON 1.0 at `POST /`, the action in `X-Amz-Target`.
//!
//! A state machine is a function of kind `state-machine` of the same name; what AWS keeps beside it (role,
//! versions, aliases, tags, activities) is in [`registry`]. Start reading at [`dispatch`].

mod activities;
mod aliases;
mod arn;
mod definitions;
mod error;
mod events;
mod executions;
pub(crate) mod logs;
mod machines;
mod map_runs;
mod mock_schema;
mod page;
mod params;
mod redrives;
mod references;
mod registry;
mod runs;
mod services;
mod shapes;
mod tags;
mod tasks;
mod test_state;
mod versions;
mod view;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use node::states::{Mocks, Quotas, Roles};
use node::{Handle, Principal};
use serde_json::{Map, Value};

use arn::Place;
use definitions::Definitions;
use error::AwsError;
pub(crate) use logs::Logs;
use logs::groups;
use params::Params;
use registry::Registry;
use runs::Runs;

use crate::outside::{self, Outside};
use crate::rules::Rule;
use crate::signed::Gate;

const TARGET: &str = "x-amz-target";
const PREFIX: &str = "AWSStepFunctions.";
const CLASS: &str = "x-fermata-class";
/// A request without what it carries for an execution: AWS's limit of requests.
const REQUEST_BYTES_MAX: usize = 1 << 20;
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

/// Where this node's resources are said to be: part of every ARN.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Twelve digits.
    pub account: String,
    /// `us-east-1`.
    pub region: String,
    /// What state machines may reach outside of this server.
    pub outside: outside::Settings,
    /// Which limits hold for them.
    pub quotas: Quotas,
    /// Who hears of the events that they put, where no service for events is named.
    pub rules: Vec<Rule>,
    /// What their roles allow them.
    pub roles: Roles,
    /// Their test cases.
    pub mocks: Mocks,
    /// The folder of log groups; without one nothing is kept of them.
    pub logs: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            outside: outside::Settings::default(),
            quotas: Quotas::Aws,
            rules: Vec::new(),
            roles: Roles::default(),
            mocks: Mocks::default(),
            logs: None,
        }
    }
}

/// What every action needs.
struct Api {
    place: Place,
    quotas: Quotas,
    registry: Registry,
    runs: Runs,
    definitions: Definitions,
    map_runs: map_runs::Known,
    redrives: redrives::Tokens,
    outside: Outside,
    rules: Vec<Rule>,
    roles: Roles,
    mocks: Mocks,
    logs: Arc<Logs>,
    /// Held while machines and their functions are made or removed together.
    publishing: tokio::sync::Mutex<()>,
}

/// What the work of an execution needs, which outlives the request that began it.
#[derive(Clone)]
struct Ctx {
    api: Arc<Api>,
    handle: Handle,
    who: Principal,
    /// The class that is stated, or inherited.
    class: Option<String>,
}

/// One request.
struct Call<'a> {
    api: &'a Arc<Api>,
    handle: &'a Handle,
    who: &'a Principal,
    place: &'a Place,
    registry: &'a Registry,
    params: Params,
    class: Option<String>,
}

impl Call<'_> {
    /// Whether state machines of whoever asks may have the role.
    fn check_role(&self, arn: &str) -> Result<(), AwsError> {
        if self.api.roles.is_open_to(&self.who.tenant, arn) {
            return Ok(());
        }
        let message = "Neither the global service principal states.amazonaws.com, nor the regional one is \
                       authorized to assume the provided role.";
        Err(AwsError::new("AccessDeniedException", message))
    }

    fn ctx(&self) -> Ctx {
        Ctx {
            api: Arc::clone(self.api),
            handle: self.handle.clone(),
            who: self.who.clone(),
            class: self.class.clone(),
        }
    }
}

type Answer = Result<Map<String, Value>, AwsError>;

/// The route of all actions.
pub(crate) fn routes(handle: &Handle, settings: &Settings, logs: &Arc<Logs>) -> Router<Handle> {
    let api = Arc::new(Api {
        place: Place::new(settings),
        quotas: settings.quotas,
        registry: Registry::start(handle.clone()),
        runs: Runs::default(),
        definitions: Definitions::default(),
        map_runs: map_runs::Known::default(),
        redrives: redrives::Tokens::default(),
        outside: Outside::new(&settings.outside, &settings.region),
        rules: settings.rules.clone(),
        roles: settings.roles.clone(),
        mocks: settings.mocks.clone(),
        logs: Arc::clone(logs),
        publishing: tokio::sync::Mutex::default(),
    });
    handle.open_services(Arc::new(services::Services(Arc::clone(&api))));
    let gate = Gate {
        handle: handle.clone(),
        service: |headers| match target(headers).starts_with(groups::PREFIX) {
            true => "logs",
            false => "states",
        },
        region: settings.region.clone(),
        refuse: |refused| {
            let error = AwsError::new(refused.code, &refused.message);
            respond(error.status(), &error.body())
        },
    };
    // A text in JSON may be twice as long as what it says.
    let most = handle.payload_bytes_max().saturating_mul(2).saturating_add(REQUEST_BYTES_MAX);
    let route = post(move |State(handle), who, headers: HeaderMap, body: Bytes| {
        let api = Arc::clone(&api);
        async move { serve(&api, &handle, &who, &headers, &body).await }
    });
    Router::new().route("/", gate.guard(route, most))
}

async fn serve(
    api: &Arc<Api>,
    handle: &Handle,
    Extension(who): &Extension<Principal>,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    match answer(api, handle, who, headers, body).await {
        Ok(fields) => respond(StatusCode::OK, &Value::Object(fields)),
        Err(error) => respond(error.status(), &error.body()),
    }
}

async fn answer(
    api: &Arc<Api>,
    handle: &Handle,
    who: &Principal,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer {
    let target = target(headers);
    let (action, of_logs) = match target.strip_prefix(groups::PREFIX) {
        Some(action) => (action, true),
        None => (target.strip_prefix(PREFIX).ok_or_else(AwsError::unknown_operation)?, false),
    };
    let params = Params::parse(body)?;
    let class = headers.get(CLASS).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (place, registry) = (&api.place, &api.registry);
    let call = Call { api, handle, who, place, registry, params, class };
    if of_logs {
        return groups::dispatch(action, &call).await;
    }
    dispatch(action, &call).await
}

fn target(headers: &HeaderMap) -> &str {
    headers.get(TARGET).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Does an action for an execution of this API. A box, since such an action may begin an execution again.
fn act<'a>(
    ctx: &'a Ctx,
    action: &'a str,
    fields: Map<String, Value>,
) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
    Box::pin(async move {
        let (place, registry) = (&ctx.api.place, &ctx.api.registry);
        let params = Params::from(fields);
        let (api, handle, who, class) = (&ctx.api, &ctx.handle, &ctx.who, ctx.class.clone());
        let call = Call { api, handle, who, place, registry, params, class };
        dispatch(action, &call).await
    })
}

async fn dispatch(action: &str, call: &Call<'_>) -> Answer {
    shapes::check(action, &call.params, call.api.quotas)?;
    match action {
        "CreateActivity" => activities::create(call).await,
        "CreateStateMachine" => machines::create(call).await,
        "CreateStateMachineAlias" => aliases::create(call).await,
        "DeleteActivity" => activities::delete(call).await,
        "DeleteStateMachine" => machines::delete(call).await,
        "DeleteStateMachineAlias" => aliases::delete(call).await,
        "DeleteStateMachineVersion" => versions::delete(call).await,
        "DescribeActivity" => activities::describe(call).await,
        "DescribeStateMachine" => machines::describe(call).await,
        "DescribeExecution" => executions::describe(call).await,
        "DescribeMapRun" => map_runs::describe(call).await,
        "DescribeStateMachineForExecution" => executions::describe_machine(call).await,
        "GetActivityTask" => executions::activity_task(call).await,
        "GetExecutionHistory" => executions::history(call).await,
        "ListExecutions" => executions::list(call).await,
        "ListMapRuns" => map_runs::list(call).await,
        "RedriveExecution" => redrives::redrive(call).await,
        "SendTaskFailure" => executions::task_failure(call).await,
        "SendTaskHeartbeat" => executions::task_heartbeat(call).await,
        "SendTaskSuccess" => executions::task_success(call).await,
        "StartExecution" => executions::start(call).await,
        "StartSyncExecution" => executions::start_sync(call).await,
        "StopExecution" => executions::stop(call).await,
        "DescribeStateMachineAlias" => aliases::describe(call).await,
        "ListActivities" => activities::list(call).await,
        "ListStateMachineAliases" => aliases::list(call).await,
        "ListStateMachineVersions" => versions::list(call).await,
        "ListStateMachines" => machines::list(call).await,
        "ListTagsForResource" => tags::list(call).await,
        "PublishStateMachineVersion" => versions::publish(call).await,
        "TagResource" => tags::tag(call).await,
        "TestState" => test_state::run(call).await,
        "UntagResource" => tags::untag(call).await,
        "UpdateMapRun" => map_runs::update(call).await,
        "UpdateStateMachine" => machines::update(call).await,
        "UpdateStateMachineAlias" => aliases::update(call).await,
        "ValidateStateMachineDefinition" => machines::validate(call),
        _ => Err(AwsError::unknown_operation()),
    }
}

fn respond(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

/// Seconds since the epoch, as the protocol has times.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this age are below 2^53")]
fn seconds(at: model::Timestamp) -> Value {
    Value::from(at.as_millis() as f64 / 1_000.0)
}
