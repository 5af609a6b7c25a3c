//! cancel_init while the source is away: here everything is as before at once, there when it is back.

use steep_repl_testkit::{ClusterOptions, Pair, StopMode};

use crate::cancel::Case;

/// The target is as before at once; the source when it is back, by itself.
fn without_the_source(case: &Case, away: impl Fn(), meanwhile: impl Fn(), back: impl Fn()) {
    case.copying();
    away();
    case.cancel();
    assert_eq!(case.pending(), ["source | t"]);
    case.expect_target_as_before();
    meanwhile();
    assert_eq!(case.pending(), ["source | t"]);
    back();
    case.expect_undone_and_works();
}

#[test]
fn while_the_source_is_down() {
    let source = ClusterOptions::new("cancel_down").start();
    let case = Case::on(Pair::options("cancel_down").source(source.clone()).proxied(), "");
    without_the_source(&case, || source.stop(StopMode::Fast), || (), || source.start());
}

#[test]
fn while_the_source_is_down_and_the_target_restarts() {
    let source = ClusterOptions::new("cancel_boot_s").start();
    let target = ClusterOptions::new("cancel_boot_t").preload().start();
    let options = Pair::options("cancel_boot").source(source.clone()).target(target.clone());
    let case = Case::on(options.proxied(), "");
    without_the_source(&case, || source.stop(StopMode::Fast), || target.restart(), || source.start());
}

#[test]
fn while_the_network_is_frozen() {
    let case = Case::new("cancel_frozen");
    let proxy = case.pair.proxy();
    without_the_source(&case, || proxy.freeze(), || assert_eq!(case.slots(), 1), || proxy.thaw());
}
