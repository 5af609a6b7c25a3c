//! Failpoints of an extension that was built with them: which there are, and arming them.
//!
//! A file in the data directory arms one; `src/failpoint.rs` of the extension says what it may say. Files reach all processes of
//! the server at once, also when it is about to crash, and stay when it has.

use std::fs;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::root;

impl Cluster {
    /// The names of the failpoints; none when the extension that is installed was built without them, as it should be.
    pub fn failpoints(&self) -> Vec<String> {
        let client = self.connect("postgres").simple_query("show steep_repl.failpoints");
        let names = client.ok().and_then(|messages| {
            messages.iter().find_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_string),
                _ => None,
            })
        });
        names.unwrap_or_default().split_whitespace().map(str::to_string).collect()
    }

    fn failpoint(&self, name: &str) -> PathBuf {
        self.data().join("steep_repl.failpoints").join(name)
    }

    /// Arms a failpoint, as in `arm("slot_made", "2*exit")`.
    pub fn arm(&self, name: &str, what: &str) {
        let (path, draft) = (self.failpoint(name), self.failpoint(".draft"));
        let folder = self.failpoint("");
        let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&draft, what));
        root::hand_over(&folder);
        root::hand_over(&draft);
        // Nobody reads half a file.
        if let Err(error) = written.and_then(|()| fs::rename(&draft, &path)) {
            panic!("cannot arm {}: {error}", path.display());
        }
    }

    /// How many hits an armed failpoint waits for still; none when it is not armed, or for any number.
    pub fn hits_left(&self, name: &str) -> Option<u32> {
        fs::read_to_string(self.failpoint(name)).ok()?.split_once('*')?.0.parse().ok()
    }

    /// Disarms a failpoint; who sleeps in it goes on.
    pub fn disarm_one(&self, name: &str) {
        let _ = fs::remove_file(self.failpoint(name));
    }

    /// Disarms all failpoints; who sleeps in one goes on.
    pub fn disarm(&self) {
        // There is no folder when nothing was ever armed.
        let _ = fs::remove_dir_all(self.failpoint(""));
    }
}
