//! `scripts/components.sh` on systems that it has no recipe for: what is installed is used, what is missing is named with the
//! command that installs it. The systems are stand-ins: a root folder, and a `PATH` with nothing else on it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// What the script itself needs, which every system has.
const BASICS: &[&str] = &[
    "basename", "bash", "cat", "chmod", "cut", "dirname", "env", "find", "flock", "grep", "head", "id", "ln", "mkdir", "mktemp",
    "mv", "readlink", "rm", "sed", "sort", "tail", "touch",
];

/// The exit status for programs that are not installed.
const UNAVAILABLE: Option<i32> = Some(69);

struct System {
    folder: tempfile::TempDir,
}

impl System {
    fn new(name: &str, package_manager: &str) -> Self {
        let system = Self { folder: tempfile::tempdir().unwrap() };
        system.write("root/etc/os-release", &format!("ID={name}\nVERSION_CODENAME=other\n"));
        fs::create_dir(system.path("bin")).unwrap();
        for name in BASICS {
            symlink(pgisle_engine::process::on_path(name).unwrap(), system.path("bin").join(name)).unwrap();
        }
        system.program(&format!("bin/{package_manager}"), "");
        system
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn program(&self, path: &str, version: &str) {
        self.write(path, &format!("#!{}\necho '{version}'\n", self.path("bin/bash").display()));
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, set: &str) -> (Option<i32>, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/components.sh");
        let mut command = std::process::Command::new(self.path("bin/bash"));
        command.arg(script).arg(set).env_clear().env("PATH", self.path("bin")).env("HOME", self.folder.path());
        command.env("PGISLE_SYSTEM_ROOT", self.path("root")).env("PGISLE_COMPONENTS", self.path("components"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn what_is_missing_is_named_with_the_command_that_installs_it() {
    for (name, manager, lines) in [
        ("fedora", "dnf", ["dnf install postgresql-server postgresql-contrib", "dnf install pgbouncer", "dnf install jq"]),
        ("alpine", "apk", ["apk add postgresql17 postgresql17-contrib postgresql17-client", "apk add pgbouncer", "apk add jq"]),
        ("arch", "pacman", ["pacman -S postgresql", "pacman -S pgbouncer", "pacman -S jq"]),
        ("ubuntu", "apt-get", ["apt-get install postgresql postgresql-contrib", "apt-get install pgbouncer", "apt-get install jq"]),
        ("", "brew", ["brew install postgresql@18", "brew install pgbouncer", "brew install jq"]),
        ("", "none", ["no package manager is known here; install postgresql", "install pgbouncer so that", "install jq so that"]),
    ] {
        let (code, said) = System::new(name, manager).run("demo");
        assert_eq!(code, UNAVAILABLE, "{name}: {said}");
        for (component, line) in ["postgresql", "pgbouncer", "jq"].iter().zip(lines) {
            let found = said.lines().any(|said| said.contains(&format!("{component} is not installed: ")) && said.contains(line));
            assert!(found, "{name}: {line} is not in\n{said}");
        }
        assert!(said.contains("pgvector is an extension of the server"), "{said}");
    }
}

#[test]
fn what_is_installed_is_used() {
    let system = System::new("fedora", "dnf");
    let server = "root/usr/pgsql-16/bin";
    for program in ["postgres", "initdb", "psql"] {
        system.program(&format!("{server}/{program}"), &format!("{program} (PostgreSQL) 16.9"));
    }
    for extension in ["uuid-ossp", "vector"] {
        system.write(&format!("root/usr/share/postgresql/16/extension/{extension}.control"), "");
    }
    system.program("root/usr/sbin/pgbouncer", "PgBouncer 1.18.0");
    system.program("bin/jq", "jq-1.7");
    system.program("bin/locale", "en_US.utf8");
    let (code, said) = system.run("demo");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("pgbouncer 1.18.0 is older than 1.21"), "{said}");
    let server = system.path(server).canonicalize().unwrap();
    assert_eq!(fs::canonicalize(system.path("components/postgresql/16/bin")).unwrap(), server);
    assert_eq!(fs::canonicalize(system.path("components/bin/psql")).unwrap(), server.join("psql"));
    assert!(system.path("components/pgbouncer/1.18.0/bin/pgbouncer").exists());
}
