//! How far an experiment is, and how long it will take.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};
use sim::Runner;
use sim::runner::Progress;

/// Does something with a runner whose progress is shown on a terminal; elsewhere nothing is.
pub(super) fn with<T>(threads: usize, name: &str, work: impl FnOnce(&Runner<'_>) -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work(&Runner { threads, ..Runner::default() });
    }
    let template = "{prefix:>10} {bar:32} {pos}/{len} runs, {elapsed} passed, about {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let bar =
        ProgressBar::new(0).with_style(style.progress_chars("━━╌")).with_prefix(name.to_owned());
    let progress = |progress: Progress| {
        bar.set_length(progress.total as u64);
        // Several threads tell at once; the bar never goes back.
        bar.set_position(bar.position().max(progress.done as u64));
    };
    let done = work(&Runner { threads, progress: &progress });
    bar.finish_and_clear();
    done
}
