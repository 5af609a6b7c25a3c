//! `wait`: until a node's newest operation has ended.

use super::follow::{follow, operation, outcome, Followed, GOES_ON};
use super::Context;
use crate::failure::{Exit, Failure};
use crate::interrupt;
use std::time::{Duration, Instant};

/// Whoever gets an answer in time says more than that time is over.
const GRACE: Duration = Duration::from_secs(1);

pub fn run(context: &Context, node: &str, timeout: Option<Duration>) -> Result<(), Failure> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    if let Some(timeout) = timeout {
        let failure = Failure::new(Exit::Timeout, format!("nothing is known of the operation on node \"{node}\""));
        interrupt::end_after(
            timeout + GRACE,
            failure.detail("Its server did not answer within the time that was given."),
        );
    }
    let mut session = context.connector.node(node)?;
    let newest = operation(&mut session, node)?;
    let what = Followed { node, operation: newest.operation_id, deadline, may_cancel: false, otherwise: GOES_ON };
    let (_, ended) = follow(context, session, &what)?;
    if context.out.json {
        context.out.value(&ended)?;
        return outcome(&ended);
    }
    outcome(&ended)?;
    context.out.line(format!("Node {node} is {}.", ended.state))
}
