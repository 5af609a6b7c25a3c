use super::*;
use crate::schema_diff::Change;

fn entry(id: i32, desc: &str, name: &str, depends_on: &[i32]) -> Entry {
    let (schema, tag) = name.split_once('.').unwrap_or(("", name));
    Entry {
        id,
        class: 1259,
        oid: 20_000 + id as u32,
        tag: tag.to_owned(),
        desc: desc.to_owned(),
        definition: format!("MAKE {desc} {name};\n"),
        drop: if matches!(desc, "ACL" | "COMMENT" | "TABLE ATTACH") {
            String::new()
        } else {
            format!("DROP {desc} {name};\n")
        },
        schema: schema.to_owned(),
        access_method: String::new(),
        relkind: '\0',
        owner: if is_relation_like(desc) { "shop".to_owned() } else { String::new() },
        depends_on: depends_on.to_vec(),
    }
}

fn is_relation_like(desc: &str) -> bool {
    matches!(desc, "TABLE" | "VIEW" | "SEQUENCE" | "TYPE" | "FUNCTION")
}

/// A shop: a type, two tables with what belongs to them, and a view.
fn shop() -> Vec<Entry> {
    vec![
        entry(1, "ENCODING", "ENCODING", &[]),
        entry(2, "SCHEMA", "s", &[]),
        entry(3, "TYPE", "s.mood", &[]),
        entry(4, "FUNCTION", "s.check(integer)", &[]),
        entry(5, "TABLE", "s.customers", &[3]),
        entry(6, "TABLE", "s.orders", &[4]),
        entry(7, "SEQUENCE", "s.orders_id_seq", &[]),
        entry(8, "SEQUENCE OWNED BY", "s.orders_id_seq", &[7, 6]),
        entry(9, "DEFAULT", "s.orders id", &[7, 6]),
        entry(10, "VIEW", "s.open_orders", &[6]),
        entry(11, "CONSTRAINT", "s.customers customers_pkey", &[5]),
        entry(12, "INDEX", "s.orders_at", &[6]),
        entry(13, "FK CONSTRAINT", "s.orders orders_customer_fkey", &[6, 11, 5]),
        entry(14, "EVENT TRIGGER", "watch", &[4]),
        entry(15, "ACL", "TABLE orders", &[6]),
        entry(16, "COMMENT", "TABLE customers", &[5]),
    ]
}

fn input(entries: &[Entry]) -> Input<'_> {
    Input {
        entries,
        wanted: Wanted::All,
        existing: HashSet::new(),
        privileges: HashMap::from([(
            15,
            vec![
                Statement { text: "GRANT SELECT TO app;".to_owned(), roles: vec!["app".to_owned()] },
                Statement { text: "GRANT SELECT TO gone;".to_owned(), roles: vec!["gone".to_owned()] },
            ],
        )]),
        roles_needed: HashMap::new(),
        altered: Vec::new(),
        enums: Vec::new(),
        roles: HashMap::from([("shop".to_owned(), true), ("app".to_owned(), false)]),
        untouched_schemas: HashMap::new(),
    }
}

fn statements(plan: &Plan) -> Vec<&str> {
    plan.to_do().flat_map(|step| &step.statements).map(String::as_str).collect()
}

#[test]
fn an_empty_target_gets_everything_in_the_order_of_the_dump_and_privileges_last() {
    let entries = shop();
    let plan = plan(&input(&entries));
    assert_eq!(
        statements(&plan),
        [
            "MAKE SCHEMA s;",
            "MAKE TYPE s.mood;",
            "ALTER TYPE \"s\".\"mood\" OWNER TO \"shop\";",
            "MAKE FUNCTION s.check(integer);",
            "ALTER FUNCTION s.check(integer) OWNER TO \"shop\";",
            "MAKE TABLE s.customers;",
            "ALTER TABLE \"s\".\"customers\" OWNER TO \"shop\";",
            "MAKE TABLE s.orders;",
            "ALTER TABLE \"s\".\"orders\" OWNER TO \"shop\";",
            "MAKE SEQUENCE s.orders_id_seq;",
            "ALTER SEQUENCE \"s\".\"orders_id_seq\" OWNER TO \"shop\";",
            "MAKE SEQUENCE OWNED BY s.orders_id_seq;",
            "MAKE DEFAULT s.orders id;",
            "MAKE VIEW s.open_orders;",
            "ALTER VIEW \"s\".\"open_orders\" OWNER TO \"shop\";",
            "MAKE CONSTRAINT s.customers customers_pkey;",
            "MAKE INDEX s.orders_at;",
            "MAKE FK CONSTRAINT s.orders orders_customer_fkey;",
            "MAKE COMMENT TABLE customers;",
            "GRANT SELECT TO app;",
        ]
    );
    assert_eq!(plan.left_out(), ["event trigger watch"]);
    assert_eq!(plan.missing_roles, BTreeSet::from(["gone".to_owned()]));
    let undo: Vec<&str> = plan.steps.iter().rev().flat_map(|step| &step.undo).map(String::as_str).collect();
    assert_eq!(
        undo,
        [
            "DROP FK CONSTRAINT s.orders orders_customer_fkey;",
            "DROP VIEW s.open_orders;",
            "DROP TABLE s.orders;",
            "DROP TABLE s.customers;",
            "DROP FUNCTION s.check(integer);",
            "DROP TYPE s.mood;",
            "DROP SCHEMA s;",
        ]
    );
}

#[test]
fn what_is_there_stays_as_it_is_and_gets_what_it_lacks() {
    let entries = shop();
    let mut input = input(&entries);
    input.existing = HashSet::from([2, 3, 4, 5, 6, 7, 10, 11]);
    assert_eq!(
        statements(&plan(&input)),
        ["MAKE INDEX s.orders_at;", "MAKE FK CONSTRAINT s.orders orders_customer_fkey;"]
    );
}

#[test]
fn sequences_are_made_before_tables_are_altered_and_tables_before_what_looks_at_them() {
    // The name of one comes before that of the table, which pg_dump goes by.
    let mut entries = shop();
    entries.insert(4, entry(17, "SEQUENCE", "s.a_counter", &[]));
    let mut input = input(&entries);
    input.existing = HashSet::from([2, 3, 4, 5, 6, 11]);
    let one = |ddl: &str| Difference {
        kind: "column",
        name: "id".to_owned(),
        change: Change::Missing,
        a: None,
        b: None,
        ddl: Some(ddl.to_owned()),
        is_mismatch: true,
    };
    input.altered = vec![Altered {
        schema: "s".to_owned(),
        name: "orders".to_owned(),
        differences: vec![one("ADD id")],
        reverse: vec![Difference { change: Change::Extra, ..one("DROP id") }],
        lost: vec!["MAKE INDEX AGAIN".to_owned()],
        is_restored: false,
    }];
    let plan = plan(&input);
    assert_eq!(
        statements(&plan)[..7],
        [
            "MAKE SEQUENCE s.a_counter;",
            "ALTER SEQUENCE \"s\".\"a_counter\" OWNER TO \"shop\";",
            "MAKE SEQUENCE s.orders_id_seq;",
            "ALTER SEQUENCE \"s\".\"orders_id_seq\" OWNER TO \"shop\";",
            "ADD id",
            "MAKE SEQUENCE OWNED BY s.orders_id_seq;",
            "MAKE VIEW s.open_orders;",
        ]
    );
    assert_eq!(statements(&plan).iter().filter(|text| text.starts_with("MAKE SEQUENCE s.")).count(), 2);
    let altered = plan.steps.iter().find(|step| step.action == Action::Alter).unwrap();
    assert_eq!(
        (altered.undo.as_slice(), altered.drops_columns),
        (&["DROP id".to_owned(), "MAKE INDEX AGAIN".to_owned()][..], false)
    );
}

#[test]
fn a_table_comes_with_what_it_needs_and_what_belongs_to_it() {
    let entries = shop();
    let mut input = input(&entries);
    input.wanted = Wanted::Tables(HashSet::from([("s".to_owned(), "orders".to_owned())]));
    assert_eq!(
        plan(&input).to_do().map(|step| step.name.as_str()).collect::<Vec<_>>(),
        [
            "s",
            "s.check(integer)",
            "s.orders",
            "s.orders_id_seq",
            "s.orders_id_seq",
            "s.orders id",
            "s.orders_at",
            "TABLE orders"
        ]
    );
    // Its foreign key comes when the other table is there.
    input.existing = HashSet::from([2, 3, 5, 11]);
    assert!(statements(&plan(&input)).contains(&"MAKE FK CONSTRAINT s.orders orders_customer_fkey;"));
    input.existing = HashSet::new();
    input.wanted = Wanted::Schemas(vec!["elsewhere".to_owned()]);
    assert_eq!(statements(&plan(&input)), [""; 0]);
}

#[test]
fn a_schema_comes_without_the_tables_that_its_foreign_keys_refer_to() {
    let mut entries = shop();
    entries.push(entry(17, "SCHEMA", "geo", &[]));
    entries.push(entry(18, "TABLE", "geo.regions", &[]));
    entries.push(entry(19, "CONSTRAINT", "geo.regions regions_pkey", &[18]));
    entries.push(entry(20, "FK CONSTRAINT", "s.orders orders_region_fkey", &[6, 18, 19]));
    let mut input = input(&entries);
    input.wanted = Wanted::Schemas(vec!["s".to_owned()]);
    let within = "MAKE FK CONSTRAINT s.orders orders_customer_fkey;";
    let without = plan(&input);
    assert!(statements(&without).contains(&within));
    assert!(!statements(&without).iter().any(|text| text.contains("region")), "{without:?}");
    // Where the table is here, nothing has to be brought.
    input.existing = HashSet::from([17, 18, 19]);
    assert!(statements(&plan(&input)).contains(&"MAKE FK CONSTRAINT s.orders orders_region_fkey;"));
}

/// PostgreSQL makes what a partition lacks of the indexes of the table that it is attached to.
#[test]
fn a_new_partition_of_a_table_that_is_here_has_its_indexes_before_it_is_attached() {
    let entries = [
        entry(1, "TABLE", "s.parted", &[]),
        entry(2, "TABLE", "s.parted_1", &[]),
        entry(3, "TABLE ATTACH", "s.parted_1", &[1, 2]),
        entry(4, "CONSTRAINT", "s.parted parted_pkey", &[1]),
        entry(5, "CONSTRAINT", "s.parted_1 parted_1_pkey", &[2]),
        entry(6, "INDEX ATTACH", "s.parted_1_pkey", &[4, 5]),
        entry(7, "TRIGGER", "s.parted_1 touch", &[2]),
    ];
    let mut input = input(&entries);
    let kinds = |plan: &Plan| plan.to_do().map(|step| step.kind.clone()).collect::<Vec<_>>();
    assert_eq!(
        kinds(&plan(&input)),
        ["table", "table", "table attach", "constraint", "constraint", "index attach", "trigger"]
    );
    input.existing = HashSet::from([1, 4]);
    assert_eq!(kinds(&plan(&input)), ["table", "constraint", "table attach", "index attach", "trigger"]);
}

#[test]
fn owners_that_are_not_here_or_not_ours_are_named_once() {
    let entries = shop();
    let mut with = input(&entries);
    with.roles.remove("shop");
    let without = plan(&with);
    assert_eq!(without.missing_roles, BTreeSet::from(["gone".to_owned(), "shop".to_owned()]));
    assert!(!statements(&without).iter().any(|statement| statement.contains("OWNER TO")));
    with.roles.insert("shop".to_owned(), false);
    let foreign = plan(&with);
    assert_eq!(foreign.foreign_roles, BTreeSet::from(["shop".to_owned()]));
    assert!(!statements(&foreign).iter().any(|statement| statement.contains("OWNER TO")));
}

#[test]
fn a_policy_for_a_role_that_is_not_here_is_left_out() {
    let mut entries = shop();
    entries.push(entry(20, "POLICY", "s.orders own", &[6]));
    let mut with = input(&entries);
    with.roles_needed = HashMap::from([(20, vec!["gone".to_owned()])]);
    assert_eq!(plan(&with).left_out(), ["event trigger watch", "policy s.orders own"]);
    with.roles_needed = HashMap::from([(20, vec!["app".to_owned()])]);
    assert!(statements(&plan(&with)).contains(&"MAKE POLICY s.orders own;"));
}

#[test]
fn privileges_of_a_schema_that_nobody_touched_are_given_and_can_be_taken_back() {
    let entries = [entry(15, "ACL", "SCHEMA public", &[2])];
    let mut with = input(&entries);
    assert_eq!(statements(&plan(&with)), [""; 0]);
    with.untouched_schemas = HashMap::from([("public".to_owned(), vec!["GRANT USAGE TO PUBLIC;".to_owned()])]);
    let plan = plan(&with);
    assert_eq!(statements(&plan), ["GRANT SELECT TO app;"]);
    assert_eq!(plan.steps[0].undo, ["REVOKE ALL ON SCHEMA \"public\" FROM \"app\";", "GRANT USAGE TO PUBLIC;"]);
}
