//! `require_auth`: to whom a password is shown.

use steep_repl_cli::failure::Exit;
use steep_repl_testkit::{Auth, ClusterOptions};

use crate::sides::{give, Sides};

const HBA: &str = "local all all trust
host all by_password 127.0.0.1/32 password
host all by_md5 127.0.0.1/32 md5
host all by_scram 127.0.0.1/32 scram-sha-256
host all by_trust 127.0.0.1/32 trust
";

#[test]
fn only_what_is_allowed() {
    let cluster = ClusterOptions::new("methods").auth(Auth::Scram).start();
    let mut client = cluster.connect("postgres");
    for user in ["by_password", "by_scram", "by_trust"] {
        client.batch_execute(&format!("create user {user} password 'secret'")).unwrap();
    }
    client.batch_execute("set password_encryption = md5; create user by_md5 password 'secret'").unwrap();
    drop(client);
    give(&cluster, "pg_hba.conf", HBA.as_bytes());
    cluster.restart();
    for (list, allowed) in [
        ("password", &["by_password"][..]),
        ("md5", &["by_md5"]),
        ("scram-sha-256", &["by_scram"]),
        ("none", &["by_trust"]),
        ("scram-sha-256,none", &["by_scram", "by_trust"]),
        ("!password", &["by_md5", "by_scram", "by_trust"]),
        ("!none,!md5", &["by_password", "by_scram"]),
        ("gss", &[]),
        ("", &["by_trust"]),
        ("md5,!none", &[]),
        ("scram-sha-256,scram-sha-256", &[]),
    ] {
        for user in ["by_password", "by_md5", "by_scram", "by_trust"] {
            let string = format!("{} user={user} password=secret", cluster.conninfo_tcp("postgres", cluster.port()));
            let sides = Sides::string(&string).env("PGREQUIREAUTH", list);
            if allowed.contains(&user) {
                sides.both_in();
            } else {
                let failure = sides.both_out();
                let is_list = failure.exit == Exit::Usage;
                assert!(
                    is_list || failure.to_string().contains(&format!("requirement \"{list}\" failed")),
                    "{failure}"
                );
            }
        }
    }
    // Without TLS and without a password, too.
    let silent = Sides::string(&format!("host=127.0.0.1 port={} user=by_password", cluster.port()));
    assert!(silent.both_out().to_string().contains("no password supplied"));
}
