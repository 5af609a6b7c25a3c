//! Large tables by programs of the server, for an operator who is no superuser on either side: what he needs, and what he is told when it lacks.

use std::path::PathBuf;

use postgres::Client;
use steep_repl_testkit::{quote_ident, quote_literal, root, shared, Auth, ClusterOptions, LoadOptions, Pair, Role};

use crate::large_tables::transports;
use crate::midway;
use crate::outcome::expect_equal;
use crate::refusal::Refusal;
use crate::shop;

/// All that the role on the source needs when somebody else has made the publication.
const COPIER: &str = "alter role copier replication; grant pg_read_all_data to copier";

struct Operated {
    pair: Pair,
    scratch: PathBuf,
    // After the databases in which it owns tables.
    operator: Role,
}

impl Operated {
    /// Tables that the operator owns, and a publication of somebody else's; the nodes are registered by the operator.
    fn new(label: &str, may_run_programs: bool) -> Operated {
        let source = ClusterOptions::new(&format!("{label}_s")).auth(Auth::Scram).start();
        let roles = if may_run_programs { ", pg_execute_server_program" } else { "" };
        let options = format!("login in role pg_create_subscription{roles}");
        let operator = Role::create(&shared::target(), label, &options);
        let pair = Pair::options(label).source(source).build();
        pair.source.exec(&format!(
            "create role copier login password 's3cr3t-pw'; {COPIER};
             create table large (id int primary key, v int, note text); create table small (id int primary key, v int, note text);
             insert into large select i, i, repeat('x', 200) from generate_series(1, 15000) i;
             insert into small select i, i, 's' from generate_series(1, 100) i;
             create publication chosen for table large, small"
        ));
        pair.source.exec_each(&["vacuum analyze"]);
        pair.target.copy_schema_from(&pair.source);
        pair.target.exec(&format!(
            "grant create on database {} to {operator}; drop publication if exists chosen;
             alter table large owner to {operator}; alter table small owner to {operator}",
            quote_ident(pair.target.name())
        ));
        let operated = Operated { pair, scratch: root::folder(&format!("{label}_x")), operator };
        let there = format!(
            "host=127.0.0.1 port={} user=copier password=s3cr3t-pw dbname={}",
            operated.pair.source.cluster().port(),
            operated.pair.source.name()
        );
        operated
            .session()
            .batch_execute(&format!(
                "select steep_repl.register_node('node_a', {}); select steep_repl.register_node('node_b', {}, is_local => true)",
                quote_literal(&there),
                quote_literal(&operated.pair.target.conninfo())
            ))
            .unwrap();
        operated
    }

    /// Where the scratch directory is, a superuser has said.
    fn session(&self) -> Client {
        let mut client = self.pair.session();
        let scratch = quote_literal(&self.scratch.display().to_string());
        client
            .batch_execute(&format!(
                "set steep_repl.scratch_directory = {scratch}; set session authorization {}",
                self.operator
            ))
            .unwrap();
        client
    }

    fn refused(&self, method: &str) -> Refusal {
        Refusal::of(&self.session().batch_execute(&init(method)).unwrap_err())
    }

    /// It ends SYNCHRONIZED under load, with the large table by this way.
    fn works(&self, method: &str) {
        let load = LoadOptions::default().keyed("large").keys(15_000).keyed("small").rate(100).start(&self.pair.source);
        self.session().batch_execute(&init(method)).unwrap_or_else(|error| panic!("{:?}", Refusal::of(&error)));
        self.ends_equal(load, method);
    }

    fn ends_equal(&self, load: steep_repl_testkit::WriteLoad, method: &str) {
        self.pair.expect_synchronized();
        shop::stop_later(load, &self.pair.source);
        assert_eq!(transports(&self.pair), [format!("{method} | 1"), "server | 1".to_owned()]);
        expect_equal(&self.pair);
        assert_eq!(std::fs::read_dir(&self.scratch).unwrap().count(), 0, "something is left of a backup");
    }
}

/// The arguments that `init_node` and `preflight` have in common.
fn arguments(method: &str) -> String {
    format!(
        "'node_b', 'node_a', method => 'snapshot', publication => 'chosen', large_table_threshold => '1MB', large_table_method => '{method}'"
    )
}

fn init(method: &str) -> String {
    format!("select steep_repl.init_node({})", arguments(method))
}

#[test]
fn by_pg_dump() {
    Operated::new("lrdump", true).works("pg_dump");
}

#[test]
fn by_base_backup() {
    Operated::new("lrback", true).works("basebackup");
}

/// Programs of the server are not everybody's, and no other way is taken silently.
#[test]
fn without_the_right_to_have_programs_run() {
    let operated = Operated::new("lrnone", false);
    let grant = format!("GRANT pg_execute_server_program TO {}", operated.operator);
    for method in ["pg_dump", "basebackup"] {
        let refusal = operated.refused(method).names(&[&grant, "programs of the server"]);
        assert_eq!(refusal.code, "42501", "{method}: {refusal:?}");
        let looked = format!(
            "select status, sqlstate from steep_repl.preflight({}) where check_name = 'large_tables'",
            arguments(method)
        );
        let rows = operated.session().query(&looked, &[]).unwrap();
        let seen: Vec<(String, Option<String>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(seen, [("error".to_owned(), Some("42501".to_owned()))], "{method}");
    }
    let mut client = operated.session();
    let elsewhere = client.batch_execute("set steep_repl.scratch_directory = '/'").unwrap_err();
    assert_eq!(elsewhere.code().map(|code| code.code()), Some("42501"));
    operated.pair.target.exec(&grant);
    operated.works("pg_dump");
}

/// What was taken away since the operation began is asked for by its name, and with it again the operation goes on.
#[test]
fn the_right_is_taken_away_meanwhile() {
    for (label, method) in [("lrtaken", "pg_dump"), ("lrtakenb", "basebackup")] {
        let operated = Operated::new(label, true);
        let pair = &operated.pair;
        let load = LoadOptions::default().keyed("large").keys(15_000).rate(50).start(&pair.source);
        let mut client = operated.session();
        client.batch_execute(&format!("begin; {}", init(method))).unwrap();
        pair.target.exec(&format!("revoke pg_execute_server_program from {}", operated.operator));
        client.batch_execute("commit").unwrap();
        let grant = format!("GRANT pg_execute_server_program TO {}", operated.operator);
        let refusal = Refusal::of(&midway::until_failed(pair)).names(&[&grant, "resume_init"]);
        assert_eq!(refusal.code, "42501", "{method}: {refusal:?}");
        pair.target.exec(&grant);
        client.batch_execute("select steep_repl.resume_init('node_b')").unwrap();
        operated.ends_equal(load, method);
    }
}

/// The role on the source lacks one thing after the other.
#[test]
fn without_a_right_on_the_source() {
    let operated = Operated::new("lrthere", true);
    for method in ["pg_dump", "basebackup"] {
        for (lack, words) in [
            ("alter role copier noreplication", ["copier", "REPLICATION"]),
            ("revoke pg_read_all_data from copier", ["SELECT on the tables", "public.large"]),
        ] {
            operated.pair.source.exec(lack);
            let refusal = operated.refused(method).names(&words);
            assert_eq!(refusal.code, "42501", "{method}, {lack}: {refusal:?}");
            operated.pair.source.exec(COPIER);
        }
    }
    assert_eq!(operated.pair.state(), "UNINITIALIZED");
    operated.works("basebackup");
}
