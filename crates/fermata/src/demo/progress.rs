//! What is seen while a run is under way.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::generator::Progress as At;
use crate::load::plan::Plan;

/// Rates are shown over the last second.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// A bar on a terminal, else a line a phase.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    bar: Option<ProgressBar>,
    policy: &'a str,
    plan: &'a Plan,
    phase: Option<usize>,
    window: Option<At>,
}

impl<'a> Progress<'a> {
    /// A bar for one run of that plan.
    pub(crate) fn new(policy: &'a str, plan: &'a Plan) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{prefix:>8} {bar:32} {elapsed} {msg}";
            let style =
                ProgressStyle::with_template(template).expect("the template is well formed");
            let length_ms = u64::try_from(plan.length().as_millis()).unwrap_or(u64::MAX);
            let bar = ProgressBar::new(length_ms).with_style(style.progress_chars("━━╌"));
            bar.with_prefix(policy.to_owned())
        });
        Self { bar, policy, plan, phase: None, window: None }
    }

    /// Shows how far the run is.
    pub(crate) fn show(&mut self, at: At) {
        let phase = self.plan.phases[at.phase].name;
        if let Some(bar) = &self.bar {
            bar.set_position(u64::try_from(at.at.as_millis()).unwrap_or(u64::MAX));
        } else if self.phase != Some(at.phase) {
            print_line(&format!("{:>8} {phase}", self.policy));
        }
        self.phase = Some(at.phase);
        let Some(before) = self.window else {
            self.window = Some(at);
            return;
        };
        let span = at.at.saturating_sub(before.at);
        if span < RATE_WINDOW {
            return;
        }
        let rate = |now: u64, then: u64| {
            f64::from(u32::try_from(now - then).unwrap_or(u32::MAX)) / span.as_secs_f64()
        };
        if let Some(bar) = &self.bar {
            bar.set_message(format!(
                "{phase}: {:.0} calls/s offered, {:.0} answered, {} waiting",
                rate(at.offered, before.offered),
                rate(at.answered, before.answered),
                at.in_flight,
            ));
        }
        self.window = Some(at);
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::print_stderr, reason = "progress is for the person who waits, not for a pipe")]
fn print_line(text: &str) {
    eprintln!("{text}");
}
