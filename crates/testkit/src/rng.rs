//! A small seeded random generator: the same seed gives the same choices, so that a failure can be repeated.

use std::io::Write;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The seed of this run: `STEEP_REPL_SEED`, or the clock. Printed once, so that it stands in the output of a failure.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let seed = match std::env::var("STEEP_REPL_SEED") {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("STEEP_REPL_SEED={text} is not a number")),
            Err(_) => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64 % 1_000_000)
            }
        };
        // Not by eprintln, which libtest keeps back for the test that came first.
        let _ = writeln!(std::io::stderr(), "seed {seed} (repeat with STEEP_REPL_SEED={seed})");
        seed
    })
}

/// SplitMix64: eight bytes of state, and good enough to choose statements and make texts.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for one purpose: the run's seed mixed with the purpose's name.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mixed = purpose.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Rng(mixed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// A text of up to `longest` characters that holds no quote, with a few characters outside ASCII.
    pub fn text(&mut self, longest: u64) -> String {
        const ALPHABET: [char; 40] = [
            'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u',
            'v', 'w', 'x', 'y', 'z', '0', '1', '2', '3', ' ', ' ', '\t', '\n', '%', '\u{e9}', '\u{fc}', '"', ',', ';',
        ];
        let length = self.below(longest + 1);
        (0..length).map(|_| ALPHABET[self.below(ALPHABET.len() as u64) as usize]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn same_seed_same_choices() {
        let (mut one, mut two) = (Rng::new(7, "load"), Rng::new(7, "load"));
        assert_eq!((0..50).map(|_| one.bits()).collect::<Vec<_>>(), (0..50).map(|_| two.bits()).collect::<Vec<_>>());
        assert_ne!(Rng::new(7, "load").bits(), Rng::new(8, "load").bits());
        assert_ne!(Rng::new(7, "load").bits(), Rng::new(7, "daol").bits());
    }
}
