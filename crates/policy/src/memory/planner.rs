//! The planner itself. One plan goes: those that wait, the watermarks, those that grow too fast.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use model::{Bytes64, ClassId, InvocationId, SwapRoom, Timestamp};

use super::{
    Action, BringReason, Candidate, EndReason, FreeReason, HoldReason, Holder, Idle, Rank,
    Standing, View, Whereabouts, victim,
};

/// When memory is freed and how much, in percent of all of it and bounded in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Below this, functions that grow are held until there is more.
    pub min_percent: u8,
    /// Below this, memory is freed.
    pub low_percent: u8,
    /// Up to this.
    pub high_percent: u8,
    /// No high watermark is larger; the other two in proportion.
    pub high_bytes_max: Bytes64,
    /// Whoever was brought back is not swapped out again for so long, unless for a higher class.
    pub stay: Duration,
    /// Whoever was swapped out stays away for so long, twice as long the next time, and so on.
    pub away: Duration,
    /// But no longer than this.
    pub away_max: Duration,
    /// How far ahead growth is taken into account.
    pub horizon: Duration,
}

impl Watermarks {
    /// None: memory is freed only for those that ask for it. For a simulated machine in which
    /// nobody takes memory without asking, as in the paper.
    pub const NONE: Self = Self {
        min_percent: 0,
        low_percent: 0,
        high_percent: 0,
        high_bytes_max: Bytes64(0),
        stay: Duration::ZERO,
        away: Duration::ZERO,
        away_max: Duration::ZERO,
        horizon: Duration::ZERO,
    };
}

/// For a real machine, on which functions take memory without asking.
impl Default for Watermarks {
    fn default() -> Self {
        Self {
            min_percent: 4,
            low_percent: 8,
            high_percent: 12,
            high_bytes_max: Bytes64(1536 << 20),
            stay: Duration::from_millis(500),
            away: Duration::from_millis(250),
            away_max: Duration::from_secs(2),
            horizon: Duration::from_millis(50),
        }
    }
}

/// Plans one machine's memory. See the module.
#[derive(Clone, Debug)]
pub struct Planner {
    marks: Watermarks,
    /// Memory is being freed, up to the high watermark.
    is_pressed: bool,
    /// When each was last brought back; forgotten when it no longer matters.
    brought: BTreeMap<InvocationId, Timestamp>,
    /// Until when each that was swapped out stays away, and how often that was.
    sent: BTreeMap<InvocationId, (Timestamp, u32)>,
    /// Until when those that wait stay away, as of the last plan.
    absences: Vec<Timestamp>,
    /// When the idle sandboxes of a class were last asked to go.
    asked: BTreeMap<ClassId, Timestamp>,
}

/// Idle sandboxes that were asked to go count as on their way for so long; what is there then does
/// not go.
const IDLE_GOES: Duration = Duration::from_millis(250);
/// They are asked again after so long.
const IDLE_AGAIN: Duration = Duration::from_secs(1);

/// A plan in the making.
struct Draft<'a, 'o> {
    view: &'a View<'a>,
    now: Timestamp,
    /// Free now, and with what is leaving.
    free: u64,
    expected: u64,
    swap_free: SwapRoom,
    min: u64,
    low: u64,
    high: u64,
    /// Chosen to leave in this plan.
    gone: Vec<InvocationId>,
    /// Classes whose idle sandboxes are on their way, in `expected` already.
    going: Vec<ClassId>,
    out: &'o mut Vec<Action>,
}

/// Whether what was needed can be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freed {
    /// The victims are on their way.
    Enough,
    /// Those that may give way do not have enough.
    TooLittle,
    /// They have enough, and it fits nowhere.
    SwapFull,
}

impl Planner {
    /// A planner that has seen nothing.
    #[must_use]
    pub const fn new(marks: Watermarks) -> Self {
        Self {
            marks,
            is_pressed: false,
            brought: BTreeMap::new(),
            sent: BTreeMap::new(),
            absences: Vec::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Whether a function of that rank may begin or go on without asking: there is memory, or
    /// others give way to it, and no higher one waits.
    #[must_use]
    pub fn admits(&self, rank: Rank, view: &View<'_>) -> bool {
        // One that is on its way back has its room already and waits for nobody's.
        let is_ahead = |holder: &Holder| {
            holder.standing == Standing::Waiting
                && holder.whereabouts != Whereabouts::Returning
                && holder.rank > rank
        };
        if view.holders.iter().rev().any(is_ahead) {
            return false;
        }
        let free = view.total.0.saturating_sub(view.used.0);
        let [min, low, _] = self.marks_of(view.total);
        let gives_way = |holder: &Holder| {
            holder.rank.class() < rank.class() && !holder.fixed && holder.resident.0 > 0
        };
        (free >= low && !self.is_pressed) || (free >= min && view.holders.iter().any(gives_way))
    }

    /// What is to be free on a machine of that much memory once it was pressed. While more is
    /// free, nobody waits and nobody is about to come back, a plan has no action.
    #[must_use]
    pub fn high_mark(&self, total: Bytes64) -> Bytes64 {
        let [_, _, high] = self.marks_of(total);
        Bytes64(high)
    }

    /// Below so much free on a machine of that much memory, functions that grow are held.
    #[must_use]
    pub fn min_mark(&self, total: Bytes64) -> Bytes64 {
        let [min, _, _] = self.marks_of(total);
        Bytes64(min)
    }

    /// Appends what is to be done now to `out`, in order. Called again whenever something changed
    /// and, where actions were taken, until there are none.
    pub fn plan(&mut self, now: Timestamp, view: &View<'_>, out: &mut Vec<Action>) {
        assert!(view.holders.is_sorted_by_key(|holder| holder.rank), "holders come by rank");
        let before = out.len();
        let [min, low, high] = self.marks_of(view.total);
        let free = view.total.0.saturating_sub(view.used.0);
        let mut draft = Draft {
            view,
            now,
            free,
            expected: free.saturating_add(view.leaving.0),
            swap_free: view.swap_free,
            min,
            low,
            high,
            gone: Vec::new(),
            going: Vec::new(),
            out,
        };
        for idle in view.idle {
            if self.asked.get(&idle.class).is_some_and(|at| now.since(*at) < IDLE_GOES) {
                draft.goes(idle);
            }
        }
        self.serve_waiting(&mut draft);
        self.keep_watermarks(&mut draft);
        self.hold_growing(&mut draft);
        for action in &out[before..] {
            match action {
                Action::Bring(id, _) => _ = self.brought.insert(*id, now),
                Action::SwapOut(id, _) => self.note_sent(*id, now),
                Action::Forget(..) | Action::Hold(..) | Action::Kill(..) => {}
            }
        }
        // What is known of functions that are gone is of no use.
        self.sent.retain(|id, _| view.holders.iter().any(|holder| holder.id == *id));
        let stay = self.marks.stay;
        self.brought.retain(|_, at| now.since(*at) < stay);
    }

    /// When a plan may differ though nothing changed: a function's stay is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let stays = self.brought.values().map(|at| *at + self.marks.stay);
        stays.chain(self.absences.iter().copied()).min()
    }

    /// The least, the low and the high watermark.
    fn marks_of(&self, total: Bytes64) -> [u64; 3] {
        let part = |percent: u8| u128::from(total.0) * u128::from(percent) / 100;
        let high = part(self.marks.high_percent);
        let bound = u128::from(self.marks.high_bytes_max.0);
        [self.marks.min_percent, self.marks.low_percent, self.marks.high_percent].map(|percent| {
            let mark = if high > bound { part(percent) * bound / high } else { part(percent) };
            u64::try_from(mark).expect("a part of a u64")
        })
    }

    /// Those that wait for memory, by rank: each gets it, or room is made for it, or it waits and
    /// all below it too.
    fn serve_waiting(&mut self, draft: &mut Draft<'_, '_>) {
        let view = draft.view;
        let coming = draft.growth_within(self.marks.horizon);
        self.absences.clear();
        let free_before = draft.free;
        for waiter in view.holders.iter().rev() {
            if waiter.standing != Standing::Waiting || waiter.whereabouts == Whereabouts::Returning
            {
                continue;
            }
            if waiter.whereabouts == Whereabouts::Leaving {
                // It can come back only once it is out; until then its place is not another's.
                return;
            }
            let needs = waiter.wants.0;
            if needs.saturating_add(waiter.resident.0) > view.total.0 {
                draft.end_too_large(waiter, needs.saturating_add(waiter.resident.0));
                return;
            }
            let is_alone = draft.is_alone(waiter);
            let is_out = waiter.whereabouts == Whereabouts::Swap;
            let is_only = is_out && is_alone && draft.free == free_before;
            let reserve = if is_alone {
                0
            } else if waiter.swapped.0 > 0 {
                if let Some((until, _)) =
                    self.sent.get(&waiter.id).filter(|sent| draft.now < sent.0)
                {
                    self.absences.push(*until);
                    return;
                }
                draft.high.saturating_add(coming)
            } else if draft.has_lower_class(waiter) || waiter.resident.0 > 0 {
                draft.min
            } else {
                draft.high
            };
            let needed = needs.saturating_add(reserve);
            if needed <= draft.free {
                draft.bring(waiter);
                continue;
            }
            if needed > draft.expected {
                let reason = FreeReason::HigherRank {
                    by: waiter.id,
                    by_class: waiter.rank.class(),
                    needs: waiter.wants,
                };
                self.ask_idle(draft, needed, reason);
                let (missing, now) = (needed.saturating_sub(draft.expected), draft.now);
                if missing == 0 {
                    return;
                }
                let may = |holder: &Holder| {
                    holder.rank < waiter.rank
                        && (holder.rank.class() < waiter.rank.class() || self.may_go(now, holder))
                };
                match draft.free_up(missing, may, reason) {
                    Freed::SwapFull => draft.kill_lowest(Some(waiter.rank)),
                    // All below it together are not enough for its reserve, and nobody above it has
                    // any memory: they go, and then it comes without one.
                    Freed::TooLittle if reserve > 0 && draft.is_first(waiter) => {
                        if !draft.send_all(may, reason) && needs <= draft.free {
                            draft.bring(waiter);
                        }
                    }
                    // What is left of the others stays: it would wait for ever.
                    Freed::TooLittle if is_only && !draft.is_more_to_come() => {
                        draft.end_too_large(waiter, needed);
                    }
                    Freed::Enough | Freed::TooLittle => {}
                }
            }
            return;
        }
    }

    /// Frees memory below the low watermark, up to the high one.
    fn keep_watermarks(&mut self, draft: &mut Draft<'_, '_>) {
        let coming = draft.growth_within(self.marks.horizon);
        let expected = draft.expected.saturating_sub(coming);
        if expected < draft.low {
            self.is_pressed = true;
        } else if draft.expected >= draft.high {
            self.is_pressed = false;
        }
        if !self.is_pressed || expected >= draft.high {
            return;
        }
        let reason =
            FreeReason::Watermark { free: Bytes64(draft.expected), low: Bytes64(draft.low) };
        self.ask_idle(draft, draft.high.saturating_add(coming), reason);
        let expected = draft.expected.saturating_sub(coming);
        let missing = draft.high.saturating_sub(expected);
        if missing == 0 {
            return;
        }
        let urgent = draft.low.saturating_sub(expected);
        let swap_refused = self.free_resting(draft, missing, urgent, reason);
        let nothing_comes =
            draft.view.leaving.0 == 0 && draft.gone.is_empty() && draft.going.is_empty();
        if nothing_comes && draft.expected < draft.min {
            if swap_refused {
                draft.kill_lowest(None);
            } else {
                draft.kill_too_large();
            }
        }
    }

    /// Asks idle sandboxes to go, the lowest class first, until so much is expected to be free.
    fn ask_idle(&mut self, draft: &mut Draft<'_, '_>, wanted: u64, reason: FreeReason) {
        let view = draft.view;
        for idle in view.idle.iter().filter(|idle| idle.bytes.0 > 0) {
            if draft.expected >= wanted {
                return;
            }
            let asked = self.asked.get(&idle.class);
            if asked.is_some_and(|at| draft.now.since(*at) < IDLE_AGAIN) {
                continue;
            }
            self.asked.insert(idle.class, draft.now);
            draft.out.push(Action::Forget(idle.class, reason));
            draft.goes(idle);
        }
    }

    /// Swaps out, strictly by class, towards so much freed; who runs or has just come back only for
    /// what is urgent. Whether someone was in the way whom swap cannot take.
    fn free_resting(
        &self,
        draft: &mut Draft<'_, '_>,
        missing: u64,
        urgent: u64,
        reason: FreeReason,
    ) -> bool {
        let Some(top) = draft.highest() else { return false };
        let (mut freed, mut is_refused) = (0_u64, false);
        for victim in draft.victims(|holder| holder.rank < top) {
            let in_use = victim.standing == Standing::Running || !self.may_go(draft.now, &victim);
            if freed >= missing || (in_use && freed >= urgent) {
                break;
            }
            if victim.fixed || draft.swap_free.without(victim.swaps_to, victim.resident).is_none() {
                is_refused = true;
                continue;
            }
            freed = freed.saturating_add(victim.resident.0);
            draft.send_out(&victim, reason);
        }
        is_refused
    }

    /// Holds those that grow while there is less than the least, and while more is to be had.
    fn hold_growing(&self, draft: &mut Draft<'_, '_>) {
        let view = draft.view;
        // One that is on its way back can leave again as soon as it is there.
        let returns = view.holders.iter().any(|h| h.whereabouts == Whereabouts::Returning);
        if draft.free >= draft.min || (draft.expected <= draft.free && !returns) {
            return;
        }
        for holder in view.holders {
            let grows = holder.growth.0 > 0 && holder.standing == Standing::Running;
            if grows && holder.whereabouts == Whereabouts::Ram && !draft.gone.contains(&holder.id) {
                let reason = HoldReason {
                    free: Bytes64(draft.free),
                    min: Bytes64(draft.min),
                    growth: holder.growth,
                };
                draft.out.push(Action::Hold(holder.id, reason));
            }
        }
    }

    fn note_sent(&mut self, id: InvocationId, now: Timestamp) {
        let times = self.sent.get(&id).map_or(0, |(_, times)| *times);
        let away = self.marks.away.saturating_mul(1 << times.min(16)).min(self.marks.away_max);
        self.sent.insert(id, (now + away, times.saturating_add(1)));
    }

    /// Whether it may be swapped out for its own class, or for nobody.
    fn may_go(&self, now: Timestamp, holder: &Holder) -> bool {
        self.brought.get(&holder.id).is_none_or(|at| now.since(*at) >= self.marks.stay)
    }
}

impl Draft<'_, '_> {
    fn goes(&mut self, idle: &Idle) {
        self.expected = self.expected.saturating_add(idle.bytes.0);
        self.going.push(idle.class);
    }

    fn bring(&mut self, holder: &Holder) {
        let needs = holder.wants;
        self.out.push(Action::Bring(holder.id, BringReason { free: Bytes64(self.free), needs }));
        self.free = self.free.saturating_sub(needs.0);
        self.expected = self.expected.saturating_sub(needs.0);
    }

    fn kill(&mut self, id: InvocationId, reason: EndReason) {
        self.gone.push(id);
        self.out.push(Action::Kill(id, reason));
    }

    /// Kills by the rule: lowest class, least progress, of those that rank no higher than `limit`.
    fn kill_lowest(&mut self, limit: Option<Rank>) {
        let able = self.view.holders.iter().filter(|holder| {
            limit.is_none_or(|limit| holder.rank <= limit)
                && holder.whereabouts != Whereabouts::Leaving
                && holder.resident.0.saturating_add(holder.swapped.0) > 0
                && !self.gone.contains(&holder.id)
        });
        let candidates = able.map(|holder| Candidate {
            id: holder.id,
            class: holder.rank.class(),
            cpu: holder.cpu,
            arrived: holder.rank.arrived(),
        });
        if let Some((id, chosen)) = victim(candidates) {
            let holder = self.view.holders.iter().find(|holder| holder.id == id);
            let place = holder.expect("it was chosen from them").swaps_to;
            let swap_free = self.swap_free.at(place);
            self.kill(id, EndReason::Full { chosen, swap_free });
        }
    }

    /// Kills one that alone has more than there is, if there is one.
    fn kill_too_large(&mut self) {
        let total = self.view.total;
        let is_too_large =
            |holder: &&Holder| holder.whereabouts == Whereabouts::Ram && holder.resident > total;
        if let Some(holder) = self.view.holders.iter().find(is_too_large) {
            self.kill(holder.id, EndReason::TooLarge { needs: holder.resident, total });
        }
    }

    /// Whether somebody leaves, or something idle may still be forgotten.
    fn is_more_to_come(&self) -> bool {
        self.view.leaving.0 > 0 || self.view.idle.iter().any(|idle| idle.bytes.0 > 0)
    }

    fn end_too_large(&mut self, holder: &Holder, needs: u64) {
        let reason = EndReason::TooLarge { needs: Bytes64(needs), total: self.view.total };
        self.kill(holder.id, reason);
    }

    /// Whether nobody else has or is about to have memory in RAM. What stays there of those in swap
    /// is next to nothing.
    fn is_alone(&self, waiter: &Holder) -> bool {
        let mut others = self.view.holders.iter().filter(|holder| holder.id != waiter.id);
        others.all(|holder| !self.is_in(holder))
    }

    /// Whether nobody of higher rank has or is about to have memory in RAM.
    fn is_first(&self, waiter: &Holder) -> bool {
        self.view.holders.iter().all(|holder| holder.rank <= waiter.rank || !self.is_in(holder))
    }

    fn is_in(&self, holder: &Holder) -> bool {
        let is_in = match holder.whereabouts {
            Whereabouts::Ram => holder.resident.0 > 0,
            Whereabouts::Returning => true,
            Whereabouts::Leaving | Whereabouts::Swap => false,
        };
        is_in && !self.gone.contains(&holder.id)
    }

    /// Whether a lower class has memory that could leave for it.
    fn has_lower_class(&self, waiter: &Holder) -> bool {
        let lower = |holder: &Holder| {
            holder.rank.class() < waiter.rank.class() && holder.resident.0 > 0 && !holder.fixed
        };
        self.view.holders.iter().any(lower)
    }

    /// The highest rank with memory in RAM: it never gives way to a watermark.
    fn highest(&self) -> Option<Rank> {
        let has = |holder: &&Holder| holder.resident.0 > 0;
        self.view.holders.iter().rev().find(has).map(|holder| holder.rank)
    }

    fn growth_within(&self, horizon: Duration) -> u64 {
        let runs = |holder: &&Holder| holder.standing == Standing::Running;
        let growth: u128 =
            self.view.holders.iter().filter(runs).map(|h| u128::from(h.growth.0)).sum();
        u64::try_from(growth * horizon.as_millis() / 1_000).unwrap_or(u64::MAX)
    }

    /// Those that may give way, in the order in which they do.
    fn victims(&self, may: impl Fn(&Holder) -> bool) -> Vec<Holder> {
        let able = self.view.holders.iter().filter(|holder| {
            holder.whereabouts == Whereabouts::Ram
                && holder.resident.0 > 0
                && !self.gone.contains(&holder.id)
                && may(holder)
        });
        let mut victims: Vec<Holder> = able.copied().collect();
        let order = |standing| match standing {
            Standing::Later | Standing::Waiting => 0,
            Standing::Next => 1,
            Standing::Running => 2,
        };
        victims.sort_by_key(|v| (v.rank.class(), order(v.standing), v.rank));
        victims
    }

    /// Swaps out until so much is freed, or nobody where that cannot be.
    fn free_up(
        &mut self,
        missing: u64,
        may: impl Fn(&Holder) -> bool,
        reason: FreeReason,
    ) -> Freed {
        let (mut freed, mut swap_left, mut is_full) = (0_u64, self.swap_free, false);
        let mut chosen = Vec::new();
        for victim in self.victims(may) {
            if freed >= missing {
                break;
            }
            freed = freed.saturating_add(victim.resident.0);
            let left = swap_left.without(victim.swaps_to, victim.resident);
            match left.filter(|_| !victim.fixed) {
                Some(left) => {
                    swap_left = left;
                    chosen.push(victim);
                }
                None => is_full = true,
            }
        }
        match (freed >= missing, is_full) {
            (true, false) => {
                chosen.iter().for_each(|victim| self.send_out(victim, reason));
                Freed::Enough
            }
            (true, true) => Freed::SwapFull,
            (false, _) => Freed::TooLittle,
        }
    }

    /// Swaps out all that may go and that swap can take; whether there was one.
    fn send_all(&mut self, may: impl Fn(&Holder) -> bool, reason: FreeReason) -> bool {
        let mut has_sent = false;
        for victim in self.victims(may).iter().filter(|victim| !victim.fixed) {
            if self.swap_free.without(victim.swaps_to, victim.resident).is_some() {
                self.send_out(victim, reason);
                has_sent = true;
            }
        }
        has_sent
    }

    fn send_out(&mut self, victim: &Holder, reason: FreeReason) {
        self.gone.push(victim.id);
        self.expected = self.expected.saturating_add(victim.resident.0);
        let left = self.swap_free.without(victim.swaps_to, victim.resident);
        self.swap_free = left.expect("it is sent only where there is room");
        self.out.push(Action::SwapOut(victim.id, reason));
    }
}
