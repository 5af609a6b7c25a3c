#!/usr/bin/env bash
# Installs or builds what is missing, nothing twice: a PostgreSQL to build for, libclang, cargo-pgrx; more for checks and tests.
# Works as root, with a password-less sudo, or without either when the packages are there.
#
#   scripts/install-deps.sh          what building and the demo need
#   scripts/install-deps.sh check    also what make check needs
#   scripts/install-deps.sh tests    also what make test needs
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
for_what=${1:-}

# What building PostgreSQL needs, from Debian.
POSTGRES_BUILD=(build-essential dpkg-dev bison flex libreadline-dev zlib1g-dev libssl-dev libicu-dev liblz4-dev libzstd-dev
                liburing-dev libxml2-dev pkg-config)

apt_updated=
update_lists() {
    [ -z "$apt_updated" ] || return 0
    as_root apt-get update -qq
    apt_updated=yes
}

install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "missing: ${missing[*]}" "Install them (these are Debian's names) and try again."
    can_be_root || die "missing packages: ${missing[*]}" "Have them installed as root: apt-get install ${missing[*]}"
    update_lists
    say "installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

have_libclang() {
    local library
    command -v clang >/dev/null || return 1
    for library in "${LIBCLANG_PATH:-/nonexistent}"/libclang.so* /usr/lib/llvm-*/lib/libclang.so* /usr/lib*/libclang.so* \
        /usr/lib/*/libclang.so*; do
        [ ! -e "$library" ] || return 0
    done
    return 1
}

# Tools and libraries that can come from anywhere are looked for as such; what is missing is installed in one go, so that who
# lacks rights is told everything at once.
install_system_packages() {
    local wanted=()
    command -v cc >/dev/null || wanted+=(build-essential)
    command -v pkg-config >/dev/null || wanted+=(pkg-config)
    # steep-repl's TLS.
    pkg-config --exists openssl 2>/dev/null || wanted+=(libssl-dev)
    have_libclang || wanted+=(clang libclang-dev)
    if must_build_postgres; then wanted+=("${POSTGRES_BUILD[@]}"); fi
    [ ${#wanted[@]} -eq 0 ] || install_packages "${wanted[@]}"
}

check_cargo() {
    command -v cargo >/dev/null || die "cargo is not installed" "Install Rust $RUST_MIN or later, for example with rustup."
    local version
    version=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
    [ "$(printf '%s\n%s\n' "$RUST_MIN" "$version" | sort -V | head -n 1)" = "$RUST_MIN" ] ||
        die "cargo $version is too old" "Install Rust $RUST_MIN or later, for example with rustup."
}

# Which Debian suite carries the source of a PostgreSQL major. Only the source is taken from it.
suite_of() { case "$1" in 18) echo forky ;; 17) echo trixie ;; *) die "no source known for PostgreSQL $1" ;; esac; }

# Asks apt for the source package with lists of its own, so that the machine's configuration stays as it is.
download_postgres_source() {
    local major=$1 dir=$2 mirror
    # shellcheck disable=SC2016  # apt fills it in
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v -E 'security|backports' |
        grep '/debian/*$' | head -n 1) || true
    [ -n "$mirror" ] || die "apt knows no Debian mirror" "Set PG_CONFIG to the pg_config of a PostgreSQL $major."
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    printf 'deb-src %s %s main\n' "$mirror" "$(suite_of "$major")" > "$dir/sources.list"
    local options=(-o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/lists"
                   -o "Dir::Cache=$dir/cache")
    # As root apt would fetch as a user that cannot write to the folder.
    [ "$(id -u)" != 0 ] || options+=(-o APT::Sandbox::User=root)
    apt-get "${options[@]}" update -qq
    (cd "$dir" && apt-get "${options[@]}" source --download-only -qq "postgresql-$major")
}

build_postgres() {
    local major=$1 flavour=${2:-} prefix work
    prefix=$DEPS_DIR/postgresql-$major${flavour:+-$flavour}
    [ ! -x "$prefix/bin/postgres" ] || return 0
    command -v apt-get >/dev/null || die "no PostgreSQL $major found" "Install it, or set PG_CONFIG to its pg_config."
    install_packages "${POSTGRES_BUILD[@]}"
    work=$DEPS_DIR/build-$major${flavour:+-$flavour}
    rm -rf "$work"
    mkdir -p "$work/source" || die "cannot write to $DEPS_DIR" "Set STEEP_REPL_DEPS to a folder of yours."
    say "building PostgreSQL $major from Debian's source package (a few minutes)"
    download_postgres_source "$major" "$work"
    tar -xf "$work"/postgresql-"$major"_*.orig.tar.* -C "$work/source" --strip-components=1
    local options=(--with-openssl --with-icu --with-lz4 --with-zstd --with-libxml)
    [ "$major" -lt 18 ] || options+=(--with-liburing)
    [ "$flavour" != cassert ] || options+=(--enable-cassert --enable-debug)
    (
        # PostgreSQL makes its generated headers only where its make is the outermost one, and this may run within `make deps`.
        unset MAKELEVEL MAKEFLAGS MFLAGS
        cd "$work/source"
        ./configure --prefix="$prefix" "${options[@]}" --quiet &&
            make -s -j"$(nproc)" world-bin &&
            make -s install-world-bin
    ) > "$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; die "PostgreSQL $major could not be built" "The whole output is in $work/log."; }
    rm -rf "$work"
}

# A distribution that has the server serves better than a build of our own.
packaged() {
    [ -z "${PG_FLAVOUR:-}" ] && command -v apt-cache >/dev/null && can_be_root || return 1
    update_lists
    apt-cache show "postgresql-server-dev-$PG_MAJOR" >/dev/null 2>&1
}

must_build_postgres() {
    [ -z "${PG_CONFIG:-}" ] && ! bash scripts/find-postgres.sh >/dev/null && ! packaged
}

install_postgres() {
    if [ -n "${PG_CONFIG:-}" ]; then bash scripts/find-postgres.sh >/dev/null; return; fi
    ! bash scripts/find-postgres.sh >/dev/null || return 0
    if packaged; then
        install_server_packages "postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR"
    else
        build_postgres "$PG_MAJOR" "${PG_FLAVOUR:-}"
    fi
    bash scripts/find-postgres.sh >/dev/null || die "PostgreSQL $PG_MAJOR is still not usable after its installation"
}

# Debian starts a cluster when it installs a server. Nobody asked for one, so it is told not to while this runs.
install_server_packages() {
    local told=/etc/postgresql-common/createcluster.d/steep_repl.conf code=0
    if [ ! -e /etc/postgresql-common ] && can_be_root; then
        as_root mkdir -p "${told%/*}"
        echo 'create_main_cluster = false' | as_root tee "$told" >/dev/null
        (install_packages "$@") || code=$?
        as_root rm -f "$told"
        return "$code"
    fi
    install_packages "$@"
}

install_cargo_tool() {
    local tool=$1 version=$2 said
    said=$(cargo "${tool#cargo-}" --version 2>/dev/null) || said=
    [ "$said" != "$tool $version" ] || return 0
    say "installing $tool $version (a few minutes)"
    RUSTFLAGS='' cargo install "$tool" --version "$version" --locked --quiet
}

check_cargo
install_system_packages
install_postgres
install_cargo_tool cargo-pgrx "$PGRX_VERSION"

case "$for_what" in
    '') ;;
    check) install_cargo_tool cargo-deny "$CARGO_DENY_VERSION" ;;
    tests)
        # The oldest source that this system packages; PostgreSQL 15 on Debian 12.
        if [ -z "${STEEP_REPL_OLD_BINDIR:-}" ] && ! ls /usr/lib/postgresql/1[4-6]/bin/postgres >/dev/null 2>&1; then
            install_server_packages postgresql-15
        fi
        ;;
    *) die "unknown: $for_what" "Say nothing, check or tests." ;;
esac
