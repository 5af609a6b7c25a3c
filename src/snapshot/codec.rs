//! Files with rows: compressed and hashed as they are written, hashed and expanded as they are read.
//!
//! A file is written under a temporary name; only [`ChunkWriter::finish`] gives it its own, after its bytes are on disk. It is believed
//! by its size and its SHA-256, which are of its bytes as they lie on disk, so that `sha256sum` can check them too.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use crate::pg::system;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use sha2::{Digest, Sha256};
use steep_repl_core::manifest::{hex, Compression, File};

/// Bytes that are read or written at a time.
const PIECE: usize = 256 * 1024;
/// Bytes of a frame of zstd. A file is many frames, one after the other, which every reader of the format takes for one: compressed each
/// at once, in what a processor keeps close at hand, rows of tables take half of the time that they take as one stream, and about as
/// much room (docs/decisions/0013).
const FRAME: usize = 128 * 1024;
/// Bytes that the system may hold before it begins to write them.
const HELD: u64 = 4 * 1024 * 1024;
/// As `pg_dump` has it.
const ZSTD_LEVEL: i32 = 3;
const GZIP_LEVEL: u32 = 6;
/// What the name of an unfinished file ends with.
pub const UNFINISHED: &str = ".unfinished";

/// What is wrong with a file.
#[derive(Debug)]
pub enum Trouble {
    /// The system's word.
    Io(io::Error),
    /// It is not what was written.
    Corrupt(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Io(error)
    }
}

/// Counts and hashes what goes to disk.
struct Hashing {
    file: fs::File,
    sum: Sha256,
    bytes: u64,
    /// How many of them the system was told to write.
    begun: u64,
}

impl Hashing {
    fn new(file: fs::File) -> Hashing {
        Hashing { file, sum: Sha256::new(), bytes: 0, begun: 0 }
    }

    /// Has the system begin to write what it holds: who waits for the disk only at the end of a file leaves it idle before, and workers
    /// come to their ends together.
    fn begin_writing(&mut self) {
        system::begin_writing(&self.file, self.begun, self.bytes - self.begun);
        self.begun = self.bytes;
    }
}

impl Write for Hashing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.sum.update(data.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        if self.bytes - self.begun >= HELD {
            self.begin_writing();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

type Sink = io::BufWriter<Hashing>;

enum Encoder {
    None(Sink),
    Gzip(GzEncoder<Sink>),
    Lz4(Box<FrameEncoder<Sink>>),
    Zstd(Frames),
}

/// Compresses frame by frame.
struct Frames {
    compressor: zstd::bulk::Compressor<'static>,
    frame: Vec<u8>,
    sink: Sink,
    begun: bool,
}

impl Frames {
    fn new(sink: Sink) -> io::Result<Frames> {
        let room = zstd::zstd_safe::compress_bound(FRAME);
        let compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        Ok(Frames { compressor, frame: Vec::with_capacity(room), sink, begun: false })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.begun = true;
        self.frame.clear();
        self.compressor.compress_to_buffer(data, &mut self.frame)?;
        self.sink.write_all(&self.frame)
    }

    /// The end. A file without a frame would not be one of the format.
    fn finish(mut self) -> io::Result<Sink> {
        if !self.begun {
            self.write(&[])?;
        }
        Ok(self.sink)
    }
}

/// A file that is being written.
pub struct ChunkWriter {
    /// None once it is complete.
    encoder: Option<Encoder>,
    /// What is compressed at a time, and how much of it is filled.
    piece: Vec<u8>,
    filled: usize,
    folder: PathBuf,
    path: String,
}

/// Has a folder's entries on disk.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// A path with the mark of an unfinished file.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

fn create(path: &Path) -> io::Result<fs::File> {
    // What an earlier attempt has left may be a link to somewhere else.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

impl ChunkWriter {
    /// Begins the file at `path` below `folder`.
    pub fn create(folder: &Path, path: &str, compression: Compression) -> io::Result<ChunkWriter> {
        let file = create(&unfinished(&folder.join(path)))?;
        let sink = io::BufWriter::with_capacity(PIECE, Hashing::new(file));
        let encoder = match compression {
            Compression::None => Encoder::None(sink),
            Compression::Gzip => Encoder::Gzip(GzEncoder::new(sink, flate2::Compression::new(GZIP_LEVEL))),
            Compression::Lz4 => Encoder::Lz4(Box::new(FrameEncoder::new(sink))),
            Compression::Zstd => Encoder::Zstd(Frames::new(sink)?),
        };
        let piece = vec![0; if compression == Compression::Zstd { FRAME } else { PIECE }];
        Ok(ChunkWriter { encoder: Some(encoder), piece, filled: 0, folder: folder.to_owned(), path: path.to_owned() })
    }

    /// Where what comes next is to be put, at least one byte; [`Self::added`] takes it.
    pub fn room(&mut self) -> &mut [u8] {
        self.piece.get_mut(self.filled..).unwrap_or_default()
    }

    /// Takes so many bytes at the beginning of the room.
    pub fn added(&mut self, bytes: usize) -> io::Result<()> {
        self.filled = self.piece.len().min(self.filled + bytes);
        if self.filled == self.piece.len() {
            self.encode()?;
        }
        Ok(())
    }

    /// Adds to it.
    pub fn write(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let room = self.room();
            let (now, later) = data.split_at(data.len().min(room.len()));
            room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.added(now.len())?;
            data = later;
        }
        Ok(())
    }

    /// Has what was added so far compressed.
    fn encode(&mut self) -> io::Result<()> {
        let data = self.piece.get(..std::mem::take(&mut self.filled)).unwrap_or_default();
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.encoder {
            Some(Encoder::None(sink)) => sink.write_all(data),
            Some(Encoder::Gzip(encoder)) => encoder.write_all(data),
            Some(Encoder::Lz4(encoder)) => encoder.write_all(data),
            Some(Encoder::Zstd(frames)) => frames.write(data),
            None => Err(io::Error::other("it is complete")),
        }
    }

    /// Completes it: it is on disk under its name, but for the folder's entry ([`sync_folder`]).
    pub fn finish(mut self) -> io::Result<File> {
        let path = self.folder.join(&self.path);
        let last = self.encode();
        let finished = self.encoder.take().map_or_else(|| Err(io::Error::other("it is complete")), complete);
        let finished = last.and(finished);
        let finished = finished.and_then(|hashing| fs::rename(unfinished(&path), &path).map(|()| hashing));
        if finished.is_err() {
            discard(&path);
        }
        let hashing = finished?;
        Ok(File { path: std::mem::take(&mut self.path), bytes: hashing.bytes, sha256: hex(&hashing.sum.finalize()) })
    }
}

/// Has what is still to be written written, and on disk.
fn complete(encoder: Encoder) -> io::Result<Hashing> {
    let sink = match encoder {
        Encoder::None(sink) => sink,
        Encoder::Gzip(encoder) => encoder.finish()?,
        Encoder::Lz4(encoder) => encoder.finish().map_err(io::Error::other)?,
        Encoder::Zstd(frames) => frames.finish()?,
    };
    let hashing = sink.into_inner().map_err(io::IntoInnerError::into_error)?;
    hashing.file.sync_all()?;
    Ok(hashing)
}

/// Takes away what is not going to be completed: on a full disk it would be in everybody's way.
fn discard(path: &Path) {
    let _ = fs::remove_file(unfinished(path));
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            discard(&self.folder.join(&self.path));
            // What is in its buffer goes into the file that nobody finds any more.
            drop(encoder);
        }
    }
}

/// Writes a small file as a whole: it is on disk under its name, but for the folder's entry ([`sync_folder`]).
pub fn write_whole(folder: &Path, path: &str, content: &[u8]) -> io::Result<File> {
    let mut writer = ChunkWriter::create(folder, path, Compression::None)?;
    writer.write(content)?;
    writer.finish()
}

/// Reads from disk, and counts and hashes on the way.
struct Checking {
    file: fs::File,
    sum: Sha256,
    bytes: u64,
    most: u64,
}

impl Read for Checking {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.sum.update(into.get(..read).unwrap_or_default());
        self.bytes += read as u64;
        if self.bytes > self.most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than it should be"));
        }
        Ok(read)
    }
}

type Source = BufReader<Checking>;

enum Decoder {
    None(Source),
    Gzip(Box<MultiGzDecoder<Source>>),
    Lz4(Box<FrameDecoder<Source>>),
    Zstd(zstd::stream::read::Decoder<'static, Source>),
}

impl Decoder {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::None(source) => source.read(into),
            Decoder::Gzip(decoder) => decoder.read(into),
            Decoder::Lz4(decoder) => decoder.read(into),
            Decoder::Zstd(decoder) => decoder.read(into),
        }
    }

    fn into_source(self) -> Source {
        match self {
            Decoder::None(source) => source,
            Decoder::Gzip(decoder) => decoder.into_inner(),
            Decoder::Lz4(decoder) => decoder.into_inner(),
            Decoder::Zstd(decoder) => decoder.finish(),
        }
    }
}

/// A file that is being read. Its end is given only after all of it was found to be what was written.
pub struct ChunkReader {
    /// None once it has come to its end, or failed.
    decoder: Option<Decoder>,
    expected: File,
    piece: Vec<u8>,
}

/// Opens a file of the snapshot: a regular one, and no link to another.
fn open(folder: &Path, path: &str) -> io::Result<fs::File> {
    let whole = folder.join(path);
    if !fs::symlink_metadata(&whole)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    fs::File::open(whole)
}

impl ChunkReader {
    /// Begins to read the file below `folder`.
    pub fn open(folder: &Path, expected: &File, compression: Compression) -> Result<ChunkReader, Trouble> {
        let file = open(folder, &expected.path)?;
        let source =
            BufReader::with_capacity(PIECE, Checking { file, sum: Sha256::new(), bytes: 0, most: expected.bytes });
        let decoder = match compression {
            Compression::None => Decoder::None(source),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Lz4 => Decoder::Lz4(Box::new(FrameDecoder::new(source))),
            Compression::Zstd => Decoder::Zstd(zstd::stream::read::Decoder::with_buffer(source)?),
        };
        Ok(ChunkReader { decoder: Some(decoder), expected: expected.clone(), piece: vec![0; PIECE] })
    }

    /// The next piece of what was compressed; empty at the end.
    pub fn next_piece(&mut self) -> Result<&[u8], Trouble> {
        let Some(decoder) = &mut self.decoder else { return Ok(&[]) };
        let piece = &mut self.piece;
        // A decoder that meets what no encoder has made may do anything but go on.
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| decoder.read(piece)));
        match read {
            Ok(Ok(0)) => {
                self.check_end()?;
                Ok(&[])
            }
            Ok(Ok(read)) => Ok(self.piece.get(..read).unwrap_or_default()),
            Ok(Err(error)) if error.raw_os_error().is_some() => {
                self.decoder = None;
                Err(Trouble::Io(error))
            }
            Ok(Err(error)) => {
                self.decoder = None;
                Err(Trouble::Corrupt(format!("{error}.")))
            }
            Err(_) => {
                self.decoder = None;
                Err(Trouble::Corrupt("It cannot be expanded.".to_owned()))
            }
        }
    }

    /// Whether the file was what it should be, and nothing follows.
    fn check_end(&mut self) -> Result<(), Trouble> {
        let Some(decoder) = self.decoder.take() else { return Ok(()) };
        let mut source = decoder.into_source();
        let mut rest = [0; 4096];
        while source.read(&mut rest).map_err(|error| Trouble::Corrupt(format!("{error}.")))? > 0 {}
        let checking = source.into_inner();
        compare(&self.expected, checking.bytes, &hex(&checking.sum.finalize()))
    }
}

fn compare(expected: &File, bytes: u64, sha256: &str) -> Result<(), Trouble> {
    if bytes != expected.bytes {
        return Err(Trouble::Corrupt(format!("It has {bytes} bytes, and should have {}.", expected.bytes)));
    }
    if sha256 != expected.sha256 {
        return Err(Trouble::Corrupt("Its SHA-256 is not the one in the manifest.".to_owned()));
    }
    Ok(())
}

/// Sees that a file is there and as large as it should be.
pub fn check_size(folder: &Path, expected: &File) -> Result<(), Trouble> {
    let found = fs::symlink_metadata(folder.join(&expected.path))?;
    if !found.is_file() {
        return Err(Trouble::Corrupt("It is no regular file.".to_owned()));
    }
    if found.len() != expected.bytes {
        return Err(Trouble::Corrupt(format!("It has {} bytes, and should have {}.", found.len(), expected.bytes)));
    }
    Ok(())
}

/// Sees that a file is what it should be, byte for byte. `go_on` is asked for each piece; its error ends the look.
pub fn check_whole<E: From<Trouble>>(
    folder: &Path,
    expected: &File,
    mut go_on: impl FnMut(u64) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = open(folder, &expected.path).map_err(Trouble::Io)?;
    let (mut sum, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        let read = file.read(&mut piece).map_err(Trouble::Io)?;
        if read == 0 {
            break;
        }
        sum.update(piece.get(..read).unwrap_or_default());
        bytes += read as u64;
        go_on(read as u64)?;
    }
    compare(expected, bytes, &hex(&sum.finalize())).map_err(E::from)
}

/// Reads a small file that must be what the manifest says.
pub fn read_whole(folder: &Path, expected: &File) -> Result<Vec<u8>, Trouble> {
    let mut reader = ChunkReader::open(folder, expected, Compression::None)?;
    let mut read = Vec::new();
    loop {
        let piece = reader.next_piece()?;
        if piece.is_empty() {
            return Ok(read);
        }
        read.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(label: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("steep_repl_codec_{label}_{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn content() -> Vec<u8> {
        (0..600_000u32).flat_map(|n| (n.wrapping_mul(n) % 251).to_le_bytes()).collect()
    }

    fn all(folder: &Path, file: &File, compression: Compression) -> Result<Vec<u8>, Trouble> {
        let mut reader = ChunkReader::open(folder, file, compression)?;
        let mut read = Vec::new();
        loop {
            match reader.next_piece()? {
                [] => return Ok(read),
                piece => read.extend_from_slice(piece),
            }
        }
    }

    fn written(folder: &Path, content: &[u8], compression: Compression) -> File {
        let mut writer = ChunkWriter::create(folder, "rows", compression).unwrap();
        for piece in content.chunks(10_007) {
            writer.write(piece).unwrap();
        }
        assert!(!folder.join("rows").exists() || folder.join("rows.unfinished").exists());
        writer.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = Folder::new("whole");
        for compression in Compression::ALL {
            for content in [content(), Vec::new(), b"a".to_vec()] {
                let file = written(&folder.0, &content, compression);
                assert_eq!(all(&folder.0, &file, compression).unwrap(), content, "{compression}");
                check_size(&folder.0, &file).unwrap();
                check_whole::<Trouble>(&folder.0, &file, |_| Ok(())).unwrap();
                assert!(!folder.0.join("rows.unfinished").exists());
            }
        }
    }

    /// Where a frame ends a reader of the format would see the end of the file.
    #[test]
    fn a_file_that_ends_with_one_of_its_frames_has_no_end() {
        let folder = Folder::new("frames");
        let path = folder.0.join("rows");
        let content = &content()[..2 * FRAME];
        let first = written(&folder.0, &content[..FRAME], Compression::Zstd);
        let both = written(&folder.0, content, Compression::Zstd);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..first.bytes as usize]).unwrap();
        assert_eq!(all(&folder.0, &first, Compression::Zstd).unwrap(), content[..FRAME], "that is not the first frame");
        assert!(matches!(all(&folder.0, &both, Compression::Zstd), Err(Trouble::Corrupt(_))));
    }

    #[test]
    fn a_file_that_is_not_what_was_written_has_no_end() {
        let folder = Folder::new("broken");
        let path = folder.0.join("rows");
        for compression in Compression::ALL {
            let file = written(&folder.0, &content()[..50_000], compression);
            let good = fs::read(&path).unwrap();
            let refused = |bytes: &[u8], what: &str| {
                fs::write(&path, bytes).unwrap();
                let read = all(&folder.0, &file, compression);
                assert!(matches!(read, Err(Trouble::Corrupt(_))), "{compression}: {what}: {:?}", read.map(|r| r.len()));
                let looked = check_whole::<Trouble>(&folder.0, &file, |_| Ok(()));
                assert!(matches!(looked, Err(Trouble::Corrupt(_))), "{compression}: {what}");
            };
            for place in (0..good.len()).step_by(good.len() / 97 + 1) {
                let mut bad = good.clone();
                bad[place] ^= 1 << (place % 8);
                refused(&bad, &format!("byte {place}"));
            }
            for length in [0, 1, good.len() / 2, good.len() - 1] {
                refused(&good[..length], &format!("{length} bytes"));
            }
            refused(&[good.clone(), b"x".to_vec()].concat(), "a byte more");
            refused(&[good.clone(), good.clone()].concat(), "twice");
            fs::remove_file(&path).unwrap();
            assert!(matches!(all(&folder.0, &file, compression), Err(Trouble::Io(_))));
            std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
            assert!(matches!(all(&folder.0, &file, compression), Err(Trouble::Io(_))));
            fs::remove_file(&path).unwrap();
        }
    }
}
