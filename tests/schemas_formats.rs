//! How a session writes names and values, by its own settings, its role's or its database's, is no part of what a table is.

use steep_repl_testkit::{quote_ident, shared, Pair};

use crate::schemas_majors::TABLES;

/// Each changes how the server writes some constant of a default.
const SETTINGS: [(&str, &str); 9] = [
    ("timezone", "'Asia/Kathmandu'"),
    ("datestyle", "'SQL, DMY'"),
    ("intervalstyle", "'sql_standard'"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "'escape'"),
    ("standard_conforming_strings", "off"),
    ("search_path", "shop, \"Odd Schema\""),
    ("quote_all_identifiers", "on"),
    ("client_encoding", "'LATIN1'"),
];

const DIFFERING: &str = "select format('%s.%s %s%s', table_schema, table_name, status, ': ' || difference)
    from steep_repl.compare_schemas('node_a', 'node_b') where fingerprint_a is distinct from fingerprint_b";

#[test]
fn settings_of_the_asking_session() {
    let pair = Pair::new("formats_session");
    pair.source.exec(TABLES);
    pair.target.exec(TABLES);
    pair.register();
    assert_eq!(pair.target.rows(DIFFERING), [""; 0]);
    pair.target.exec("select steep_repl.capture_fingerprints()");
    let moments = "select steep_repl.schema_fingerprint('shop', 'moments')";
    let fingerprint: String = pair.target.scalar(moments);
    for (setting, value) in SETTINGS {
        let mut session = pair.target.connect();
        let set = format!("set {setting} = {value}");
        session.batch_execute(&set).unwrap();
        assert_eq!(session.query_one(moments, &[]).unwrap().get::<_, String>(0), fingerprint, "{set}");
        for view in [DIFFERING, "select table_name || ': ' || coalesce(difference, '') from steep_repl.schema_drift"] {
            let rows = session.query(view, &[]).unwrap();
            let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            assert_eq!(rows, [""; 0], "{set}");
        }
    }
}

#[test]
fn settings_of_the_databases() {
    for (label, source) in [("formats", shared::source()), ("formats15", shared::old_source())] {
        let pair = Pair::options(label).source(source).build();
        pair.source.exec(TABLES);
        pair.target.exec(TABLES);
        pair.register();
        let usual = pair.target.rows(DIFFERING);
        for db in [&pair.source, &pair.target] {
            for (setting, value) in SETTINGS {
                let name = quote_ident(db.name());
                db.exec(&format!("alter database {name} set {setting} = {value}"));
                assert_eq!(pair.target.rows(DIFFERING), usual, "{setting} of {}", db.name());
                db.exec(&format!("alter database {name} reset {setting}"));
            }
        }
    }
}
