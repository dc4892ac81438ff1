//! Calls of executions that no function answers: activities, jobs, children of map runs, and what
//! other protocols and services do.
//!
//! Such a call is a call like any other to the engine: it lies in the outbox until it is answered, and
//! is made again after a crash under the same id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use engine::{Call, Effect, Input, Parent, Payload, SignalId, Totals, Verdict, child_id};
use model::suspend::{InvokeMode, Resolution};
use model::{ClassId, ExecutionId, Failure, FunctionName, InvocationId, TenantName, Version};
use tokio::sync::watch;

use super::act::Scene;
use super::handle::Order;
use super::slot::StartResult;
use super::states::{Child, Origin};
use crate::error::{Error, ErrorKind};
use crate::handle::Handle;
use crate::inner::{Wanted, check_depth};
use crate::types::{Principal, Role};

/// What the name of a call begins with that no function answers. No function can be called so.
pub(crate) const PREFIX: &str = "service:";
/// A child execution of a distributed Map state.
pub(crate) const CHILD: &str = "child";

/// Does what executions ask for and no function does. Every effect may be asked for again under the
/// same id, after a crash.
pub trait Services: Send + Sync {
    /// Begins it without waiting; `reply` is told its end, whenever that is.
    fn perform(&self, handle: Handle, call: ServiceCall, reply: ServiceReply);

    /// Nobody waits for that call any more.
    fn withdraw(&self, id: InvocationId);

    /// Something happened in an execution of a machine that logs. Must not wait.
    fn happened(&self, news: News);
}

/// Something happened in an execution, and is in the store.
#[derive(Clone, Debug)]
pub struct News {
    /// In which.
    pub execution: ExecutionId,
    /// Whose that is.
    pub tenant: TenantName,
    /// The number of the first entry of its history that is new.
    pub first: u64,
}

/// One call.
#[derive(Clone, Debug)]
pub struct ServiceCall {
    /// Who asks.
    pub execution: ExecutionId,
    /// The same whenever the call is repeated.
    pub id: InvocationId,
    /// Who pays.
    pub tenant: TenantName,
    /// The effective class of what is done.
    pub class: ClassId,
    /// The highest class that may be stated.
    pub max_class: ClassId,
    /// What is to be done, in short; the payload says it whole.
    pub name: String,
    /// What it is about.
    pub payload: Bytes,
}

impl ServiceCall {
    /// Who asks, to the node.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal {
            tenant: self.tenant.clone(),
            key: None,
            role: Role::Member,
            max_class: self.max_class,
        }
    }
}

/// Hears how a call ended.
pub type ServiceReply = Box<dyn FnOnce(ServiceEnd) + Send>;

/// How a call ended.
pub enum ServiceEnd {
    /// With this answer.
    Answer(Bytes),
    /// It failed.
    Failed(Failure),
    /// Somebody took it over; they go on once the execution knows, and not where it no longer waits.
    Taken {
        /// What the execution hears.
        answer: Bytes,
        /// Hears whether the execution waited for it.
        told: Box<dyn FnOnce(bool) + Send>,
    },
    /// It is an execution whose end is the answer.
    Child(Box<NewChild>),
}

/// An execution that is begun for another one.
#[derive(Clone, Debug)]
pub struct NewChild {
    /// Of which function.
    pub function: FunctionName,
    /// Of which version.
    pub version: Version,
    /// Its name, unique among the tenant's executions.
    pub name: Option<String>,
    /// What it shall know of how it came to be.
    pub origin: Vec<u8>,
    /// Its input.
    pub input: Bytes,
    /// Where the execution that asked waits for the news that it has begun: a signal and its payload.
    pub begun: Option<(String, Bytes)>,
    /// What the asker hears where there is an execution of that name already.
    pub taken: Option<Failure>,
    /// An execution that has ended and gives up that name, as it was seen.
    pub replaces: Option<(ExecutionId, store::Revision)>,
}

/// Where services come in, once a protocol is there to do them.
#[derive(Clone)]
pub(crate) struct Desk {
    services: watch::Sender<Option<Arc<dyn Services>>>,
    /// Calls whose answer may be that an execution is to begin.
    begun: Arc<Mutex<HashMap<InvocationId, Wish>>>,
}

/// Whether a call is still wanted. Who holds the lock begins an execution for it, or withdraws it:
/// else a cancel would not find the execution that begins right after.
type Wish = Arc<Mutex<bool>>;

impl Default for Desk {
    fn default() -> Self {
        Self { services: watch::Sender::new(None), begun: Arc::default() }
    }
}

impl Desk {
    pub(crate) fn open(&self, services: Arc<dyn Services>) {
        self.services.send_replace(Some(services));
    }

    async fn services(&self) -> Option<Arc<dyn Services>> {
        let mut there = self.services.subscribe();
        there.wait_for(Option::is_some).await.ok()?.clone()
    }

    pub(crate) fn withdraw(&self, id: InvocationId) {
        if let Some(wish) = self.end(id) {
            *wish.lock().unwrap_or_else(PoisonError::into_inner) = false;
        }
        if let Some(services) = &*self.services.borrow() {
            services.withdraw(id);
        }
    }

    pub(crate) fn happened(&self, news: News) {
        if let Some(services) = &*self.services.borrow() {
            services.happened(news);
        }
    }

    fn begin(&self, id: InvocationId) -> Wish {
        let wish = wish();
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(id, Arc::clone(&wish));
        wish
    }

    fn end(&self, id: InvocationId) -> Option<Wish> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}

fn wish() -> Wish {
    Arc::new(Mutex::new(true))
}

impl Handle {
    /// From now on these do what executions ask for and no function does.
    pub fn open_services(&self, services: Arc<dyn Services>) {
        self.inner.services.open(services);
    }
}

impl Scene {
    /// Makes a call that no function answers.
    pub(super) async fn service(self, call: Call, name: String, payload: Bytes) {
        if name == CHILD {
            return match self.map_child(&payload).await {
                Ok(end) => self.service_ended(call, end, wish()),
                Err(error) => self.not_called(call, &error),
            };
        }
        let Some(services) = self.inner.services.services().await else { return };
        let service = ServiceCall {
            execution: self.execution,
            id: call.id,
            tenant: self.tenant.clone(),
            class: call.floor,
            max_class: self.max_class,
            name,
            payload,
        };
        let handle = Handle { inner: Arc::clone(&self.inner) };
        let wish = self.inner.services.begin(call.id);
        services.perform(handle, service, Box::new(move |end| self.service_ended(call, end, wish)));
    }

    fn service_ended(self, call: Call, end: ServiceEnd, wish: Wish) {
        let (op, id) = (call.op, call.id);
        if !matches!(end, ServiceEnd::Child(_)) {
            self.inner.services.end(id);
        }
        let resolution = match end {
            ServiceEnd::Answer(answer) => Resolution::Ok(Payload::Inline(answer.to_vec())),
            ServiceEnd::Failed(failure) => Resolution::Failed(failure),
            ServiceEnd::Child(child) => return self.service_child(call, *child, wish),
            ServiceEnd::Taken { answer, told } => {
                let resolution = Resolution::Ok(Payload::Inline(answer.to_vec()));
                let ack = Box::new(move |taken: Result<Verdict, Error>| {
                    told(matches!(taken, Ok(Verdict::Applied)));
                });
                let used = Totals::default();
                let input = Input::Resolved { op, id, resolution, used };
                return self.happens(self.execution, input, Some(ack));
            }
        };
        self.resolved(op, id, resolution, Totals::default());
    }

    /// A child of a map run: the same function, another part of its definition.
    async fn map_child(&self, payload: &[u8]) -> Result<ServiceEnd, Error> {
        let child: Child = match serde_json::from_slice(payload) {
            Ok(child) => child,
            Err(error) => {
                let message = format!("the child of a map run cannot be read: {error}");
                let failure = Failure::new(model::FailureKind::Platform, message);
                return Ok(ServiceEnd::Failed(failure));
            }
        };
        let Child { map_run, machine, name, chart, index, case, input } = child;
        let row_name = format!("{machine}:{name}");
        let mut origin = Origin {
            name: Some(name),
            machine: Some(machine),
            chart,
            map_run: Some(map_run),
            index,
            case,
            ..Origin::default()
        };
        let mut replaces = None;
        if let Some(before) = self.child_before(&row_name).await? {
            let execution = super::types::decode(&before)?;
            let known = Origin::read(&execution.birth().origin);
            origin = origin.in_place_of(&known, before.row.created);
            replaces = Some((before.id, before.revision));
        }
        let (function, version) = self.function.clone();
        Ok(ServiceEnd::Child(Box::new(NewChild {
            function,
            version,
            name: Some(row_name),
            origin: origin.to_bytes(),
            input: input.into(),
            begun: None,
            taken: None,
            replaces,
        })))
    }

    /// The child of that name that had failed before the execution was redriven: another one takes its place.
    async fn child_before(&self, name: &str) -> Result<Option<store::Execution>, Error> {
        if self.redrives == 0 {
            return Ok(None);
        }
        let (tenant, name) = (self.tenant.clone(), name.to_owned());
        let found = self.inner.store_read(move |store| store.execution_named(&tenant, &name)).await;
        match found {
            Ok(found) => Ok(Some(found).filter(|found| found.row.finished.is_some())),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins an execution for another one. Its asker hears of the beginning before there is one:
    /// after a crash the end may be told at once, and must find the asker informed.
    fn service_child(self, call: Call, mut child: NewChild, wish: Wish) {
        let Some((name, payload)) = child.begun.take() else {
            return self.begin_child(call, child, &wish);
        };
        let low = u64::try_from(call.id.0 & u128::from(u64::MAX)).expect("64 bits fit");
        let payload = Payload::Inline(payload.to_vec());
        let signal = Input::Signal { name, id: Some(SignalId(low)), payload };
        let scene = self.clone();
        let ack = Box::new(move |taken: Result<Verdict, Error>| match taken {
            Ok(Verdict::Applied | Verdict::Duplicate) => scene.begin_child(call, child, &wish),
            Ok(Verdict::Late(refusal) | Verdict::Refused(refusal)) => {
                // It is tried again where it is still wanted.
                let error = Error::new(ErrorKind::Overloaded, refusal.message());
                scene.not_called(call, &error);
            }
            Err(error) => scene.not_called(call, &error),
        });
        self.happens(self.execution, signal, Some(ack));
    }

    fn begin_child(self, call: Call, child: NewChild, wish: &Wish) {
        let (op, id) = (call.op, call.id);
        let is_wanted = wish.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.services.end(id);
        if !*is_wanted {
            // Whoever withdrew it has found nothing to end, and has said so.
            return;
        }
        let NewChild { function, version, name, origin, input, begun: _, taken, replaces } = child;
        let wanted = match check_depth(self.depth) {
            Ok(()) => Wanted {
                tenant: self.tenant.clone(),
                function,
                version: Some(version),
                class: call.floor,
                max_class: self.max_class,
                payload: input,
                traceparent: None,
                caller: Some(InvocationId(self.execution.0)),
                depth: self.depth + 1,
                arrived: self.inner.clock.now(),
            },
            Err(error) => return self.not_called(call, &error),
        };
        let own = child_id(id);
        let parent = match call.mode {
            InvokeMode::Wait => Some(Parent { execution: self.execution, op, id }),
            InvokeMode::Detach => None,
        };
        let (inner, scene, again) = (Arc::clone(&self.inner), self.clone(), call.clone());
        let reply = Box::new(move |result: StartResult| match result {
            StartResult::Exists(other) if other != own => {
                let resolution = Resolution::Failed(taken.unwrap_or_else(|| {
                    let message = "there is an execution of that name already";
                    Failure::new(model::FailureKind::Handler, message)
                }));
                scene.resolved(op, id, resolution, Totals::default());
            }
            // It reports its end by itself.
            StartResult::New | StartResult::Exists(_) => {}
            StartResult::Failed(error) => scene.not_called(again, &error),
            StartResult::Moved => scene.retry(Effect::Invoke(again), Some(super::tenure::MOVING)),
        });
        let order = Order { id: own, name, replace: replaces, parent, origin };
        if let Err(error) = inner.start_execution(wanted, &order, reply) {
            if error.kind == ErrorKind::UnknownFunction {
                tracing::debug!(execution = %self.execution, "its machine is gone");
            }
            self.not_called(call, &error);
        }
    }
}
