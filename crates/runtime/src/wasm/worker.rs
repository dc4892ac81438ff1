//! The threads that poll fibers.
//!
//! A thread is made when a job comes and none is idle, up to a bound; above it, jobs wait. Threads
//! are kept. An idle one is parked in the control plane's band, so that it wakes at once, and takes
//! its job's band before it polls.
//!
//! Waking a thread that sleeps costs more than most of what is done between two functions. So a
//! thread that has told of the end of a job does a short step of whoever waited for that
//! ([`afterwards`]), and goes on with the job that the step asked for ([`hand`]); and an idle one
//! keeps watch for functions that sleep ([`timer`]), and goes on with the one that it wakes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

use model::{Failure, FailureKind};

use super::gauge::Rests;
use super::guest::{self, Services};
use super::hand;
use super::job::{Body, Claim, Fiber, Job, unpoisoned};
use super::tick::{Counted, Ticks};
use super::timer::{self, Watch};
use crate::afterwards;
use crate::executor::Ended;
use crate::kernel::{self, Band};

/// The threads.
pub(super) struct Workers {
    /// For each thread it makes.
    services: Arc<Services>,
    threads_max: usize,
    state: Mutex<PoolState>,
    bands: Bands,
    /// For the threads, which must not keep the pool alive.
    this: Weak<Self>,
}

#[derive(Default)]
struct PoolState {
    /// The one that became idle last is used first: its caches are warm.
    idle: Vec<Arc<Seat>>,
    waiting: VecDeque<Arc<Job>>,
    threads: Vec<JoinHandle<()>>,
    is_closed: bool,
}

/// Why an idle thread sleeps no longer.
enum Rest {
    /// It was given a job.
    Job(Arc<Job>),
    /// The pool closes.
    Closed,
    /// A function's sleep is over, and the thread, no longer idle, is to call back.
    Watch(Box<dyn FnOnce() + Send>),
}

/// Where an idle thread finds its next job.
struct Seat {
    job: Mutex<Option<Arc<Job>>>,
    is_closed: AtomicBool,
    /// Keeps watch for functions that sleep, so that another one is preferred for a job.
    is_watching: AtomicBool,
    thread: Thread,
}

/// Whether the kernel lets us use the bands.
#[derive(Default)]
struct Bands {
    is_refused: AtomicBool,
}

impl PoolState {
    /// A seat that is idle no longer.
    fn leave_idle(&mut self) -> Option<Arc<Seat>> {
        let is_free = |seat: &Arc<Seat>| !seat.is_watching.load(Ordering::Relaxed);
        match self.idle.iter().rposition(is_free) {
            Some(at) => Some(self.idle.remove(at)),
            None => self.idle.pop(),
        }
    }
}

impl Workers {
    /// No threads yet; they come with jobs.
    pub(super) fn new(services: Arc<Services>, threads_max: usize) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            services,
            threads_max: threads_max.max(1),
            state: Mutex::default(),
            bands: Bands::default(),
            this: Weak::clone(this),
        })
    }

    /// Has a thread take the job.
    pub(super) fn dispatch(&self, job: Arc<Job>) {
        if let Err(job) = hand::offer(self.key(), job) {
            self.hand_over(job);
        }
    }

    /// Has another thread take the job.
    fn hand_over(&self, job: Arc<Job>) {
        let mut state = unpoisoned(&self.state);
        if let Some(seat) = state.leave_idle() {
            drop(state);
            *unpoisoned(&seat.job) = Some(job);
            seat.thread.unpark();
            return;
        }
        if state.threads.len() >= self.threads_max || state.is_closed {
            state.waiting.push_back(job);
            return;
        }
        match self.spawn(state.threads.len(), Arc::clone(&job)) {
            Ok(thread) => state.threads.push(thread),
            Err(error) if state.threads.is_empty() => {
                drop(state);
                let message = format!("no thread could be made: {error}");
                self.services.finish(&job, Err(Failure::new(FailureKind::Platform, message)));
            }
            Err(error) => {
                tracing::warn!(%error, "no more threads for functions; they wait for one");
                state.waiting.push_back(job);
            }
        }
    }

    /// Threads made so far.
    pub(super) fn thread_count(&self) -> usize {
        unpoisoned(&self.state).threads.len()
    }

    /// Changes a job's band now.
    pub(super) fn set_band(&self, job: &Job, band: Band) {
        if !self.bands.is_refused.load(Ordering::Relaxed)
            && let Err(error) = job.set_band(band)
        {
            self.bands.refuse(&error);
        }
    }

    /// Waits until all threads are gone. Every job must have finished.
    pub(super) fn stop(&self) {
        let (idle, threads) = {
            let mut state = unpoisoned(&self.state);
            state.is_closed = true;
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.threads))
        };
        for seat in idle {
            seat.is_closed.store(true, Ordering::Release);
            seat.thread.unpark();
        }
        let here = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != here) {
            // A panic outside a job has been reported by the panic hook.
            let _ = thread.join();
        }
    }

    fn spawn(&self, index: usize, first: Arc<Job>) -> std::io::Result<JoinHandle<()>> {
        let pool = Weak::clone(&self.this);
        std::thread::Builder::new().name(format!("wasm-{index}")).spawn(move || {
            if let Some(pool) = pool.upgrade() {
                pool.bands.apply(kernel::CONTROL);
                timer::be_exact();
                let _ticks = Ticks::start().inspect_err(|error| {
                    tracing::warn!(%error, "memory that functions take is seen late");
                });
                pool.run(first);
            }
        })
    }

    fn run(&self, first: Arc<Job>) {
        let thread = kernel::thread_id();
        let seat = Arc::new(Seat {
            job: Mutex::default(),
            is_closed: AtomicBool::new(false),
            is_watching: AtomicBool::new(false),
            thread: std::thread::current(),
        });
        let mut next = Some(first);
        while let Some(job) = next {
            self.carry(&job, thread);
            drop(job);
            next = hand::close().or_else(|| self.next(&seat));
        }
    }

    /// The next job for this thread, or none when the pool closes.
    fn next(&self, seat: &Arc<Seat>) -> Option<Arc<Job>> {
        let timer = &self.services.timer;
        loop {
            let mut state = unpoisoned(&self.state);
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            state.idle.push(Arc::clone(seat));
            drop(state);
            match self.rest(seat) {
                Rest::Job(job) => {
                    timer.leave(&seat.thread);
                    return Some(job);
                }
                Rest::Closed => {
                    timer.leave(&seat.thread);
                    return None;
                }
                Rest::Watch(callback) => {
                    hand::open(self.key());
                    self.telling(|| timer::fire(callback));
                    if let Some(job) = hand::close() {
                        timer.leave(&seat.thread);
                        return Some(job);
                    }
                }
            }
        }
    }

    /// Sleeps on an idle seat.
    fn rest(&self, seat: &Arc<Seat>) -> Rest {
        loop {
            if let Some(job) = unpoisoned(&seat.job).take() {
                return Rest::Job(job);
            }
            if seat.is_closed.load(Ordering::Acquire) {
                return Rest::Closed;
            }
            if catch_unwind(AssertUnwindSafe(|| self.services.bench.prepare())).is_err() {
                tracing::error!("the platform panicked while it made an instance ahead");
            }
            let watch = self.services.timer.watch(&seat.thread);
            seat.is_watching.store(!matches!(watch, Watch::None), Ordering::Relaxed);
            match watch {
                Watch::None => std::thread::park(),
                Watch::Until(at) => std::thread::park_timeout(at - Instant::now()),
                Watch::Due(callback) => {
                    let mut state = unpoisoned(&self.state);
                    if let Some(at) = state.idle.iter().rposition(|idle| Arc::ptr_eq(idle, seat)) {
                        state.idle.remove(at);
                        return Rest::Watch(callback);
                    }
                    // Somebody has given it a job or closes the pool.
                    drop(state);
                    timer::fire(callback);
                }
            }
        }
    }

    /// Tells of a job's rest or end, from a thread that is free for a step of whoever waits for it.
    fn telling<T>(&self, tell: impl FnOnce() -> T) -> T {
        afterwards::open();
        let told = tell();
        let mut tasks = afterwards::next();
        if tasks.is_some() {
            // Neither sleepers nor the function that got the core wait for what others do with an
            // end. What those dispatch themselves is this thread's next job.
            self.services.timer.leave(&std::thread::current());
            hand::take().into_iter().for_each(|job| self.hand_over(job));
            hand::open(self.key());
        }
        while let Some(some) = tasks {
            for task in some {
                if catch_unwind(AssertUnwindSafe(task)).is_err() {
                    tracing::error!("the platform panicked after the end of a function");
                }
            }
            tasks = afterwards::next();
        }
        told
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Polls the job until it rests or ends.
    fn carry(&self, job: &Arc<Job>, thread: i32) {
        let mut claim = job.claim();
        loop {
            match claim {
                Claim::Leave => return,
                Claim::End(body, failure) => {
                    self.discard(job, body);
                    return self.telling(|| self.services.finish(job, Err(failure)));
                }
                Claim::Poll(body) => {
                    let mut fiber = match body {
                        Body::Fiber(fiber) => fiber,
                        Body::New(start) => guest::fiber(&self.services, job, *start),
                        Body::Taken => unreachable!("a job is claimed by one worker at a time"),
                    };
                    match self.poll(job, &mut fiber, thread) {
                        Poll::Pending => claim = self.telling(|| job.put_back(fiber)),
                        Poll::Ready(outcome) => {
                            self.discard(job, fiber);
                            return self.telling(|| self.services.finish(job, outcome));
                        }
                    }
                }
            }
        }
    }

    /// Unwinds a guest's stack and gives its memory back. That is our work, and its memory may be
    /// wanted, so it is done in the control plane's band; a large memory takes milliseconds, and the
    /// highest class does not wait for those.
    fn discard<T>(&self, job: &Job, guest: T) {
        const LARGE_BYTES: u64 = 4 << 20;
        const BAND: Band = Band::Normal { nice: -10 };
        let is_large = job.memory_now().0 > LARGE_BYTES;
        if is_large {
            self.bands.apply(BAND);
        }
        if catch_unwind(AssertUnwindSafe(|| drop(guest))).is_err() {
            tracing::error!(invocation = %job.id, "dropping the function panicked");
        }
        if is_large {
            self.bands.apply(kernel::CONTROL);
        }
    }

    /// Polls once, in the job's band. A panic ends this job and nothing else.
    fn poll(&self, job: &Arc<Job>, fiber: &mut Fiber, thread: i32) -> Poll<Result<Ended, Failure>> {
        hand::close().into_iter().for_each(|job| self.hand_over(job));
        self.services.timer.see_to_watch();
        job.enter(thread);
        self.services.gauge.enter(job);
        let mut band = job.band();
        self.bands.apply(band);
        // Whoever changed it meanwhile was overruled by the line above.
        while job.band() != band {
            band = job.band();
            self.bands.apply(band);
        }
        let mut context = Context::from_waker(Waker::noop());
        let counted = Counted::begin(job);
        let polled = catch_unwind(AssertUnwindSafe(|| fiber.as_mut().poll(&mut context)));
        drop(counted);
        job.leave();
        let rests = if matches!(polled, Ok(Poll::Pending)) { Rests::Yes } else { Rests::No };
        self.services.gauge.leave(job, rests);
        self.bands.apply(kernel::CONTROL);
        if let Some(failure) = job.spoiled() {
            return Poll::Ready(Err(failure));
        }
        polled.unwrap_or_else(|_| {
            tracing::error!(invocation = %job.id, "the platform panicked while it ran a function");
            let message = "the platform failed while it ran the function";
            Poll::Ready(Err(Failure::new(FailureKind::Platform, message)))
        })
    }
}

impl Bands {
    /// Puts the calling thread into a band, if the kernel lets us.
    fn apply(&self, band: Band) {
        if self.is_refused.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = kernel::apply(0, band) {
            self.refuse(&error);
        }
    }

    /// Gives bands up for good: a thread that could be lowered but not raised again would spoil.
    fn refuse(&self, error: &std::io::Error) {
        if !self.is_refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %error,
                "functions share the kernel's ordinary scheduling: classes need CAP_SYS_NICE"
            );
        }
    }
}
