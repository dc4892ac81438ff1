//! The dispatcher's part in idle lists: on which shard's list the machine is, with which numbers
//! (paper XX, section 3.2, "Dispatcher" and "Idle list"; DESIGN rule 3).
//!
//! The dispatcher owns the entry. It leaves one list before it looks for another, so it is on one
//! list at most; where a leave is lost on its way, the shard drops the entry after three missed
//! heartbeats. Each update has a higher version than the one before.

use alloc::vec::Vec;

use model::{Bytes64, MachineId, ShardId, Timestamp};

use crate::message::{IdleEntry, MachineOutput, Memory, PollId, ToShard};
use crate::options::Options;
use crate::rng::Rng;

#[derive(Debug)]
pub(super) struct Dispatcher {
    machine: MachineId,
    shards: Vec<ShardId>,
    rng: Rng,
    version: u64,
    polls: u64,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    /// On no list.
    Off,
    /// Asking some shards for the length of their lists.
    Choosing { poll: PollId, asked: Vec<Asked>, deadline: Timestamp },
    /// On this shard's list.
    On { shard: ShardId, free: Bytes64, heartbeat: Option<Timestamp> },
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    shard: ShardId,
    length: Option<usize>,
}

/// What an entry says, beside whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) memory: Memory,
    pub(super) functions: usize,
}

impl Sample {
    fn free(&self) -> Bytes64 {
        free(self.memory)
    }

    fn is_idle(&self, options: &Options) -> bool {
        self.memory.total.0 > 0 && !is_below(self.free(), options.idle_join_percent, self.memory)
    }
}

pub(super) fn free(memory: Memory) -> Bytes64 {
    Bytes64(memory.total.0.saturating_sub(memory.used.0))
}

/// Whether `amount` is less than so many percent of all memory.
pub(super) fn is_below(amount: Bytes64, percent: u8, memory: Memory) -> bool {
    u128::from(amount.0) * 100 < u128::from(memory.total.0) * u128::from(percent)
}

impl Dispatcher {
    pub(super) fn new(machine: MachineId, shards: Vec<ShardId>, seed: u64) -> Self {
        let rng = Rng::new(seed);
        Self { machine, shards, rng, version: 0, polls: 0, standing: Standing::Off }
    }

    /// Takes a memory sample in: joins, leaves or refreshes as its thresholds say.
    pub(super) fn sampled(
        &mut self,
        now: Timestamp,
        sample: Sample,
        options: &Options,
        out: &mut Vec<MachineOutput>,
    ) {
        match &self.standing {
            Standing::Off => {
                if sample.is_idle(options) {
                    self.choose(now, sample, options, out);
                }
            }
            Standing::Choosing { .. } => {
                if !sample.is_idle(options) {
                    self.standing = Standing::Off;
                }
            }
            Standing::On { shard, free, .. } => {
                let (shard, change) = (*shard, Bytes64(sample.free().0.abs_diff(free.0)));
                if is_below(sample.free(), options.idle_leave_percent, sample.memory) {
                    self.standing = Standing::Off;
                    self.version += 1;
                    let leave = ToShard::IdleLeave { version: self.version };
                    out.push(MachineOutput::ToShard(shard, leave));
                } else if !is_below(change, options.idle_refresh_percent, sample.memory) {
                    self.join(now, shard, sample, options, out);
                }
            }
        }
    }

    /// A shard tells the length of its list.
    pub(super) fn answered(
        &mut self,
        now: Timestamp,
        answer: (ShardId, PollId, usize),
        sample: Sample,
        options: &Options,
        out: &mut Vec<MachineOutput>,
    ) {
        let (from, to_poll, length) = answer;
        let Standing::Choosing { poll, asked, .. } = &mut self.standing else { return };
        if *poll != to_poll {
            return;
        }
        for asked in asked.iter_mut().filter(|asked| asked.shard == from) {
            asked.length = Some(length);
        }
        if asked.iter().all(|asked| asked.length.is_some()) {
            self.join_shortest(now, sample, options, out);
        }
    }

    /// Acts on what came due by `now`.
    pub(super) fn expire(
        &mut self,
        now: Timestamp,
        sample: Sample,
        options: &Options,
        out: &mut Vec<MachineOutput>,
    ) {
        if self.deadline().is_none_or(|due| due > now) {
            return;
        }
        match &self.standing {
            Standing::Off => {}
            Standing::Choosing { .. } => self.join_shortest(now, sample, options, out),
            Standing::On { shard, .. } => self.join(now, *shard, sample, options, out),
        }
    }

    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        match &self.standing {
            Standing::Off => None,
            Standing::Choosing { deadline, .. } => Some(*deadline),
            Standing::On { heartbeat, .. } => *heartbeat,
        }
    }

    /// Looks for a list: asks k shards for their lengths; where there is one shard, takes its list.
    fn choose(
        &mut self,
        now: Timestamp,
        sample: Sample,
        options: &Options,
        out: &mut Vec<MachineOutput>,
    ) {
        let mut drawn = Vec::new();
        self.rng.choose(&self.shards, options.k.max(1), &mut drawn);
        if let [only] = drawn[..] {
            self.join(now, only, sample, options, out);
            return;
        }
        self.polls += 1;
        let poll = PollId(self.polls);
        for shard in &drawn {
            out.push(MachineOutput::ToShard(*shard, ToShard::IdleLength(poll)));
        }
        let asked = drawn.into_iter().map(|shard| Asked { shard, length: None }).collect();
        let deadline = now + options.poll_timeout;
        self.standing = Standing::Choosing { poll, asked, deadline };
    }

    /// Joins the shortest of the lists that were told; where none was, asks again.
    fn join_shortest(
        &mut self,
        now: Timestamp,
        sample: Sample,
        options: &Options,
        out: &mut Vec<MachineOutput>,
    ) {
        let Standing::Choosing { asked, .. } = &self.standing else { return };
        let known = asked.iter().filter_map(|asked| Some((asked.length?, asked.shard)));
        // Of equally short ones, the first asked; the order of asking is random.
        match known.min_by_key(|(length, _)| *length) {
            Some((_, shard)) => self.join(now, shard, sample, options, out),
            None => self.choose(now, sample, options, out),
        }
    }

    fn join(
        &mut self,
        now: Timestamp,
        shard: ShardId,
        sample: Sample,
        options: &Options,
        out: &mut Vec<MachineOutput>,
    ) {
        self.version += 1;
        let heartbeat = options.idle_heartbeat.map(|beat| now + beat);
        self.standing = Standing::On { shard, free: sample.free(), heartbeat };
        let entry = IdleEntry {
            machine: self.machine,
            version: self.version,
            functions: sample.functions,
            memory_free: sample.free(),
        };
        out.push(MachineOutput::ToShard(shard, ToShard::IdleJoin(entry)));
    }
}
