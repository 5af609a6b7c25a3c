//! The rows of one table in the script that pg_dump writes for it: comments and settings, then `COPY t (columns) FROM stdin;`, the rows in
//! text format, and a line `\.` after the last.
//!
//! Bytes come in pieces as a pipe gives them, and rows go out in pieces as whoever loads them asks. A name may have any character but NUL,
//! a line break too; in comments pg_dump has none. In text format a line break inside a value is written as `\n`, so one in the stream ends a row.

/// What is not understood of a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unexpected statement in the output: {0}")]
pub struct Unexpected(
    /// The start of it.
    pub String,
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the COPY.
    Head,
    /// Among the rows, at the start of a line or in one.
    Rows { at_start: bool },
    /// After the last row.
    End,
}

/// A script that is being read.
#[derive(Debug)]
pub struct Script {
    place: Place,
    unread: Vec<u8>,
    /// Where in `unread` the next byte is.
    next: usize,
}

impl Default for Script {
    fn default() -> Self {
        Script { place: Place::Head, unread: Vec::new(), next: 0 }
    }
}

/// How much of a statement an error shows.
const SHOWN: usize = 200;

impl Script {
    /// Takes more of the script. What was read of it before is forgotten.
    pub fn push(&mut self, piece: &[u8]) {
        if self.place == Place::End {
            return;
        }
        self.unread.drain(..self.next);
        self.next = 0;
        self.unread.extend_from_slice(piece);
    }

    /// Whether the last row was read.
    pub fn is_at_end(&self) -> bool {
        self.place == Place::End
    }

    /// The columns of the COPY, in its order, once its statement is here; asked until then.
    ///
    /// Errors: a statement that begins like one and is none.
    pub fn columns(&mut self) -> Result<Option<Vec<String>>, Unexpected> {
        while self.place == Place::Head {
            let rest = self.unread.get(self.next..).unwrap_or_default();
            if rest.len() < COPY.len() && COPY.starts_with(rest) {
                return Ok(None);
            }
            if !rest.starts_with(COPY) {
                let Some(end) = line_end(rest) else { return Ok(None) };
                self.next += end + 1;
                continue;
            }
            let Some((length, columns)) = header(rest)? else { return Ok(None) };
            self.next += length;
            self.place = Place::Rows { at_start: true };
            return Ok(Some(columns));
        }
        Ok(None)
    }

    /// Moves rows to `out`, as many bytes as fit and are here; 0 when more of the script is needed or the last row was read.
    pub fn rows(&mut self, out: &mut [u8]) -> usize {
        let Place::Rows { mut at_start } = self.place else { return 0 };
        let rest = self.unread.get(self.next..).unwrap_or_default();
        let mut length = 0;
        while length < rest.len() && length < out.len() {
            let line = rest.get(length..).unwrap_or_default();
            if at_start && line.first() == Some(&b'\\') {
                match line.get(1) {
                    Some(b'.') => {
                        self.place = Place::End;
                        break;
                    }
                    // It may be the end; the next piece tells.
                    None => break,
                    Some(_) => {}
                }
            }
            at_start = false;
            let room = line.get(..line.len().min(out.len() - length)).unwrap_or_default();
            match line_end(room) {
                Some(end) => {
                    length += end + 1;
                    at_start = true;
                }
                None => length += room.len(),
            }
        }
        if let (Some(to), Some(from)) = (out.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        self.next += length;
        if self.place != Place::End {
            self.place = Place::Rows { at_start };
        }
        length
    }
}

const COPY: &[u8] = b"COPY ";
const FROM: &[u8] = b" FROM stdin;\n";

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// Length and columns of the statement that `text` begins with; none when it is not all here.
fn header(text: &[u8]) -> Result<Option<(usize, Vec<String>)>, Unexpected> {
    let shown =
        || Unexpected(String::from_utf8_lossy(text.get(..text.len().min(SHOWN)).unwrap_or_default()).into_owned());
    let (mut quoted, mut columns, mut name, mut inside): (bool, Vec<String>, Option<Vec<u8>>, bool) =
        (false, Vec::new(), None, false);
    let mut place = COPY.len();
    while let Some(byte) = text.get(place).copied() {
        if !quoted && !inside && text.get(place..).is_some_and(|rest| FROM.starts_with(rest) || rest.starts_with(FROM))
        {
            let whole = place + FROM.len();
            return Ok((text.len() >= whole).then_some((whole, columns)));
        }
        match (byte, quoted) {
            (b'"', true) if text.get(place + 1) == Some(&b'"') => {
                name.get_or_insert_default().push(b'"');
                place += 1;
            }
            // The next piece tells whether it is doubled.
            (b'"', true) if place + 1 == text.len() => return Ok(None),
            (b'"', _) => {
                quoted = !quoted;
                name.get_or_insert_default();
            }
            (b'(', false) if !inside => {
                inside = true;
                name = None;
            }
            (b',' | b')', false) if inside => {
                let column = String::from_utf8(name.take().unwrap_or_default()).map_err(|_| shown())?;
                columns.push(column);
                inside = byte == b',';
            }
            (b' ', false) => {}
            (b'\n' | b';', false) => return Err(shown()),
            (byte, _) => name.get_or_insert_default().push(byte),
        }
        place += 1;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a whole script that comes in pieces of some size, rows in pieces of another.
    fn read(script: &[u8], piece: usize, asked: usize) -> Result<(Vec<String>, Vec<u8>, bool), Unexpected> {
        let (mut reading, mut columns, mut rows) = (Script::default(), None, Vec::new());
        let mut out = vec![0; asked];
        for piece in script.chunks(piece) {
            reading.push(piece);
            if columns.is_none() {
                columns = reading.columns()?;
            }
            loop {
                let count = reading.rows(&mut out);
                if count == 0 {
                    break;
                }
                rows.extend_from_slice(&out[..count]);
            }
        }
        Ok((columns.unwrap_or_default(), rows, reading.is_at_end()))
    }

    const HEAD: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict kD9\n\nSET statement_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\n\n\
        --\n-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: -\n--\n\n";

    fn script(copy: &str, rows: &str) -> Vec<u8> {
        format!("{HEAD}{copy}\n{rows}\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n").into_bytes()
    }

    #[test]
    fn in_pieces_of_every_size() {
        let rows = "1\tone\n2\t\\\\.\n\\N\ttwo\\nlines\n\\\\.\tx\n\n";
        let whole = script("COPY public.t (id, \"We\"\"ird, (x)\", note) FROM stdin;", rows);
        for piece in 1..whole.len() {
            for asked in [1, 2, 3, 7, 4096] {
                let (columns, read, ended) = read(&whole, piece, asked).unwrap();
                assert_eq!(columns, ["id", "We\"ird, (x)", "note"], "{piece} {asked}");
                assert_eq!(String::from_utf8(read).unwrap(), rows, "{piece} {asked}");
                assert!(ended);
            }
        }
    }

    #[test]
    fn names_with_everything_in_them() {
        let whole =
            script("COPY \"a\n(b\"\"; FROM stdin;\n\".\"t)\" (\"x\ny\", \" FROM stdin;\") FROM stdin;", "1\t2\n");
        for piece in [1, 2, 5, 1000] {
            let (columns, rows, ended) = read(&whole, piece, 10).unwrap();
            assert_eq!(
                (columns, rows.as_slice(), ended),
                (vec!["x\ny".into(), " FROM stdin;".into()], &b"1\t2\n"[..], true)
            );
        }
    }

    #[test]
    fn a_table_without_columns_or_rows() {
        let (columns, rows, ended) = read(&script("COPY public.t  FROM stdin;", "\n\n"), 3, 10).unwrap();
        assert_eq!((columns.len(), rows.as_slice(), ended), (0, &b"\n\n"[..], true));
        let (_, rows, ended) = read(&script("COPY public.t (id) FROM stdin;", ""), 3, 10).unwrap();
        assert_eq!((rows.len(), ended), (0, true));
    }

    #[test]
    fn a_script_that_breaks_off_has_no_end() {
        let whole = script("COPY public.t (id) FROM stdin;", "1\n2\n");
        let cut = whole.windows(4).position(|bytes| bytes == b"2\n\\.").unwrap();
        let (_, rows, ended) = read(&whole[..cut + 3], 10, 10).unwrap();
        assert_eq!((rows.as_slice(), ended), (&b"1\n2\n"[..], false));
        assert_eq!(read(HEAD.as_bytes(), 10, 10).unwrap(), (Vec::new(), Vec::new(), false));
    }

    #[test]
    fn what_is_no_such_copy() {
        assert!(read(&script("COPY public.t (id) TO stdout;", ""), 100, 10).is_err());
    }

    proptest! {
        #[test]
        fn anything_is_read_without_panic(bytes: Vec<u8>, piece in 1_usize..50, asked in 1_usize..50) {
            let _ = read(&bytes, piece, asked);
            let _ = read(&[b"COPY t (a) FROM stdin;\n".to_vec(), bytes].concat(), piece, asked);
        }
    }
}
