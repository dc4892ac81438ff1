//! Which thread goes on where a function rests or ends, and who keeps watch for those that sleep.

use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use model::{Failure, FailureKind, InvocationId};
use runtime::wasm::WasmOptions;
use runtime::{Code, Event, Executor as _, afterwards};

use crate::house::{self, House};

fn options(threads_max: usize) -> WasmOptions {
    WasmOptions { threads_max, pool_slots: 8, ..Default::default() }
}

/// The thread that brings the end of one goes on with the next, and with each when it wakes.
#[test]
fn one_thread_carries_a_chain_of_functions_that_sleep() {
    const LAST: u128 = 1010;
    let code = Arc::new(OnceLock::<Code>::new());
    let of_listener = Arc::clone(&code);
    let house = House::with_listener(options(8), move |executor, event| match event {
        Event::Unblocked { id } => executor.resume(*id),
        Event::Finished(finished) if finished.id.0 < LAST => {
            let next = InvocationId(finished.id.0 + 1);
            let start = house::start(next, of_listener.get().unwrap(), "10");
            let executor = Arc::clone(executor);
            assert!(afterwards::take_up(Box::new(move || executor.start(start))).is_ok());
        }
        _ => {}
    });
    code.set(house.deploy("sleep")).unwrap();
    let first = InvocationId(1001);
    house.executor.start(house::start(first, code.get().unwrap(), "10"));
    house.events.wait_count(InvocationId(LAST), "finished", 1);
    assert_eq!(house.executor.thread_count(), 1, "each began on the thread that was free");
}

/// An idle worker keeps watch; where there is none, the timer's own thread does.
#[test]
fn a_sleep_ends_though_every_worker_is_busy() {
    let house = House::with(options(1));
    let sleeper = house.start(&house.deploy("sleep"), "50");
    house.events.wait_count(sleeper, "blocked", 1);
    let busy = house.start(&house.deploy("spin"), "forever");
    house.events.wait_count(busy, "running", 1);
    house.events.wait_count(sleeper, "unblocked", 1);
    assert_eq!(house.events.count(busy, "finished"), 0);
    house.executor.end(busy, Failure::new(FailureKind::TimedOut, "it was long enough"));
    house.finished(busy);
    house.finished(sleeper).answer().unwrap();
}

/// Sleeps that begin in any order end in the order of their time, whoever keeps watch.
#[test]
fn an_earlier_end_of_a_sleep_is_seen_by_who_watches_for_a_later_one() {
    let house = House::with(options(2));
    let code = house.deploy("sleep");
    let late = house.start(&code, "600000");
    house.events.wait_count(late, "blocked", 1);
    for _ in 0..3 {
        house.answer(&code, "20");
    }
    assert_eq!(house.events.count(late, "unblocked"), 0);
    house.executor.end(late, Failure::new(FailureKind::Cancelled, "nobody waits"));
    house.finished(late);
}

/// What is offered to the thread that tells of an end is done by that thread, and what panics there
/// ends nothing else.
#[test]
fn whoever_hears_of_an_end_can_leave_the_next_step_to_the_thread_that_tells_of_it() {
    let (done, seen) = mpsc::channel();
    let done = Mutex::new(done);
    let house = House::with_listener(options(1), move |_, event| {
        let thread = || std::thread::current().name().map(str::to_owned);
        match event {
            Event::Running { .. } => {
                assert!(afterwards::take_up(Box::new(|| ())).is_err(), "it is not free now");
            }
            Event::Finished(_) => {
                let (done, here) = (done.lock().unwrap().clone(), thread());
                let panics = afterwards::take_up(Box::new(|| panic!("a test wants it to panic")));
                let step = afterwards::take_up(Box::new(move || {
                    let _ = done.send((here, thread()));
                }));
                assert!(panics.is_ok() && step.is_ok());
            }
            _ => {}
        }
    });
    let code = house.deploy("echo");
    for word in ["one", "two"] {
        assert_eq!(house.answer(&code, word), word);
        let (told, did) = seen.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!((told.as_deref(), did), (Some("wasm-0"), told.clone()));
    }
}
