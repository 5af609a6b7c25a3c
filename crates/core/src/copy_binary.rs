//! The binary format of COPY, as far as it carries one text column: how a long answer is taken while something else is done.
//!
//! [COPY, "Binary Format"](https://www.postgresql.org/docs/current/sql-copy.html): a signature, flags and an extension of the header, then
//! tuples, each with its number of fields, each field with its length; at last a number of fields of -1.

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// What is read, from its beginning to its end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn int16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn int32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}

/// The values of the one column, NULL left out. None when the stream is anything else, or not whole.
pub fn column(stream: &[u8]) -> Option<Vec<&[u8]>> {
    let mut bytes = Bytes(stream);
    (bytes.take(SIGNATURE.len())? == SIGNATURE).then_some(())?;
    bytes.int32()?;
    let extension = bytes.int32()?;
    bytes.take(usize::try_from(extension).ok()?)?;
    let mut values = Vec::new();
    loop {
        match bytes.int16()? {
            -1 => return bytes.0.is_empty().then_some(values),
            1 => {}
            _ => return None,
        }
        // A length of -1 is NULL, which has no bytes.
        if let Ok(length) = usize::try_from(bytes.int32()?) {
            values.push(bytes.take(length)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(values: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut stream = SIGNATURE.to_vec();
        stream.extend([0; 8]);
        for value in values {
            stream.extend(1_i16.to_be_bytes());
            stream.extend(value.as_ref().map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
            stream.extend(value.iter().flatten());
        }
        stream.extend((-1_i16).to_be_bytes());
        stream
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..20)), 0..20)) {
            let expected: Vec<&[u8]> = values.iter().flatten().map(Vec::as_slice).collect();
            let whole = stream(&values);
            prop_assert_eq!(column(&whole), Some(expected));
        }

        /// Whatever is cut off is missed.
        #[test]
        fn a_part_is_nothing(values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..20)), 0..20), cut in any::<prop::sample::Index>()) {
            let whole = stream(&values);
            prop_assert_eq!(column(&whole[..cut.index(whole.len())]), None);
        }
    }

    #[test]
    fn what_else_comes_is_nothing() {
        assert_eq!(column(b""), None);
        assert_eq!(column(b"{\"a\": 1}\n"), None);
        let mut two_columns = SIGNATURE.to_vec();
        two_columns.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(column(&two_columns), None);
    }
}
