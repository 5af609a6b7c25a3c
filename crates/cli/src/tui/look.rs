//! One look at one node: the queries, and what they give.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use postgres::types::ToSql;
use postgres::Client;
use serde::de::DeserializeOwned;
use serde::Deserialize;

use super::snapshot::{
    Contact, Event, Kept, NodeStatus, PhaseStart, Progress, Reading, Server, Statement, Subscription, Tables,
};
use crate::failure::{Exit, Failure};
use crate::rows::read;

const SERVER: &str = include_str!("../../sql/watch_server.sql");
const NODE: &str = include_str!("../../sql/watch_node.sql");
const EVENTS: &str = include_str!("../../sql/watch_events.sql");
const PHASES: &str = include_str!("../../sql/watch_phases.sql");
const SNAPSHOTS: &str = include_str!("../../sql/watch_snapshots.sql");
const TABLES: &str = include_str!("../../sql/watch_tables.sql");

/// Events that are kept of a node.
const MOST_EVENTS: usize = 500;
/// Numbers are given out before the transaction commits, so a smaller one may become visible later than a larger one.
const LATE_EVENTS: i64 = 64;
/// A query about tables is asked again only after so many times its duration, so that it costs the server little however many there are.
const TABLES_REST: u32 = 15;

/// What is kept from one look to the next, over one connection.
#[derive(Default)]
pub struct Looker {
    statements: BTreeMap<&'static str, postgres::Statement>,
    events: BTreeMap<i64, Arc<Event>>,
    events_shown: Arc<[Arc<Event>]>,
    tables: Option<Arc<Tables>>,
    phases: Vec<PhaseStart>,
    tables_due: Option<Instant>,
    /// Somebody looks at the tables.
    pub focused: bool,
}

/// What any server is asked.
#[derive(Deserialize)]
struct Asked {
    clock: Timestamp,
    #[serde(flatten)]
    server: Server,
}

/// How far this machine's clock is ahead of the server's, if that is worth speaking of. What is left of an operation is counted here, so
/// its times must be those of the clock here; events keep the server's, which its log has as well.
fn skew(server: Timestamp, here: Timestamp) -> SignedDuration {
    const NEGLIGIBLE: SignedDuration = SignedDuration::from_secs(2);
    let skew = here.duration_since(server);
    if skew.abs() < NEGLIGIBLE {
        SignedDuration::ZERO
    } else {
        skew
    }
}

impl Node {
    fn shift(&mut self, skew: SignedDuration) {
        let states = self.nodes.iter_mut().map(|node| &mut node.updated_at);
        let progress = self.progress.iter_mut().flat_map(|p| [&mut p.started_at, &mut p.updated_at, &mut p.eta]);
        for at in states.chain(progress).flatten() {
            *at = at.saturating_add(skew).unwrap_or(*at);
        }
    }
}

/// The part of a [`Reading`] that comes in one row.
#[derive(Deserialize)]
struct Node {
    nodes: Vec<NodeStatus>,
    progress: Option<Progress>,
    subscriptions: Vec<Subscription>,
    offers: Vec<String>,
}

/// Prepares a session for looking: it cannot change anything, does not wait for locks, and does not depend on the role's settings.
pub fn prepare(client: &mut Client) -> Result<(), Failure> {
    Ok(client.batch_execute(
        "SET default_transaction_read_only = on; SET statement_timeout = '15s'; SET lock_timeout = '5s'; \
         SET search_path = pg_catalog; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET jit = off",
    )?)
}

impl Looker {
    /// Looks at a node. The statements that were run come with it.
    ///
    /// # Errors
    /// What the server or the network says.
    pub fn look(&mut self, client: &mut Client) -> Result<(Contact, Vec<Statement>), Failure> {
        let mut run = Run { client, prepared: &mut self.statements, log: Vec::new() };
        let Asked { clock, server } = run.one(SERVER, &[])?;
        let skew = skew(clock, Timestamp::now());
        if server.extension.is_none() {
            let log = run.log;
            // Should the extension be made again, its numbers begin anew.
            *self = Looker { focused: self.focused, ..Looker::default() };
            return Ok((Contact::Source(server), log));
        }
        let mut node: Node = run.one(NODE, &[])?;
        node.shift(skew);
        let (after, known) = known_events(&self.events);
        let found: Vec<Event> = run.all(EVENTS, &[&after, &known], &[after.to_string(), array(&known)])?;
        let before = self.events.len();
        self.events.extend(found.into_iter().map(|event| (event.id, Arc::new(event))));
        if self.events.len() != before {
            while self.events.len() > MOST_EVENTS {
                self.events.pop_first();
            }
            self.events_shown = self.events.values().cloned().collect();
        }
        let operation = node.progress.as_ref().map(|progress| progress.operation_id);
        if let Some(operation) = operation.filter(|_| self.focused) {
            let same = self.tables.as_ref().is_some_and(|tables| tables.operation_id == operation);
            if !same || self.tables_due.is_none_or(|due| Instant::now() >= due) {
                let began = Instant::now();
                self.tables = Some(Arc::new(run.one(TABLES, &[operation])?));
                self.phases = run.all(PHASES, &[&operation], &[operation.to_string()])?;
                self.phases.iter_mut().for_each(|phase| phase.at = phase.at.saturating_add(skew).unwrap_or(phase.at));
                self.tables_due = Some(Instant::now() + began.elapsed() * TABLES_REST);
            }
        } else {
            // When somebody looks again it may be at another operation.
            self.tables = None;
            self.phases.clear();
        }
        let kept: Vec<Kept> =
            if node.offers.iter().any(|name| name == "snapshots") { run.all(SNAPSHOTS, &[], &[])? } else { Vec::new() };
        let log = run.log;
        let Node { nodes, progress, subscriptions, offers } = node;
        let (phases, tables, events) = (self.phases.clone(), self.tables.clone(), Arc::clone(&self.events_shown));
        let reading = Reading { nodes, progress, phases, subscriptions, offers, kept, tables, events };
        Ok((Contact::Node(server, Arc::new(reading)), log))
    }
}

/// Events after which it is asked for newer ones, and those among the newer ones that are there already. Most looks find nothing.
fn known_events(events: &BTreeMap<i64, Arc<Event>>) -> (i64, Vec<i64>) {
    let after = events.keys().next_back().map_or(-1, |newest| newest.saturating_sub(LATE_EVENTS));
    (after, events.range(after.saturating_add(1)..).map(|(id, _)| *id).collect())
}

/// Numbers as PostgreSQL writes an array of them.
fn array(numbers: &[i64]) -> String {
    format!("'{{{}}}'", numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
}

/// Statements of one look.
struct Run<'a> {
    client: &'a mut Client,
    prepared: &'a mut BTreeMap<&'static str, postgres::Statement>,
    log: Vec<Statement>,
}

impl Run<'_> {
    fn one<T: DeserializeOwned>(&mut self, sql: &'static str, numbers: &[i64]) -> Result<T, Failure> {
        let parameters: Vec<&(dyn ToSql + Sync)> = numbers.iter().map(|n| n as &(dyn ToSql + Sync)).collect();
        let shown: Vec<String> = numbers.iter().map(i64::to_string).collect();
        let mut rows = self.all(sql, &parameters, &shown)?;
        rows.pop().ok_or_else(|| Failure::new(Exit::Failed, "the server has given no row"))
    }

    fn all<T: DeserializeOwned>(
        &mut self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
        shown: &[String],
    ) -> Result<Vec<T>, Failure> {
        let at = Timestamp::now();
        let began = Instant::now();
        let statement = match self.prepared.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.client.prepare(sql)?;
                self.prepared.insert(sql, statement.clone());
                statement
            }
        };
        let rows = self.client.query(&statement, parameters)?;
        let micros = Some(micros(began.elapsed()));
        let outcome = crate::words::rows(rows.len());
        let sql = shown
            .iter()
            .enumerate()
            .fold(sql.to_owned(), |text, (n, value)| text.replace(&format!("${}", n + 1), value));
        self.log.push(Statement { at, sql, micros, outcome });
        rows.iter().map(|row| read(row.try_get(0)?)).collect()
    }
}

/// How long it took.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_apart_from_answers_that_take_a_moment() {
        let here: Timestamp = "2026-03-01T03:00:00Z".parse().unwrap();
        assert_eq!(skew(here - SignedDuration::from_millis(1_500), here), SignedDuration::ZERO);
        assert_eq!(skew(here + SignedDuration::from_secs(3_600), here), SignedDuration::from_secs(-3_600));
        let progress = Progress { eta: Some(here), ..Progress::default() };
        let mut node =
            Node { nodes: Vec::new(), progress: Some(progress), subscriptions: Vec::new(), offers: Vec::new() };
        node.shift(SignedDuration::from_secs(60));
        assert_eq!(node.progress.unwrap().eta, Some(here + SignedDuration::from_secs(60)));
    }

    #[test]
    fn events_that_are_known_are_not_asked_for_again() {
        let event: Event =
            read(r#"{"id": 1, "at": "2026-03-01T03:00:00Z", "event": "e", "severity": "info"}"#).unwrap();
        let known = |ids: &[i64]| known_events(&ids.iter().map(|id| (*id, Arc::new(event.clone()))).collect());
        assert_eq!(known(&[]), (-1, vec![]));
        assert_eq!(known(&[1, 2]), (2 - LATE_EVENTS, vec![1, 2]));
        assert_eq!(known(&[100, 200, 203, 210]), (210 - LATE_EVENTS, vec![200, 203, 210]));
        assert_eq!(array(&[200, 203]), "'{200,203}'");
    }

    #[test]
    fn rows_are_read_as_the_server_gives_them() {
        let row = r#"{"id": 3, "at": "2026-03-01T03:00:00.25+02:00", "event": "init.started", "severity": "info", "operation_id": null,
            "node": "b", "table_name": null, "message": null, "hint": null}"#;
        let event: Event = read(row).unwrap();
        assert_eq!(event.at, "2026-03-01T01:00:00.25Z".parse().unwrap());
        // A later version may say more.
        let status: NodeStatus =
            read(r#"{"node": "b", "is_local": true, "state": "COPYING", "health": "ok", "mood": "fine"}"#).unwrap();
        assert_eq!((status.node.as_str(), status.source), ("b", None));
        assert!(read::<NodeStatus>("[1]").unwrap_err().message.contains("could not be understood"));
    }
}
