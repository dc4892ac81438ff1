//! An axis: what part of it a value lies at, and where labels stand.

/// One axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it counts, with its unit.
    pub(super) label: String,
    /// Labelled values.
    pub(super) ticks: Vec<(f64, String)>,
    is_log: bool,
    low: f64,
    high: f64,
}

impl Axis {
    /// A logarithmic axis around those values: whole decades, or halves of one where they lie close.
    pub(super) fn log(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.into_iter().filter(|value| value.is_finite() && *value > 0.0) {
            low = low.min(value);
            high = high.max(value);
        }
        if high <= 0.0 {
            (low, high) = (1.0, 10.0);
        }
        let steps: &[f64] = if high / low > 100.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let low = steps_of(steps, low).rev().find(|step| *step <= low * 1.001).unwrap_or(low);
        let high = steps_of(steps, high).find(|step| *step >= high * 0.999).unwrap_or(high);
        let high = if high <= low { low * 10.0 } else { high };
        let ticks = steps_within(steps, low, high).into_iter().map(|at| (at, plain(at))).collect();
        Self { label: label.to_owned(), ticks, is_log: true, low, high }
    }

    /// A linear axis around those values, from zero where they come near it.
    pub(super) fn linear(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if low > 0.0 && low < 0.5 * high {
            low = 0.0;
        }
        if high <= low {
            high = low + 1.0;
        }
        let step = round_step((high - low) / 6.0);
        let (first, last) = ((low / step).floor(), (high / step - 1e-9).ceil());
        let mut ticks = Vec::new();
        let mut at = first;
        while at <= last {
            ticks.push((at * step, plain(at * step)));
            at += 1.0;
        }
        let (low, high) = (first * step, last * step);
        Self { label: label.to_owned(), ticks, is_log: false, low, high }
    }

    /// Names at 0, 1, 2 …, the first on top.
    pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for name in names {
            ticks.push((ticks.len() as f64, name.to_owned()));
        }
        let last = ticks.len() as f64 - 0.5;
        Self { label: String::new(), ticks, is_log: false, low: last, high: -0.5 }
    }

    /// Whether the axis has a place for it.
    pub(super) fn can(&self, value: f64) -> bool {
        value.is_finite() && (!self.is_log || value > 0.0)
    }

    /// Which part of the axis lies below: 0 at its beginning, 1 at its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.is_log {
            let floor = value.max(self.low / 1e6);
            (floor.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

/// Steps of the decades around a value, in order.
fn steps_of(steps: &[f64], value: f64) -> impl DoubleEndedIterator<Item = f64> {
    let decade = value.log10().floor();
    let all: Vec<f64> = [decade - 1.0, decade, decade + 1.0]
        .into_iter()
        .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powf(decade)))
        .collect();
    all.into_iter()
}

fn steps_within(steps: &[f64], low: f64, high: f64) -> Vec<f64> {
    let mut all = Vec::new();
    let mut decade = low.log10().floor();
    while 10_f64.powf(decade) <= high * 1.001 {
        all.extend(steps.iter().map(|step| step * 10_f64.powf(decade)));
        decade += 1.0;
    }
    all.retain(|at| *at >= low * 0.999 && *at <= high * 1.001);
    all
}

/// The next of 1, 2, 2.5, 5 × 10ⁿ.
fn round_step(rough: f64) -> f64 {
    let decade = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * decade);
    steps.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(decade * 10.0)
}

/// A number as a reader writes it: 0.5, 20, 1,000, 2,500,000.
pub(super) fn plain(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        let text = format!("{:.0}", size.round());
        let mut grouped = String::new();
        for (at, digit) in text.chars().enumerate() {
            if at > 0 && (text.len() - at).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        return if value < 0.0 { format!("-{grouped}") } else { grouped };
    }
    let text =
        if size == 0.0 || size >= 0.01 { format!("{value:.3}") } else { format!("{value:.6}") };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn log_axes_have_whole_decades_or_steps_of_a_short_one() {
        assert_eq!(labels(&Axis::log("", [1.0, 9_000.0])), ["1", "10", "100", "1,000", "10,000"]);
        assert_eq!(labels(&Axis::log("", [1.0, 12.0])), ["1", "2", "5", "10", "20"]);
        assert_eq!(labels(&Axis::log("", [])), ["1", "2", "5", "10"]);
        let axis = Axis::log("", [1.0, 100.0]);
        assert!((axis.place(10.0) - 0.5).abs() < 1e-9);
        assert!(!axis.can(0.0) && axis.can(0.1));
    }

    #[test]
    fn linear_axes_have_round_steps_and_begin_at_zero_when_it_is_near() {
        assert_eq!(
            labels(&Axis::linear("", [80.0, 230.0])),
            ["0", "50", "100", "150", "200", "250"]
        );
        assert_eq!(labels(&Axis::linear("", [0.0, 1.0])), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert!((Axis::linear("", [0.0, 10.0]).place(5.0) - 0.5).abs() < 1e-9);
        assert_eq!(labels(&Axis::linear("", [f64::NAN])).first(), Some(&"0"));
    }

    #[test]
    fn names_stand_from_above() {
        let axis = Axis::names(["xx", "hermod"]);
        assert!(axis.place(0.0) > axis.place(1.0));
        assert!((axis.place(1.0) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_written_as_a_reader_does() {
        let shown: Vec<String> =
            [0.0, 0.05, 1.5, 30.0, 1_000.0, 2_500_000.0, -1_234.0].map(plain).to_vec();
        assert_eq!(shown, ["0", "0.05", "1.5", "30", "1,000", "2,500,000", "-1,234"]);
    }
}
