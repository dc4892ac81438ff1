//! Text for a terminal: tables, units, and what a function printed without its escapes.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Prints to standard output; a reader that is gone (`| head`) is no fault.
pub(crate) fn print(text: &str) {
    print_bytes(text.as_bytes());
}

/// The same for bytes.
pub(crate) fn print_bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Prints a value as JSON, indented.
pub(crate) fn print_json(value: &serde_json::Value) {
    print(&format!("{value:#}\n"));
}

/// Whether a person reads standard output.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Rows below a header, in columns as wide as they need; a column whose header begins with `>` is
/// aligned to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let names: Vec<&str> = header.iter().map(|name| name.trim_start_matches('>')).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([names[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |cells: &[String]| {
        let pad = |(column, cell): (usize, &String)| {
            let width = widths[column];
            if header[column].starts_with('>') {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        };
        let line: Vec<String> = cells.iter().enumerate().map(pad).collect();
        format!("{}\n", line.join("  ").trim_end())
    };
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    std::iter::once(&names).chain(rows).map(|cells| line(cells)).collect()
}

/// A length of time in three digits: `85 µs`, `1.20 ms`, `12.3 s`.
pub(crate) fn duration(length: Duration) -> String {
    let micros = length.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => scaled(length.as_secs_f64() * 1e3, "ms"),
        1_000_000..120_000_000 => scaled(length.as_secs_f64(), "s"),
        _ => format!("{} min", length.as_secs() / 60),
    }
}

/// A number of bytes: `512 B`, `1.50 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = bytes as f64;
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => scaled(value / 1_024.0, "KiB"),
        1_048_576..1_073_741_824 => scaled(value / 1_048_576.0, "MiB"),
        _ => scaled(value / 1_073_741_824.0, "GiB"),
    }
}

fn scaled(value: f64, unit: &str) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2} {unit}"),
        value if value < 100.0 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

/// Milliseconds since the epoch as a UTC time of day with its date.
pub(crate) fn moment(millis: u64) -> String {
    let time = i64::try_from(millis).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

/// The time so many hours ago, in milliseconds since the epoch.
pub(crate) fn hours_ago_ms(hours: u64) -> u64 {
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    now.saturating_sub(hours.saturating_mul(3_600_000))
}

/// What a function printed, fit for a terminal: every control character but newline and tab is
/// shown as its picture, so nothing that was printed can move the cursor, change a title or hide
/// text. Bytes that are not UTF-8 become replacement characters.
pub(crate) fn filtered(printed: &[u8]) -> String {
    let picture = |c: char| match c {
        '\n' | '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        // C1 controls act like escapes on some terminals; bidirectional controls reorder text.
        '\u{80}'..='\u{9f}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ => c,
    };
    String::from_utf8_lossy(printed).replace("\r\n", "\n").chars().map(picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "22".into()]];
        assert_eq!(table(&["name", ">n"], &rows), "name   n\na      1\nlong  22\n");
    }

    #[test]
    fn lengths_have_three_digits() {
        let check = |micros, text: &str| assert_eq!(duration(Duration::from_micros(micros)), text);
        check(85, "85 µs");
        check(1_204, "1.20 ms");
        check(123_456, "123 ms");
        check(12_345_678, "12.3 s");
        assert_eq!((bytes(1_023), bytes(1_536)), ("1023 B".into(), "1.50 KiB".into()));
    }

    #[test]
    fn nothing_printed_can_steer_a_terminal() {
        let check = |printed: &[u8], shown: &str| assert_eq!(filtered(printed), shown);
        check(b"plain\ttext\r\n", "plain\ttext\n");
        check(b"\x1b]0;title\x07\x1b[2J", "␛]0;title␇␛[2J");
        check("\u{9b}31mred \u{202e}evil".as_bytes(), "\u{fffd}31mred \u{fffd}evil");
        check(&[0xff, b'a', 0x7f], "\u{fffd}a␡");
        check(b"over\rwritten", "over␍written");
    }
}
