//! A machine with memory and cores that does what the planner says: functions grow as they run,
//! memory takes time to move, cores go by class, first come first served in a class.

use std::fmt::Write as _;

use model::{Bytes64, ClassId, CpuTime, InvocationId, SwapPlace, SwapRoom, Timestamp};
use policy::memory::{
    Action, EndReason, FreeReason, Holder, Idle, Planner, Rank, Standing, View, Watermarks,
    Whereabouts,
};

/// Between two looks at the machine.
const STEP_MS: u64 = 10;
/// Bytes that are moved in a step, each way.
const BANDWIDTH: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    Live,
    None,
}

#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) number: u64,
    pub(crate) class: ClassId,
    pub(crate) arrives_ms: u64,
    pub(crate) cpu_ms: u64,
    pub(crate) peak: u64,
    /// How long it sleeps, once, half-way.
    pub(crate) sleep_ms: u64,
    pub(crate) fixed: bool,
    pub(crate) had_ms: u64,
    pub(crate) resident: u64,
    pub(crate) swapped: u64,
    pub(crate) left_to_move: u64,
    pub(crate) whereabouts: Whereabouts,
    pub(crate) state: State,
    pub(crate) sleeps_until: Option<u64>,
    pub(crate) has_slept: bool,
    pub(crate) waits: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Away,
    Ready,
    Running,
    Asleep,
    Done,
}

impl Function {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            class: ClassId(0),
            arrives_ms: 0,
            cpu_ms: 1_000_000,
            peak: 0,
            sleep_ms: 0,
            fixed: false,
            had_ms: 0,
            resident: 0,
            swapped: 0,
            left_to_move: 0,
            whereabouts: Whereabouts::Ram,
            state: State::Away,
            sleeps_until: None,
            has_slept: false,
            waits: false,
        }
    }

    fn rank(&self) -> Rank {
        let id = InvocationId(u128::from(self.number));
        Rank::new(self.class, Timestamp::from_millis(self.arrives_ms), id)
    }

    fn target(&self) -> u64 {
        // All of it after a quarter of its run.
        (self.peak * self.had_ms * 4 / self.cpu_ms.max(1)).min(self.peak)
    }

    fn is_here(&self) -> bool {
        !matches!(self.state, State::Away | State::Done)
    }

    fn takes(&self) -> u64 {
        match self.whereabouts {
            Whereabouts::Returning => self.swapped + self.resident,
            _ => self.resident,
        }
    }
}

pub(crate) struct Toy {
    total: u64,
    swap: u64,
    cores: usize,
    planner: Planner,
    functions: Vec<Function>,
    idle: Vec<Idle>,
    now_ms: u64,
    pub(crate) swap_outs: u64,
    pub(crate) kills: u64,
    pub(crate) over: u64,
    pub(crate) out_of_order: u64,
    pub(crate) killed_out_of_order: u64,
    pub(crate) elapsed_ms: u64,
    trace: String,
}

impl Toy {
    pub(crate) fn new(total: u64, swap: u64, cores: usize, marks: Marks) -> Self {
        let marks = match marks {
            Marks::Live => Watermarks::default(),
            Marks::None => Watermarks::NONE,
        };
        Self {
            total,
            swap,
            cores,
            planner: Planner::new(marks),
            functions: Vec::new(),
            idle: Vec::new(),
            now_ms: 0,
            swap_outs: 0,
            kills: 0,
            over: 0,
            out_of_order: 0,
            killed_out_of_order: 0,
            elapsed_ms: 0,
            trace: String::new(),
        }
    }

    pub(crate) fn add(&mut self, function: Function) {
        self.functions.push(function);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.functions.iter().all(|function| function.state == State::Done)
    }

    pub(crate) fn describe(&self) -> String {
        let open: Vec<&Function> =
            self.functions.iter().filter(|function| function.state != State::Done).collect();
        format!("at {} ms of {} in all: {open:#?}", self.now_ms, self.total)
    }

    /// What all cores together may grow by between two looks.
    pub(crate) fn step_growth_max(&self) -> u64 {
        let growth = |f: &Function| f.peak * STEP_MS * 4 / f.cpu_ms.max(1) + 1;
        let mut growths: Vec<u64> = self.functions.iter().map(growth).collect();
        growths.sort_unstable();
        growths.iter().rev().take(self.cores).map(|growth| (*growth).min(600)).sum()
    }

    pub(crate) fn run(&mut self, until_ms: u64) {
        while self.now_ms < until_ms && !self.is_done() {
            self.step();
        }
        self.elapsed_ms = self.now_ms;
    }

    pub(crate) fn step(&mut self) {
        self.now_ms += STEP_MS;
        self.move_memory();
        self.progress();
        self.schedule();
        self.over = self.over.max(self.used().saturating_sub(self.total));
        self.plan();
    }

    fn used(&self) -> u64 {
        let idle: u64 = self.idle.iter().map(|idle| idle.bytes.0).sum();
        self.functions.iter().map(Function::takes).sum::<u64>() + idle
    }

    /// One out and one back at a time, the longest on its way first.
    fn move_memory(&mut self) {
        for way in [Whereabouts::Leaving, Whereabouts::Returning] {
            let mut left = BANDWIDTH;
            for function in self.functions.iter_mut().filter(|f| f.whereabouts == way) {
                let part = left.min(function.left_to_move);
                left -= part;
                function.left_to_move -= part;
                if function.left_to_move > 0 {
                    break;
                }
                if way == Whereabouts::Leaving {
                    function.swapped += function.resident;
                    function.resident = 0;
                    function.whereabouts = Whereabouts::Swap;
                } else {
                    function.resident += function.swapped;
                    function.swapped = 0;
                    function.whereabouts = Whereabouts::Ram;
                    function.waits = false;
                }
            }
        }
    }

    fn progress(&mut self) {
        let now_ms = self.now_ms;
        for function in &mut self.functions {
            if function.state == State::Away && function.arrives_ms <= now_ms {
                function.state = State::Ready;
            }
            if function.state == State::Asleep
                && function.sleeps_until.is_some_and(|until| until <= now_ms)
            {
                function.state = State::Ready;
            }
            if function.state != State::Running {
                continue;
            }
            function.had_ms += STEP_MS;
            function.resident = function.resident.max(function.target());
            if function.had_ms >= function.cpu_ms {
                function.state = State::Done;
                function.resident = 0;
            } else if function.sleep_ms > 0
                && !function.has_slept
                && function.had_ms * 2 >= function.cpu_ms
            {
                function.has_slept = true;
                function.state = State::Asleep;
                function.sleeps_until = Some(now_ms + function.sleep_ms);
            }
        }
    }

    /// Cores by class, first come first served in a class, to those that have their memory.
    fn schedule(&mut self) {
        let mut order: Vec<usize> = (0..self.functions.len())
            .filter(|&at| matches!(self.functions[at].state, State::Ready | State::Running))
            .collect();
        order.sort_by_key(|&at| std::cmp::Reverse(self.functions[at].rank()));
        let mut cores = self.cores;
        for at in order {
            let rank = self.functions[at].rank();
            let must_ask = self.functions[at].had_ms == 0 && !self.admits(rank);
            let function = &mut self.functions[at];
            let has_core = cores > 0;
            if has_core && (function.whereabouts != Whereabouts::Ram || must_ask) {
                function.waits = true;
            }
            let runs = has_core && !function.waits && function.whereabouts == Whereabouts::Ram;
            function.state = if runs { State::Running } else { State::Ready };
            cores -= usize::from(runs);
        }
    }

    fn admits(&self, rank: Rank) -> bool {
        let holders = self.holders();
        self.planner.admits(rank, &self.view(&holders))
    }

    fn holders(&self) -> Vec<Holder> {
        let ready = self.functions.iter().filter(|f| f.state == State::Ready && !f.waits);
        let next = ready.map(Function::rank).max();
        let here = self.functions.iter().filter(|function| function.is_here());
        let holder = |function: &Function| Holder {
            id: InvocationId(u128::from(function.number)),
            rank: function.rank(),
            cpu: CpuTime(function.had_ms * 1_000_000),
            resident: Bytes64(function.takes()),
            swapped: Bytes64(function.swapped),
            wants: Bytes64(match function.whereabouts {
                Whereabouts::Ram => u64::from(function.had_ms == 0),
                _ => function.swapped.max(function.resident),
            }),
            growth: Bytes64(
                if function.state == State::Running && function.target() < function.peak {
                    function.peak * 4_000 / function.cpu_ms.max(1)
                } else {
                    0
                },
            ),
            standing: match function.state {
                _ if function.waits => Standing::Waiting,
                State::Running => Standing::Running,
                State::Ready if next == Some(function.rank()) => Standing::Next,
                _ => Standing::Later,
            },
            whereabouts: function.whereabouts,
            fixed: function.fixed,
            swaps_to: SwapPlace::File,
        };
        let mut holders: Vec<Holder> = here.map(holder).collect();
        holders.sort_by_key(|holder| holder.rank);
        holders
    }

    fn view<'a>(&'a self, holders: &'a [Holder]) -> View<'a> {
        let leaving = self.functions.iter().filter(|f| f.whereabouts == Whereabouts::Leaving);
        let leaving: u64 = leaving.map(|function| function.resident).sum();
        let swapped: u64 = self.functions.iter().map(|function| function.swapped).sum();
        View {
            total: Bytes64(self.total),
            used: Bytes64(self.used()),
            leaving: Bytes64(leaving),
            swap_free: SwapRoom {
                file: Bytes64(self.swap.saturating_sub(swapped + leaving)),
                ..SwapRoom::default()
            },
            holders,
            idle: &self.idle,
        }
    }

    fn plan(&mut self) {
        let holders = self.holders();
        let mut actions = Vec::new();
        let mut planner = self.planner.clone();
        planner.plan(Timestamp::from_millis(self.now_ms), &self.view(&holders), &mut actions);
        self.planner = planner;
        for action in actions {
            self.note(&action, &holders);
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let number = |id: InvocationId| u64::try_from(id.0).unwrap();
        let find = |functions: &mut Vec<Function>, id| -> usize {
            functions.iter().position(|function| function.number == number(id)).unwrap()
        };
        match action {
            Action::Forget(class, _) => self.idle.retain(|idle| idle.class != class),
            Action::SwapOut(id, _) => {
                self.swap_outs += 1;
                let at = find(&mut self.functions, id);
                let function = &mut self.functions[at];
                function.whereabouts = Whereabouts::Leaving;
                function.left_to_move = function.resident;
                if function.state == State::Running {
                    function.state = State::Ready;
                    function.waits = true;
                }
            }
            Action::Hold(id, _) => {
                let at = find(&mut self.functions, id);
                self.functions[at].state = State::Ready;
                self.functions[at].waits = true;
            }
            Action::Bring(id, _) => {
                let at = find(&mut self.functions, id);
                let function = &mut self.functions[at];
                if function.whereabouts == Whereabouts::Ram {
                    function.waits = false;
                } else {
                    function.whereabouts = Whereabouts::Returning;
                    function.left_to_move = function.swapped;
                }
            }
            Action::Kill(id, _) => {
                self.kills += 1;
                let at = find(&mut self.functions, id);
                let before = self.functions[at].clone();
                // It begins again, and in the end it has had its share of kills.
                self.functions[at] = Function {
                    class: before.class,
                    arrives_ms: before.arrives_ms,
                    cpu_ms: before.cpu_ms,
                    peak: before.peak,
                    state: State::Ready,
                    ..Function::new(before.number)
                };
            }
        }
    }

    fn note(&mut self, action: &Action, holders: &[Holder]) {
        let class_of = |id: &InvocationId| {
            holders.iter().find(|holder| holder.id == *id).map(|holder| holder.rank.class())
        };
        let lower_stays = |id: &InvocationId, movable: fn(&Holder) -> bool| {
            holders.iter().any(|holder| {
                let now = self.functions.iter().find(|f| u128::from(f.number) == holder.id.0);
                Some(holder.rank.class()) < class_of(id)
                    && holder.resident.0 > 0
                    && movable(holder)
                    && now.is_some_and(|now| now.whereabouts == Whereabouts::Ram)
            })
        };
        let line = match action {
            Action::Forget(class, reason) => {
                format!("forget the idle of {}: {}", class.0, free(reason))
            }
            Action::SwapOut(id, reason) => {
                self.out_of_order += u64::from(lower_stays(id, |holder| !holder.fixed));
                format!("swap out {}: {}", id.0, free(reason))
            }
            Action::Hold(id, reason) => {
                format!("hold {}: {} free of {}", id.0, reason.free.0, reason.min.0)
            }
            Action::Bring(id, reason) => {
                format!("bring {}: needs {} of {} free", id.0, reason.needs.0, reason.free.0)
            }
            Action::Kill(id, reason) => {
                self.killed_out_of_order += u64::from(
                    matches!(reason, EndReason::Full { .. }) && lower_stays(id, |_| true),
                );
                match reason {
                    EndReason::Full { chosen, swap_free } => format!(
                        "kill {}: least progress of {} candidates, {} of swap free",
                        id.0, chosen.candidates, swap_free.0
                    ),
                    EndReason::TooLarge { needs, total } => {
                        format!("kill {}: needs {} of {}", id.0, needs.0, total.0)
                    }
                }
            }
        };
        writeln!(self.trace, "    @{} {line}", self.now_ms).unwrap();
    }
}

fn free(reason: &FreeReason) -> String {
    match reason {
        FreeReason::Watermark { free, low } => format!("{} free of {}", free.0, low.0),
        FreeReason::HigherRank { by, by_class, needs } => {
            format!("{} of class {} needs {}", by.0, by_class.0, needs.0)
        }
    }
}

/// The script with fresh decisions. Lines: `machine total=1000 swap=5000 cores=2 marks=live`,
/// `function 1 class=0 at=0 cpu=500 peak=400 sleep=0`, `idle class=0 bytes=100`, `run 5000`.
pub(crate) fn play(text: &str) -> String {
    let mut toy: Option<Toy> = None;
    let mut played = String::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        writeln!(played, "{line}").unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let get =
            |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| get(name).map_or(0, |text| text.parse::<u64>().unwrap());
        match words.first() {
            Some(&"machine") => {
                let marks = if get("marks") == Some("none") { Marks::None } else { Marks::Live };
                let cores = usize::try_from(number("cores")).unwrap();
                toy = Some(Toy::new(number("total"), number("swap"), cores, marks));
            }
            Some(&"function") => toy.as_mut().unwrap().add(Function {
                class: ClassId(u8::try_from(number("class")).unwrap()),
                arrives_ms: number("at"),
                cpu_ms: number("cpu"),
                peak: number("peak"),
                sleep_ms: number("sleep"),
                fixed: get("fixed") == Some("yes"),
                ..Function::new(words[1].parse().unwrap())
            }),
            Some(&"idle") => toy.as_mut().unwrap().idle.push(Idle {
                class: ClassId(u8::try_from(number("class")).unwrap()),
                bytes: Bytes64(number("bytes")),
            }),
            Some(&"run") => {
                let toy = toy.as_mut().unwrap();
                toy.run(words[1].parse().unwrap());
                played.push_str(&std::mem::take(&mut toy.trace));
                let done = if toy.is_done() { "all done" } else { "not all done" };
                writeln!(played, "    @{} {done}, {} over", toy.now_ms, toy.over).unwrap();
            }
            _ => {}
        }
    }
    played
}
