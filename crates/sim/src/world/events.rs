//! What happens when: a queue of events in virtual time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A job with a core of its own reaches its milestone.
    Milestone { slot: u32, generation: u32 },
    /// On a machine that shares its cores some job reaches its milestone.
    SharedMilestone { machine: u32, generation: u32 },
    /// The scheduler's deadline.
    Wake,
    /// What a job waited for outside is there.
    IoDone { slot: u32, generation: u32 },
    /// A job's memory is out.
    SwappedOut { machine: u32, bytes: u64 },
    /// A job's memory is in again.
    SwappedIn { slot: u32, generation: u32 },
    /// What the memory planner decides may be different now.
    PlanMemory { machine: u32 },
    /// The memory of a machine's functions is looked at.
    LookAtMemory { machine: u32 },
    /// A machine fails.
    Lose { machine: u32 },
    /// A machine comes back.
    Join { machine: u32 },
    /// The end of a tick: usage is noted.
    Sample,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at_ns: u64,
    /// Of two at one time the one planned first happens first.
    sequence: u64,
    event: Event,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // The standard heap gives the largest: the earliest is to be that.
        (other.at_ns, other.sequence).cmp(&(self.at_ns, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A bucket of the wheel holds events of 2^21 ns, some 2 ms.
const BUCKET_SHIFT: u32 = 21;

/// Buckets of the wheel: the next 8.6 s.
const BUCKETS: usize = 4096;

/// A bucket keeps room for so many events when it is empty; more would be much in all of them.
const SPARE_MAX: usize = 64;

/// Events to come, earliest first.
///
/// A heap of all of them would miss the processor's cache at almost each level once there are some
/// hundred thousand. Here those of one bucket of time are in order, and what is later lies in no order
/// in the bucket of its time until that comes.
#[derive(Debug)]
pub(crate) struct Agenda {
    /// What was in the current bucket when its time came, the earliest last.
    near: Vec<Entry>,
    /// What was planned for it since, or for before it. With [`Self::near`] empty only if everything is.
    added: BinaryHeap<Entry>,
    /// The current bucket's number.
    current: u64,
    /// The buckets after it, by their number modulo [`BUCKETS`].
    wheel: Vec<Vec<Entry>>,
    /// Bit n: bucket n of the wheel holds something.
    occupied: Vec<u64>,
    /// What was too late for the wheel when it was planned.
    far: BinaryHeap<Entry>,
    planned: u64,
}

impl Default for Agenda {
    fn default() -> Self {
        Self {
            near: Vec::new(),
            added: BinaryHeap::new(),
            current: 0,
            wheel: vec![Vec::new(); BUCKETS],
            occupied: vec![0; BUCKETS / 64],
            far: BinaryHeap::new(),
            planned: 0,
        }
    }
}

const fn bucket_of(at_ns: u64) -> u64 {
    at_ns >> BUCKET_SHIFT
}

fn place_of(bucket: u64) -> usize {
    usize::try_from(bucket).expect("an index of 64 bits") % BUCKETS
}

impl Agenda {
    pub(crate) fn plan(&mut self, at_ns: u64, event: Event) {
        self.planned += 1;
        let entry = Entry { at_ns, sequence: self.planned, event };
        let bucket = bucket_of(at_ns);
        if bucket <= self.current {
            self.added.push(entry);
            return;
        }
        if bucket - self.current < BUCKETS as u64 {
            let place = place_of(bucket);
            self.wheel[place].push(entry);
            self.occupied[place / 64] |= 1 << (place % 64);
        } else {
            self.far.push(entry);
        }
        if self.near.is_empty() && self.added.is_empty() {
            self.turn();
        }
    }

    pub(crate) fn next_ns(&self) -> Option<u64> {
        // The greatest entry is the earliest.
        self.near.last().max(self.added.peek()).map(|entry| entry.at_ns)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        let entry = if self.near.last() >= self.added.peek() {
            self.near.pop()?
        } else {
            self.added.pop()?
        };
        if self.near.is_empty() && self.added.is_empty() {
            self.turn();
        }
        Some((entry.at_ns, entry.event))
    }

    /// Of what comes next what was planned long before, soonest first.
    pub(crate) fn upcoming(&self) -> impl Iterator<Item = Event> {
        self.near.iter().rev().map(|entry| entry.event)
    }

    /// Goes on to the next bucket that holds something.
    fn turn(&mut self) {
        let in_wheel = self.next_in_wheel();
        let in_far = self.far.peek().map(|entry| bucket_of(entry.at_ns));
        let Some(next) = in_wheel.into_iter().chain(in_far).min() else { return };
        self.current = next;
        if in_wheel == Some(next) {
            let place = place_of(next);
            self.occupied[place / 64] &= !(1 << (place % 64));
            let mut spare = std::mem::take(&mut self.near);
            if spare.capacity() > SPARE_MAX {
                spare = Vec::new();
            }
            self.near = std::mem::replace(&mut self.wheel[place], spare);
        }
        while let Some(entry) = self.far.peek()
            && bucket_of(entry.at_ns) <= next
        {
            self.near.extend(self.far.pop());
        }
        self.near.sort_unstable();
    }

    /// The first bucket after the current one that holds something.
    fn next_in_wheel(&self) -> Option<u64> {
        let first = place_of(self.current + 1);
        let words = self.occupied.len();
        // The first word twice: its upper bits come first, its lower ones last.
        (0..=words).find_map(|step| {
            let index = (first / 64 + step) % words;
            let all = self.occupied[index];
            let upper = u64::MAX << (first % 64);
            let word = match step {
                0 => all & upper,
                last if last == words => all & !upper,
                _ => all,
            };
            if word == 0 {
                return None;
            }
            let bit = usize::try_from(word.trailing_zeros()).expect("a bit's index is small");
            let ahead = (index * 64 + bit + BUCKETS - first) % BUCKETS;
            Some(self.current + 1 + u64::try_from(ahead).expect("a bucket's place is small"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    /// Far more than the wheel holds, and close together as well.
    fn some_ns(stream: &mut Stream) -> u64 {
        let spans = [1, 1 << BUCKET_SHIFT, 1 << (BUCKET_SHIFT + 6), 1 << 33, 1 << 37];
        let span = spans[stream.below(spans.len())];
        stream.bits() % (span + 1)
    }

    #[test]
    fn events_come_by_time_and_then_as_they_were_planned() {
        let mut stream = Stream::new(7, Purpose::Loss);
        let (mut agenda, mut all) = (Agenda::default(), BinaryHeap::new());
        let (mut now, mut number) = (0, 0);
        for _ in 0..100_000 {
            // As many come as go, in waves.
            if stream.below(1_000) < 480 + (number / 10_000 % 2) * 40 {
                number += 1;
                let machine = u32::try_from(number).unwrap();
                let (at_ns, event) = (now + some_ns(&mut stream), Event::Lose { machine });
                agenda.plan(at_ns, event);
                all.push(Entry { at_ns, sequence: number as u64, event });
            } else {
                let expected = all.pop().map(|entry: Entry| (entry.at_ns, entry.event));
                assert_eq!(agenda.next_ns(), expected.map(|(at_ns, _)| at_ns));
                assert_eq!(agenda.pop(), expected);
                now = expected.map_or(now, |(at_ns, _)| at_ns);
            }
        }
        while let Some(entry) = all.pop() {
            assert_eq!(agenda.pop(), Some((entry.at_ns, entry.event)));
        }
        assert_eq!(agenda.pop(), None);
    }
}
