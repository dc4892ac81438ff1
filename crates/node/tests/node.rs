//! A whole node on the memory store, with an executor that does what its payload says.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{Amount, Bytes64, FailureKind, InvocationId, MemoryPrice, PriceList};
use node::{
    Access, Bands, Begun, BillQuery, Error, ErrorKind, ExecutionPrices, Handle, IfExists,
    Interpreters, InvocationStatus, Invoke, Invoked, NewExecution, NewFunction, NewKey, NewTenant,
    Node, Parts, Principal, Role, Settings, Which,
};
use runtime::Clock;
use runtime::fake::{Fake, Told};
use runtime::kernel::Band;
use store::{MemoryStore, Store};
use tempfile::TempDir;
use tokio_stream::StreamExt as _;

struct World {
    node: Node,
    fake: Arc<Fake>,
    handle: Handle,
    who: Principal,
    /// Kept as long as the node runs.
    _data: TempDir,
}

/// Time limit of the function `hasty`, long enough for a busy machine to start it.
const HASTY: Duration = Duration::from_millis(50);

async fn world() -> World {
    world_on(Arc::new(MemoryStore::new(store::Options::default())), Access::Anybody).await
}

async fn world_on(store: Arc<dyn Store>, access: Access) -> World {
    let (node, fake, data) = start(store, access, 1);
    let handle = node.handle().clone();
    let secret = node.first_key().map(|path| std::fs::read_to_string(path).unwrap());
    let who = handle.authenticate(secret.unwrap_or_default().trim()).unwrap();
    let world = World { node, fake, handle, who, _data: data };
    for name in ["f", "g", "hasty"] {
        world.deploy(name).await.unwrap();
    }
    world
}

fn start(store: Arc<dyn Store>, access: Access, machines: u32) -> (Node, Arc<Fake>, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let made: Arc<Mutex<Option<Arc<Fake>>>> = Arc::default();
    let place = Arc::clone(&made);
    let wasm: node::ExecutorMaker = Box::new(move |events, platform| {
        let fake = Fake::new(events, platform);
        *place.lock().unwrap() = Some(Arc::clone(&fake));
        Ok(fake)
    });
    let settings = Settings {
        clock: Clock::new(),
        data: data.path().to_owned(),
        prices: PriceList::default(),
        memory_price: MemoryPrice(50_000),
        execution_prices: ExecutionPrices { storage: MemoryPrice(500), transition: Amount(1_000) },
        keep_executions: model::limits::EXECUTIONS_KEPT_DEFAULT,
        node: "local".parse().unwrap(),
        address: String::new(),
        lease: std::time::Duration::from_secs(10),
        access,
        policy: policy::by_name("xx").unwrap(),
        bands: Bands::ByClass,
        shards: machines,
        machines,
        cores: 1,
        memory: Bytes64(1 << 30),
        admission_max: usize::MAX,
        payload_bytes_max: 1024,
        seed: 7,
        in_force: Vec::new(),
    };
    let interpreters = Interpreters::new();
    let parts = Parts { store, wasm: Some(wasm), process: None, interpreters, observer: None };
    let node = Node::start(&settings, parts).unwrap();
    let fake = made.lock().unwrap().take().unwrap();
    (node, fake, data)
}

impl World {
    async fn deploy(&self, name: &str) -> Result<node::FunctionInfo, Error> {
        let timeout = (name == "hasty").then_some(HASTY);
        self.handle.create_function(&self.who, NewFunction { timeout, ..function(name) }).await
    }

    async fn invoke(&self, class: &str, payload: &str) -> Result<Invoked, Error> {
        self.handle.invoke(&self.who, self.call("f", class, payload)).await
    }

    /// Starts a call and gives back its task.
    fn spawn(&self, class: &str, payload: &str) -> tokio::task::JoinHandle<Result<Invoked, Error>> {
        let (handle, who, call) =
            (self.handle.clone(), self.who.clone(), self.call("f", class, payload));
        tokio::spawn(async move { handle.invoke(&who, call).await })
    }

    fn call(&self, name: &str, class: &str, payload: &str) -> Invoke {
        Invoke {
            function: name.parse().unwrap(),
            version: None,
            class: (!class.is_empty()).then(|| class.to_owned()),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            traceparent: None,
            received: self.handle.now(),
        }
    }

    async fn deploy_sequence(&self, name: &str, package: &'static str) {
        let package = Bytes::from(package);
        let sequence = NewFunction { runtime: "sequence".into(), package, ..function(name) };
        self.handle.create_function(&self.who, sequence).await.unwrap();
    }

    /// Starts an execution whose every call answers with what follows in its payload.
    async fn begin(&self, function: &str, name: String) -> Result<Begun, Error> {
        let new = NewExecution {
            function: function.parse().unwrap(),
            version: None,
            class: None,
            name: Some(name),
            if_exists: IfExists::Refuse,
            payload: Bytes::from_static(b"ok:ok:ok:x"),
            received: self.handle.now(),
            origin: Vec::new(),
        };
        self.handle.start_execution(&self.who, new).await
    }

    async fn stop(self) {
        self.node.shutdown(Duration::from_secs(5)).await;
    }
}

fn function(name: &str) -> NewFunction {
    NewFunction {
        name: name.parse().unwrap(),
        runtime: "wasm".into(),
        handler: String::new(),
        class: None,
        timeout: None,
        environment: Vec::new(),
        durable: model::Durable::No,
        network: false,
        description: String::new(),
        package: Bytes::from_static(b"code"),
    }
}

fn starts(told: &[Told]) -> Vec<InvocationId> {
    told.iter().filter_map(|t| if let Told::Start(id, ..) = t { Some(*id) } else { None }).collect()
}

#[track_caller]
fn check_refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, text: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(text), "{error}");
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let bound = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < bound, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_answered_billed_and_remembered_with_its_reasons() {
    let w = world().await;
    let done = w.invoke("critical", "ok:hello").await.unwrap();
    assert_eq!(done.outcome.unwrap(), "hello");
    // 1 ms of CPU at 2 µ¢ a second is 2,000 pico-cents.
    assert_eq!(done.receipt.cpu_cost, Amount(2_000));
    let info = w.handle.invocation(&w.who, done.id).await.unwrap();
    assert_eq!(info.status, InvocationStatus::Succeeded);
    assert_eq!((info.class.as_str(), info.response_bytes), ("critical", Some(5)));
    assert_eq!(info.logs, b"log line\n");
    let whats: Vec<&str> = info.steps.iter().map(|step| step.what).collect();
    assert_eq!(whats, ["queued", "placed", "ran", "began", "ended"]);
    let bill = w.handle.bill(&w.who, BillQuery::default()).await.unwrap();
    assert_eq!((bill.len(), bill[0].invocations, bill[0].cpu_cost), (1, 1, Amount(2_000)));
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_an_outcome_and_is_billed() {
    let w = world().await;
    let done = w.invoke("", "fail:no luck").await.unwrap();
    let failure = done.outcome.unwrap_err();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Handler, "no luck"));
    let info = w.handle.invocation(&w.who, done.id).await.unwrap();
    assert_eq!((info.class.as_str(), info.status), ("background", InvocationStatus::Failed));
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_class_takes_the_core_and_gives_it_back() {
    let w = world().await;
    let low = w.spawn("background", "hold");
    let low_id = starts(&w.fake.wait(|told| starts(told).len() == 1))[0];
    let high = w.spawn("critical", "hold");
    let told = w.fake.wait(|told| starts(told).len() == 2);
    let high_id = starts(&told)[1];
    assert!(told.contains(&Told::Preempt(low_id)), "{told:?}");
    assert!(told.contains(&Told::Start(low_id, "background".into(), Band::Idle)), "{told:?}");
    w.fake.finish(high_id, Ok(Bytes::from_static(b"high")));
    w.fake.wait(|told| told.contains(&Told::Resume(low_id)));
    w.fake.finish(low_id, Ok(Bytes::from_static(b"low")));
    assert_eq!(high.await.unwrap().unwrap().outcome.unwrap(), "high");
    let low = low.await.unwrap().unwrap();
    assert_eq!((low.durations.preemptions, low.outcome.unwrap()), (1, Bytes::from_static(b"low")));
    let steps = w.handle.invocation(&w.who, low_id).await.unwrap().steps;
    let why = steps.iter().find(|step| step.what == "preempted").unwrap();
    assert_eq!(why.why, format!("{high_id} of class critical wanted the core"));
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_function_frees_its_core() {
    let w = world().await;
    let sleeper = w.spawn("critical", "sleep");
    let id = starts(&w.fake.wait(|told| starts(told).len() == 1))[0];
    assert_eq!(w.invoke("background", "ok:meanwhile").await.unwrap().outcome.unwrap(), "meanwhile");
    w.fake.wake(id);
    assert_eq!(sleeper.await.unwrap().unwrap().outcome.unwrap(), "awake");
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_effective_class_is_inherited_down_a_chain_and_never_falls() {
    let w = world().await;
    let chain = "call-as:background:g:call:f:call-as:economy:g:ok:deep";
    assert_eq!(w.invoke("interactive", chain).await.unwrap().outcome.unwrap(), "deep");
    let classes: Vec<String> = w
        .fake
        .wait(|_| true)
        .into_iter()
        .filter_map(|told| match told {
            Told::Start(_, class, _) => Some(class),
            Told::Preempt(_)
            | Told::Resume(_)
            | Told::End(..)
            | Told::SwapOut(_)
            | Told::SwapIn(_) => None,
        })
        .collect();
    assert_eq!(classes, ["interactive"; 4]);
    let rising = w.invoke("background", "call-as:critical:g:call:f:ok:up").await.unwrap();
    assert_eq!(rising.outcome.unwrap(), "up");
    assert_eq!(rising.receipt.class, w.handle.prices().find("background").unwrap());
    let bill = w.handle.bill(&w.who, BillQuery::default()).await.unwrap();
    let critical: u64 =
        bill.iter().filter(|row| row.class == "critical").map(|row| row.invocations).sum();
    assert_eq!(critical, 2);
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_too_deep_is_stopped() {
    let w = world().await;
    let payload = format!(
        "{}ok:bottom",
        "call:f:".repeat(usize::try_from(model::limits::CALL_DEPTH_MAX).unwrap())
    );
    let failure = w.invoke("", &payload).await.unwrap().outcome.unwrap_err();
    assert!(failure.message.contains("too-deep"), "{failure:?}");
    let payload = payload.replacen("call:f:", "", 1);
    assert_eq!(w.invoke("", &payload).await.unwrap().outcome.unwrap(), "bottom");
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_served_say_why() {
    let w = world().await;
    let call = |name, class, payload: &str| w.handle.invoke(&w.who, w.call(name, class, payload));
    check_refused(call("nobody", "", "").await, ErrorKind::UnknownFunction, "nobody");
    check_refused(call("f", "urgent", "").await, ErrorKind::UnknownClass, "critical");
    let large = "x".repeat(1025);
    check_refused(call("f", "", &large).await, ErrorKind::PayloadTooLarge, "1025");
    let version = Invoke { version: Some(model::Version(9)), ..w.call("f", "", "") };
    check_refused(w.handle.invoke(&w.who, version).await, ErrorKind::UnknownFunction, "version 9");
    let create = |new| w.handle.create_function(&w.who, new);
    let bad = NewFunction { package: Bytes::from_static(b"bad"), ..function("b") };
    check_refused(create(bad).await, ErrorKind::BadPackage, "it says so");
    let native = NewFunction { runtime: "provided".into(), ..function("b") };
    check_refused(create(native).await, ErrorKind::UnavailableRuntime, "provided");
    let long = NewFunction { timeout: Some(Duration::from_secs(86_401)), ..function("b") };
    check_refused(create(long).await, ErrorKind::Invalid, "time limit");
    let environment = vec![("FERMATA_X".into(), String::new())];
    let reserved = NewFunction { environment, ..function("b") };
    check_refused(create(reserved).await, ErrorKind::Invalid, "FERMATA_X");
    assert_eq!(w.handle.functions(&w.who).await.unwrap().len(), 3);
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_is_ended_at_its_time_limit() {
    let w = world().await;
    let call = w.call("hasty", "", "hold");
    let failure = w.handle.invoke(&w.who, call).await.unwrap().outcome.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_without_a_core_does_not_count_against_the_limit() {
    let w = world().await;
    let call = w.call("hasty", "background", "hold");
    let (handle, who) = (w.handle.clone(), w.who.clone());
    let low = tokio::spawn(async move { handle.invoke(&who, call).await });
    let low_id = starts(&w.fake.wait(|told| starts(told).len() == 1))[0];
    let high = w.spawn("critical", "hold");
    let high_id = starts(&w.fake.wait(|told| starts(told).len() == 2))[1];
    // Longer than the whole limit: what is measured is that nothing happens.
    tokio::time::sleep(HASTY * 3).await;
    w.fake.finish(high_id, Ok(Bytes::new()));
    high.await.unwrap().unwrap();
    let told = w.fake.wait(|told| told.contains(&Told::Resume(low_id)));
    assert!(!told.contains(&Told::End(low_id, FailureKind::TimedOut)), "{told:?}");
    w.fake.finish(low_id, Ok(Bytes::from_static(b"in time")));
    // Ended here or by the limit just now: the limit is short. Either way it had its turn.
    let low = low.await.unwrap().unwrap();
    assert!(low.durations.preempted >= HASTY * 3);
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_memory_kills_the_lowest_class_which_begins_again() {
    let w = world().await;
    let low = w.spawn("background", "hold");
    let low_id = starts(&w.fake.wait(|told| starts(told).len() == 1))[0];
    let high = w.spawn("critical", "hold");
    let high_id = starts(&w.fake.wait(|told| starts(told).len() == 2))[1];
    w.fake.set_memory(low_id, 1 << 20);
    w.fake.set_memory(high_id, 1 << 30);
    w.fake.wait(|told| told.contains(&Told::End(low_id, FailureKind::OutOfMemory)));
    w.fake.finish(high_id, Ok(Bytes::new()));
    w.fake.wait(|told| starts(told) == [low_id, high_id, low_id]);
    w.fake.finish(low_id, Ok(Bytes::from_static(b"at last")));
    assert_eq!(low.await.unwrap().unwrap().outcome.unwrap(), "at last");
    high.await.unwrap().unwrap();
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_swap_the_low_class_leaves_and_comes_back_and_nobody_is_killed() {
    let w = world().await;
    w.fake.enable_swap();
    let low = w.spawn("background", "hold");
    let low_id = starts(&w.fake.wait(|told| starts(told).len() == 1))[0];
    let high = w.spawn("critical", "hold");
    let high_id = starts(&w.fake.wait(|told| starts(told).len() == 2))[1];
    w.fake.set_memory(low_id, 500 << 20);
    w.fake.set_memory(high_id, 800 << 20);
    w.fake.wait(|told| told.contains(&Told::SwapOut(low_id)));
    w.fake.finish(high_id, Ok(Bytes::new()));
    let told = w.fake.wait(|told| told.last() == Some(&Told::Resume(low_id)));
    assert!(told.contains(&Told::SwapIn(low_id)), "{told:?}");
    assert!(!told.iter().any(|told| matches!(told, Told::End(..))), "{told:?}");
    assert!(!told.contains(&Told::SwapOut(high_id)), "{told:?}");
    w.fake.finish(low_id, Ok(Bytes::from_static(b"whole")));
    let low = low.await.unwrap().unwrap();
    assert_eq!(low.outcome.unwrap(), "whole");
    assert_eq!((low.durations.swap_outs, low.durations.swapped_bytes), (1, Bytes64(500 << 20)));
    assert_eq!(high.await.unwrap().unwrap().durations.swap_outs, 0);
    let memory = w.handle.status().await.memory;
    let (cheap, dear) = (memory.classes[0], memory.classes[4]);
    assert_eq!((cheap.swap_outs, cheap.swap_ins, cheap.kills), (1, 1, 0));
    assert_eq!((dear.swap_outs, cheap.swapped), (0, 0));
    let info = w.handle.invocation(&w.who, low_id).await.unwrap();
    let words: Vec<&str> = info.steps.iter().map(|step| step.what).collect();
    for word in ["swap-out", "swapped-out", "brought", "swapped-in"] {
        assert!(words.contains(&word), "{words:?}");
    }
    w.stop().await;
}

/// Starts so many of each class, cheapest first, that all hold 40 MiB and wait for something else
/// than a core.
async fn sleepers(
    w: &World,
    each: usize,
) -> Vec<(InvocationId, usize, tokio::task::JoinHandle<Result<Invoked, Error>>)> {
    let mut all = Vec::new();
    for (class, name) in
        ["background", "economy", "standard", "interactive", "critical"].into_iter().enumerate()
    {
        for _ in 0..each {
            let call = w.spawn(name, "sleep");
            let started = w.fake.wait(|told| starts(told).len() == all.len() + 1);
            let id = *starts(&started).last().unwrap();
            w.fake.set_memory(id, 40 << 20);
            all.push((id, class, call));
        }
    }
    all
}

/// Whether a function had memory in RAM at that moment, as its decisions tell.
fn was_in_ram(info: &node::InvocationInfo, at: model::Timestamp) -> bool {
    let until = info.steps.iter().take_while(|step| info.arrived + step.after <= at);
    until.fold(false, |was, step| match step.what {
        "began" | "swapped-in" => true,
        "swap-out" | "killed" | "ended" => false,
        _ => was,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_every_swap_nobody_of_a_lower_class_was_left_in_ram() {
    let w = world().await;
    w.fake.enable_swap();
    let all = sleepers(&w, 4).await;
    let mut state = 0x5eed_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 33) % below
    };
    let mut sizes: Vec<u64> = vec![40 << 20; all.len()];
    // All grow at random, those in swap when they are back; then all want to go on, at random.
    for _ in 0..50 {
        let index = usize::try_from(draw(all.len() as u64)).unwrap();
        let is_out = w.fake.is_swapped(all[index].0);
        if !is_out {
            sizes[index] += (10 + draw(60)) << 20;
            w.fake.set_memory(all[index].0, sizes[index]);
        }
        // The next look may have begun already.
        let looks = w.fake.looks();
        eventually("it was looked at", async || w.fake.looks() >= looks + 2).await;
        eventually("memory is there again", async || {
            w.handle.status().await.machines[0].memory_used.0 <= (1 << 30) * 96 / 100
        })
        .await;
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|_| draw(1 << 20));
    order.iter().for_each(|index| w.fake.wake(all[*index].0));
    let mut infos = Vec::new();
    for (id, class, call) in all {
        assert_eq!(call.await.unwrap().unwrap().outcome.unwrap(), "awake");
        infos.push((class, w.handle.invocation(&w.who, id).await.unwrap()));
    }
    let (mut swaps, mut most) = (0, 0);
    for (class, victim) in &infos {
        let outs = victim.steps.iter().filter(|step| step.what == "swap-out");
        most = most.max(outs.clone().count());
        for step in outs {
            // All of one plan, and arrivals are kept in milliseconds.
            let at = victim.arrived + step.after + Duration::from_millis(1);
            swaps += 1;
            for (lower, other) in infos.iter().filter(|(lower, _)| lower < class) {
                assert!(
                    !was_in_ram(other, at),
                    "{} of class {class} left before {} of class {lower}: {:?}, {:?}",
                    victim.id,
                    other.id,
                    victim.steps,
                    other.steps
                );
            }
        }
        assert!(*class < 4 || victim.steps.iter().all(|step| step.what != "killed"));
    }
    assert!(swaps >= 10, "{swaps} swaps: the test has to press");
    // Each waits twice as long as the time before, until all is done.
    assert!(most <= 6, "one was swapped {most} times");
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_that_rest_at_once_leave_and_come_back_and_all_end() {
    const COUNT: usize = 10_000;
    let w = world().await;
    w.fake.enable_swap();
    let calls: Vec<_> = (0..COUNT).map(|_| w.spawn("background", "sleep")).collect();
    eventually("all rest", async || w.handle.status().await.classes[0].blocked == COUNT).await;
    let ids = starts(&w.fake.wait(|told| starts(told).len() == COUNT));
    // Twice the machine's memory.
    ids.iter().for_each(|id| w.fake.set_memory(*id, 200 << 10));
    eventually("half of them are out", async || {
        let status = w.handle.status().await;
        status.memory.classes[0].swap_outs >= COUNT as u64 / 2
            && status.machines[0].memory_used.0 < (1 << 30) * 96 / 100
    })
    .await;
    // Somebody of a higher class is served meanwhile.
    assert_eq!(w.invoke("critical", "ok:top").await.unwrap().outcome.unwrap(), "top");
    ids.iter().for_each(|id| w.fake.wake(*id));
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().outcome.unwrap(), "awake");
    }
    let class = w.handle.status().await.memory.classes[0];
    assert_eq!((class.swapped, class.kills), (0, 0));
    assert!(class.swap_outs <= 2 * COUNT as u64, "{class:?}: it thrashes");
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_goes_by_class_too() {
    let w = world().await;
    let all = sleepers(&w, 2).await;
    let last = all[9].0;
    let killed = |told: &[Told]| -> Vec<InvocationId> {
        let killed = |told: &Told| match told {
            Told::End(id, FailureKind::OutOfMemory) => Some(*id),
            _ => None,
        };
        told.iter().filter_map(killed).collect()
    };
    for step in 1..=16_u64 {
        w.fake.set_memory(last, (40 + step * 60) << 20);
        eventually("memory is there again", async || {
            w.handle.status().await.machines[0].memory_used.0 <= (1 << 30) * 96 / 100
        })
        .await;
    }
    let victims = killed(&w.fake.wait(|told| killed(told).len() >= 8));
    let class = |id: &InvocationId| all.iter().find(|(other, ..)| other == id).unwrap().1;
    let classes: Vec<usize> = victims.iter().map(class).collect();
    assert!(classes.is_sorted() && classes.last() < Some(&4), "{classes:?}");
    for (_, _, call) in all {
        call.abort();
    }
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_keeps_filling_memory_fails_in_the_end() {
    let w = world().await;
    let bomb = w.spawn("", "hold");
    for round in 1..=usize::try_from(model::limits::KILL_RESTARTS_MAX).unwrap() + 1 {
        let id = starts(&w.fake.wait(|told| starts(told).len() == round))[0];
        w.fake.set_memory(id, 2 << 30);
    }
    assert_eq!(bomb.await.unwrap().unwrap().outcome.unwrap_err().kind, FailureKind::OutOfMemory);
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_call_runs_and_leaves_a_receipt() {
    let w = world().await;
    let id = w.handle.invoke_async(&w.who, w.call("f", "economy", "ok:later")).await.unwrap();
    eventually("the call succeeds", async || {
        w.handle
            .invocation(&w.who, id)
            .await
            .is_ok_and(|info| info.status == InvocationStatus::Succeeded)
    })
    .await;
    let info = w.handle.invocation(&w.who, id).await.unwrap();
    assert_eq!((info.asynchronous, info.attempt, info.class.as_str()), (true, 1, "economy"));
    eventually("the queue is empty", async || w.handle.status().await.async_pending == 0).await;
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_call_that_keeps_failing_becomes_a_dead_letter_and_can_be_redriven() {
    let w = world().await;
    let id = w.handle.invoke_async(&w.who, w.call("f", "", "fail:never")).await.unwrap();
    eventually("a dead letter", async || {
        !w.handle.dead_letters(&w.who, None, 10).await.unwrap().items.is_empty()
    })
    .await;
    let letters = w.handle.dead_letters(&w.who, None, 10).await.unwrap().items;
    assert_eq!((letters[0].id, letters[0].attempts), (id, model::limits::ASYNC_ATTEMPTS_MAX));
    assert_eq!(letters[0].failure.message, "never");
    w.handle.redrive(&w.who, id).await.unwrap();
    w.fake.wait(|told| starts(told).len() == 4);
    check_refused(
        w.handle.redrive(&w.who, InvocationId(1)).await,
        ErrorKind::NotFound,
        "dead letter",
    );
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_queued_functions_and_receipts_are_there_after_a_restart() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(store::Options::default()));
    let w = world_on(Arc::clone(&store), Access::Keys).await;
    let secret = std::fs::read_to_string(w.node.first_key().unwrap()).unwrap();
    let done = w.invoke("critical", "ok:before").await.unwrap();
    let holder = w.spawn("critical", "hold");
    w.fake.wait(|told| starts(told).len() == 2);
    let queued = w.handle.invoke_async(&w.who, w.call("f", "", "ok:queued")).await.unwrap();
    // The core is taken, so the queued call has not run when the node goes down.
    w.node.shutdown(Duration::ZERO).await;
    let ended = holder.await.unwrap().unwrap().outcome.unwrap_err();
    assert_eq!(ended.kind, FailureKind::Cancelled);

    let (node, fake, data) = start(store, Access::Keys, 2);
    assert!(node.first_key().is_none());
    let handle = node.handle().clone();
    let who = handle.authenticate(secret.trim()).unwrap();
    let w = World { node, fake, handle, who: who.clone(), _data: data };
    eventually("the queued call runs", async || {
        w.handle
            .invocation(&who, queued)
            .await
            .is_ok_and(|info| info.status == InvocationStatus::Succeeded)
    })
    .await;
    let info = w.handle.invocation(&who, done.id).await.unwrap();
    assert_eq!(info.receipt.unwrap().cpu_cost, Amount(2_000));
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_its_own_tenant_up_to_its_class_until_it_is_revoked() {
    let w = world_on(Arc::new(MemoryStore::new(store::Options::default())), Access::Keys).await;
    check_refused(w.handle.authenticate("fk_wrong"), ErrorKind::Unauthenticated, "unknown");
    let acme: model::TenantName = "acme".parse().unwrap();
    let tenant = NewTenant { name: acme.clone(), budget: None, network: false };
    w.handle.create_tenant(&w.who, tenant.clone()).await.unwrap();
    check_refused(
        w.handle.create_tenant(&w.who, tenant.clone()).await,
        ErrorKind::Conflict,
        "acme",
    );
    let key = NewKey {
        tenant: acme.clone(),
        label: "web".into(),
        role: Role::Member,
        max_class: Some("standard".into()),
    };
    let (info, secret) = w.handle.create_key(&w.who, key.clone()).await.unwrap();
    let member = w.handle.authenticate(&secret).unwrap();
    assert_eq!(member.tenant, acme);
    check_refused(w.handle.create_key(&member, key).await, ErrorKind::Forbidden, "admin");
    check_refused(w.handle.create_tenant(&member, tenant).await, ErrorKind::Forbidden, "admin");
    // Another tenant's function is as good as none.
    check_refused(
        w.handle.invoke(&member, w.call("f", "", "")).await,
        ErrorKind::UnknownFunction,
        "f",
    );
    w.handle.create_function(&member, function("mine")).await.unwrap();
    let above = w.handle.invoke(&member, w.call("mine", "critical", "ok:x")).await;
    check_refused(above, ErrorKind::ClassNotAllowed, "standard");
    let inside =
        w.handle.invoke(&member, w.call("mine", "standard", "call-as:critical:mine:ok:x")).await;
    let failure = inside.unwrap().outcome.unwrap_err();
    assert!(failure.message.contains("class-not-allowed"), "{failure:?}");
    let network = NewFunction { network: true, ..function("net") };
    check_refused(
        w.handle.create_function(&member, network).await,
        ErrorKind::Forbidden,
        "--network",
    );
    w.handle.revoke_key(&w.who, info.id).await.unwrap();
    check_refused(w.handle.authenticate(&secret), ErrorKind::Unauthenticated, "revoked");
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_demotes_then_refuses() {
    let w = world().await;
    let budget = NewTenant {
        name: "default".parse().unwrap(),
        budget: Some(Amount(100_000)),
        network: true,
    };
    w.handle.update_tenant(&w.who, budget).await.unwrap();
    let mut demoted = false;
    let refused = loop {
        match w.invoke("critical", "ok:x").await {
            Ok(done) => demoted |= done.receipt.class < w.handle.prices().highest(),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind, ErrorKind::OverBudget);
    assert!(refused.retry_after.is_some() && demoted);
    let bill = w.handle.bill(&w.who, BillQuery::default()).await.unwrap();
    let spent: Amount = bill.iter().map(|row| row.cpu_cost + row.memory_cost).sum();
    assert!(spent <= Amount(105_000 + 2_000), "{spent}");
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_stops_waiting_withdraws_what_has_not_begun() {
    let w = world().await;
    let holder = w.spawn("critical", "hold");
    let id = starts(&w.fake.wait(|told| starts(told).len() == 1))[0];
    let waiting = w.spawn("background", "ok:never");
    eventually("the second call waits", async || {
        let classes = w.handle.status().await.classes;
        classes[0].waiting + classes[0].queued == 1
    })
    .await;
    waiting.abort();
    eventually("it is withdrawn", async || {
        let classes = w.handle.status().await.classes;
        classes[0].waiting + classes[0].queued == 0
    })
    .await;
    w.fake.finish(id, Ok(Bytes::new()));
    holder.await.unwrap().unwrap();
    assert_eq!(starts(&w.fake.wait(|_| true)).len(), 1);
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_outlast_a_disk_that_is_full_at_any_moment() {
    let store = Arc::new(MemoryStore::new(store::Options::default()));
    let w = world_on(Arc::clone(&store) as Arc<dyn Store>, Access::Anybody).await;
    w.deploy_sequence("inner", r#"{"sequence": ["f", "f"]}"#).await;
    w.deploy_sequence("outer", r#"{"sequence": ["inner", "g"]}"#).await;
    let begin = async |name: String| w.begin("outer", name).await;
    for number in 0..40 {
        begin(format!("e{number}")).await.unwrap();
        store.faults().fill_disk();
        if number % 8 == 0 {
            check_refused(begin("late".to_owned()).await, ErrorKind::Storage, "");
        }
        tokio::time::sleep(Duration::from_micros(number * 100)).await;
        store.faults().free_disk();
    }
    for number in 0..40 {
        let which = Which::parse(&format!("e{number}"));
        let ended = w.handle.await_execution(&w.who, &which).await.unwrap();
        assert_eq!(ended.outcome.unwrap(), "x");
    }
    begin("late".to_owned()).await.unwrap();
    w.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_an_execution_from_any_moment_sees_all_of_it_once() {
    let store = Arc::new(MemoryStore::new(store::Options::default()));
    store.faults().slow_writes(Duration::from_micros(200));
    let w = world_on(Arc::clone(&store) as Arc<dyn Store>, Access::Anybody).await;
    w.deploy_sequence("s", r#"{"sequence": ["f", "f", "f"]}"#).await;
    let follow = async |number: u64, which: Which| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(5 * number) {
            tokio::task::yield_now().await;
        }
        let followed = w.handle.tail_execution(&w.who, &which, 0).await.unwrap();
        followed.map(|entry| entry.seq).collect::<Vec<_>>().await
    };
    for number in 0..400 {
        let name = format!("e{number}");
        w.begin("s", name.clone()).await.unwrap();
        let followed = follow(number, Which::parse(&name)).await;
        let whole = w.handle.execution_history(&w.who, &Which::parse(&name), 0, 100).await.unwrap();
        assert!(whole.items.last().unwrap().ends);
        let whole: Vec<u64> = whole.items.iter().map(|entry| entry.seq).collect();
        assert_eq!(followed, whole, "{name}");
    }
    w.stop().await;
}
