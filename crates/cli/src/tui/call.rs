//! Calls of the extension's functions, each as a user of psql would write it.

use crate::words::literal;

/// A value of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i32),
    /// True or false.
    Truth(bool),
    /// Names of tables.
    Names(Vec<String>),
}

impl Value {
    fn shown(&self) -> String {
        match self {
            Value::Text(text) => literal(text),
            Value::Number(n) => n.to_string(),
            Value::Truth(truth) => truth.to_string(),
            Value::Names(names) => {
                format!("array[{}]", names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// What kind of answer a function gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// One value, or nothing.
    Value,
    /// Rows of `preflight`.
    Findings,
    /// Rows with `table_schema` and `table_name`.
    Tables,
    /// Rows of `compare_schemas`.
    Compared,
    /// Rows of `schema_diff`.
    Differences,
}

/// A call of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Name of the function in schema `steep_repl`.
    pub function: &'static str,
    /// Arguments without a name.
    pub plain: Vec<Value>,
    /// Arguments with one.
    pub named: Vec<(&'static str, Value)>,
    /// What comes back.
    pub gives: Gives,
    /// The node and its operation that are meant: the call is taken back when that is no longer the newest one.
    pub only: Option<(String, i64)>,
}

impl Call {
    /// A function that takes the name of a node and does something to it.
    pub fn on_node(function: &'static str, node: &str) -> Call {
        Call::new(function, vec![Value::Text(node.to_owned())], Gives::Value)
    }

    /// A function that does something to the newest operation of a node, meant for this one alone.
    pub fn on_operation(function: &'static str, node: &str, operation: i64) -> Call {
        Call { only: Some((node.to_owned(), operation)), ..Call::on_node(function, node) }
    }

    /// A function with arguments that have no name.
    pub fn new(function: &'static str, plain: Vec<Value>, gives: Gives) -> Call {
        Call { function, plain, named: Vec::new(), gives, only: None }
    }

    /// Which tables of the source are not replicated.
    pub fn not_subscribed(node: &str) -> Call {
        Call { gives: Gives::Tables, ..Call::on_node("tables_not_subscribed", node) }
    }

    /// Two nodes, table by table.
    pub fn compare(a: &str, b: &str) -> Call {
        Call::new("compare_schemas", [a, b].map(|text| Value::Text(text.to_owned())).to_vec(), Gives::Compared)
    }

    /// One table of two nodes.
    pub fn diff(a: &str, b: &str, table: &str) -> Call {
        let plain = [a, b, table].map(|text| Value::Text(text.to_owned())).to_vec();
        Call::new("schema_diff", plain, Gives::Differences)
    }

    /// The statement with parameters, and their values.
    pub fn statement(&self) -> (String, Vec<&Value>) {
        let mut values = Vec::new();
        let arguments = self.arguments(&mut |value| {
            values.push(value);
            format!("${}", values.len())
        });
        let sql = match self.gives {
            Gives::Value => format!("select steep_repl.{}({arguments})::text", self.function),
            Gives::Tables => {
                format!("select pg_catalog.format('%I.%I', r.table_schema, r.table_name) from steep_repl.{}({arguments}) r", self.function)
            }
            Gives::Compared => format!(
                "select pg_catalog.jsonb_build_object('name', pg_catalog.format('%I.%I', r.table_schema, r.table_name), 'status', r.status, \
                 'difference', r.difference)::text from steep_repl.{}({arguments}) r",
                self.function
            ),
            Gives::Findings | Gives::Differences => {
                format!("select pg_catalog.to_jsonb(r)::text from steep_repl.{}({arguments}) r", self.function)
            }
        };
        (sql, values)
    }

    /// The statement as one would type it.
    pub fn shown(&self) -> String {
        let arguments = self.arguments(&mut |value| value.shown());
        let columns = if self.gives == Gives::Value { "" } else { "* from " };
        let call = format!("select {columns}steep_repl.{}({arguments});", self.function);
        match &self.only {
            None => call,
            Some((_, operation)) => format!("begin; {call} commit; -- rollback unless it was operation {operation}"),
        }
    }

    fn arguments<'a>(&'a self, write: &mut dyn FnMut(&'a Value) -> String) -> String {
        let mut arguments: Vec<String> = self.plain.iter().map(&mut *write).collect();
        for (name, value) in &self.named {
            arguments.push(format!("{name} => {}", write(value)));
        }
        arguments.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bound_when_it_runs_and_written_out_when_it_is_shown() {
        let mut call = Call::on_node("init_node", "o'brien");
        call.named.push(("parallel_workers", Value::Number(4)));
        call.named.push(("tables", Value::Names(vec!["a".into(), "b".into()])));
        let (sql, values) = call.statement();
        assert_eq!(sql, "select steep_repl.init_node($1, parallel_workers => $2, tables => $3)::text");
        assert_eq!(values.len(), 3);
        assert_eq!(
            call.shown(),
            "select steep_repl.init_node('o''brien', parallel_workers => 4, tables => array['a', 'b']);"
        );
        assert_eq!(
            Call::on_operation("cancel_init", "b", 7).shown(),
            "begin; select steep_repl.cancel_init('b'); commit; -- rollback unless it was operation 7"
        );
        assert_eq!(Call::compare("a", "b").shown(), "select * from steep_repl.compare_schemas('a', 'b');");
    }
}
