//! Every row of every table, on both sides.
//!
//! First each side streams its rows and adds up a 128-bit hash per row, in any order: little memory, no sort. Only tables whose
//! sums differ are read again, sorted, to name the rows. Columns go by name, since their order may differ; generated columns
//! are compared like others.

use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::io::BufRead;

use postgres::Client;

use crate::database::{describe, quote_ident, Db};

/// The rows that a difference names at most.
const SHOWN_ROWS: usize = 3;
const SHOWN_CHARS: usize = 500;

/// Which tables to compare.
#[derive(Clone, Debug)]
pub enum Tables {
    /// Every permanent table and partition of the source outside system schemas, the extension's schema and other extensions.
    All,
    /// These, by schema and name.
    Only(Vec<(String, String)>),
    /// All but these.
    Except(Vec<(String, String)>),
}

impl Tables {
    /// Tables of schema public.
    pub fn only(names: &[&str]) -> Tables {
        Tables::Only(names.iter().map(|name| ("public".to_string(), name.to_string())).collect())
    }

    /// All but these of schema public.
    pub fn except(names: &[&str]) -> Tables {
        Tables::Except(names.iter().map(|name| ("public".to_string(), name.to_string())).collect())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    hash: u128,
}

/// Compares the tables; the error says for each differing table how many rows differ and which the first are.
pub fn compare(source: &Db, target: &Db, tables: &Tables) -> Result<(), String> {
    let mut differences = Vec::new();
    for (schema, name) in chosen(source, tables) {
        let table = format!("{}.{}", quote_ident(&schema), quote_ident(&name));
        let query = select_list(source, &schema, &name);
        let (left, right) = both(source, target, |db| sum(&mut session(db)?, &query));
        match (left, right) {
            (Ok(left), Ok(right)) if left == right => {}
            (Ok(left), Ok(right)) => {
                let rows = format!("{} rows at the source, {} at the target", left.rows, right.rows);
                differences.push(format!("{table}: {rows}\n{}", name_rows(source, target, &query)));
            }
            (left, right) => differences.push(format!("{table}: source {left:?}, target {right:?}")),
        }
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(format!("{} and {} differ:\n{}", source.name(), target.name(), differences.join("\n")))
    }
}

/// Compares value and is_called of every sequence of the source.
pub fn compare_sequences(source: &Db, target: &Db) -> Result<(), String> {
    let list = "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where c.relkind = 'S' and c.relpersistence = 'p' and n.nspname !~ '^(pg_|information_schema$|steep_repl$)' order by 1, 2";
    let mut differences = Vec::new();
    for (schema, name) in pairs(source, list) {
        let query = format!("select last_value, is_called from {}.{}", quote_ident(&schema), quote_ident(&name));
        let (left, right) = (source.rows(&query), target.rows(&query));
        if left != right {
            differences.push(format!("sequence {schema}.{name}: {left:?} at the source, {right:?} at the target"));
        }
    }
    differences.is_empty().then_some(()).ok_or_else(|| differences.join("\n"))
}

fn pairs(db: &Db, sql: &str) -> Vec<(String, String)> {
    match db.connect().query(sql, &[]) {
        Ok(rows) => rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
        Err(error) => panic!("{}\nquery: {sql}", describe(&error)),
    }
}

fn chosen(source: &Db, tables: &Tables) -> Vec<(String, String)> {
    let all = "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^(pg_|information_schema$|steep_repl$)'
               and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
               order by 1, 2";
    match tables {
        Tables::All => pairs(source, all),
        Tables::Only(names) => names.clone(),
        Tables::Except(names) => pairs(source, all).into_iter().filter(|table| !names.contains(table)).collect(),
    }
}

/// The source's columns, by name.
fn select_list(source: &Db, schema: &str, name: &str) -> String {
    let sql = format!(
        "select attname::text, ''::text from pg_attribute where attrelid = {}::regclass and attnum > 0 and not attisdropped
         order by attname collate \"C\"",
        crate::quote_literal(&format!("{}.{}", quote_ident(schema), quote_ident(name)))
    );
    let columns: Vec<String> = pairs(source, &sql).iter().map(|(column, _)| quote_ident(column)).collect();
    format!("select {} from only {}.{}", columns.join(", "), quote_ident(schema), quote_ident(name))
}

/// The same text for the same value on both sides, whatever the databases and roles are set to.
fn session(db: &Db) -> Result<Client, String> {
    let mut client = db.connect();
    let settings = "set client_encoding = 'UTF8'; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres';
        set timezone = 'UTC'; set extra_float_digits = 3; set bytea_output = 'hex'; set lc_monetary = 'C'; set search_path = '';
        set row_security = off; set quote_all_identifiers = off; set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0;
        set default_transaction_isolation = 'read committed'; set standard_conforming_strings = on";
    client.batch_execute(settings).map_err(|error| describe(&error))?;
    Ok(client)
}

fn both<T: Send>(source: &Db, target: &Db, work: impl Fn(&Db) -> T + Sync) -> (T, T) {
    std::thread::scope(|scope| {
        let right = scope.spawn(|| work(target));
        let left = work(source);
        match right.join() {
            Ok(right) => (left, right),
            Err(_) => panic!("reading {} panicked", target.name()),
        }
    })
}

fn for_each_row(client: &mut Client, query: &str, mut work: impl FnMut(&[u8]) -> bool) -> Result<(), String> {
    let copy = format!("copy ({query}) to stdout");
    let mut reader = client.copy_out(&copy).map_err(|error| describe(&error))?;
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) if work(&line) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(format!("{copy}: {error}")),
        }
    }
}

fn sum(client: &mut Client, query: &str) -> Result<Sum, String> {
    let mut sum = Sum::default();
    for_each_row(client, query, |line| {
        sum.rows += 1;
        sum.hash = sum.hash.wrapping_add(hash(line));
        true
    })?;
    Ok(sum)
}

fn hash(line: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(line);
        u128::from(hasher.finish())
    };
    (half(1) << 64) | half(2)
}

/// Reads both sides once more, sorted, and names the first rows that only one side has.
fn name_rows(source: &Db, target: &Db, query: &str) -> String {
    // Sorting is by bytes of the row as text in UTF-8, which both servers agree on.
    let sorted = |db: &Db| -> Result<Vec<String>, String> {
        let mut rows = Vec::new();
        for_each_row(&mut session(db)?, query, |line| {
            rows.push(String::from_utf8_lossy(line).trim_end_matches('\n').to_string());
            true
        })?;
        rows.sort_unstable();
        Ok(rows)
    };
    match both(source, target, sorted) {
        (Ok(left), Ok(right)) => {
            let (missing, extra) = merge(&left, &right);
            [report("missing at the target", &missing), report("only at the target", &extra)].concat()
        }
        (left, right) => format!("  cannot name the rows: {:?} {:?}\n", left.err(), right.err()),
    }
}

fn merge<'a>(left: &'a [String], right: &'a [String]) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut i, mut j) = (0, 0);
    let (mut missing, mut extra) = (Vec::new(), Vec::new());
    while i < left.len() || j < right.len() {
        let order = match (left.get(i), right.get(j)) {
            (Some(one), Some(other)) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        if order == Ordering::Less {
            missing.push(left[i].as_str());
        } else if order == Ordering::Greater {
            extra.push(right[j].as_str());
        }
        i += usize::from(order != Ordering::Greater);
        j += usize::from(order != Ordering::Less);
    }
    (missing, extra)
}

fn report(what: &str, rows: &[&str]) -> String {
    let show = |row: &&str| format!("    {}\n", row.chars().take(SHOWN_CHARS).collect::<String>());
    match rows.len() {
        0 => String::new(),
        count => format!("  {count} {what}, such as\n{}", rows.iter().take(SHOWN_ROWS).map(show).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::merge;

    fn texts(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| item.to_string()).collect()
    }

    #[test]
    fn merge_counts_duplicates() {
        let (left, right) = (texts(&["a", "b", "b", "d"]), texts(&["a", "b", "c", "d", "d"]));
        assert_eq!(merge(&left, &right), (vec!["b"], vec!["c", "d"]));
        assert_eq!(merge(&left, &left), (vec![], vec![]));
        assert_eq!(merge(&left, &[]).0.len(), 4);
    }
}
