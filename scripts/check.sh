#!/usr/bin/env bash
# What must hold before a change goes in: format, lints, documentation, dependencies. Runs everything, then fails if one did.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. scripts/lib.sh
bash scripts/install-deps.sh check || exit 1
. scripts/pgrx-env.sh

others=(--workspace --exclude steep_repl)
extension=(-p steep_repl --no-default-features --features "pg$PG_MAJOR")
failed=()
check() { step "$@" || failed+=("$1"); }

lint_others()    { cargo clippy "${others[@]}" --all-targets --locked -- -D warnings; }
# --lib: cargo would take the files in tests/ for tests of this package.
lint_extension() { cargo clippy "${extension[@]}" --lib --locked -- -D warnings; }
lint_failpoints() { cargo clippy "${extension[@]},failpoints" --lib --locked -- -D warnings; }
document_others()    { RUSTDOCFLAGS='-D warnings' cargo doc "${others[@]}" --no-deps --document-private-items --locked; }
document_extension() { RUSTDOCFLAGS='-D warnings' cargo doc "${extension[@]}" --no-deps --document-private-items --locked; }
lint_scripts() {
    command -v shellcheck >/dev/null || { printf '    shellcheck is not installed: bash -n only\n' >&2
        for script in scripts/*.sh bench/*.sh .ci/run; do bash -n "$script" || return 1; done; return 0; }
    shellcheck -x scripts/*.sh bench/*.sh .ci/run
}

check 'format' cargo fmt --all --check
check 'lints' lint_others
check 'lints of the extension' lint_extension
check 'lints of the failpoints' lint_failpoints
check 'documentation' document_others
check 'documentation of the extension' document_extension
check 'scripts' lint_scripts
check 'dependencies' cargo deny --locked check --hide-inclusion-graph licenses bans sources

[ ${#failed[@]} -eq 0 ] || die "make check failed: $(IFS=,; printf '%s' "${failed[*]}" | sed 's/,/, /g')"
say 'all checks passed'
