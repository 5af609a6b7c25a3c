//! `large_table_method => 'basebackup'` of a source that does much besides being copied: it has libraries loaded,
//! archives its WAL, runs code when somebody logs in, and replicates from a third database. The server over its backup
//! has all that in its catalogs and its files, and does none of it.
//!
//! And rows that came by a backup are the subscription's own: what changes them later is no conflict.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres::{Client, Config, NoTls};
use steep_repl_core::private_server::PORT;
use steep_repl_testkit::{
    check, compare, quote_ident, quote_literal, root, wait_until, ClusterOptions, Db, LoadOptions, Pair, Tables,
};

use crate::large_tables::{transports, ARGS};
use crate::midway;
use crate::outcome::expect_equal;
use crate::prepared_cancelled::{until_held, WAITING_FOR_ADVISORY};
use crate::shop;
use crate::ways_cancelled::waiting;

const MINUTE: Duration = Duration::from_secs(60);
/// A backup that lasts for a moment, in bytes a second.
const STEADY: u64 = 30_000_000;
/// Processes that archive and replicate.
const BUSY: &str =
    "select count(*) from pg_stat_activity where backend_type ~ '^(archiver|logical replication|slotsync)'";

/// Starts it, up to the position after the backup, which waits as long as the transaction of the session that is
/// returned.
fn start_up_to_position(pair: &Pair, scratch: &Path) -> Client {
    let directory = scratch.display().to_string();
    let settings = [("scratch_directory", directory.as_str()), ("chunk_size", "1MB")];
    pair.proxy().throttle(STEADY);
    pair.init_with(&settings, &format!("{ARGS}, large_table_method => 'basebackup'")).unwrap();
    until(pair, "backup");
    let mut open = pair.source.connect();
    open.batch_execute("begin; select pg_current_xact_id()").unwrap();
    pair.proxy().throttle(0);
    until(pair, "slot");
    open
}

fn until(pair: &Pair, state: &str) {
    wait_until(&format!("the base backup is at {state}"), MINUTE, || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.target.rows("select state from steep_repl.base_backups") == [state]).then_some(())
    });
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Copies of the large table wait for the session that is returned to give advisory lock 7 up.
fn hold_copies(pair: &Pair) -> Client {
    pair.target.exec(
        "create function held() returns trigger language plpgsql as
            'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return new; end';
         create trigger held before insert on large for each row execute function held();
         alter table large enable replica trigger held",
    );
    let mut holder = pair.target.connect();
    holder.batch_execute("select pg_advisory_lock(7)").unwrap();
    holder
}

fn expect_nothing_left(pair: &Pair, scratch: &Path) {
    wait_until("the scratch directory is empty", MINUTE, || entries(scratch).is_empty().then_some(()));
    assert!(pair.target.rows("select * from steep_repl.base_backups").is_empty());
    let slots = pair.source.rows("select slot_name from pg_replication_slots where slot_name like '%\\_backup'");
    assert!(slots.is_empty(), "{slots:?}");
}

/// A session of the private server, at the only place where it listens.
fn private_session(scratch: &Path, database: &str) -> Client {
    let found = entries(scratch);
    assert_eq!(found.len(), 1, "{found:?}");
    let mut config = Config::new();
    config.host_path(&found[0]).port(PORT).user("postgres").dbname(database);
    config.connect(NoTls).unwrap()
}

/// A file and the data directory that it was archived from, one line each.
fn archived(list: &Path) -> Vec<String> {
    fs::read_to_string(list).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A source that is busy in every way that a copy of its files could take part in.
struct BusySource {
    pair: Pair,
    third: Db,
    archive: PathBuf,
}

impl BusySource {
    fn new(label: &str) -> BusySource {
        let archive = root::folder(&format!("{label}_a")).join("list");
        // "always" is "on" for whoever is no standby. One with "on" would archive nothing anyway.
        let source = ClusterOptions::new(&format!("{label}_s"))
            .set("shared_preload_libraries", "pg_stat_statements, auto_explain")
            .set("archive_mode", "always")
            .set("archive_command", &format!("echo \"%f $(pwd -P)\" >> \"{}\"", archive.display()))
            .start();
        let third = source.create_database(&format!("{label}_third"), "");
        let pair = midway::prepared(Pair::options(label).source(source));
        let busy = BusySource { pair, third, archive };
        busy.subscribe();
        // Nobody could log in to a standby that ran this.
        busy.pair.source.exec(
            "create function at_login() returns event_trigger language plpgsql as
                'begin perform pg_catalog.pg_current_xact_id(); end';
             create event trigger at_login on login execute function at_login()",
        );
        // In a file of its own, which comes along with the backup and would count for more than any other.
        busy.pair.source.exec_each(&["alter system set archive_mode = 'always'"]);
        busy
    }

    /// To a table of the third database, by a slot that was made beforehand: both are on one server.
    fn subscribe(&self) {
        let (source, third) = (&self.pair.source, &self.third);
        let incoming = "create table incoming (id int primary key, v int, note text)";
        let rows = "insert into incoming select i, i, 'third' from generate_series(1, 300) i";
        self.pair.target.exec(incoming);
        for db in [source, third] {
            db.exec(&format!("{incoming}; {rows}"));
        }
        third.exec_each(&[
            "create publication outgoing for table incoming",
            "select pg_create_logical_replication_slot('from_third', 'pgoutput')",
        ]);
        source.exec(&format!(
            "create subscription from_third connection {} publication outgoing
             with (slot_name = 'from_third', create_slot = false, copy_data = false)",
            quote_literal(&third.conninfo())
        ));
        wait_until("the third database is read from", MINUTE, || (self.senders() != ["~"]).then_some(()));
    }

    /// Who sends by the slot of the source's own subscription: another one when somebody else has taken it meanwhile.
    fn senders(&self) -> Vec<String> {
        self.pair.source.rows("select active_pid from pg_replication_slots where slot_name = 'from_third'")
    }

    /// The private server stands still: it has what the source has, and does nothing of it.
    fn expect_quiet(&self, scratch: &Path) {
        let mut session = private_session(scratch, self.pair.source.name());
        let has = "select concat_ws(' | ', pg_is_in_recovery(), current_setting('shared_preload_libraries'),
            (select count(*) from pg_event_trigger where evtevent = 'login' and evtenabled = 'O'),
            (select count(*) from pg_subscription where subenabled))";
        let has: String = session.query_one(has, &[]).unwrap().get(0);
        assert_eq!(has, "t |  | 1 | 1");
        let here: i64 = session.query_one(BUSY, &[]).unwrap().get(0);
        let there: i64 = self.pair.source.scalar(BUSY);
        assert!(here == 0 && there >= 3, "{here} such processes of the private server, {there} of the source");
    }

    /// Every file in the archive is from the source itself.
    fn expect_own_archive(&self) {
        let source = &self.pair.source;
        let data = fs::canonicalize(source.scalar::<String>("select current_setting('data_directory')")).unwrap();
        let own = format!(" {}", data.display());
        let last: String = source.scalar("select pg_walfile_name(pg_switch_wal())");
        wait_until("the source has archived its last file", MINUTE, || {
            archived(&self.archive).contains(&format!("{last}{own}")).then_some(())
        });
        let lines = archived(&self.archive);
        let others: Vec<&String> = lines.iter().filter(|line| !line.ends_with(&own)).collect();
        assert!(others.is_empty() && lines.len() > 2, "{others:?} of {lines:?}");
    }

    /// What is written in the third database arrives on the source, by the same session as ever, and goes on to the
    /// target.
    fn expect_goes_on(&self, senders: &[String]) {
        self.third.exec("insert into incoming values (-1, -1, 'late')");
        check::wait_caught_up(&self.third, &self.pair.source, MINUTE);
        assert_eq!(self.pair.source.rows("select note from incoming where id = -1"), ["late"]);
        compare(&self.third, &self.pair.source, &Tables::only(&["incoming"])).unwrap();
        assert_eq!(self.senders(), senders, "somebody else has used the slot of the source's subscription");
        expect_equal(&self.pair);
    }
}

#[test]
fn the_server_over_its_backup_does_nothing_in_its_name() {
    let busy = BusySource::new("bb_busy");
    let (pair, scratch) = (&busy.pair, root::folder("bb_busy_x"));
    let mut holder = hold_copies(pair);
    let senders = busy.senders();
    let load = LoadOptions::default().keyed("large").keys(15_000).rate(50).start(&pair.source);
    let third_load = LoadOptions::default().keyed("incoming").keys(300).rate(20).start(&busy.third);
    let mut open = start_up_to_position(pair, &scratch);
    // Whole files of WAL that the private server receives, and could archive.
    pair.source.exec(
        "create table filler as select i, repeat('x', 1000) as x from generate_series(1, 40000) i; drop table filler",
    );
    open.batch_execute("commit").unwrap();
    until_held(pair, "copy", WAITING_FOR_ADVISORY);
    busy.expect_quiet(&scratch);
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    pair.expect_synchronized();
    third_load.stop();
    shop::stop_later(load, &pair.source);
    assert_eq!(transports(pair), ["basebackup | 1", "server | 3"]);
    // Those of the third database change rows that the server has copied, which have no origin.
    busy.expect_goes_on(&senders);
    busy.expect_own_archive();
    expect_nothing_left(pair, &scratch);
    pair.source.exec_each(&["drop subscription from_third"]);
}

/// A setting of the role, or of the database, comes along in the backup's catalogs and counts for more than any file:
/// nobody could begin a session with the server over it.
#[test]
fn a_library_that_the_source_loads_need_not_be_here() {
    let source = ClusterOptions::new("bb_lib_s").start();
    let pair = midway::filled(Pair::options("bb_lib").source(source));
    let scratch = root::folder("bb_lib_x");
    // A role that is nobody else's: with that setting it cannot begin a session on the source either.
    pair.source.exec("create role copier superuser replication login");
    pair.register_with(&format!("{} user=copier", pair.source_conninfo()));
    let mut holder = hold_copies(&pair);
    let mut open = start_up_to_position(&pair, &scratch);
    // All sessions of the role are there that are needed before the copy; the position comes after the setting.
    wait_until("the position is waited for", MINUTE, || (waiting(&pair.source, "transactionid") > 0).then_some(()));
    let copier = format!("alter role copier in database {}", quote_ident(pair.source.name()));
    open.batch_execute(&format!("{copier} set session_preload_libraries = 'not_here'; commit")).unwrap();
    until_held(&pair, "copy", WAITING_FOR_ADVISORY);
    pair.source.exec(&format!("{copier} reset session_preload_libraries"));
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    pair.expect_synchronized();
    assert_eq!(transports(&pair), ["basebackup | 1", "server | 2"]);
    pair.source.exec("update large set v = -8 where id between 11001 and 14000");
    expect_equal(&pair);
    expect_nothing_left(&pair, &scratch);
}

/// Before the position, while rows are copied, and after the end.
#[test]
fn changes_of_rows_from_a_backup_are_no_conflicts() {
    let source = ClusterOptions::new("bb_confl_s").start();
    let pair = midway::prepared(Pair::options("bb_confl").source(source));
    let scratch = root::folder("bb_confl_x");
    // Of the first 10,000 rows only: who changes many of the others is in nobody's way.
    let load = LoadOptions::default().keyed("large").keys(10_000).rate(100).start(&pair.source);
    let mut open = start_up_to_position(&pair, &scratch);
    pair.source.exec(
        "update large set v = -7 where id between 10001 and 12000; delete from large where id between 12001 and 12100",
    );
    open.batch_execute("commit").unwrap();
    pair.expect_synchronized();
    pair.source.exec(
        "update large set v = -8 where id between 11001 and 14000; delete from large where id between 14001 and 14100",
    );
    shop::stop_later(load, &pair.source);
    pair.source.exec("update large set v = v + 1; delete from large where id % 7 = 0");
    assert_eq!(transports(&pair), ["basebackup | 1", "server | 2"]);
    let later = "select count(*) from steep_repl.operation_tables t join steep_repl.operations o
        on o.id = t.operation_id where t.transport = 'basebackup' and t.snapshot_lsn > o.start_lsn";
    assert_eq!(pair.target.scalar::<i64>(later), 1, "nothing was written while the backup was made");
    pair.expect_equal();
    expect_nothing_left(&pair, &scratch);
}
