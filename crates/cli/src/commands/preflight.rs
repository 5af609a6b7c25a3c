//! `preflight`: what would stop an initialization.

use super::Context;
use crate::args::{How, LargeTableMethod, Method, NoIdentity, Preflight, SchemaSync};
use crate::failure::{Exit, Failure};
use crate::output::word;
use crate::rows::Check;
use crate::session::Session;

pub fn run(context: &Context, options: Preflight) -> Result<(), Failure> {
    let Some(source) = options.source.source else { return Err(Failure::usage("preflight needs --from")) };
    let how = options.how.or(&context.connector.config.initialization);
    let mut session = context.connector.node(&options.node)?;
    session.node(&source)?;
    let checks = check(&mut session, &options.node, &source, &how)?;
    show(context, &checks)?;
    verdict(&checks)
}

/// Runs the checks.
pub fn check(session: &mut Session, node: &str, source: &str, how: &How) -> Result<Vec<Check>, Failure> {
    session.require_function("preflight")?;
    session.rows(
        include_str!("../../sql/preflight.sql"),
        &[
            &node,
            &source,
            &how.method.map(Method::as_str),
            &how.schemas,
            &how.tables,
            &how.publication,
            &how.no_identity.map(NoIdentity::as_str),
            &how.force,
            &how.schema_sync.map(SchemaSync::as_str),
            &how.large_table_threshold,
            &how.large_table_method.map(LargeTableMethod::as_str),
        ],
    )
}

/// One line a check; what is wrong with its detail and hint below.
pub fn show(context: &Context, checks: &[Check]) -> Result<(), Failure> {
    if context.out.json {
        return context.out.value(&checks);
    }
    let mut grid = context.out.table(&["CHECK", "STATUS", "MESSAGE"]);
    for check in checks {
        let mut text = check.message.clone().unwrap_or_default();
        for (name, more) in [("", &check.detail), ("hint: ", &check.hint)] {
            if let Some(more) = more.as_ref().filter(|_| check.status != "ok") {
                text.push_str(&format!("\n{name}{more}"));
            }
        }
        grid.row(vec![check.check_name.as_str().into(), word(&check.status), text.into()]);
    }
    context.out.line(grid.text())
}

/// Exit code 7 when a check has found an error.
pub fn verdict(checks: &[Check]) -> Result<(), Failure> {
    let errors: Vec<&Check> = checks.iter().filter(|check| check.status == "error").collect();
    if errors.is_empty() {
        return Ok(());
    }
    let names = errors.iter().map(|check| check.check_name.as_str()).collect::<Vec<_>>().join(", ");
    Err(Failure::new(Exit::Preflight, format!("the node cannot be initialized: {names}")))
}
