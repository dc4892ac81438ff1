//! The machine scheduler: who holds a core (paper XX, section 3.2, "Machine Scheduler"; DESIGN
//! rule 5).
//!
//! One mechanism serves all rules. Functions wait in lanes; a free core goes to the highest lane,
//! and a function of a higher lane takes the core of one of a lower lane. Strict scheduling has one
//! lane a class, and where turns are taken a function that had one stands behind those that had
//! fewer. First come, first served has a single lane, in which nobody can take a core away.
//! Processor sharing is first come, first served with a core for everyone.

use alloc::vec::Vec;

use model::ClassId;

use super::line::Line;
use crate::options::CoreRule;
use crate::order::Order;

#[derive(Debug)]
pub(super) struct Cores {
    rule: CoreRule,
    count: usize,
    lanes: Vec<Lane>,
    /// Bit n: something is ready in lane n.
    ready: u32,
    /// Bit n: something of lane n holds a core.
    holding: u32,
    /// How many hold one.
    running: usize,
}

/// The functions of one lane that want a core or hold one.
#[derive(Debug, Default)]
struct Lane {
    /// How many hold one.
    holders: usize,
    /// Those, in order, where a core can be taken away: the youngest of them is the victim. As many
    /// as there are cores, at most.
    running: Vec<Order>,
    /// Those that lost their core, the last of them at the head: taking a core away and giving it
    /// back changes nothing in the order inside a class.
    preempted: Vec<Order>,
    /// The others, by first arrival.
    others: Line,
}

/// A core changes hands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    /// Who gets it.
    pub(super) to: Order,
    /// Who loses it.
    pub(super) from: Option<Order>,
}

impl Cores {
    pub(super) fn new(rule: CoreRule, cores: usize, classes: usize) -> Self {
        let (count, lanes) = match rule {
            CoreRule::StrictByClass | CoreRule::Turns => (cores, classes),
            CoreRule::FirstCome => (cores, 1),
            CoreRule::Shared => (usize::MAX, 1),
        };
        let lanes = (0..lanes).map(|_| Lane::default()).collect();
        Self { rule, count, lanes, ready: 0, holding: 0, running: 0 }
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Wants a core.
    pub(super) fn want(&mut self, order: Order, class: ClassId) {
        let lane = self.lane(class);
        self.lanes[lane].others.insert(order);
        self.ready |= 1 << lane;
    }

    /// Wants a core no more.
    pub(super) fn unwant(&mut self, order: Order, class: ClassId) {
        let lane = self.lane(class);
        let ready = &mut self.lanes[lane];
        if !ready.others.remove(order) {
            ready.preempted.retain(|other| *other != order);
        }
        self.note_ready(lane);
    }

    /// Gives its core back.
    pub(super) fn release(&mut self, order: Order, class: ClassId) {
        let lane = self.lane(class);
        if self.takes_away() {
            let running = &mut self.lanes[lane].running;
            let place = running.binary_search(&order);
            let place = place
                .unwrap_or_else(|_| panic!("{} gives back a core that it does not hold", order.id));
            running.remove(place);
        }
        self.note_loss(lane);
    }

    /// Goes on holding its core, in another class.
    pub(super) fn reclass_running(&mut self, order: Order, from: ClassId, to: ClassId) {
        self.release(order, from);
        self.hold(order, self.lane(to));
    }

    /// The next core that changes hands, if any must.
    pub(super) fn next_grant(&mut self) -> Option<Grant> {
        let top = lane_of_bit(self.ready.checked_ilog2()?);
        let mut from = None;
        if self.running >= self.count {
            let lane = lane_of_bit(self.holding.trailing_zeros());
            if lane >= top {
                return None;
            }
            let victim = self.lanes[lane].running.pop();
            let victim = victim.expect("its bit says that something holds a core");
            self.note_loss(lane);
            match self.rule {
                // Its turns say where it stands.
                CoreRule::Turns => {}
                CoreRule::StrictByClass | CoreRule::FirstCome | CoreRule::Shared => {
                    self.lanes[lane].preempted.push(victim);
                    self.ready |= 1 << lane;
                }
            }
            from = Some(victim);
        }
        let ready = &mut self.lanes[top];
        let to = ready.preempted.pop().or_else(|| ready.others.pop_first());
        let to = to.expect("its bit says that something is ready");
        self.note_ready(top);
        self.hold(to, top);
        Some(Grant { to, from })
    }

    /// Of each function that holds a core and whose class has another that wants one: itself, and
    /// how many turns the head of those others had.
    pub(super) fn rivals(&self) -> impl Iterator<Item = (Order, u64)> {
        self.lanes.iter().flat_map(|lane| {
            let head = lane.others.first();
            let pair = move |holder: &Order| Some((*holder, head?.turns));
            lane.running.iter().rev().filter_map(pair)
        })
    }

    fn hold(&mut self, order: Order, lane: usize) {
        if self.takes_away() {
            let running = &mut self.lanes[lane].running;
            // Most are younger than all that hold one.
            let place = running.partition_point(|other| *other < order);
            running.insert(place, order);
        }
        self.lanes[lane].holders += 1;
        self.holding |= 1 << lane;
        self.running += 1;
    }

    /// Whether there are victims.
    fn takes_away(&self) -> bool {
        match self.rule {
            CoreRule::StrictByClass | CoreRule::Turns => true,
            CoreRule::FirstCome | CoreRule::Shared => false,
        }
    }

    /// One that held a core in that lane is gone from it.
    fn note_loss(&mut self, lane: usize) {
        self.running -= 1;
        self.lanes[lane].holders -= 1;
        if self.lanes[lane].holders == 0 {
            self.holding &= !(1 << lane);
        }
    }

    fn note_ready(&mut self, lane: usize) {
        let ready = &self.lanes[lane];
        if ready.preempted.is_empty() && ready.others.is_empty() {
            self.ready &= !(1 << lane);
        }
    }

    fn lane(&self, class: ClassId) -> usize {
        match self.rule {
            CoreRule::StrictByClass | CoreRule::Turns => usize::from(class.0),
            CoreRule::FirstCome | CoreRule::Shared => 0,
        }
    }
}

fn lane_of_bit(bit: u32) -> usize {
    usize::try_from(bit).expect("a bit's index is small")
}
