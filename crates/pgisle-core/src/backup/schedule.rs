//! When backups are made: cron's five fields, and the same for systemd.

use std::fmt;

/// A schedule that both cron and systemd understand: numbers, `*`, lists, ranges and steps. Names of days and months, and `@daily`
/// and its like, are refused: not every cron has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    fields: [Vec<Item>; 5],
}

/// One element of a field's list: from, to, step. All of the field when `from` and `to` are its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    from: u32,
    to: u32,
    step: u32,
}

/// What the fields are called, and what they may hold. 7 is Sunday too.
const FIELDS: [(&str, u32, u32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7)];

/// systemd's names of the days, from Sunday.
const DAYS: [&str; 8] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl Schedule {
    /// Reads cron's five fields.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let Ok(words) = <[&str; 5]>::try_from(words.as_slice()) else {
            return Err(format!("It has {} fields, and cron has five.", words.len()));
        };
        let mut fields: [Vec<Item>; 5] = Default::default();
        for ((word, bounds), field) in words.iter().zip(FIELDS).zip(&mut fields) {
            *field = parse_field(word, bounds)?;
        }
        Ok(Self { text: words.join(" "), fields })
    }

    /// systemd's `OnCalendar=` expressions. Two where both days are given: cron means either, systemd both.
    #[must_use]
    pub fn on_calendar(&self) -> Vec<String> {
        let [minute, hour, day, month, weekday] = [0, 1, 2, 3, 4].map(|index| self.calendar_field(index));
        let any_weekday = self.is_any(4);
        let time = format!("{hour}:{minute}:00");
        if any_weekday {
            return vec![format!("*-{month}-{day} {time}")];
        }
        let by_weekday = format!("{weekday} *-{month}-* {time}");
        if self.is_any(2) { vec![by_weekday] } else { vec![format!("*-{month}-{day} {time}"), by_weekday] }
    }

    fn is_any(&self, index: usize) -> bool {
        let (_, from, to) = FIELDS[index];
        self.fields[index] == [Item { from, to, step: 1 }]
    }

    fn calendar_field(&self, index: usize) -> String {
        if self.is_any(index) {
            return "*".to_owned();
        }
        let number = |number: u32| match index {
            4 => DAYS[number as usize].to_owned(),
            _ => format!("{number:02}"),
        };
        let words: Vec<String> = self.fields[index]
            .iter()
            .flat_map(|&Item { from, to, step }| match (from == to, step, index) {
                (true, ..) => vec![number(from)],
                // systemd has no steps of weekdays, and its ranges of them do not wrap.
                (false, _, 4) => (from..=to).step_by(step as usize).map(number).collect(),
                (false, 1, _) => vec![format!("{}..{}", number(from), number(to))],
                (false, step, _) => vec![format!("{}..{}/{step}", number(from), number(to))],
            })
            .collect();
        words.join(",")
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_field(word: &str, (name, min, max): (&str, u32, u32)) -> Result<Vec<Item>, String> {
    let wrong =
        || format!("The {name} is {word:?}, and must be *, a number from {min} to {max}, a range, a list, or one with a /step.");
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| is_number && (min..=max).contains(number))
    };
    let item = |text: &str| {
        let (range, step) = match text.split_once('/') {
            None => (text, Some(1)),
            Some((range, step)) => (range, step.parse::<u32>().ok().filter(|step| (1..=max).contains(step))),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (min, max),
            (_, Some((from, to))) => (number(from)?, number(to)?),
            // `5/10` is from 5 on; a number alone is itself.
            (single, None) => (number(single)?, if text.contains('/') { max } else { number(single)? }),
        };
        step.filter(|_| from <= to).map(|step| Item { from, to, step })
    };
    word.split(',').map(|text| item(text).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn systemd_means_what_cron_means() {
        for (cron, calendar) in [
            ("0 2 * * *", &["*-*-* 02:00:00"][..]),
            ("*/15 * * * *", &["*-*-* *:00..59/15:00"]),
            ("30 1,13 * * 1-5", &["Mon,Tue,Wed,Thu,Fri *-*-* 01,13:30:00"]),
            ("5 4 1 */3 *", &["*-01..12/3-01 04:05:00"]),
            ("0 3 1 * 0", &["*-*-01 03:00:00", "Sun *-*-* 03:00:00"]),
            ("0  3 * * 7", &["Sun *-*-* 03:00:00"]),
        ] {
            assert_eq!(Schedule::parse(cron).unwrap().on_calendar(), calendar, "{cron}");
        }
        assert_eq!(Schedule::parse(" 0  2 * * * ").unwrap().to_string(), "0 2 * * *");
    }

    #[test]
    fn what_cron_would_not_take_is_refused() {
        for text in [
            "",
            "0 2 * *",
            "0 2 * * * *",
            "60 2 * * *",
            "0 2 0 * *",
            "0 2 * * mon",
            "@daily",
            "0 5-2 * * *",
            "*/0 * * * *",
            "+5 * * * *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
