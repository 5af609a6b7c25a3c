#!/usr/bin/env bash
# Installs or builds what is missing, nothing twice: a PostgreSQL to build for, libclang, cargo-pgrx, and for the tests an
# older PostgreSQL to copy from. Works as root, with a password-less sudo, or without either when the packages are there.
#
#   scripts/install-deps.sh          what building and the demo need
#   scripts/install-deps.sh tests    also what the tests need
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

apt_updated=
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "missing: ${missing[*]}" "Install them (these are Debian's names) and try again."
    can_be_root || die "missing packages: ${missing[*]}" "Run as root: apt-get install ${missing[*]}"
    if [ -z "$apt_updated" ]; then as_root apt-get update -qq; apt_updated=yes; fi
    say "installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Tools that can come from anywhere, so look for the tool and not for a package.
need_tool() { command -v "$1" >/dev/null || install_packages "$2"; }

install_libclang() {
    ls /usr/lib/llvm-*/lib/libclang.so* /usr/lib*/libclang.so* "${LIBCLANG_PATH:-/nonexistent}"/libclang.so* >/dev/null 2>&1 \
        && command -v clang >/dev/null || install_packages clang libclang-dev
}

# Which Debian suite carries the source of a PostgreSQL major. Only the source is taken from it.
suite_of() { case "$1" in 18) echo forky ;; 17) echo trixie ;; *) die "no source known for PostgreSQL $1" ;; esac; }

# Asks apt for the source package with lists of its own, so that the machine's configuration stays as it is.
download_postgres_source() {
    local major=$1 dir=$2 mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v -E 'security|backports' | grep '/debian/*$' | head -n 1)
    [ -n "$mirror" ] || die "apt knows no Debian mirror" "Set PG_CONFIG to the pg_config of a PostgreSQL $major."
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    printf 'deb-src %s %s main\n' "$mirror" "$(suite_of "$major")" > "$dir/sources.list"
    local options=(-o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/lists"
                   -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update -qq
    (cd "$dir" && apt-get "${options[@]}" source --download-only -qq "postgresql-$major")
}

build_postgres() {
    local major=$1 flavour=${2:-} prefix work
    prefix=$DEPS_DIR/postgresql-$major${flavour:+-$flavour}
    [ ! -x "$prefix/bin/postgres" ] || return 0
    command -v apt-get >/dev/null || die "no PostgreSQL $major found" "Install it, or set PG_CONFIG to its pg_config."
    install_packages build-essential dpkg-dev bison flex libreadline-dev zlib1g-dev libssl-dev libicu-dev liblz4-dev libzstd-dev \
        liburing-dev libxml2-dev pkg-config
    work=$DEPS_DIR/build-$major${flavour:+-$flavour}
    rm -rf "$work"; mkdir -p "$work/source"
    say "building PostgreSQL $major from Debian's source package (a few minutes)"
    download_postgres_source "$major" "$work"
    tar -xf "$work"/postgresql-"$major"_*.orig.tar.* -C "$work/source" --strip-components=1
    local options=(--with-openssl --with-icu --with-lz4 --with-zstd --with-libxml)
    [ "$major" -lt 18 ] || options+=(--with-liburing)
    [ "$flavour" != cassert ] || options+=(--enable-cassert --enable-debug)
    (
        cd "$work/source"
        ./configure --prefix="$prefix" "${options[@]}" --quiet
        make -s -j"$(nproc)" world-bin
        make -s install-world-bin
    ) > "$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; die "PostgreSQL $major could not be built" "The whole output is in $work/log."; }
    rm -rf "$work"
}

install_postgres() {
    ! bash scripts/find-postgres.sh >/dev/null || return 0
    [ -z "${PG_CONFIG:-}" ] || bash scripts/find-postgres.sh >/dev/null
    # A distribution that has it serves better than a build of our own.
    if [ -z "${PG_FLAVOUR:-}" ] && can_be_root && apt-cache show "postgresql-server-dev-$PG_MAJOR" >/dev/null 2>&1; then
        install_packages "postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR"
    else
        build_postgres "$PG_MAJOR" "${PG_FLAVOUR:-}"
    fi
    bash scripts/find-postgres.sh >/dev/null || die "PostgreSQL $PG_MAJOR is still not usable after its installation"
}

install_cargo_pgrx() {
    [ "$(cargo pgrx --version 2>/dev/null)" != "cargo-pgrx $PGRX_VERSION" ] || return 0
    say "installing cargo-pgrx $PGRX_VERSION (a few minutes)"
    cargo install cargo-pgrx --version "$PGRX_VERSION" --locked --quiet
}

command -v cargo >/dev/null || die "cargo is not installed" "Install Rust (rustup or your distribution's rustc and cargo)."
need_tool cc build-essential
need_tool pkg-config pkg-config
install_libclang
install_postgres
install_cargo_pgrx

if [ "${1:-}" = tests ]; then
    # The oldest source that this system packages; PostgreSQL 15 on Debian 12.
    if ! ls /usr/lib/postgresql/1[4-6]/bin/postgres >/dev/null 2>&1; then
        install_packages postgresql-15
    fi
fi
