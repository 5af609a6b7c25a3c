//! Positions in the write-ahead log, written as PostgreSQL's `pg_lsn` writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A log sequence number: a byte position in the write-ahead log of one server.
///
/// Positions of different servers, or of different timelines, cannot be compared; that is the caller's care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(
    /// Byte position.
    pub u64,
);

/// The text is no log sequence number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid log sequence number \"{0}\"")]
pub struct InvalidLsn(
    /// The text as given.
    pub String,
);

impl Lsn {
    /// `0/0`, PostgreSQL's `InvalidXLogRecPtr`: no position.
    pub const INVALID: Lsn = Lsn(0);

    /// Whether this is a position at all, that is, anything but `0/0`.
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }

    /// Bytes of log from `other` up to this position; 0 when this position is the earlier one.
    pub const fn bytes_since(self, other: Lsn) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = InvalidLsn;

    /// Accepts what `pg_lsn` accepts: one to eight hexadecimal digits on each side of a slash, in either case,
    /// nothing around them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(high, low)| Some((half(high)? << 32) | half(low)?));
        parsed.map(Lsn).ok_or_else(|| InvalidLsn(text.to_owned()))
    }
}

/// One side of the slash. The digits are checked first because `from_str_radix` would also take a sign.
fn half(digits: &str) -> Option<u64> {
    let well_formed = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if well_formed {
        u64::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn written_as_postgresql_writes_it() {
        assert_eq!(Lsn(0).to_string(), "0/0");
        assert_eq!(Lsn(0x0000_0016_B374_D848).to_string(), "16/B374D848");
        assert_eq!(Lsn(0x1_0000_000A).to_string(), "1/A");
        assert_eq!(Lsn(u64::MAX).to_string(), "FFFFFFFF/FFFFFFFF");
    }

    #[test]
    fn read_strictly() {
        assert_eq!("16/b374d848".parse(), Ok(Lsn(0x16_B374_D848)));
        assert_eq!("00000001/0000000A".parse(), Ok(Lsn(0x1_0000_000A)));
        for text in [
            "",
            "/",
            "0",
            "0/",
            "/0",
            "G/0",
            "0/0 ",
            " 0/0",
            "+1/0",
            "0/-1",
            "0/0/0",
            "123456789/0",
            "0/123456789",
            "0x1/0",
            "٣/0",
        ] {
            assert_eq!(text.parse::<Lsn>(), Err(InvalidLsn(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn invalid_is_zero() {
        assert!(!Lsn::INVALID.is_valid());
        assert!(Lsn(1).is_valid());
        assert_eq!(Lsn::INVALID, Lsn::default());
    }

    #[test]
    fn distance_never_wraps() {
        assert_eq!(Lsn(100).bytes_since(Lsn(40)), 60);
        assert_eq!(Lsn(40).bytes_since(Lsn(100)), 0);
    }

    #[test]
    fn json_is_a_string() {
        assert_eq!(serde_json::to_string(&Lsn(0x1_0000_000A)).unwrap(), "\"1/A\"");
        assert_eq!(serde_json::from_str::<Lsn>("\"1/A\"").unwrap(), Lsn(0x1_0000_000A));
        assert!(serde_json::from_str::<Lsn>("\"1-A\"").is_err());
    }

    proptest! {
        #[test]
        fn text_round_trips(position: u64) {
            prop_assert_eq!(Lsn(position).to_string().parse(), Ok(Lsn(position)));
        }

        #[test]
        fn order_is_that_of_the_positions(a: u64, b: u64) {
            prop_assert_eq!(Lsn(a).cmp(&Lsn(b)), a.cmp(&b));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            if let Ok(lsn) = text.parse::<Lsn>() {
                prop_assert_eq!(lsn.to_string().parse(), Ok(lsn));
            }
        }
    }
}
