//! A few connections that read; who wants one waits until one is free.

use std::fmt;
use std::sync::{Condvar, Mutex, PoisonError};

/// Connections that go round.
pub(crate) struct Pool<C> {
    free: Mutex<Vec<C>>,
    returned: Condvar,
}

/// A connection that goes back to its pool, also in a panic.
struct Borrowed<'a, C> {
    pool: &'a Pool<C>,
    connection: Option<C>,
}

impl<C> Pool<C> {
    pub(crate) fn new(connections: Vec<C>) -> Self {
        Self { free: Mutex::new(connections), returned: Condvar::new() }
    }

    pub(crate) fn with<T>(&self, read: impl FnOnce(&mut C) -> T) -> T {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let none = |free: &mut Vec<C>| free.is_empty();
        let mut free = self.returned.wait_while(free, none).unwrap_or_else(PoisonError::into_inner);
        let mut borrowed = Borrowed { pool: self, connection: free.pop() };
        drop(free);
        let connection = borrowed.connection.as_mut().expect("waited until one was there");
        read(connection)
    }
}

impl<C> Drop for Borrowed<'_, C> {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(self.connection.take());
        self.pool.returned.notify_one();
    }
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
