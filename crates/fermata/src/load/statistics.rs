//! From samples to figures. Pure.

use std::time::Duration;

use hdrhistogram::Histogram;

/// One call as the client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Index into the plan's streams.
    pub(crate) stream: usize,
    /// Index into the plan's phases: the one in which it arrived.
    pub(crate) phase: usize,
    /// When it was to be sent, counted from the start of the run.
    pub(crate) intended: Duration,
    /// What became of it.
    pub(crate) end: End,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Answered, this long after it was to be sent.
    Answered(Duration),
    /// Refused, failed or lost; the public code where there is one.
    Failed(String),
    /// Never sent: too many were in flight.
    Dropped,
    /// Still waiting when the run ended, this long after it was to be sent. Its latency would have
    /// been at least that.
    Unfinished(Duration),
}

/// A quantile in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantile {
    /// Its value.
    pub(crate) ms: f64,
    /// Whether it rests on calls that were cut off, so that the true value is higher.
    pub(crate) at_least: bool,
}

/// How many times slower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    /// 1.0 is as fast as before.
    pub(crate) times: f64,
    /// Whether it rests on calls that were cut off, so that the true value is higher.
    pub(crate) at_least: bool,
}

/// The figures of one class in one phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    /// Calls answered.
    pub(crate) count: u64,
    /// Calls refused, failed, lost or never sent.
    pub(crate) errors: u64,
    /// Calls cut off at the end of the run.
    pub(crate) unfinished: u64,
    /// Median latency of the answered and the cut-off calls.
    pub(crate) p50: Option<Quantile>,
    /// 99 of 100 were faster.
    pub(crate) p99: Option<Quantile>,
    /// 999 of 1,000 were faster.
    pub(crate) p99_9: Option<Quantile>,
    /// The slowest.
    pub(crate) max: Option<Quantile>,
}

impl Summary {
    /// The figures of these samples.
    pub(crate) fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut summary = Self::default();
        let mut latencies = Latencies::default();
        for sample in samples {
            match sample.end {
                End::Answered(latency) => {
                    summary.count += 1;
                    latencies.record(latency);
                }
                End::Failed(_) | End::Dropped => summary.errors += 1,
                End::Unfinished(age) => {
                    summary.unfinished += 1;
                    latencies.record_cut_off(age);
                }
            }
        }
        summary.p50 = latencies.quantile(0.5);
        summary.p99 = latencies.quantile(0.99);
        summary.p99_9 = latencies.quantile(0.999);
        summary.max = latencies.quantile(1.0);
        summary
    }

    /// Calls that arrived, whatever became of them.
    pub(crate) fn offered(&self) -> u64 {
        self.count + self.errors + self.unfinished
    }

    /// How many times slower than `calm` by the p99; none where either has no figure.
    pub(crate) fn slowdown(&self, calm: &Self) -> Option<Ratio> {
        let (now, before) = (self.p99?, calm.p99?);
        let is_figure = before.ms > 0.0 && !before.at_least;
        is_figure.then(|| Ratio { times: now.ms / before.ms, at_least: now.at_least })
    }
}

/// One point of a class's line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// Middle of the window, in seconds from the start of the run.
    pub(crate) at_s: f64,
    /// p99 of the calls that arrived in it (the slowest of fewer than 100).
    pub(crate) p99: Quantile,
}

/// A line of p99 over the time of arrival, one point for each window in which something arrived.
pub(crate) fn line(samples: &[&Sample], window: Duration) -> Vec<Point> {
    let index_of = |sample: &Sample| sample.intended.as_nanos() / window.as_nanos().max(1);
    let mut windows = std::collections::BTreeMap::<u128, Vec<&Sample>>::new();
    for sample in samples {
        windows.entry(index_of(sample)).or_default().push(sample);
    }
    let point = |(index, inside): (u128, Vec<&Sample>)| {
        let index = f64::from(u32::try_from(index).ok()?);
        let p99 = Summary::of(inside).p99?;
        Some(Point { at_s: (index + 0.5) * window.as_secs_f64(), p99 })
    };
    windows.into_iter().filter_map(point).collect()
}

/// Latencies with a precision of three digits, from a microsecond to an hour.
#[derive(Debug)]
pub(crate) struct Latencies {
    micros: Histogram<u64>,
    cut_off_min: Option<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        const HOUR_MICROS: u64 = 3_600_000_000;
        let micros = Histogram::new_with_bounds(1, HOUR_MICROS, 3).expect("the bounds are ordered");
        Self { micros, cut_off_min: None }
    }
}

impl Latencies {
    /// Adds one; what is outside the range counts as its nearest end.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.micros.saturating_record(micros(latency).max(1));
    }

    fn record_cut_off(&mut self, age: Duration) {
        let age_micros = micros(age).max(1);
        self.cut_off_min = Some(self.cut_off_min.unwrap_or(u64::MAX).min(age_micros));
        self.micros.saturating_record(age_micros);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.micros.len()
    }

    /// The value that this share of them does not exceed; none where there are none.
    pub(crate) fn quantile(&self, share: f64) -> Option<Quantile> {
        if self.micros.is_empty() {
            return None;
        }
        let value = self.micros.value_at_quantile(share);
        let at_least =
            self.cut_off_min.is_some_and(|min| self.micros.equivalent(value, min) || value > min);
        Some(Quantile { ms: millis(value), at_least })
    }

    /// The same in microseconds, for what is too short for milliseconds.
    pub(crate) fn quantile_us(&self, share: f64) -> Option<f64> {
        self.quantile(share).map(|quantile| quantile.ms * 1_000.0)
    }
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

fn millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(intended_ms: u64, end: End) -> Sample {
        Sample { stream: 0, phase: 0, intended: Duration::from_millis(intended_ms), end }
    }

    fn answered(ms: u64) -> Sample {
        sample(ms, End::Answered(Duration::from_millis(ms)))
    }

    #[track_caller]
    fn check_ms(quantile: Option<Quantile>, ms: f64, at_least: bool) {
        let quantile = quantile.unwrap();
        assert!((quantile.ms / ms - 1.0).abs() < 0.002, "{} is not {ms}", quantile.ms);
        assert_eq!(quantile.at_least, at_least);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let samples: Vec<Sample> = (1..=1_000).map(answered).collect();
        let summary = Summary::of(&samples);
        assert_eq!((summary.count, summary.offered()), (1_000, 1_000));
        check_ms(summary.p50, 500.0, false);
        check_ms(summary.p99, 990.0, false);
        check_ms(summary.p99_9, 999.0, false);
        check_ms(summary.max, 1_000.0, false);
    }

    #[test]
    fn nothing_has_no_quantile_and_no_slowdown() {
        let none = Summary::of(&[]);
        assert_eq!((none.p50, none.max, none.offered()), (None, None, 0));
        assert_eq!(none.slowdown(&none), None);
    }

    #[test]
    fn calls_cut_off_count_with_their_age_and_mark_what_rests_on_them() {
        let cut_off = |ms| sample(0, End::Unfinished(Duration::from_millis(ms)));
        let samples = [answered(10), answered(20), answered(30), cut_off(40), cut_off(5_000)];
        let summary = Summary::of(&samples);
        assert_eq!((summary.count, summary.unfinished), (3, 2));
        check_ms(summary.p50, 30.0, false);
        check_ms(summary.p99, 5_000.0, true);
        // A cut-off call that is younger than the fast ones puts the median in doubt as well.
        let early = [cut_off(1), answered(10), answered(20)];
        check_ms(Summary::of(&early).p50, 10.0, true);
    }

    #[test]
    fn errors_have_no_latency_but_are_counted() {
        let failed = sample(3, End::Failed("overloaded".into()));
        let summary = Summary::of(&[answered(10), failed, sample(4, End::Dropped)]);
        assert_eq!((summary.count, summary.errors, summary.offered()), (1, 2, 3));
        check_ms(summary.max, 10.0, false);
    }

    #[test]
    fn slowdown_compares_p99() {
        let calm = Summary::of(&[answered(10)]);
        let busy = Summary::of(&[answered(10), answered(250)]);
        let slowdown = busy.slowdown(&calm).unwrap();
        assert!((slowdown.times - 25.0).abs() < 0.05, "{}", slowdown.times);
    }

    #[test]
    fn a_line_has_one_point_for_each_window_in_which_something_arrived() {
        let samples = [answered(100), answered(400), answered(2_100)];
        let samples: Vec<&Sample> = samples.iter().collect();
        let points = line(&samples, Duration::from_millis(500));
        let places: Vec<f64> = points.iter().map(|point| point.at_s).collect();
        assert_eq!(places, [0.25, 2.25]);
        check_ms(Some(points[0].p99), 400.0, false);
        check_ms(Some(points[1].p99), 2_100.0, false);
    }

    #[test]
    fn a_histogram_takes_what_is_out_of_range_at_its_ends() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(100_000));
        assert_eq!(latencies.count(), 2);
        assert!(latencies.quantile_us(0.1).unwrap() <= 1.0);
        assert!(latencies.quantile(1.0).unwrap().ms >= 3_600_000.0);
    }
}
