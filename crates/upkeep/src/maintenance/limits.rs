//! Time limits and retention of maintenance.

use std::{fmt, str::FromStr, time::Duration};

use time::Time;

/// Time limits and retention of maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// No action starts after a round has lasted this long; an hour by default. A shorter budget leaves work to later
    /// rounds; with a longer one, a round may extend into peak hours.
    pub budget: Duration,
    /// The only hours in which actions that read complete tables may start; any time by default.
    pub quiet_hours: Option<QuietHours>,
    /// Retention of the records of past actions; 90 days by default.
    pub kept: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { budget: Duration::from_secs(3_600), quiet_hours: None, kept: Duration::from_secs(90 * 86_400) }
    }
}

/// Hours of a day, in UTC, which may span midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    from: Time,
    to: Time,
}

/// Invalid quiet hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected hours in UTC such as 22:00-06:00, found `{0}`")]
pub struct InvalidQuietHours(pub String);

impl QuietHours {
    pub(super) fn contains(self, time: Time) -> bool {
        if self.from < self.to {
            self.from <= time && time < self.to
        } else {
            self.from <= time || time < self.to
        }
    }
}

impl FromStr for QuietHours {
    type Err = InvalidQuietHours;

    fn from_str(text: &str) -> Result<Self, InvalidQuietHours> {
        let time = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            let is_number = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            (is_number(hour) && is_number(minute)).then_some(())?;
            Time::from_hms(hour.parse().ok()?, minute.parse().ok()?, 0).ok()
        };
        let hours =
            text.split_once('-').and_then(|(from, to)| Some(Self { from: time(from)?, to: time(to)? }));
        hours.filter(|hours| hours.from != hours.to).ok_or_else(|| InvalidQuietHours(text.to_owned()))
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.hour(), from.minute(), to.hour(), to.minute())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::time;

    use super::*;

    #[test]
    fn hours_may_span_midnight() {
        let night: QuietHours = "22:00-06:30".parse().expect("these are hours");
        assert_eq!(night.to_string(), "22:00-06:30");
        for (time, is_quiet) in [(time!(22:00), true), (time!(06:29:59), true), (time!(06:30), false)] {
            assert_eq!(night.contains(time), is_quiet, "{time}");
        }
        let noon: QuietHours = "12:00-13:00".parse().expect("these are hours");
        assert!(noon.contains(time!(12:00)) && !noon.contains(time!(13:00)) && !noon.contains(time!(00:00)));
    }

    #[test]
    fn invalid_hours_are_rejected() {
        for text in
            ["", "22-06", "22:00", "22:00-22:00", "24:00-06:00", "22:00-6:00", "22:00–06:00", "+2:00-06:00"]
        {
            let error = text.parse::<QuietHours>().expect_err(text);
            assert!(error.to_string().contains("such as 22:00-06:00"), "{error}");
        }
    }
}
