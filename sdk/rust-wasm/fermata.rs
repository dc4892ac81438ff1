//! Durable functions in Rust: `async` code whose futures are what the platform brings about.
//!
//! The function waits between calls: its futures lie in its memory, the stack is empty, and no pass
//! over the module is needed. Put this file beside yours, and
//!
//! ```ignore
//! mod fermata;
//! fermata::function!(|input: Vec<u8>| async move {
//!     let receipt = fermata::call("charge", &input).await?;
//!     fermata::sleep(60_000).await;
//!     Ok(receipt)
//! });
//! ```
#![allow(dead_code)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

#[link(wasm_import_module = "fermata")]
extern "C" {
    #[link_name = "timer"]
    fn raw_timer(after_ms: i64) -> i64;
    #[link_name = "call"]
    fn raw_call(n: *const u8, nl: usize, c: *const u8, cl: usize, p: *const u8, pl: usize) -> i64;
    #[link_name = "signal"]
    fn raw_signal(name: *const u8, length: usize) -> i64;
    #[link_name = "drop"]
    fn raw_drop(op: i64) -> i32;
    #[link_name = "outcome"]
    fn raw_outcome(op: i64) -> i32;
    #[link_name = "result_read"]
    fn raw_result_read(to: *mut u8, capacity: usize) -> i32;
    #[link_name = "status"]
    fn raw_status(text: *const u8, length: usize) -> i32;
    #[link_name = "await"]
    fn raw_await(ops: *const i64, count: usize, mode: i32) -> i32;
}

/// Why something did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The public code.
    pub code: String,
    /// For a person.
    pub message: String,
}

/// Something asked for. Dropped before it ended, it is taken back.
#[derive(Debug)]
pub struct Op {
    id: i64,
    is_over: bool,
}

/// Ends so many milliseconds from now.
pub fn sleep(ms: i64) -> Op {
    Op::new(unsafe { raw_timer(ms) })
}

/// Calls another function.
pub fn call(function: &str, payload: &[u8]) -> Op {
    let (name, class) = (function.as_bytes(), "");
    Op::new(unsafe {
        raw_call(name.as_ptr(), name.len(), class.as_ptr(), 0, payload.as_ptr(), payload.len())
    })
}

/// Ends with the next signal of that name.
pub fn signal(name: &str) -> Op {
    Op::new(unsafe { raw_signal(name.as_ptr(), name.len()) })
}

/// What a person sees of the execution.
pub fn set_status(text: &str) {
    unsafe { raw_status(text.as_ptr(), text.len()) };
}

impl Op {
    fn new(id: i64) -> Self {
        assert!(id > 0, "refused ({})", id);
        Self { id, is_over: false }
    }
}

impl Future for Op {
    type Output = Result<Vec<u8>, Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        const PENDING: i32 = -5;
        let code = unsafe { raw_outcome(self.id) };
        if code == PENDING {
            return Poll::Pending;
        }
        self.is_over = true;
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let got = unsafe { raw_result_read(piece.as_mut_ptr(), piece.len()) };
            match usize::try_from(got) {
                Ok(got) if got > 0 => answer.extend_from_slice(&piece[..got]),
                _ => break,
            }
        }
        if code >= 0 {
            return Poll::Ready(Ok(answer));
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        let mut lines = text.lines().map(str::to_owned);
        let (code, message) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        Poll::Ready(Err(Error { code, message }))
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        if !self.is_over {
            unsafe { raw_drop(self.id) };
        }
    }
}

/// All of them, in their order.
pub async fn all(ops: Vec<Op>) -> Vec<Result<Vec<u8>, Error>> {
    let mut ends = Vec::new();
    for op in ops {
        ends.push(op.await);
    }
    ends
}

/// Which of two ended first, and how. The other is taken back.
pub enum Either {
    /// The first.
    First(Result<Vec<u8>, Error>),
    /// The second.
    Second(Result<Vec<u8>, Error>),
}

/// Waits for one of two; the first where both have ended.
pub fn either(first: Op, second: Op) -> EitherOf {
    EitherOf { first, second }
}

/// What [`either`] waits for.
pub struct EitherOf {
    first: Op,
    second: Op,
}

impl Future for EitherOf {
    type Output = Either;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Either> {
        if let Poll::Ready(end) = Pin::new(&mut self.first).poll(context) {
            return Poll::Ready(Either::First(end));
        }
        Pin::new(&mut self.second).poll(context).map(Either::Second)
    }
}

type Main = Pin<Box<dyn Future<Output = Result<Vec<u8>, Error>>>>;
static mut MAIN: Option<Main> = None;

/// Begins the function; for [`function!`].
pub fn begin(main: Main) {
    unsafe { MAIN = Some(main) };
    go_on();
}

/// Goes on as far as it can; for [`function!`].
pub fn go_on() {
    const NEXT: i32 = 2;
    // What is ready is asked each time, so there is nobody to wake.
    const VTABLE: RawWakerVTable = RawWakerVTable::new(|_| WAKER, |_| {}, |_| {}, |_| {});
    const WAKER: RawWaker = RawWaker::new(std::ptr::null(), &VTABLE);
    let waker = unsafe { Waker::from_raw(WAKER) };
    let mut main = match unsafe { MAIN.take() } {
        Some(main) => main,
        None => return,
    };
    match main.as_mut().poll(&mut Context::from_waker(&waker)) {
        Poll::Pending => {
            unsafe { MAIN = Some(main) };
            let waits = unsafe { raw_await(std::ptr::null(), 0, NEXT) };
            assert!(waits == 0, "the function waits for nothing");
        }
        Poll::Ready(Ok(answer)) => {
            use std::io::Write as _;
            std::io::stdout().write_all(&answer).expect("standard output takes all");
            std::io::stdout().flush().expect("standard output takes all");
        }
        Poll::Ready(Err(error)) => {
            eprintln!("{}: {}", error.code, error.message);
            std::process::exit(1);
        }
    }
}

/// Makes of an async closure from input to answer a durable function.
macro_rules! function {
    ($function:expr) => {
        fn main() {
            use std::io::Read as _;
            let mut input = Vec::new();
            std::io::stdin().read_to_end(&mut input).expect("standard input can be read");
            fermata::begin(Box::pin(($function)(input)));
        }

        /// Called in each turn after the first.
        #[no_mangle]
        pub extern "C" fn fermata_resume() {
            fermata::go_on();
        }
    };
}

pub(crate) use function;
