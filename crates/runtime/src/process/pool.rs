//! Sandboxes that run nothing: warm ones, each with an owner, and generic interpreters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{FunctionName, TenantName};

use super::sandbox::{Owner, Sandbox};

/// See the module.
pub(super) struct Pool {
    /// Longest idle first.
    warm: Vec<Warm>,
    /// By language; those that start are among them.
    generic: Vec<Vec<Arc<Sandbox>>>,
}

struct Warm {
    owner: Owner,
    sandbox: Arc<Sandbox>,
    since: Instant,
    /// Whether it has been stopped for good.
    is_resting: bool,
}

impl Pool {
    pub(super) fn new(languages: usize) -> Self {
        Self { warm: Vec::new(), generic: (0..languages).map(|_| Vec::new()).collect() }
    }

    /// The one that ran last: its memory is the likeliest to be in the caches.
    pub(super) fn take_warm(&mut self, owner: &Owner) -> Option<Arc<Sandbox>> {
        let place = self.warm.iter().rposition(|warm| warm.owner == *owner)?;
        Some(self.warm.remove(place).sandbox)
    }

    /// Adds one; gives back the one that has to go for it.
    pub(super) fn add_warm(
        &mut self,
        owner: Owner,
        sandbox: Arc<Sandbox>,
        since: Instant,
        idle_max: usize,
    ) -> Option<Arc<Sandbox>> {
        self.warm.push(Warm { owner, sandbox, since, is_resting: false });
        (self.warm.len() > idle_max).then(|| self.warm.remove(0).sandbox)
    }

    pub(super) fn add_generic(&mut self, language: usize, sandbox: Arc<Sandbox>) {
        self.generic[language].push(sandbox);
    }

    /// One that waits to be told what to run.
    pub(super) fn take_generic(&mut self, language: usize) -> Option<Arc<Sandbox>> {
        let place = self.generic[language].iter().position(|sandbox| sandbox.is_ready())?;
        Some(self.generic[language].remove(place))
    }

    /// How many of a language to start, so that there are `wanted`.
    pub(super) fn missing(&self, language: usize, wanted: usize) -> usize {
        wanted.saturating_sub(self.generic[language].len())
    }

    pub(super) fn is_full(&self, wanted: usize) -> bool {
        let is_ready = |sandbox: &&Arc<Sandbox>| sandbox.is_ready();
        self.generic.iter().all(|list| list.iter().filter(is_ready).count() >= wanted)
    }

    /// Removes it, wherever it is; whether it was a generic one.
    pub(super) fn remove(&mut self, sandbox: &Arc<Sandbox>) -> bool {
        self.warm.retain(|warm| !Arc::ptr_eq(&warm.sandbox, sandbox));
        let before: usize = self.generic.iter().map(Vec::len).sum();
        for list in &mut self.generic {
            list.retain(|other| !Arc::ptr_eq(other, sandbox));
        }
        self.generic.iter().map(Vec::len).sum::<usize>() < before
    }

    /// Takes the warm ones of a function.
    pub(super) fn take_function(
        &mut self,
        tenant: &TenantName,
        function: &FunctionName,
    ) -> Vec<Arc<Sandbox>> {
        self.take_if(|warm| warm.owner.tenant == *tenant && warm.owner.function == *function)
    }

    /// Takes all warm ones.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Sandbox>> {
        self.take_if(|_| true)
    }

    /// Takes the warm ones that have been idle for longer than `age_max`.
    pub(super) fn take_old(&mut self, now: Instant, age_max: Duration) -> Vec<Arc<Sandbox>> {
        self.take_if(|warm| now.saturating_duration_since(warm.since) > age_max)
    }

    fn take_if(&mut self, mut wanted: impl FnMut(&mut Warm) -> bool) -> Vec<Arc<Sandbox>> {
        self.warm.extract_if(.., |warm| wanted(warm)).map(|warm| warm.sandbox).collect()
    }

    /// Those that have been idle for so long that whatever they still do must stop; each once.
    pub(super) fn take_restless(&mut self, now: Instant, grace: Duration) -> Vec<Arc<Sandbox>> {
        let is_due = |warm: &&mut Warm| {
            !warm.is_resting && now.saturating_duration_since(warm.since) >= grace
        };
        let stop = |warm: &mut Warm| {
            warm.is_resting = true;
            Arc::clone(&warm.sandbox)
        };
        self.warm.iter_mut().filter(is_due).map(stop).collect()
    }

    /// Whether one is not yet stopped.
    pub(super) fn is_restless(&self) -> bool {
        self.warm.iter().any(|warm| !warm.is_resting)
    }

    /// When the next warm one is too old.
    pub(super) fn next_old(&self, age_max: Duration) -> Option<Instant> {
        self.warm.first().map(|warm| warm.since + age_max)
    }

    /// All of them.
    pub(super) fn idle(&self) -> Vec<Arc<Sandbox>> {
        let warm = self.warm.iter().map(|warm| &warm.sandbox);
        warm.chain(self.generic.iter().flatten()).cloned().collect()
    }
}
