//! Times as people write them on a command line.

use std::time::Duration;

/// Reads `90s`, `1h`, `1h30m`, `2 days`: a number always has a unit.
///
/// # Errors
/// What to write instead.
pub fn parse(text: &str) -> Result<Duration, String> {
    let hint = "a time has a number and a unit, such as 90s, 1h or 1h30m";
    let span: jiff::Span = text.trim().parse().map_err(|_| hint.to_owned())?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let time = span.to_duration(days).map_err(|_| "months and years are of different length; use days".to_owned())?;
    Duration::try_from(time)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "a time must be more than nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, seconds) in
            [("90s", 90), ("1h", 3600), ("1h30m", 5400), ("2 days", 172_800), ("1d", 86_400), ("500ms", 0)]
        {
            assert_eq!(parse(text).map(|time| time.as_secs()), Ok(seconds), "{text}");
        }
        for text in ["", "90", "soon", "-1h", "0s", "1 month"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
