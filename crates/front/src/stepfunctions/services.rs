//! What executions of the node ask for and no function does.

use std::sync::Arc;

use asl::ask::Failed;
use asl::definition::{Integration, MachineType, Pattern, Resource, Sdk};
use model::{FailureKind, InvocationId};
use node::states::{Begun, Origin, Read, Work, Write};
use node::{Handle, NewChild, News, ServiceCall, ServiceEnd, ServiceReply};
use serde_json::{Value, json};

use super::error::AwsError;
use super::executions::{self, Ready, Wanted};
use super::runs::Offer;
use super::{Api, Ctx, map_runs, registry, tasks};

/// Does it for this API.
pub(super) struct Services(pub(super) Arc<Api>);

impl node::Services for Services {
    fn perform(&self, handle: Handle, call: ServiceCall, reply: ServiceReply) {
        let who = call.principal();
        let class = Some(handle.prices().get(call.class).name.clone());
        let ctx = Ctx { api: Arc::clone(&self.0), handle, who, class };
        if matches!(call.name.as_str(), "read" | "write") {
            tokio::spawn(async move { reply(storage(&ctx, &call).await) });
            return;
        }
        let work: Work = match serde_json::from_slice(&call.payload) {
            Ok(work) => work,
            Err(error) => return reply(failed("States.Runtime", &error.to_string())),
        };
        let Some(resource) = Resource::parse(&work.resource) else {
            return reply(failed("States.Runtime", &format!("what is {}?", work.resource)));
        };
        if let Integration::Activity { name } = &resource.integration {
            let name = name.clone();
            return offer(&ctx, &name, call.id, work, reply);
        }
        tokio::spawn(async move { reply(perform(&ctx, &call, &resource, &work).await) });
    }

    fn withdraw(&self, id: InvocationId) {
        self.0.runs.withdraw(id);
    }

    fn happened(&self, news: News) {
        self.0.logs.happened(news);
    }
}

/// Offers work to the workers of an activity. The one who takes it goes on once the execution knows.
fn offer(ctx: &Ctx, activity: &str, id: InvocationId, work: Work, reply: ServiceReply) {
    let tenant = &ctx.who.tenant;
    if !ctx.api.runs.has_room(tenant, activity) {
        let cause = format!("too many tasks wait for a worker of {activity}");
        return reply(failed("States.TaskFailed", &cause));
    }
    let offer = Offer {
        id: Some(id),
        token: work.token.unwrap_or_default(),
        input: work.input,
        take: Box::new(move |worker, told| {
            let answer = worker.unwrap_or_default().into();
            let told = Box::new(move |waited: bool| {
                let _ = told.send(waited);
            });
            reply(ServiceEnd::Taken { answer, told });
        }),
    };
    ctx.api.runs.offer(tenant, activity, offer);
}

/// Reads items from S3, or writes results there.
async fn storage(ctx: &Ctx, call: &ServiceCall) -> ServiceEnd {
    let damaged = |error: serde_json::Error| Failed {
        error: "States.Runtime".to_owned(),
        cause: Some(error.to_string()),
    };
    let done = if call.name == "read" {
        match serde_json::from_slice(&call.payload) {
            Ok(read) => read_items(ctx, &read).await,
            Err(error) => Err(damaged(error)),
        }
    } else {
        match serde_json::from_slice(&call.payload) {
            Ok(write) => write_results(ctx, call, &write).await,
            Err(error) => Err(damaged(error)),
        }
    };
    done.map_or_else(ended, |answer| ServiceEnd::Answer(answer.to_string().into()))
}

async fn read_items(ctx: &Ctx, read: &Read) -> Result<Value, Failed> {
    may_store(ctx, &read.role, &read.resource, &read.arguments, "States.ItemReaderFailed")?;
    ctx.api.outside.acting_as(&read.role).read(read).await
}

/// Whether who has the role may read or write what a Map state wants; else that error.
fn may_store(
    ctx: &Ctx,
    role: &str,
    resource: &str,
    arguments: &Value,
    error: &str,
) -> Result<(), Failed> {
    let Some(resource) = Resource::parse(resource) else { return Ok(()) };
    tasks::permit(ctx, role, &resource, arguments)
        .map_err(|refused| Failed { error: error.to_owned(), ..refused })
}

/// Writes results, each with what is known of the child that it is of.
async fn write_results(ctx: &Ctx, call: &ServiceCall, write: &Write) -> Result<Value, Failed> {
    let error = "States.ResultWriterFailed";
    may_store(ctx, &write.role, "arn:aws:states:::s3:putObject", &write.arguments, error)?;
    let children = map_runs::described(ctx, call.execution, &write.map_run).await;
    let children = children
        .map_err(|why| Failed { error: error.to_owned(), cause: Some(why.message().to_owned()) })?;
    ctx.api.outside.acting_as(&write.role).write(write, &children).await
}

async fn perform(ctx: &Ctx, call: &ServiceCall, resource: &Resource, work: &Work) -> ServiceEnd {
    let input: Value = serde_json::from_str(&work.input).unwrap_or_default();
    if let Err(refused) = tasks::permit(ctx, &work.role, resource, &input) {
        return ended(refused);
    }
    let done = match &resource.integration {
        Integration::Service { service, action, pattern, sdk: Sdk::Optimized }
            if service == "states" && action == "startExecution" =>
        {
            match pattern {
                Pattern::Sync | Pattern::Sync2 => {
                    return begin_job(ctx, call, &input, work).await.unwrap_or_else(ended);
                }
                Pattern::RequestResponse | Pattern::Callback => {
                    executions::start_nested(ctx, &input, Some(call.id)).await
                }
            }
        }
        Integration::Service { service, action, sdk: Sdk::Plain, .. } if service == "sfn" => {
            tasks::own_action(ctx, action, &input).await.map(|answer| answer.value().clone())
        }
        _ => tasks::outside(ctx, &work.role, resource, &input, &work.by).await,
    };
    done.map_or_else(ended, |answer| ServiceEnd::Answer(answer.to_string().into()))
}

/// An execution that the state waits for.
async fn begin_job(
    ctx: &Ctx,
    call: &ServiceCall,
    parameters: &Value,
    work: &Work,
) -> Result<ServiceEnd, Failed> {
    let wanted = Wanted::nested(parameters, call.id);
    let refused = |error: &AwsError| tasks::refused_start(error);
    let ready: Ready = executions::ready(ctx, &wanted).await.map_err(|error| refused(&error))?;
    if ready.sort == MachineType::Express {
        let error = "States.Runtime".to_owned();
        let cause = "an EXPRESS state machine is waited for with aws-sdk:sfn:startSyncExecution";
        return Err(Failed { error, cause: Some(cause.to_owned()) });
    }
    let place = &ctx.api.place;
    let arn = place.execution(&ready.machine_name, &ready.name);
    let started = ctx.handle.now();
    let begun = Begun {
        execution_arn: arn.clone(),
        name: ready.name.clone(),
        machine_arn: place.machine(&ready.machine_name),
        input: ready.input.text().to_owned(),
        started: started.0,
        shown: tasks::started(&arn, started),
    };
    let begun = serde_json::to_vec(&begun).unwrap_or_default().into();
    let message = format!("Execution Already Exists: '{arn}'");
    let taken = refused(&AwsError::new("ExecutionAlreadyExists", message));
    // Who waits is told of a name that is taken before it is told of a beginning.
    let named = executions::named(ctx, &ready).await.map_err(|error| refused(&error))?;
    let own = call.id.to_string();
    let before = match named {
        Some(run) if Origin::read(&run.origin).by.as_ref() == Some(&own) => None,
        Some(run) if ready.has_given_up(&run) => Some(run),
        Some(_) => return Err(taken),
        None => None,
    };
    let origin = Origin { by: Some(own), ..ready.origin() };
    Ok(ServiceEnd::Child(Box::new(NewChild {
        function: ready.function.clone(),
        version: ready.function_version,
        name: Some(ready.row_name()),
        origin: origin.to_bytes(),
        input: ready.input.text().to_owned().into(),
        begun: work.submitted.clone().map(|signal| (signal, begun)),
        taken: Some(failure(&taken)),
        replaces: before.map(|run| (run.info.id, run.revision)),
    })))
}

fn failure(failed: &Failed) -> model::Failure {
    asl::answer::failure(FailureKind::Handler, Some(&failed.error), failed.cause.as_deref())
}

#[expect(clippy::needless_pass_by_value, reason = "as a closure that maps errors")]
fn ended(failed: Failed) -> ServiceEnd {
    ServiceEnd::Failed(failure(&failed))
}

fn failed(error: &str, cause: &str) -> ServiceEnd {
    ended(Failed { error: error.to_owned(), cause: Some(cause.to_owned()) })
}

/// Metadata that a service's answer has beside its own fields.
pub(super) fn with_metadata(mut answer: Value) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        let request = registry::uuid().unwrap_or_default();
        fields.insert("SdkHttpMetadata".to_owned(), json!({ "HttpStatusCode": 200 }));
        fields.insert("SdkResponseMetadata".to_owned(), json!({ "RequestId": request }));
    }
    answer
}
