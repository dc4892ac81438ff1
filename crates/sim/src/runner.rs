//! Runs many simulations at once: every seed and point of an experiment is one task.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How far an experiment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Runs done.
    pub done: usize,
    /// Runs in all.
    pub total: usize,
}

/// Is told after each run; may be called from any thread.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// Tells nobody.
pub fn silent(_: Progress) {}

/// How many threads an experiment takes, and whom it tells.
#[derive(Clone, Copy)]
pub struct Runner<'a> {
    /// Threads; 0 means one a core.
    pub threads: usize,
    /// Told after each run.
    pub progress: OnProgress<'a>,
}

impl Default for Runner<'_> {
    fn default() -> Self {
        Self { threads: 0, progress: &silent }
    }
}

impl Runner<'_> {
    /// Does every task once and gives the results in the order of the tasks. A task that panics
    /// makes the call panic.
    pub fn run<T: Sync, R: Send>(&self, tasks: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.threads == 0 { cores } else { self.threads };
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results: Vec<Mutex<Option<R>>> = tasks.iter().map(|_| Mutex::new(None)).collect();
        let take_tasks = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(task) = tasks.get(at) else { return };
                let result = work(task);
                *results[at].lock().expect("only this thread holds it") = Some(result);
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.progress)(Progress { done, total: tasks.len() });
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads.min(tasks.len()) {
                scope.spawn(take_tasks);
            }
            take_tasks();
        });
        let take = |cell: Mutex<Option<R>>| {
            cell.into_inner().expect("no thread panicked").expect("every task was done")
        };
        results.into_iter().map(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_tasks_and_progress_counts_to_the_end() {
        let most = AtomicUsize::new(0);
        let progress = |p: Progress| {
            most.fetch_max(p.done, Ordering::Relaxed);
        };
        let runner = Runner { threads: 3, progress: &progress };
        let tasks: Vec<usize> = (0..50).collect();
        let squares = runner.run(&tasks, |n| n * n);
        assert_eq!(squares[49], 49 * 49);
        assert!(squares.is_sorted());
        assert_eq!(most.into_inner(), 50);
    }
}
