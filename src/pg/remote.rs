//! Connections to the source, through PostgreSQL's own libpq (`libpqwalreceiver`), which waits on the latch.
//!
//! A connection is an owned value: however the work around it ends, by return, error or panic, dropping it closes it, so that
//! no backend is left on the source that holds a snapshot or a lock.

use super::compat::guarded;
use super::raise::unpack_sqlstate;
use super::socket_wait::SocketWait;
use super::stream::{Next, Stream};
use super::text;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::ffi::{c_char, CStr, CString};
use std::ptr;
use steep_repl_core::conninfo::Conninfo;
use steep_repl_core::copy_binary;
use steep_repl_core::errors::Problem;
use steep_repl_core::ident::quote_ident;
use steep_repl_core::lsn::Lsn;

/// How long a connection may take where its connection string does not say, in seconds.
const CONNECT_TIMEOUT: i32 = 10;

/// Where to connect, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// The node's name, for messages.
    pub node: String,
    /// Its connection string.
    pub conninfo: Conninfo,
    /// True when the role that uses it is no superuser: the server then refuses to connect with credentials of its own.
    pub must_use_password: bool,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    /// SQL.
    Plain,
    /// Slots of a database.
    Logical,
    /// What concerns the whole server.
    Physical,
}

/// An open connection. Statements go over it one at a time.
pub struct Connection {
    raw: Cell<*mut pg_sys::WalReceiverConn>,
    /// At a fixed place, for the streams that use it.
    wait: Box<SocketWait>,
    /// What it was opened with, to open it anew.
    target: Target,
    application_name: String,
    walsender: bool,
    server_version: Cell<i32>,
    /// How long an answer may take, in milliseconds; 0 is for ever.
    answer_limit_ms: i32,
}

/// A slot as it was created, with the snapshot that stands for its start.
#[derive(Debug, Clone)]
pub struct CreatedSlot {
    /// Where the slot starts.
    pub lsn: Lsn,
    /// Name of the exported snapshot; alive until the connection's next command.
    pub snapshot: String,
}

fn functions() -> Result<&'static pg_sys::WalReceiverFunctionsType> {
    // SAFETY: load_file may be called at any time; it sets WalReceiverFunctions, which then never changes.
    unsafe {
        if pg_sys::WalReceiverFunctions.is_null() {
            pg_sys::load_file(c"libpqwalreceiver".as_ptr(), false);
        }
        pg_sys::WalReceiverFunctions.as_ref().ok_or_else(|| Error::internal("libpqwalreceiver did not load"))
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::internal("a NUL byte in a string for the source"))
}

fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: a NUL-terminated string from the server, copied at once.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().trim_end().to_owned()
}

/// The parts of libpq's text of an error, `ERROR:  message`, `DETAIL:  ...`, `HINT:  ...`. For display only: nothing is decided by it.
fn problem_from(sqlstate: i32, text: &str) -> Problem {
    let mut problem = Problem {
        // libpq has no SQLSTATE of its own for a connection that broke.
        sqlstate: if sqlstate == 0 { "08006".to_owned() } else { unpack_sqlstate(sqlstate) },
        message: String::new(),
        detail: None,
        hint: None,
    };
    enum Part {
        Message,
        Detail,
        Hint,
        Other,
    }
    let mut part = Part::Message;
    for (number, line) in text.lines().enumerate() {
        let line = if let Some(rest) = line.strip_prefix("DETAIL:  ") {
            part = Part::Detail;
            rest
        } else if let Some(rest) = line.strip_prefix("HINT:  ") {
            part = Part::Hint;
            rest
        } else if line.starts_with("CONTEXT:  ") || line.starts_with("LINE ") || line.starts_with("QUERY:  ") {
            part = Part::Other;
            line
        } else if number == 0 {
            line.split_once(":  ").map_or(line, |(_, rest)| rest)
        } else {
            line
        };
        let add = |to: &mut String| {
            if !to.is_empty() {
                to.push('\n');
            }
            to.push_str(line);
        };
        match part {
            Part::Message => add(&mut problem.message),
            Part::Detail => add(problem.detail.get_or_insert_default()),
            Part::Hint => add(problem.hint.get_or_insert_default()),
            Part::Other => {}
        }
    }
    problem
}

impl Connection {
    /// A plain connection with the session settings that every value we read depends on.
    ///
    /// Errors: [`Error::SourceUnreachable`]; what `must_use_password` forbids is the server's own error.
    pub fn open(target: &Target, application_name: &str) -> Result<Connection> {
        Self::connect(target, application_name, false)
    }

    /// A walsender connection, which can create slots.
    pub fn open_walsender(target: &Target, application_name: &str) -> Result<Connection> {
        Self::connect(target, application_name, true)
    }

    /// Sees that a physical replication connection can be made, which is let in by rules of its own; it is closed again.
    pub fn try_physical(target: &Target, application_name: &str) -> Result<()> {
        Self::connect_as(target, application_name, Session::Physical).map(drop)
    }

    fn connect(target: &Target, application_name: &str, walsender: bool) -> Result<Connection> {
        Self::connect_as(target, application_name, if walsender { Session::Logical } else { Session::Plain })
    }

    fn connect_as(target: &Target, application_name: &str, session: Session) -> Result<Connection> {
        let seconds =
            target.conninfo.get("connect_timeout").and_then(|text| text.parse().ok()).filter(|limit| *limit > 0);
        let limit: i32 = seconds.unwrap_or(CONNECT_TIMEOUT).min(3600);
        let opened = super::deadline::within(limit * 1000, || Self::connect_now(target, application_name, session))?;
        opened.ok_or_else(|| Error::SourceUnreachable {
            node: target.node.clone(),
            target: target.conninfo.describe(),
            reason: format!("No answer within {limit} s."),
        })
    }

    fn connect_now(target: &Target, application_name: &str, session: Session) -> Result<Connection> {
        let walrcv = functions()?;
        let (Some(connect), Some(server_version)) = (walrcv.walrcv_connect, walrcv.walrcv_server_version) else {
            return Err(Error::internal("libpqwalreceiver lacks functions"));
        };
        let mut conninfo = target.conninfo.with_link_defaults();
        // The name is how our own backends on the source are found again; it must be ours.
        conninfo.set("application_name", application_name);
        let conninfo = c_string(&conninfo.to_string())?;
        let name = c_string(application_name)?;
        let mut reason: *mut c_char = ptr::null_mut();
        let must_use_password = target.must_use_password;
        let (walsender, logical) = (session != Session::Plain, session == Session::Logical);
        // SAFETY: strings outlive the call. The connection's struct is allocated in the current memory context, so that must
        // be the one that lives as long as the process: a connection outlives transactions.
        let raw = unsafe {
            let before = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let raw = guarded(|| {
                connect(conninfo.as_ptr(), walsender, logical, must_use_password, name.as_ptr(), &mut reason)
            });
            pg_sys::MemoryContextSwitchTo(before);
            raw
        };
        if raw.is_null() {
            return Err(Error::SourceUnreachable {
                node: target.node.clone(),
                target: target.conninfo.describe(),
                reason: owned(reason),
            });
        }
        let connection = Connection {
            raw: Cell::new(raw),
            wait: Box::new(SocketWait::new()),
            target: target.clone(),
            application_name: application_name.to_owned(),
            walsender,
            server_version: Cell::new(0),
            answer_limit_ms: 0,
        };
        // SAFETY: a live connection.
        connection.server_version.set(unsafe { guarded(|| server_version(raw)) });
        if session != Session::Physical {
            connection.set_session()?;
        }
        Ok(connection)
    }

    /// Connects anew, in place of a connection that is of no more use; what the session held there is gone.
    ///
    /// Errors: as of [`Self::open`]; the connection is then what it was.
    pub fn reopen(&self) -> Result<()> {
        let fresh = Self::connect(&self.target, &self.application_name, self.walsender)?;
        self.server_version.set(fresh.server_version.get());
        // The old one is closed with `fresh`.
        self.raw.swap(&fresh.raw);
        self.wait.swap(&fresh.wait);
        Ok(())
    }

    /// Formats, encoding and limits: values must not depend on how the source or the role is configured, and nothing but we
    /// may end a long copy. What is asked of catalogs is estimated as dear and done in a moment: nothing for a compiler.
    fn set_session(&self) -> Result<()> {
        let mut settings = format!(
            "SET client_encoding = '{}'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET extra_float_digits = 3; \
             SET bytea_output = 'hex'; SET quote_all_identifiers = off; SET lc_monetary = 'C'; SET row_security = off; SET search_path = ''; \
             SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
             SET default_transaction_read_only = off; SET default_transaction_deferrable = off; \
             SET default_transaction_isolation = 'read committed'; SET synchronize_seqscans = off; \
             SET idle_session_timeout = 0; SET jit = off",
            super::system::database_encoding()
        );
        if self.server_version.get() >= 170_000 {
            settings.push_str("; SET transaction_timeout = 0");
        }
        self.execute(&settings, "could not set up the session")
    }

    /// From now on an answer that takes longer is [`Error::SourceSilent`], and the connection is of no more use; 0 means no
    /// limit.
    pub fn limit_answers(&mut self, seconds: f64) {
        self.answer_limit_ms = (seconds * 1000.0).clamp(0.0, f64::from(i32::MAX)) as i32;
    }

    /// Major version of the server at the other end.
    pub fn server_major(&self) -> u32 {
        self.server_version.get().unsigned_abs() / 10_000
    }

    /// Name of the node at the other end.
    pub fn node(&self) -> &str {
        &self.target.node
    }

    fn exec(&self, sql: &str, context: &str, columns: usize) -> Result<Answer> {
        let Some(exec) = functions()?.walrcv_exec else {
            return Err(Error::internal("libpqwalreceiver lacks functions"));
        };
        let query = c_string(sql)?;
        let types = vec![pg_sys::TEXTOID; columns];
        let (raw, count) = (self.raw.get(), columns as i32);
        let (query_ptr, types_ptr) = (query.as_ptr(), types.as_ptr());
        // SAFETY: a live connection; strings and types outlive the call.
        let answer = self.within_limit(|| Ok(Answer(unsafe { guarded(|| exec(raw, query_ptr, count, types_ptr)) })))?;
        if answer.status() == pg_sys::WalRcvExecStatus::WALRCV_ERROR {
            // SAFETY: the result is live until `answer` is dropped.
            let (sqlstate, text) = unsafe { ((*answer.0).sqlstate, owned((*answer.0).err)) };
            return Err(Error::Source {
                context: format!("{context} on node \"{}\"", self.target.node),
                problem: Box::new(problem_from(sqlstate, &text)),
            });
        }
        Ok(answer)
    }

    /// Runs statements whose rows, if any, do not matter; several may be separated by semicolons, the last must return none.
    ///
    /// `context` says what is being done, for the error.
    pub fn execute(&self, sql: &str, context: &str) -> Result<()> {
        self.exec(sql, context, 0).map(drop)
    }

    /// Runs a query and gives its rows as text. Needs a transaction: the server looks the type up in its catalog.
    pub fn rows(&self, sql: &str, columns: usize, context: &str) -> Result<Vec<Vec<Option<String>>>> {
        let answer = self.exec(sql, context, columns)?;
        if answer.status() != pg_sys::WalRcvExecStatus::WALRCV_OK_TUPLES {
            return Err(Error::internal(format!("{context}: no rows came back")));
        }
        Ok(answer.text_rows(columns))
    }

    /// Runs a query with one row of one column.
    pub fn value(&self, sql: &str, context: &str) -> Result<Option<String>> {
        Ok(self.rows(sql, 1, context)?.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    /// Runs a query whose one column is JSON, and reads each row into a value.
    pub fn json<T: DeserializeOwned>(&self, sql: &str, context: &str) -> Result<Vec<T>> {
        self.rows(sql, 1, context)?
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .map(|text| {
                serde_json::from_str(&text)
                    .map_err(|error| Error::internal(format!("{context}: unexpected answer: {error}")))
            })
            .collect()
    }

    /// Starts a query whose one column is JSON. The node works on it while we do something else, until [`Self::answer`] takes what it
    /// gave; the connection can do nothing else before.
    ///
    /// A server says that it has begun once 8 kB are to be sent: a row of blanks is sent ahead, and left out again.
    pub fn ask(&self, sql: &str, context: &str) -> Result<()> {
        let ahead = "SELECT pg_catalog.repeat(' ', 8192)";
        self.start_copy(&format!("COPY ({ahead} UNION ALL ({sql})) TO STDOUT (FORMAT binary)"), context)
    }

    /// The rows of what was asked, in no order. What the node fails with on the way comes as 08P01, without its own SQLSTATE, which the server's
    /// function for such a stream does not tell; nor does it read the end of what failed, so that the connection has to be opened anew.
    pub fn answer<T: DeserializeOwned>(&self, context: &str) -> Result<Vec<T>> {
        let mut stream = Stream::of(self)?;
        let taking = || {
            let mut taken = Vec::new();
            // SAFETY: the closure only calls C; a message is valid until the next one is asked for.
            while unsafe { guarded(|| stream.next(true)) } == Next::Message {
                taken.extend_from_slice(unsafe { std::slice::from_raw_parts(stream.message.cast(), stream.length) });
            }
            Ok(taken)
        };
        let taken = self.within_limit(taking)?;
        let unexpected = |reason: &str| Error::internal(format!("{context}: unexpected answer: {reason}"));
        let rows = copy_binary::column(&taken).ok_or_else(|| unexpected("no rows of one column"))?;
        rows.into_iter()
            .filter(|row| !row.trim_ascii().is_empty())
            .map(|row| serde_json::from_str(text::utf8(row)?).map_err(|error| unexpected(&error.to_string())))
            .collect()
    }

    /// Waits for the node at most as long as [`Self::limit_answers`] says.
    fn within_limit<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.answer_limit_ms {
            0 => work(),
            limit => super::deadline::within(limit, work)?.ok_or_else(|| Error::SourceSilent {
                node: self.target.node.clone(),
                seconds: f64::from(limit) / 1000.0,
            }),
        }
    }

    /// Starts a `COPY ... TO STDOUT`; the data is then read by [`super::copy_in`].
    pub fn start_copy(&self, sql: &str, context: &str) -> Result<()> {
        let answer = self.exec(sql, context, 0)?;
        if answer.status() != pg_sys::WalRcvExecStatus::WALRCV_OK_COPY_OUT {
            return Err(Error::internal(format!("{context}: the source did not start a copy")));
        }
        Ok(())
    }

    /// Creates a logical slot for pgoutput with an exported snapshot. Waits for every transaction that is running on the
    /// source, so it may take as long as the longest of them. Only on a walsender connection.
    ///
    /// As a plain command, since the server's own function for it gives whatever goes wrong as a broken protocol. Needs a
    /// transaction, as [`Self::rows`] does. `failover` needs PostgreSQL 17 there.
    pub fn create_slot(&self, name: &str, temporary: bool, failover: bool) -> Result<CreatedSlot> {
        let temporary = if temporary { " TEMPORARY" } else { "" };
        let options = match (self.server_version.get() >= 150_000, failover) {
            (true, true) => "(SNAPSHOT 'export', FAILOVER)",
            (true, false) => "(SNAPSHOT 'export')",
            (false, _) => "EXPORT_SNAPSHOT",
        };
        let command = format!("CREATE_REPLICATION_SLOT {}{temporary} LOGICAL pgoutput {options}", quote_ident(name));
        let context = format!("could not create replication slot \"{name}\"");
        let mut row = self.rows(&command, 4, &context)?.into_iter().next().unwrap_or_default().into_iter();
        // Name, start, snapshot, plugin.
        let (start, snapshot) = (row.nth(1).flatten(), row.next().flatten());
        let start = start.as_deref().and_then(|start| start.parse().ok());
        let (Some(lsn), Some(snapshot)) = (start, snapshot) else {
            return Err(Error::internal(format!("{context}: the answer has no start or no snapshot")));
        };
        Ok(CreatedSlot { lsn, snapshot })
    }

    pub(super) fn wait(&self) -> &SocketWait {
        &self.wait
    }

    pub(super) fn raw(&self) -> *mut pg_sys::WalReceiverConn {
        self.raw.get()
    }
}

/// The function that reads the next message of a COPY.
pub(super) fn receive_function() -> Result<
    unsafe extern "C-unwind" fn(
        *mut pg_sys::WalReceiverConn,
        *mut *mut c_char,
        *mut pg_sys::pgsocket,
    ) -> std::ffi::c_int,
> {
    functions()?.walrcv_receive.ok_or_else(|| Error::internal("libpqwalreceiver lacks functions"))
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Ok(walrcv) = functions() {
            if let Some(disconnect) = walrcv.walrcv_disconnect {
                // SAFETY: the connection is ours and used no more. PQfinish and pfree raise no error, so no guard is needed,
                // and none may be set up while unwinding.
                unsafe { disconnect(self.raw.get()) };
            }
        }
    }
}

/// A result of `walrcv_exec`, cleared when dropped.
struct Answer(*mut pg_sys::WalRcvExecResult);

impl Answer {
    fn status(&self) -> pg_sys::WalRcvExecStatus::Type {
        // SAFETY: live until dropped.
        unsafe { (*self.0).status }
    }

    fn text_rows(&self, columns: usize) -> Vec<Vec<Option<String>>> {
        let mut rows = Vec::new();
        // SAFETY: the tuplestore and its descriptor belong to this result; every datum is copied before the slot moves on.
        unsafe {
            let slot = pg_sys::MakeSingleTupleTableSlot((*self.0).tupledesc, &raw const pg_sys::TTSOpsMinimalTuple);
            while pg_sys::tuplestore_gettupleslot((*self.0).tuplestore, true, false, slot) {
                pg_sys::slot_getsomeattrs_int(slot, columns as i32);
                let row = (0..columns)
                    .map(|column| {
                        if *(*slot).tts_isnull.add(column) {
                            None
                        } else {
                            let datum = *(*slot).tts_values.add(column);
                            let text = pg_sys::text_to_cstring(datum.cast_mut_ptr());
                            let value = owned_exactly(text);
                            pg_sys::pfree(text.cast());
                            Some(value)
                        }
                    })
                    .collect();
                rows.push(row);
                pg_sys::ExecClearTuple(slot);
            }
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
        rows
    }
}

fn owned_exactly(text: *const c_char) -> String {
    // SAFETY: a NUL-terminated string from the server, copied at once.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

impl Drop for Answer {
    fn drop(&mut self) {
        // As walrcv_clear_result, a macro-like inline of the server's.
        // SAFETY: the result is ours and used no more; none of these raise errors on a live result.
        unsafe {
            let result = &mut *self.0;
            if !result.err.is_null() && result.status == pg_sys::WalRcvExecStatus::WALRCV_ERROR {
                // err may point to a constant ("empty query"); left to the memory context.
                result.err = ptr::null_mut();
            }
            if !result.tuplestore.is_null() {
                pg_sys::tuplestore_end(result.tuplestore);
                result.tuplestore = ptr::null_mut();
            }
            pg_sys::pfree(self.0.cast());
        }
    }
}
