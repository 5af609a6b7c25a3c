//! `--json` against docs/json.md: every field that is written is described, with its type, and the other way round.

use std::collections::BTreeMap;

use serde_json::Value;
use steep_repl_testkit::Pair;

use crate::steep::{at, ran, steep};

/// Fields of each section of the page: name to type.
type Page = BTreeMap<String, BTreeMap<String, String>>;

fn page() -> Page {
    let text = include_str!("../../../../docs/json.md");
    let mut page = Page::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.trim_start_matches("steep-repl ").to_owned();
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [name, kind, _] = cells[..] {
            if let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
                page.entry(section.clone()).or_default().insert(name.to_owned(), kind.to_owned());
            }
        }
    }
    page
}

fn is(value: &Value, kind: &str) -> bool {
    match kind.strip_suffix(" or null") {
        Some(kind) => value.is_null() || is(value, kind),
        None => match kind {
            "text" => value.is_string(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "list" => value.is_array(),
            "object" => value.is_object(),
            _ => panic!("docs/json.md has a type that is none: {kind}"),
        },
    }
}

#[track_caller]
fn agree(page: &Page, section: &str, value: &Value) {
    let fields = page.get(section).unwrap_or_else(|| panic!("docs/json.md does not have {section}"));
    let objects: Vec<&Value> = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
    assert!(!objects.is_empty(), "{section}: nothing to compare");
    for object in objects {
        let object = object.as_object().unwrap_or_else(|| panic!("{section}: {object}"));
        let (written, described): (Vec<&String>, Vec<&String>) = (
            object.keys().filter(|key| !fields.contains_key(*key)).collect(),
            fields.keys().filter(|key| !object.contains_key(*key)).collect(),
        );
        assert!(
            written.is_empty() && described.is_empty(),
            "{section}: not described {written:?}, not written {described:?}"
        );
        for (name, kind) in fields {
            assert!(is(&object[name], kind), "{section}: {name} is {}, not {kind}", object[name]);
        }
    }
}

#[test]
fn what_is_written_is_what_is_described() {
    let page = page();
    let pair = Pair::options("cli_json").proxied().build();
    pair.source.exec(
        "create table t (id int primary key, v int default 1); insert into t select i from generate_series(1, 5000) i",
    );
    let mut add = at(&pair, "nodes add node_a --json");
    add.arg(pair.source_conninfo());
    agree(&page, "nodes list", &ran(add).json());
    let mut add = at(&pair, "nodes add node_b --local --json");
    add.arg(pair.target.conninfo());
    ran(add).json();
    agree(&page, "nodes list", &steep(&pair, "nodes list --json").json());
    let folder = steep_repl_testkit::root::folder("cli_json");
    let name = steep_repl_testkit::quote_ident(pair.target.name());
    pair.target.exec(&format!("alter database {name} set steep_repl.snapshot_directory = '{}'", folder.display()));
    let generated = steep(&pair, "snapshot generate --source node_a --path one --json").json();
    agree(&page, "snapshot generate", &generated);
    agree(&page, "snapshot list", &steep(&pair, "snapshot list --json").json());
    let delete = format!("snapshot delete {} --yes --json", generated["id"].as_str().unwrap());
    agree(&page, "snapshot generate --detach", &steep(&pair, &delete).json());
    agree(&page, "schema plan", &steep(&pair, "schema plan node_b --from node_a --json").json());
    pair.target.copy_schema_from(&pair.source);
    agree(&page, "preflight", &steep(&pair, "preflight node_b --from node_a --json").json());
    agree(&page, "preflight", &steep(&pair, "init node_b --from node_a --dry-run --json").json());
    pair.proxy().throttle(50_000);
    agree(&page, "init --detach", &steep(&pair, "init node_b --from node_a --detach --json").json());
    agree(&page, "status", &steep(&pair, "status --json").json());
    agree(&page, "cancel", &steep(&pair, "cancel node_b --yes --json").json());
    pair.proxy().throttle(0);
    let ended = steep(&pair, "init node_b --from node_a --json").json();
    agree(&page, "init", &ended);
    agree(&page, "tables", &ended["tables"]);
    assert_eq!((&ended["status"], &ended["rows_done"]), (&Value::from("completed"), &Value::from(5000)));
    let lag = ended["lag_bytes"].as_i64().unwrap();
    assert!(lag <= 16 << 20, "synchronized, {lag} bytes behind");
    agree(&page, "wait", &steep(&pair, "wait node_b --json").json());
    let one = steep(&pair, "status node_b --json").json();
    agree(&page, "status NODE", &one);
    agree(&page, "progress", &one["progress"]);
    agree(&page, "tables", &one["tables"]);
    agree(&page, "events", &steep(&pair, "events --json").json());
    agree(&page, "schema compare", &steep(&pair, "schema compare node_a node_b --json").json());
    agree(&page, "schema capture", &steep(&pair, "schema capture node_b --json").json());
    let exported = steep(&pair, "schema export node_b --json").json();
    agree(&page, "schema export", &exported);
    agree(&page, "captured", &exported["tables"]);
    pair.target.exec("alter table t alter v set default 2");
    for (arguments, section) in
        [("schema diff node_a node_b t --json", "schema diff"), ("schema drift node_b --json", "schema drift")]
    {
        let ran = steep(&pair, arguments);
        assert_eq!(ran.code, 8, "{}", ran.stderr);
        agree(&page, section, &serde_json::from_str(&ran.stdout).unwrap());
    }
    agree(&page, "nodes remove", &steep(&pair, "nodes remove node_a --yes --json").json());
}
