//! Days and months of the bill, in UTC (proleptic Gregorian calendar).

use std::fmt;
use std::str::FromStr;

use model::Timestamp;

const NANOS_PER_DAY: u64 = 86_400 * 1_000_000_000;

/// A day in UTC, counted from 1970-01-01, which is day 0. Prints and parses as `2026-11-23`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

/// A month in UTC. Prints and parses as `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: u16,
    month: u8,
}

/// A text that is not a day or month between 1970 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {wanted}")]
pub struct CalendarError {
    /// What was wanted, for a person.
    pub wanted: &'static str,
}

impl Day {
    /// The day of that moment.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.0 / NANOS_PER_DAY).expect("u64 nanoseconds are 213,503 days"))
    }

    /// The month it lies in. Days after the year 9999 lie in its December.
    #[must_use]
    pub fn month(self) -> Month {
        let (year, month, _) = self.civil();
        u16::try_from(year)
            .ok()
            .filter(|year| *year <= 9999)
            .map_or(Month { year: 9999, month: 12 }, |year| Month { year, month })
    }

    /// Year, month and day of the month.
    fn civil(self) -> (u32, u8, u8) {
        // Years here begin on 1 March, so that the day a leap year adds is a year's last one.
        // 400 such years are 146,097 days; 719,468 days lie between 0000-03-01 and 1970-01-01.
        let days = u64::from(self.0) + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days) / 365;
        let first_of_year = 365 * year_of_era + year_of_era / 4 - year_of_era / 100;
        let day_of_year = day_of_era - first_of_year;
        // From March on, five months in a row have 153 days.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let fits = "days since 1970 in 32 bits are years below 12 million";
        (
            u32::try_from(year).expect(fits),
            u8::try_from(month).expect("1 to 12"),
            u8::try_from(day).expect("1 to 31"),
        )
    }
}

impl Month {
    /// The month of that moment.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Day::of(at).month()
    }

    /// The month of that number (1 to 12) in a year from 1970 to 9999.
    #[must_use]
    pub fn new(year: u16, month: u8) -> Option<Self> {
        let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month);
        fits.then_some(Self { year, month })
    }

    /// Its first day.
    #[must_use]
    pub fn first(self) -> Day {
        // The inverse of `Day::civil`, for the first of a month.
        let year = u32::from(self.year) - u32::from(self.month <= 2);
        let month_from_march = (u32::from(self.month) + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5;
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Day(era * 146_097 + day_of_era - 719_468)
    }

    /// Its last day.
    #[must_use]
    pub fn last(self) -> Day {
        let first = self.first().0;
        let next = (28..=31).map(|days| Day(first + days)).find(|day| day.month() != self);
        next.map_or(Day(first + 30), |day| Day(day.0 - 1))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        let error = CalendarError { wanted: "a day (2026-11-23)" };
        let (month, day) = text.rsplit_once('-').ok_or(error)?;
        let month: Month = month.parse().map_err(|_| error)?;
        let day = parse_digits(day, 2).filter(|day| *day >= 1).ok_or(error)?;
        let found = Self(month.first().0 + u32::from(day) - 1);
        if found <= month.last() { Ok(found) } else { Err(error) }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        let parse = || {
            let (year, month) = text.split_once('-')?;
            Self::new(parse_digits(year, 4)?, u8::try_from(parse_digits(month, 2)?).ok()?)
        };
        parse().ok_or(CalendarError { wanted: "a month (2026-11)" })
    }
}

fn parse_digits(text: &str, length: usize) -> Option<u16> {
    let plain = text.len() == length && text.bytes().all(|c| c.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(day: u32, text: &str) {
        assert_eq!(Day(day).to_string(), text);
        assert_eq!(text.parse(), Ok(Day(day)));
    }

    #[test]
    fn days_print_and_parse_as_dates() {
        check(0, "1970-01-01");
        check(11_016, "2000-02-29");
        check(11_017, "2000-03-01");
        check(20_780, "2026-11-23");
        check(47_540, "2100-02-28");
        check(47_541, "2100-03-01");
        check(2_932_896, "9999-12-31");
    }

    #[test]
    fn every_day_of_a_century_has_its_own_date_in_the_month_that_holds_it() {
        let mut last = String::new();
        for day in (0..40_000).map(Day) {
            let text = day.to_string();
            assert!(text > last, "{text} after {last}");
            assert_eq!(text.parse(), Ok(day));
            let month = day.month();
            assert!(month.first() <= day && day <= month.last(), "{text} in {month}");
            assert!(text.starts_with(&month.to_string()));
            last = text;
        }
    }

    #[test]
    fn a_moment_belongs_to_its_utc_day() {
        let second = 1_000_000_000;
        assert_eq!(Day::of(Timestamp(86_400 * second - 1)), Day(0));
        assert_eq!(Day::of(Timestamp(86_400 * second)), Day(1));
        assert_eq!(Month::of(Timestamp(u64::MAX)).to_string(), "2554-07");
        assert_eq!(Day(u32::MAX).month().to_string(), "9999-12");
    }

    #[test]
    fn text_that_is_no_date_is_refused() {
        for bad in ["", "2026", "2026-11", "2026-11-31", "2026-02-29", "2026-1-01", "1969-12-31"] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
        for bad in ["", "2026-13", "2026-00", "26-11", "+026-11", "10000-01"] {
            assert!(bad.parse::<Month>().is_err(), "{bad}");
        }
    }
}
