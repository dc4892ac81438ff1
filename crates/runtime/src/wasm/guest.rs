//! One invocation from instance to outcome, as a future that a worker polls.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use model::{Failure, FailureKind, InvocationId};
use wasmtime::{
    Instance, PoolConcurrencyLimitError, Store, Trap, TypedFunc, UpdateDeadline, WasmBacktrace,
};

use super::ahead::Bench;
use super::artifact;
use super::durable::{self, Begun};
use super::gate::Gate;
use super::gauge::Gauge;
use super::host::{Host, Stop};
use super::job::{Fiber, Job, unpoisoned};
use super::memory::region_of;
use super::tenant::Linked;
use super::timer::Timer;
use super::wasi::Wasi;
use crate::Clock;
use crate::executor::{Code, Ended, Platform, Start};

/// What every guest is served by.
pub(super) struct Services {
    pub(super) clock: Clock,
    pub(super) platform: Arc<dyn Platform>,
    pub(super) timer: Timer,
    pub(super) memory_bytes_max: u64,
    pub(super) image_bytes_max: u64,
    pub(super) gauge: Arc<Gauge>,
    pub(super) gate: Arc<Gate>,
    pub(super) jobs: Jobs,
    pub(super) bench: Bench,
}

/// The unfinished jobs.
#[derive(Default)]
pub(super) struct Jobs {
    by_id: Mutex<HashMap<InvocationId, Arc<Job>>>,
    fewer: Condvar,
}

impl Services {
    /// Ends a job: it is no longer listed when its `Finished` goes out.
    pub(super) fn finish(&self, job: &Job, outcome: Result<Ended, Failure>) {
        let listed = unpoisoned(&self.jobs.by_id).remove(&job.id);
        job.finish(outcome);
        drop(listed);
        self.jobs.fewer.notify_all();
    }
}

impl Jobs {
    /// Lists a job; false where one of this id is unfinished.
    pub(super) fn insert(&self, job: &Arc<Job>) -> bool {
        let mut jobs = unpoisoned(&self.by_id);
        if jobs.contains_key(&job.id) {
            return false;
        }
        jobs.insert(job.id, Arc::clone(job));
        true
    }

    pub(super) fn get(&self, id: InvocationId) -> Option<Arc<Job>> {
        unpoisoned(&self.by_id).get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Job>> {
        unpoisoned(&self.by_id).values().cloned().collect()
    }

    /// Whether there is no job but this one.
    pub(super) fn has_only(&self, job: &Job) -> bool {
        unpoisoned(&self.by_id).keys().all(|id| *id == job.id)
    }

    /// Whether there is at most one job, which waits.
    pub(super) fn is_calm(&self) -> bool {
        let jobs = unpoisoned(&self.by_id);
        jobs.len() <= 1 && jobs.values().all(|job| job.is_blocked())
    }

    pub(super) fn wait_until_none(&self) {
        let mut jobs = unpoisoned(&self.by_id);
        while !jobs.is_empty() {
            jobs = self.fewer.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The function on its own stack, not yet begun.
pub(super) fn fiber(services: &Arc<Services>, job: &Arc<Job>, start: Start) -> Fiber {
    Box::pin(run(Arc::clone(services), Arc::clone(job), start))
}

async fn run(services: Arc<Services>, job: Arc<Job>, start: Start) -> Result<Ended, Failure> {
    let (tenant, code) = (Arc::clone(&job.tenant), Arc::clone(&job.code));
    let durable = start.durable.clone();
    let image = durable.as_ref().and_then(|turn| turn.image.clone());
    let begun = durable.map(|turn| durable::begin(turn, image.as_ref(), &code.hash)).transpose()?;
    if let Some(answer) = begun.as_ref().and_then(Begun::is_over) {
        job.begins();
        return Ok(Ended::Answer(answer));
    }
    let ahead = services.bench.take(&job);
    let host = Host::new(job, services, Wasi::new(start));
    if let Some(made) = ahead {
        return call(made.adopt(host).await).await;
    }
    let pooled = tenant.pooled().map(|home| (home, home.load(&code)));
    let host = match &pooled {
        Some((_, Ok(module))) => match instantiate(module, host, &code).await {
            Ok(made) => return enter(made, module, begun).await,
            Err(NotMade::NoSlot(host)) => {
                host.services.bench.clear();
                *host
            }
            Err(NotMade::Failed(failure)) => return Err(failure),
        },
        Some((_, Err(_))) | None => host,
    };
    let module = tenant.on_demand()?.load(&code)?;
    if let Some((home, Err(_))) = pooled {
        // The code is sound, so it is the pool's slots that it does not fit into.
        home.refuse(&code);
    }
    match instantiate(&module, host, &code).await {
        Ok(made) => enter(made, &module, begun).await,
        Err(NotMade::Failed(failure)) => Err(failure),
        Err(NotMade::NoSlot(_)) => {
            Err(Failure::new(FailureKind::Platform, "instances on demand need no slot"))
        }
    }
}

/// An instance with what is to be called in it.
pub(super) struct Made {
    pub(super) store: Store<Host>,
    instance: Instance,
    initialize: Option<TypedFunc<(), ()>>,
    entry: TypedFunc<(), ()>,
}

pub(super) enum NotMade {
    NoSlot(Box<Host>),
    Failed(Failure),
}

pub(super) async fn instantiate(module: &Linked, host: Host, code: &Code) -> Result<Made, NotMade> {
    let module = &module.instance;
    let mut store = Store::new(module.module().engine(), host);
    store.limiter(|host| host);
    // Some guest of this tenant shall stop. This one goes on unless it is meant. Should it be told
    // to stop between this look and the new deadline, the executor's second look finds it, and the
    // next tick where memory is short.
    store.epoch_deadline_callback(|store| {
        let job = &store.data().job;
        Ok(if job.must_stop() || job.is_short() {
            UpdateDeadline::YieldCustom(1, Box::pin(Arc::clone(job).pause()))
        } else {
            UpdateDeadline::Continue(1)
        })
    });
    look_from_now(&mut store).await;
    let instance = match module.instantiate_async(&mut store).await {
        Ok(instance) => instance,
        Err(error) if error.is::<PoolConcurrencyLimitError>() => {
            return Err(NotMade::NoSlot(Box::new(store.into_data())));
        }
        Err(error) => return Err(NotMade::Failed(failure_at_instantiation(&error, &store))),
    };
    let memory = instance.get_memory(&mut store, "memory");
    store.data_mut().memory = memory;
    let name = artifact::entry(&code.handler);
    let entry = instance.get_typed_func(&mut store, name).map_err(|error| {
        NotMade::Failed(Failure::new(FailureKind::Init, format!("no handler: {error:#}")))
    })?;
    // A library ("reactor") is initialized before a handler of it is called.
    let is_library = name != artifact::ENTRY_DEFAULT;
    let initialize =
        is_library.then(|| instance.get_typed_func(&mut store, artifact::INITIALIZE).ok());
    Ok(Made { store, instance, initialize: initialize.flatten(), entry })
}

/// From now on the guest looks at its stop flag where somebody of its tenant shall stop.
async fn look_from_now(store: &mut Store<Host>) {
    store.set_epoch_deadline(1);
    if store.data().job.must_stop() {
        // It was told to before the deadline above was set, and would not notice.
        Arc::clone(&store.data().job).pause().await;
    }
}

impl Made {
    /// Whether it is what a call of this job's function is made in.
    pub(super) fn is_of(&self, job: &Job) -> bool {
        let of = &self.store.data().job;
        Arc::ptr_eq(&of.code, &job.code) && Arc::ptr_eq(&of.tenant, &job.tenant)
    }

    /// The instance for another job.
    async fn adopt(mut self, host: Host) -> Self {
        let memory = self.store.data().memory;
        *self.store.data_mut() = Host { memory, ..host };
        look_from_now(&mut self.store).await;
        self
    }

    /// From here on whoever takes the store away has to take the region back first.
    fn show_region(&self) {
        if let Some(memory) = self.store.data().memory {
            self.store.data().job.set_region(Some(region_of(&memory, &self.store)));
        }
    }
}

async fn enter(made: Made, module: &Linked, begun: Option<Begun<'_>>) -> Result<Ended, Failure> {
    if let (Some(begun), Some(layout)) = (begun, &module.layout) {
        made.show_region();
        return durable::run(made.store, made.instance, layout, begun).await;
    }
    call(made).await
}

async fn call(made: Made) -> Result<Ended, Failure> {
    made.show_region();
    let Made { mut store, initialize, entry, .. } = made;
    store.data().job.begins();
    let mut result = Ok(());
    if let Some(initialize) = initialize {
        result = initialize.call_async(&mut store, ()).await;
    }
    if result.is_ok() {
        result = entry.call_async(&mut store, ()).await;
    }
    let host = store.data();
    host.services.gauge.last_look(&host.job);
    host.job.set_region(None);
    if let Err(error) = result
        && !matches!(error.downcast_ref::<Stop>(), Some(Stop::Exit(0)))
    {
        return Err(failure(&error, store.data()));
    }
    let output = store.data_mut().wasi.take_output();
    let services = Arc::clone(&store.data().services);
    services.bench.keep(store);
    Ok(Ended::Answer(output.into()))
}

fn failure_at_instantiation(error: &wasmtime::Error, store: &Store<Host>) -> Failure {
    if error.is::<Trap>() || error.is::<Stop>() {
        return failure(error, store.data());
    }
    match store.data().memory_refused {
        Some(wanted) => out_of_memory("it cannot begin", wanted, store.data()),
        None => {
            let message = format!("no instance could be made: {error:#}");
            Failure::new(FailureKind::Platform, message)
        }
    }
}

fn out_of_memory(what: &str, wanted: u64, host: &Host) -> Failure {
    let limit = host.services.memory_bytes_max;
    let message = format!("{what}: {wanted} bytes of memory were refused (limit {limit})");
    Failure::new(FailureKind::OutOfMemory, message)
}

/// What a guest's error means. A guest that asked in vain for memory and then gave up is out of
/// memory, however its language ends a program.
pub(super) fn failure(error: &wasmtime::Error, host: &Host) -> Failure {
    let (kind, mut message) = match error.downcast_ref::<Stop>() {
        Some(stop @ Stop::Exit(_)) => (FailureKind::Exited, stop.to_string()),
        Some(stop @ Stop::ResponseTooLarge { .. }) => {
            return Failure::new(FailureKind::ResponseTooLarge, stop.to_string());
        }
        Some(
            stop @ (Stop::OutOfBounds { .. }
            | Stop::NoMemory(_)
            | Stop::NotDurable(_)
            | Stop::Misuse(_)
            | Stop::Again(_)),
        ) => (FailureKind::Trapped, stop.to_string()),
        None => match error.downcast_ref::<Trap>() {
            Some(trap) => (FailureKind::Trapped, trap.to_string()),
            None => (FailureKind::Platform, format!("{error:#}")),
        },
    };
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>()
        && kind == FailureKind::Trapped
    {
        message += &place(backtrace);
    }
    match host.memory_refused {
        Some(wanted) if kind != FailureKind::Platform => out_of_memory(&message, wanted, host),
        Some(_) | None => Failure::new(kind, message),
    }
}

/// The innermost functions, by name where the module has names.
fn place(backtrace: &WasmBacktrace) -> String {
    const FRAMES_SHOWN: usize = 5;
    let names = backtrace.frames().iter().take(FRAMES_SHOWN).map(|frame| {
        let index = frame.func_index();
        frame.func_name().map_or_else(|| format!("function {index}"), str::to_owned)
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { String::new() } else { format!(" in {}", names.join(", called by ")) }
}
