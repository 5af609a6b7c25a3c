//! Watches what the server says first, so that no password goes to one that asks for it in a way that the user does not allow.

use super::reason::Trouble;
use crate::conninfo::Methods;

/// Bytes of a message that have to be seen: its letter, its length, and the code of a request for authentication.
const HEAD: usize = 9;

/// Reads along until the server has said how it authenticates.
pub struct Guard {
    methods: Methods,
    head: Vec<u8>,
    /// Bytes of another message that are still to come.
    rest: usize,
}

impl Guard {
    /// A guard for these methods.
    pub fn new(methods: Methods) -> Guard {
        Guard { methods, head: Vec::with_capacity(HEAD), rest: 0 }
    }

    /// What has arrived. `None` when there is nothing more to watch.
    pub fn watch(mut self, bytes: &[u8]) -> Result<Option<Guard>, Trouble> {
        for byte in bytes {
            if self.rest > 0 {
                self.rest -= 1;
                continue;
            }
            self.head.push(*byte);
            match *self.head.as_slice() {
                [b'R', _, _, _, _, a, b, c, d] => return self.decide(u32::from_be_bytes([a, b, c, d])).map(|()| None),
                // An error, or a notice before it: not what is watched for.
                [letter, a, b, c, d] if letter != b'R' => {
                    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                    self.rest = length.saturating_sub(4);
                    self.head.clear();
                }
                _ => {}
            }
        }
        Ok(Some(self))
    }

    /// By the code of a request for authentication.
    fn decide(&self, code: u32) -> Result<(), Trouble> {
        let (method, asked) = match code {
            0 => ("none", "no authentication"),
            3 => ("password", "a cleartext password"),
            5 => ("md5", "a hashed password"),
            7 => ("gss", "GSSAPI authentication"),
            9 => ("sspi", "SSPI authentication"),
            10 => ("scram-sha-256", "SASL authentication"),
            _ => ("unknown", "an unknown method"),
        };
        if self.methods.allow(method) {
            Ok(())
        } else {
            Err(Trouble::Method { asked, allowed: self.methods.text().to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(letter: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[letter], &length[..], body].concat()
    }

    proptest! {
        /// However the bytes arrive, and whatever comes before.
        #[test]
        fn the_first_request_decides(
            code in proptest::sample::select(vec![0_u32, 3, 5, 10, 77]), piece in 1_usize..20,
            before in proptest::collection::vec("[ -~]{0,9}", 0..3),
        ) {
            let notices: Vec<u8> = before.iter().flat_map(|text| message(b'N', text.as_bytes())).collect();
            let bytes = [notices, message(b'R', &code.to_be_bytes()), message(b'R', &[0, 0, 0, 3])].concat();
            let mut guard = Methods::parse(Some("md5,scram-sha-256")).unwrap().map(Guard::new);
            let mut refused = false;
            for piece in bytes.chunks(piece) {
                guard = match guard.map(|guard| guard.watch(piece)).transpose() {
                    Ok(guard) => guard.flatten(),
                    Err(_) => {
                        refused = true;
                        None
                    }
                };
            }
            prop_assert_eq!(refused, ![5, 10].contains(&code));
            prop_assert!(guard.is_none());
        }
    }
}
