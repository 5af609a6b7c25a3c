//! The settings `steep_repl.*`. Functions that start an operation resolve them in their session and store the result with the
//! operation; workers read the operation, not the settings.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;

static PARALLEL_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(4);
static CHUNK_SIZE: GucSetting<i32> = GucSetting::<i32>::new(256 * 1024);
static MAX_RETRIES: GucSetting<i32> = GucSetting::<i32>::new(3);
static SOURCE_LOST_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(3600);
static RECEIVE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60);
static MAX_SNAPSHOT_AGE: GucSetting<i32> = GucSetting::<i32>::new(0);
static INIT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(0);
static CATCHUP_LAG: GucSetting<i32> = GucSetting::<i32>::new(16 * 1024);
static SOURCE_CHECK_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(600);
static EVENT_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(30 * 24 * 60);
static SNAPSHOT_THRESHOLD: GucSetting<i32> = GucSetting::<i32>::new(0);
static LARGE_TABLE_THRESHOLD: GucSetting<i32> = GucSetting::<i32>::new(10 * 1024 * 1024);
static LARGE_TABLE_METHOD: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"copy"));
static SCRATCH_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static SCHEMA_SYNC_MODE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"strict"));
static SNAPSHOT_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// The most copy workers an operation may ask for.
pub const MOST_WORKERS: i32 = 64;

/// Defines the settings; once, when the library is loaded.
pub fn define() {
    let integer = |name, short, long, setting, min, max, flags| {
        GucRegistry::define_int_guc(name, short, long, setting, min, max, GucContext::Userset, flags);
    };
    integer(
        c"steep_repl.parallel_workers",
        c"Copy workers of an operation that is started from this session.",
        c"Each takes one of max_worker_processes here and one connection on the source.",
        &PARALLEL_WORKERS,
        1,
        MOST_WORKERS,
        GucFlags::default(),
    );
    integer(
        c"steep_repl.chunk_size",
        c"Tables larger than this are copied in ranges of about this size.",
        c"Ranges of one table are copied side by side.",
        &CHUNK_SIZE,
        64,
        i32::MAX,
        GucFlags::UNIT_KB,
    );
    integer(
        c"steep_repl.max_retries",
        c"Failed attempts that a task may have before the operation fails.",
        c"Attempts that failed because the source was away do not count.",
        &MAX_RETRIES,
        0,
        1000,
        GucFlags::default(),
    );
    integer(
        c"steep_repl.source_lost_timeout",
        c"How long an operation keeps trying while the source is away.",
        c"After that it is FAILED and can be resumed.",
        &SOURCE_LOST_TIMEOUT,
        0,
        i32::MAX / 1000,
        GucFlags::UNIT_S,
    );
    integer(
        c"steep_repl.receive_timeout",
        c"How long the source may be silent before it is asked, over another connection, what it waits for.",
        c"A connection that turns out to be dead is given up, and its work is done again. 0 never asks.",
        &RECEIVE_TIMEOUT,
        0,
        i32::MAX / 1000,
        GucFlags::UNIT_S,
    );
    integer(
        c"steep_repl.max_snapshot_age",
        c"How old the snapshot on the source may get before tables that are not begun are copied under a later one; 0 is for ever.",
        c"A snapshot keeps VACUUM on the source from removing dead rows. A later one waits for the transactions that run there.",
        &MAX_SNAPSHOT_AGE,
        0,
        i32::MAX / 1000,
        GucFlags::UNIT_S,
    );
    integer(
        c"steep_repl.init_timeout",
        c"How long an initialization may take; 0 is for ever.",
        c"After that it is FAILED and can be resumed.",
        &INIT_TIMEOUT,
        0,
        i32::MAX / 1000,
        GucFlags::UNIT_S,
    );
    integer(
        c"steep_repl.catchup_lag",
        c"Lag at which a node that catches up counts as synchronized.",
        c"In bytes of the source's WAL.",
        &CATCHUP_LAG,
        0,
        i32::MAX,
        GucFlags::UNIT_KB,
    );
    integer(
        c"steep_repl.event_retention",
        c"How long events are kept.",
        c"Older ones are deleted when an operation ends, and slots of prepare_init that ended longer ago when another is made.",
        &EVENT_RETENTION,
        1,
        i32::MAX / 60,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"steep_repl.source_check_interval",
        c"How often the sources of nodes that replicate are looked at for tables that came after the initialization; 0 is never.",
        c"What is found is shown in node_status.tables_not_subscribed and told by an event.",
        &SOURCE_CHECK_INTERVAL,
        0,
        i32::MAX / 1000,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_string_guc(
        c"steep_repl.schema_sync_mode",
        c"What to do when the tables of source and target differ.",
        c"strict: stop before anything is changed.",
        &SCHEMA_SYNC_MODE,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"steep_repl.snapshot_directory",
        c"Directory on this server below which portable snapshots are written and read.",
        c"Other places are for members of pg_write_server_files and pg_read_server_files. Empty: there is none.",
        &SNAPSHOT_DIRECTORY,
        GucContext::Suset,
        GucFlags::SUPERUSER_ONLY,
    );
    define_large_tables();
}

/// Those of methods auto and snapshot.
fn define_large_tables() {
    for (name, short, long, setting) in [
        (
            c"steep_repl.snapshot_threshold",
            c"Method auto is snapshot when the tables take less than this together, and parallel otherwise.",
            c"0 is always parallel.",
            &SNAPSHOT_THRESHOLD,
        ),
        (
            c"steep_repl.large_table_threshold",
            c"By method snapshot tables larger than this go by steep_repl.large_table_method.",
            c"All others are copied by the server's own table synchronization.",
            &LARGE_TABLE_THRESHOLD,
        ),
    ] {
        let (context, flags) = (GucContext::Userset, GucFlags::UNIT_KB);
        GucRegistry::define_int_guc(name, short, long, setting, 0, i32::MAX, context, flags);
    }
    GucRegistry::define_string_guc(
        c"steep_repl.large_table_method",
        c"How method snapshot copies large tables: copy, pg_dump or basebackup.",
        c"copy: by copy workers, in ranges side by side.",
        &LARGE_TABLE_METHOD,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"steep_repl.scratch_directory",
        c"Where large_table_method basebackup puts the base backup of the source for the time of the copy.",
        c"A directory on this server that the server's user owns, with room for the whole source.",
        &SCRATCH_DIRECTORY,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// Bytes.
pub fn snapshot_threshold() -> i64 {
    i64::from(SNAPSHOT_THRESHOLD.get()) * 1024
}

/// Bytes.
pub fn large_table_threshold() -> i64 {
    i64::from(LARGE_TABLE_THRESHOLD.get()) * 1024
}

/// copy, pg_dump or basebackup.
pub fn large_table_method() -> String {
    LARGE_TABLE_METHOD.get().and_then(|method| method.into_string().ok()).unwrap_or_else(|| "copy".to_owned())
}

/// A path; empty when it is not set.
pub fn scratch_directory() -> String {
    SCRATCH_DIRECTORY.get().and_then(|path| path.into_string().ok()).unwrap_or_default()
}

/// Copy workers.
pub fn parallel_workers() -> i32 {
    PARALLEL_WORKERS.get()
}

/// Bytes.
pub fn chunk_size() -> i64 {
    i64::from(CHUNK_SIZE.get()) * 1024
}

/// Attempts.
pub fn max_retries() -> u32 {
    MAX_RETRIES.get().unsigned_abs()
}

/// Seconds.
pub fn source_lost_timeout() -> f64 {
    f64::from(SOURCE_LOST_TIMEOUT.get())
}

/// Seconds; 0 never asks.
pub fn receive_timeout() -> f64 {
    f64::from(RECEIVE_TIMEOUT.get())
}

/// Seconds; 0 is for ever.
pub fn max_snapshot_age() -> f64 {
    f64::from(MAX_SNAPSHOT_AGE.get())
}

/// Seconds; 0 is for ever.
pub fn init_timeout() -> f64 {
    f64::from(INIT_TIMEOUT.get())
}

/// Bytes.
pub fn catchup_lag() -> i64 {
    i64::from(CATCHUP_LAG.get()) * 1024
}

/// Microseconds; 0 is never.
pub fn source_check_interval() -> i64 {
    i64::from(SOURCE_CHECK_INTERVAL.get()) * 1_000_000
}

/// Seconds.
pub fn event_retention() -> f64 {
    f64::from(EVENT_RETENTION.get()) * 60.0
}

/// strict, auto or manual.
pub fn schema_sync_mode() -> String {
    SCHEMA_SYNC_MODE.get().and_then(|mode| mode.into_string().ok()).unwrap_or_else(|| "strict".to_owned())
}

/// Where portable snapshots are; none when nobody has said.
pub fn snapshot_directory() -> Option<String> {
    let set = SNAPSHOT_DIRECTORY.get().and_then(|path| path.into_string().ok());
    set.filter(|path| !path.is_empty())
}
