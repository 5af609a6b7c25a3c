//! Calls of functions: each over a connection of its own, so that neither the screen nor a reader waits for one that takes long, and each can be
//! cancelled.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;
use jiff::Timestamp;
use postgres::error::DbError;
use postgres::types::ToSql;
use postgres::GenericClient;

use super::call::{Call, Gives, Value};
use super::look::micros;
use super::message::{Answer, Message, Ticket};
use super::snapshot::Statement;
use crate::connect::{self, Prompt};
use crate::conninfo::Conninfo;
use crate::failure::{Exit, Failure};
use crate::rows::read;
use crate::session::for_operation;

/// A call that is under way.
struct Underway {
    conninfo: Conninfo,
    given_up: AtomicBool,
    /// Process of the server that runs it; 0 before there is one and after it has ended.
    pid: AtomicI32,
}

/// Calls that are under way.
pub struct Caller {
    answers: Sender<Message>,
    underway: BTreeMap<Ticket, Arc<Underway>>,
}

impl Caller {
    /// Answers go there.
    pub fn new(answers: Sender<Message>) -> Caller {
        Caller { answers, underway: BTreeMap::new() }
    }

    /// Makes a call.
    pub fn run(&mut self, ticket: Ticket, conninfo: Result<Conninfo, Failure>, call: Call) {
        self.underway.retain(|_, call| Arc::strong_count(call) > 1);
        let (at, began) = (Timestamp::now(), Instant::now());
        let (sql, answers) = (call.shown(), self.answers.clone());
        let over = move |result: Result<Answer, Failure>| {
            let micros = Some(micros(began.elapsed()));
            let (answer, outcome) = match result {
                Ok(answer) => {
                    let outcome = outcome(&answer);
                    (answer, outcome)
                }
                Err(failure) => {
                    let outcome = format!("error: {}", failure.message);
                    (Answer::Failed(failure.into()), outcome)
                }
            };
            // The other end is gone when everything ends.
            let _ = answers.send(Message::Answered(ticket, Box::new(answer), Statement { at, sql, micros, outcome }));
        };
        let conninfo = match conninfo {
            Ok(conninfo) => conninfo,
            Err(failure) => return over(Err(failure)),
        };
        let underway = Arc::new(Underway { conninfo, given_up: AtomicBool::new(false), pid: AtomicI32::new(0) });
        self.underway.insert(ticket, Arc::clone(&underway));
        let over_before_it_began = over.clone();
        let started = std::thread::Builder::new().name(format!("call {ticket}")).spawn(move || {
            let result = perform(&underway, &call);
            underway.pid.store(0, Ordering::SeqCst);
            over(result);
        });
        if let Err(error) = started {
            let failure = Failure::new(Exit::Failed, "could not start a thread").detail(error.to_string());
            over_before_it_began(Err(failure));
        }
    }

    /// Cancels the statement of a call.
    pub fn abandon(&mut self, ticket: Ticket) {
        let Some(call) = self.underway.remove(&ticket) else { return };
        call.given_up.store(true, Ordering::SeqCst);
        let _ = std::thread::Builder::new().name(format!("cancels {ticket}")).spawn(move || {
            let pid = call.pid.load(Ordering::SeqCst);
            if pid == 0 {
                return;
            }
            // The user's own process: he may cancel it. Should this fail, the answer is not waited for all the same.
            if let Ok(mut client) = connect::open(&call.conninfo, Prompt::Never) {
                if call.pid.load(Ordering::SeqCst) == pid {
                    let _ = client.execute("SELECT pg_catalog.pg_cancel_backend($1)", &[&pid]);
                }
            }
        });
    }
}

fn outcome(answer: &Answer) -> String {
    match answer {
        Answer::Done { value, warnings } => {
            let value = if value.is_empty() { "done" } else { value };
            [value].into_iter().chain(warnings.iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
        }
        Answer::Findings(found) => crate::words::rows(found.len()),
        Answer::Tables(found) => crate::words::rows(found.len()),
        Answer::Compared(found) => crate::words::rows(found.len()),
        Answer::Differences(found) => crate::words::rows(found.len()),
        Answer::Failed(trouble) => trouble.message.clone(),
    }
}

fn perform(underway: &Underway, call: &Call) -> Result<Answer, Failure> {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let hearing = {
        let heard = Arc::clone(&heard);
        Arc::new(move |notice: DbError| {
            if notice.severity() == "WARNING" {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(notice.message().to_owned());
            }
        })
    };
    let mut client = connect::open_hearing(&underway.conninfo, Prompt::Never, hearing)?;
    client.batch_execute("SET statement_timeout = 0; SET datestyle = 'ISO'")?;
    let pid: i32 = client.query_one("SELECT pg_catalog.pg_backend_pid()", &[])?.try_get(0)?;
    underway.pid.store(pid, Ordering::SeqCst);
    if underway.given_up.load(Ordering::SeqCst) {
        return Err(Failure::new(Exit::Cancelled, "given up before it began"));
    }
    let mut answer = match &call.only {
        None => ask(&mut client, call)?,
        Some((node, operation)) => for_operation(&mut client, node, *operation, |client| ask(client, call))?,
    };
    if let Answer::Done { warnings, .. } = &mut answer {
        *warnings = std::mem::take(&mut heard.lock().unwrap_or_else(PoisonError::into_inner));
    }
    Ok(answer)
}

fn ask(client: &mut impl GenericClient, call: &Call) -> Result<Answer, Failure> {
    let (sql, values) = call.statement();
    let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| bound(value)).collect();
    let rows = client.query(&sql, &parameters)?;
    let texts: Result<Vec<Option<String>>, postgres::Error> = rows.iter().map(|row| row.try_get(0)).collect();
    let texts: Vec<String> = texts?.into_iter().map(Option::unwrap_or_default).collect();
    fn all<T: serde::de::DeserializeOwned>(texts: &[String]) -> Result<Vec<T>, Failure> {
        texts.iter().map(|text| read(text)).collect()
    }
    Ok(match call.gives {
        Gives::Value => Answer::Done { value: texts.into_iter().next().unwrap_or_default(), warnings: Vec::new() },
        Gives::Findings => Answer::Findings(all(&texts)?),
        Gives::Tables => Answer::Tables(texts),
        Gives::Compared => Answer::Compared(all(&texts)?),
        Gives::Differences => Answer::Differences(all(&texts)?),
    })
}

fn bound(value: &Value) -> &(dyn ToSql + Sync) {
    match value {
        Value::Text(text) => text,
        Value::Number(n) => n,
        Value::Truth(truth) => truth,
        Value::Names(names) => names,
    }
}
