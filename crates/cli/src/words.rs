//! How figures, times and foreign text are written.

use jiff::tz::TimeZone;
use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Text of a server or a user, fit to be drawn on one line: what could move the cursor, change colours or reverse the direction of
/// writing is replaced, and line ends become blanks.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if deceives(c) => '?',
            c => c,
        })
        .collect()
}

/// As [`clean`], line by line.
pub fn clean_lines(text: &str) -> Vec<String> {
    text.replace("\r\n", "\n").split('\n').map(|line| clean(&line.replace('\t', "    "))).collect()
}

/// Control characters, which could do anything to a terminal; marks of direction and characters without width, which make a line look like
/// another one.
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to so many columns; what was cut shows.
pub fn shorten(text: &str, columns: usize, ellipsis: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(width(ellipsis));
    let mut used = 0;
    let mut kept = String::new();
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w > room {
            break;
        }
        used += w;
        kept.push(c);
    }
    if columns >= width(ellipsis) {
        kept.push_str(ellipsis);
    }
    kept
}

/// The end of a text, of at most so many columns.
pub fn tail(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let fits = |&(_, c): &(usize, char)| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    let first = text.char_indices().rev().take_while(fits).last();
    first.map_or("", |(at, _)| &text[at..])
}

/// The text in lines of at most so many columns, broken at blanks where there are any.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for paragraph in clean_lines(text) {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split_inclusive(' ') {
            let w = width(word.trim_end());
            if used > 0 && used + w > columns {
                lines.push(line.trim_end().to_owned());
                line.clear();
                used = 0;
            }
            for c in word.chars() {
                let w = c.width().unwrap_or(0);
                if used + w > columns && c != ' ' {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push(c);
                used += w;
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// `1.5 GB`: in powers of 1024, as PostgreSQL writes them.
pub fn bytes(n: f64) -> String {
    let mut n = n.max(0.0);
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if n < 999.5 {
            return if n < 9.95 && unit != "B" { format!("{n:.1} {unit}") } else { format!("{n:.0} {unit}") };
        }
        n /= 1024.0;
    }
    format!("{n:.1} PB")
}

/// `1.2 M`: in powers of 1000.
pub fn count(n: f64) -> String {
    let mut n = n.max(0.0);
    for unit in ["", " k", " M", " G"] {
        if n < 999.5 {
            return if n < 9.95 && !unit.is_empty() { format!("{n:.1}{unit}") } else { format!("{n:.0}{unit}") };
        }
        n /= 1000.0;
    }
    format!("{n:.1} T")
}

/// `2m 10s`.
pub fn duration(seconds: i64) -> String {
    let s = seconds.max(0);
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86400 => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {:02}h", s / 86400, s % 86400 / 3600),
    }
}

/// `12 ms`.
pub fn short_time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        1_000_000..60_000_000 => format!("{:.1} s", micros as f64 / 1e6),
        _ => duration((micros / 1_000_000).try_into().unwrap_or(i64::MAX)),
    }
}

/// Whole seconds from one time to another.
pub fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    to.as_second().saturating_sub(from.as_second())
}

/// `14:03:59` in that zone.
pub fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string()
}

/// `14:03` today, else `Mar 01 14:03`.
pub fn moment(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    let format = if at.date() == now.to_zoned(zone.clone()).date() { "%H:%M" } else { "%b %d %H:%M" };
    at.strftime(format).to_string()
}

/// `14:03:59` today, else `Mar 01 14:03:59`.
pub fn instant(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    format!("{}{}", moment(at, now, zone), at.to_zoned(zone.clone()).strftime(":%S"))
}

/// `3 rows`.
pub fn rows(n: usize) -> String {
    if n == 1 {
        "1 row".to_owned()
    } else {
        format!("{n} rows")
    }
}

/// The first of some names, and how many more there are.
pub fn first_of(names: &[String], most: usize) -> String {
    let more = names.len().saturating_sub(most);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

/// A text as SQL takes it, to be shown and never run.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_have_a_unit() {
        let cases =
            [(0.0, "0 B"), (512.0, "512 B"), (1024.0, "1.0 kB"), (1.5e6, "1.4 MB"), (1e9, "954 MB"), (2e12, "1.8 TB")];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(count(4_609_000.0), "4.6 M");
        assert_eq!(count(12_345.0), "12 k");
        assert_eq!(count(999_999.0), "1.0 M");
    }

    #[test]
    fn times_are_read_at_a_glance() {
        for (s, text) in [(-3, "0s"), (9, "9s"), (130, "2m 10s"), (7_265, "2h 01m"), (90_000, "1d 01h")] {
            assert_eq!(duration(s), text);
        }
        assert_eq!(short_time(950), "950 us");
        assert_eq!(short_time(12_400), "12 ms");
    }

    #[test]
    fn days_are_named_when_they_are_not_this_one() {
        let now: Timestamp = "2026-03-02T03:12:45Z".parse().unwrap();
        let yesterday: Timestamp = "2026-03-01T14:03:59Z".parse().unwrap();
        assert_eq!(
            (instant(now, now, &TimeZone::UTC), moment(now, now, &TimeZone::UTC)),
            ("03:12:45".into(), "03:12".into())
        );
        assert_eq!(instant(yesterday, now, &TimeZone::UTC), "Mar 01 14:03:59");
    }

    #[test]
    fn foreign_text_moves_no_cursor() {
        assert_eq!(clean("a\x1b[31mb\u{9b}c\nd\u{202e}e"), "a?[31mb?c d?e");
        assert_eq!(first_of(&["a", "b", "c"].map(str::to_owned), 2), "a, b and 1 more");
        assert_eq!(clean_lines("a\r\nb\tc"), ["a", "b    c"]);
    }

    #[test]
    fn texts_are_cut_by_columns_and_not_by_bytes() {
        assert_eq!(shorten("日本語テキスト", 7, "…"), "日本語…");
        assert_eq!(shorten("abc", 3, "…"), "abc");
        assert_eq!(shorten("abcdef", 1, ".."), "");
        assert_eq!((tail("日本語", 5), tail("abc", 9), tail("abc", 0)), ("本語", "abc", ""));
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("日本語", 3), ["日", "本", "語"]);
    }
}
