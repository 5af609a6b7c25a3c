//! Whatever comes.

use jiff::SignedDuration;
use proptest::prelude::*;
use ratatui::crossterm::event::KeyCode;

use super::*;
use crate::tui::call::Call;
use crate::tui::message::{Answer, Message, Trouble};
use crate::tui::update::update;

/// Answers of all kinds, right or wrong for the call.
fn some_answer(kind: u8) -> Answer {
    let trouble = Trouble { message: "x\u{1b}[2J".repeat(40), detail: Some("d\nd".into()), ..Trouble::default() };
    match kind % 6 {
        0 => Answer::Done { value: "3".into(), warnings: vec!["careful".into()] },
        1 => Answer::Findings(vec![Finding {
            status: "error".into(),
            message: Some("m".repeat(300)),
            ..Finding::default()
        }]),
        2 => Answer::Tables(vec!["a.b".into(); 80]),
        3 => Answer::Compared(vec![
            Compared {
                name: "t".repeat(90),
                status: "MISMATCH".into(),
                difference: Some("a; b".into())
            };
            70
        ]),
        4 => Answer::Differences(vec![
            Difference {
                ddl: Some("alter\n".repeat(60)),
                definition_a: Some("y".repeat(400)),
                ..Difference::default()
            };
            30
        ]),
        _ => Answer::Failed(trouble),
    }
}

fn some_key(n: u8) -> KeyCode {
    const KEYS: &[KeyCode] = &[
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::F(5),
    ];
    let letters = ":/@?jkgGdsSeIRCrfqny 1äœ日";
    let n = usize::from(n) % (KEYS.len() + letters.chars().count());
    KEYS.get(n).copied().unwrap_or_else(|| KeyCode::Char(letters.chars().nth(n - KEYS.len()).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var("STEEP_REPL_TEST_ALL").is_ok() { 3_000 } else { 60 }))]

    /// Whatever is typed, whatever comes, however large the terminal is.
    #[test]
    fn nothing_makes_it_panic(
        world in 0..7_u8, unicode: bool, read_only: bool,
        steps in prop::collection::vec((any::<u8>(), any::<u8>(), 1_u16..140, 1_u16..50), 1..60),
    ) {
        let look = if unicode { RICH } else { PLAIN };
        let mut model = match world {
            0 => loading(look),
            1 => zoo(look),
            2 => pair(look, copying()),
            3 => pair(look, failed()),
            4 => pair(look, synchronized()),
            5 => pair(look, Reading::default()),
            _ => pair(look, uninitialized()),
        };
        model.read_only = read_only;
        let mut asked: Vec<Effect> = Vec::new();
        for (n, (what, kind, columns, rows)) in steps.into_iter().enumerate() {
            let effects = match what {
                0..8 => update(&mut model, Message::Tick(now() + SignedDuration::from_secs(n as i64 * 7))),
                8..16 => update(&mut model, Message::Seen(FIRST, no_look("x", "gone\u{7}"))),
                16..24 => update(&mut model, Message::Seen(FIRST, node_look("x", if kind % 2 == 0 { failed() } else { Reading::default() }))),
                24..28 => update(&mut model, Message::Seen(NodeId(1), node_look("y", copying()))),
                62 => update(&mut model, Message::Paste("a\u{1b}\nb".repeat(usize::from(kind)))),
                28..60 if !asked.is_empty() => {
                    let call = asked.remove(0);
                    answer(&mut model, &[call], some_answer(kind))
                }
                _ => update(&mut model, key(some_key(kind))),
            };
            prop_assert!(!read_only || effects.iter().all(|effect| !changes(effect)));
            asked.extend(effects.into_iter().filter(|effect| matches!(effect, Effect::Run(..))));
            prop_assert!(!model.pages.is_empty());
            let text = screen(&mut model, columns, rows);
            prop_assert!(!text.contains(['\x1b', '\x07']), "{}", text);
            prop_assert!(unicode || text.chars().all(|c| c.is_ascii() || "äœ日".contains(c)), "{}", text);
        }
    }
}

/// Whether an effect changes something in a server.
fn changes(effect: &Effect) -> bool {
    const READS: [&str; 4] = ["preflight", "tables_not_subscribed", "compare_schemas", "schema_diff"];
    matches!(effect, Effect::Run(_, _, Call { function, .. }) if !READS.contains(function))
}
