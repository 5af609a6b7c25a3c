//! Sizes as people write them: `10GB`, `512 kB`, `4096`.

/// Bytes of a size; a number without a unit counts bytes. Units are those of PostgreSQL's settings, in any case of letters.
///
/// None for what is no size, or more than 2^63 - 1 bytes.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 0,
        "kb" => 10,
        "mb" => 20,
        "gb" => 30,
        "tb" => 40,
        "pb" => 50,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            (" 10GB ", 10 << 30),
            ("512 kB", 512 << 10),
            ("3mb", 3 << 20),
            ("2TB", 2 << 40),
            ("1 PB", 1 << 50),
            ("7 bytes", 7),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size() {
        for text in ["", "GB", "-1", "1.5GB", "10 G", "9999999999999999999", "9999999PB", "1 GB 2", "é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
