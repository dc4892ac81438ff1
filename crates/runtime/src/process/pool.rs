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
    /// Of what it last ran.
    class: String,
    since: Instant,
    /// Whether it has been stopped for good.
    is_resting: bool,
    memory: Whereabouts,
}

/// Where a warm sandbox's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    Ram,
    /// On its way to the system's swap.
    Leaving,
    /// In it, so much, since then.
    Out {
        bytes: u64,
        since: Instant,
    },
}

/// Asked to go again before that, one whose memory has just gone out stays: it is as good as gone.
const OUT_MIN: Duration = Duration::from_secs(1);

/// What is done about warm sandboxes that are asked to go.
#[derive(Default)]
pub(super) struct Going {
    /// Their memory is to go out.
    pub(super) out: Vec<Arc<Sandbox>>,
    /// They are forgotten.
    pub(super) forgotten: Vec<Arc<Sandbox>>,
}

impl Pool {
    pub(super) fn new(languages: usize) -> Self {
        Self { warm: Vec::new(), generic: (0..languages).map(|_| Vec::new()).collect() }
    }

    /// The one that ran last: its memory is the likeliest to be in the caches.
    pub(super) fn take_warm(&mut self, owner: &Owner) -> Option<Arc<Sandbox>> {
        let is_in = |warm: &Warm| warm.memory == Whereabouts::Ram;
        let of_owner = |warm: &Warm| warm.owner == *owner;
        let best = self.warm.iter().rposition(|warm| of_owner(warm) && is_in(warm));
        let place = best.or_else(|| self.warm.iter().rposition(of_owner))?;
        Some(self.gone(place))
    }

    fn gone(&mut self, place: usize) -> Arc<Sandbox> {
        let warm = self.warm.remove(place);
        self.note_gone(&warm);
        warm.sandbox
    }

    /// What was in swap of it is its next user's, or nobody's.
    fn note_gone(&self, warm: &Warm) {
        if let Whereabouts::Out { bytes, .. } = warm.memory {
            warm.sandbox.shared.pager.count_gone(bytes);
        }
    }

    /// Adds one; gives back the one that has to go for it.
    pub(super) fn add_warm(
        &mut self,
        owner: Owner,
        class: String,
        sandbox: Arc<Sandbox>,
        idle_max: usize,
    ) -> Option<Arc<Sandbox>> {
        let (since, memory) = (Instant::now(), Whereabouts::Ram);
        self.warm.push(Warm { owner, sandbox, class, since, is_resting: false, memory });
        (self.warm.len() > idle_max).then(|| self.gone(0))
    }

    /// Asks all warm ones of a class to go: their memory first, where `may_leave` says that swap
    /// takes it; then themselves. The empty name means the interpreters that have run nothing.
    pub(super) fn ask_to_go(
        &mut self,
        class: &str,
        now: Instant,
        mut may_leave: impl FnMut(&Sandbox) -> bool,
    ) -> Going {
        let mut going = Going::default();
        if class.is_empty() {
            let ready = |list: &mut Vec<Arc<Sandbox>>| -> Vec<_> {
                list.extract_if(.., |sandbox| sandbox.is_ready()).collect()
            };
            going.forgotten = self.generic.iter_mut().flat_map(ready).collect();
            return going;
        }
        for warm in self.warm.iter_mut().filter(|warm| warm.class == class) {
            if warm.memory == Whereabouts::Ram && warm.is_resting && may_leave(&warm.sandbox) {
                warm.memory = Whereabouts::Leaving;
                going.out.push(Arc::clone(&warm.sandbox));
            }
        }
        going.forgotten = self.take_if(|warm| {
            warm.class == class
                && match warm.memory {
                    Whereabouts::Ram => true,
                    Whereabouts::Leaving => false,
                    Whereabouts::Out { since, .. } => now.duration_since(since) >= OUT_MIN,
                }
        });
        going
    }

    /// So much of it is out now, or none; whether it is still here.
    pub(super) fn paged(&mut self, sandbox: &Arc<Sandbox>, out: Option<u64>) -> bool {
        let found = self.warm.iter_mut().find(|warm| Arc::ptr_eq(&warm.sandbox, sandbox));
        let Some(warm) = found else { return false };
        let since = Instant::now();
        warm.memory = out.map_or(Whereabouts::Ram, |bytes| Whereabouts::Out { bytes, since });
        true
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
        drop(self.take_if(|warm| Arc::ptr_eq(&warm.sandbox, sandbox)));
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
        let taken: Vec<Warm> = self.warm.extract_if(.., |warm| wanted(warm)).collect();
        taken.iter().for_each(|warm| self.note_gone(warm));
        taken.into_iter().map(|warm| warm.sandbox).collect()
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

    /// All of them, each with the class of what it last ran.
    pub(super) fn idle(&self) -> Vec<(String, Arc<Sandbox>)> {
        let warm = self.warm.iter().map(|warm| (warm.class.clone(), Arc::clone(&warm.sandbox)));
        let generic = self.generic.iter().flatten().map(|one| (String::new(), Arc::clone(one)));
        warm.chain(generic).collect()
    }
}
