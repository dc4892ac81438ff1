//! What a thread that brings the end of an invocation does before it rests.
//!
//! To wake whoever waits for an end takes longer than a short step of what that does next. A thread
//! that runs functions is free once it has told of an end, so it takes the step itself.

use std::cell::RefCell;

/// A short piece of work that does not block.
pub type Task = Box<dyn FnOnce() + Send>;

thread_local! {
    /// None on a thread that is not, or not now, about to be free.
    static TASKS: RefCell<Option<Vec<Task>>> = const { RefCell::new(None) };
}

/// Has this thread do it as soon as it has told what it is telling.
///
/// # Errors
/// The task, where this is not a thread that is about to be free.
pub fn take_up(task: Task) -> Result<(), Task> {
    TASKS.with_borrow_mut(|tasks| match tasks {
        Some(tasks) => {
            tasks.push(task);
            Ok(())
        }
        None => Err(task),
    })
}

/// From now on this thread takes tasks.
#[cfg(any(feature = "wasm", test))]
pub(crate) fn open() {
    TASKS.with_borrow_mut(|tasks| _ = tasks.get_or_insert_default());
}

/// The tasks so far. Where there are none, no more are taken.
#[cfg(any(feature = "wasm", test))]
pub(crate) fn next() -> Option<Vec<Task>> {
    TASKS.with_borrow_mut(|tasks| {
        let left = tasks.take().filter(|left| !left.is_empty())?;
        *tasks = Some(Vec::new());
        Some(left)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_takes_tasks_only_between_opening_and_having_none_left() {
        assert!(take_up(Box::new(|| ())).is_err(), "it is busy");
        open();
        let second: Task = Box::new(|| ());
        take_up(Box::new(|| assert!(take_up(second).is_ok()))).ok().unwrap();
        next().unwrap().into_iter().for_each(|task| task());
        assert_eq!(next().unwrap().len(), 1, "what a task led to is one too");
        assert!(next().is_none());
        assert!(take_up(Box::new(|| ())).is_err(), "it rests");
    }
}
