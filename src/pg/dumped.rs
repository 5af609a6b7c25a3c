//! Rows out of the output of pg_dump, for [`super::copy_in`].

use super::program::Running;
use crate::error::{Error, ProgramError, Result};
use steep_repl_core::dump_script::Script;

/// How much is read at a time, in bytes.
const PIECE: usize = 256 * 1024;

/// A pg_dump that runs, and how far its script was read.
pub struct Dumped {
    program: Running,
    script: Script,
    piece: Vec<u8>,
    has_ended: bool,
    what: String,
    node: String,
}

impl Dumped {
    /// Takes the program that writes the script, which was to do `what` with `node`.
    pub fn new(program: Running, what: String, node: String) -> Dumped {
        Dumped { program, script: Script::default(), piece: vec![0; PIECE], has_ended: false, what, node }
    }

    /// Waits for the columns of its COPY, in the order of the stream. By then pg_dump has its lock on the table, or has ended already.
    pub fn columns(&mut self) -> Result<Vec<String>> {
        loop {
            let found = self.script.columns().map_err(|error| self.failed(error.to_string()))?;
            if let Some(columns) = found {
                return Ok(columns);
            }
            if self.has_ended {
                let (complaints, _) = self.program.end()?;
                let nothing = "it has written no rows of the table".to_owned();
                return Err(self.failed(if complaints.is_empty() { nothing } else { complaints }));
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<()> {
        match self.program.read(&mut self.piece)? {
            Some(0) => self.has_ended = true,
            Some(count) => self.script.push(self.piece.get(..count).unwrap_or_default()),
            None => {}
        }
        Ok(())
    }

    /// Puts at least `least` bytes of rows into `out`, fewer only after the last row, or when the program has ended before that.
    pub(super) fn fill(&mut self, out: &mut [u8], least: usize) -> Result<usize> {
        let mut filled = 0;
        while filled < least && !self.script.is_at_end() {
            let count = self.script.rows(out.get_mut(filled..).unwrap_or_default());
            filled += count;
            if count == 0 {
                if self.script.is_at_end() || self.has_ended {
                    break;
                }
                self.more()?;
            }
        }
        Ok(filled)
    }

    /// Reads to the end of the output. An error when the program did not write all rows, or has not succeeded.
    pub fn end(&mut self) -> Result<()> {
        while !self.has_ended {
            self.more()?;
        }
        let (complaints, succeeded) = self.program.end()?;
        if succeeded && self.script.is_at_end() {
            return Ok(());
        }
        Err(self.failed(complaints))
    }

    fn failed(&self, complaints: String) -> Error {
        Error::Program(ProgramError::Failed {
            program: "pg_dump",
            what: self.what.clone(),
            node: self.node.clone(),
            complaints,
        })
    }
}
