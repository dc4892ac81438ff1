//! Every policy that can be simulated, by name.

use std::fmt;
use std::sync::Arc;

use policy::{Policy, by_name, hermod, xx};

use crate::live::Live;
use crate::scheduler::{Cluster, Scheduler};

/// How cores are divided where a policy shares them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Every function has the same share.
    #[default]
    Equal,
    /// Shares in proportion to the price of the class.
    ByPrice,
}

/// What makes a scheduler for one run.
type Make = Arc<dyn Fn(Cluster) -> Box<dyn Scheduler> + Send + Sync>;

/// A policy by its name.
#[derive(Clone)]
pub struct Entry {
    /// The name that `--policies` takes.
    pub name: String,
    /// What it does, in one line.
    pub about: String,
    /// How it divides cores, if it shares them.
    pub sharing: Sharing,
    /// Whether it promises what price classes promise, so that [`crate::world::Checks::Strict`]
    /// may be asked of it.
    pub strict: bool,
    make: Make,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Entry {
    /// A policy of the crate `policy`, the very code that runs live.
    #[must_use]
    pub fn live(name: &str, about: &str, policy: Arc<dyn Policy>) -> Self {
        let make = move |cluster| -> Box<dyn Scheduler> {
            Box::new(Live::new(Arc::clone(&policy), cluster))
        };
        Self::new(name, about, make)
    }

    /// Any scheduler.
    #[must_use]
    pub fn new(
        name: &str,
        about: &str,
        make: impl Fn(Cluster) -> Box<dyn Scheduler> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            sharing: Sharing::Equal,
            strict: false,
            make: Arc::new(make),
        }
    }

    /// The same, dividing cores that way.
    #[must_use]
    pub fn sharing(self, sharing: Sharing) -> Self {
        Self { sharing, ..self }
    }

    /// Fermata's policy with these choices, under a name of its own.
    #[must_use]
    pub fn xx(name: &str, about: &str, options: xx::Options) -> Self {
        let strict = options.core_rule == xx::CoreRule::StrictByClass;
        Self { strict, ..Self::live(name, about, Arc::new(xx::Xx::new(options))) }
    }

    /// The scheduler of one run.
    #[must_use]
    pub fn scheduler(&self, cluster: Cluster) -> Box<dyn Scheduler> {
        (self.make)(cluster)
    }
}

/// Choices of `xx` as the paper simulates it in its Figure 3: polling only, all functions counted.
#[must_use]
pub fn paper_options(k: usize) -> xx::Options {
    xx::Options { k, idle_list: false, ..xx::Options::default() }
}

/// All policies, `k` machines polled where one polls.
#[must_use]
pub fn policies(k: usize) -> Vec<Entry> {
    let full = xx::Options { k, ..xx::Options::default() };
    let same_or_higher =
        xx::Options { poll_count: xx::PollCount::SameOrHigher, ..paper_options(k) };
    let mut all = vec![
        Entry::xx("xx", "price classes: idle lists, else least loaded of k, strict machines", full),
        Entry::xx("xx-polling", "xx without idle lists: the paper's Figure 3", paper_options(k)),
        Entry::xx(
            "xx-same-or-higher",
            "xx-polling that counts only functions of the same class or higher",
            same_or_higher,
        ),
        Entry::xx(
            "xx-turns",
            "xx whose functions take turns of 30 ms inside a class",
            xx::Options { k, core_rule: xx::CoreRule::Turns, ..xx::Options::default() },
        ),
        Entry::live(
            "hermod",
            "least loaded of k, early binding, processor sharing (SoCC 2022, as paper XX has it)",
            Arc::new(hermod::Hermod::new(k)),
        ),
        Entry::live(
            "fifo",
            "least loaded of k, each machine first come first served",
            Arc::new(policy::fifo::Fifo::new(k)),
        ),
    ];
    all.extend(crate::baseline::entries(k));
    let known = |all: &[Entry], name: &str| all.iter().any(|entry| entry.name == name);
    for name in policy::NAMES {
        if !known(&all, name)
            && let Some(policy) = by_name(name)
        {
            all.push(Entry::live(name, "a live policy", Arc::from(policy)));
        }
    }
    all
}

/// The policy of that name, `k` machines polled where it polls.
#[must_use]
pub fn find(name: &str, k: usize) -> Option<Entry> {
    policies(k).into_iter().find(|entry| entry.name == name)
}
