//! When the backup runs: a line for cron, and a service and a timer for systemd.

use std::fmt::Write as _;

use crate::artifact::escape::{shell_word, systemd_path};
use crate::artifact::scripts::{BACKUP_PATH, folder, is_remote};
use crate::artifact::{Artifact, header};
use crate::backup::Schedule;
use crate::spec::Spec;

/// The path of the line for cron.
pub(crate) const CRON_PATH: &str = "cron/pgisle-backup";

/// The path of systemd's service.
pub(crate) const SERVICE_PATH: &str = "systemd/pgisle-backup.service";

/// The path of systemd's timer.
pub(crate) const TIMER_PATH: &str = "systemd/pgisle-backup.timer";

/// Where the project is found on the machine that backs up: a link, because neither cron nor systemd knows this folder's path.
const PROJECT_LINK: &str = "/etc/pgisle/project";

/// What is read for variables, when it is there.
const VARIABLES: &str = "/etc/pgisle/backup.env";

pub(super) fn artifacts(spec: &Spec) -> Vec<Artifact> {
    // A spec whose schedule cannot be read was refused before.
    let Ok(schedule) = Schedule::parse(&spec.settings.backup_schedule) else { return Vec::new() };
    vec![
        Artifact::open(CRON_PATH, cron(spec, &schedule)),
        Artifact::open(SERVICE_PATH, service(spec)),
        Artifact::open(TIMER_PATH, timer(spec, &schedule)),
    ]
}

/// One command for a shell: pgisle where it is installed, the script elsewhere. It has no character that is special in a crontab
/// or a systemd unit.
fn command(spec: &Spec) -> String {
    let environment = spec.settings.environment;
    format!(
        "if command -v pgisle >/dev/null; then exec pgisle backup create -var environment={environment}; \
         else exec ./generated/{environment}/{BACKUP_PATH}; fi"
    )
}

/// How to install it, up to what differs.
fn installation(spec: &Spec) -> String {
    let settings = &spec.settings;
    let mut text = String::from(
        "#\n# Runs `pgisle backup create` where pgisle is on the PATH, and the generated script where not. To install it, as root, in the\n\
         # folder of pgisle.hcl:\n#\n",
    );
    let _ = writeln!(text, "#   mkdir -p /etc/pgisle && ln -sfn \"$PWD\" {PROJECT_LINK}");
    if !is_remote(settings) {
        let _ = writeln!(text, "#   install -d -m 0700 -o postgres {}", shell_word(folder(settings)));
    }
    text
}

const PASSWORD: &str = "\
#
# It runs as the user postgres, who must be able to read the project. The administrator's password comes from that user's
# ~/.pgpass";

fn cron(spec: &Spec, schedule: &Schedule) -> String {
    let environment = spec.settings.environment;
    let mut text = header(spec, "#") + &installation(spec);
    let _ = write!(
        text,
        "#   install -m 0644 generated/{environment}/{CRON_PATH} /etc/cron.d/pgisle-backup\n{PASSWORD}.\n\n\
         SHELL=/bin/sh\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\n\
         {schedule} postgres cd {PROJECT_LINK} && {}\n",
        command(spec)
    );
    text
}

fn service(spec: &Spec) -> String {
    let settings = &spec.settings;
    let environment = settings.environment;
    let mut text = header(spec, "#") + &installation(spec);
    let _ = write!(
        text,
        "#   install -m 0644 generated/{environment}/systemd/pgisle-backup.* /etc/systemd/system/\n\
         #   systemctl daemon-reload && systemctl enable --now pgisle-backup.timer\n{PASSWORD}, or from a variable in {VARIABLES}.\n\n\
         [Unit]\nDescription=Backup of the isolated databases ({environment})\nWants=network-online.target\nAfter=network-online.target postgresql.service\n\n\
         [Service]\nType=oneshot\nUser=postgres\nWorkingDirectory={PROJECT_LINK}\nEnvironmentFile=-{VARIABLES}\n\
         ExecStart=/bin/sh -c '{}'\nUMask=0077\nNice=10\nIOSchedulingClass=idle\n",
        command(spec)
    );
    text.push_str(HARDENING);
    // What is written to a private /tmp is gone with it, and a socket in the common one is not seen.
    let is_temporary = |path: &str| ["/tmp", "/var/tmp"].iter().any(|folder| path.starts_with(folder));
    if !is_temporary(folder(settings)) && !is_temporary(&settings.postgres_host) {
        text.push_str("PrivateTmp=true\n");
    }
    for path in writable_paths(spec) {
        let _ = writeln!(text, "ReadWritePaths={}", systemd_path(&format!("-{path}")));
    }
    text
}

/// A backup reads a database over a socket and writes files to one place; nothing else of the machine is its business.
const HARDENING: &str = "\
NoNewPrivileges=true
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateDevices=true
ProtectKernelTunables=true
ProtectKernelModules=true
ProtectKernelLogs=true
ProtectControlGroups=true
ProtectClock=true
ProtectHostname=true
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
LockPersonality=true
SystemCallArchitectures=native
";

/// Where a backup writes. A path that does not begin at the root begins at the project.
fn writable_paths(spec: &Spec) -> Vec<String> {
    let settings = &spec.settings;
    if is_remote(settings) {
        return Vec::new();
    }
    let folder = folder(settings);
    let is_absolute = folder.starts_with('/');
    vec![if is_absolute { folder.to_owned() } else { format!("{PROJECT_LINK}/{}", folder.trim_start_matches("./")) }]
}

fn timer(spec: &Spec, schedule: &Schedule) -> String {
    let mut text = header(spec, "#");
    text.push_str("#\n# Install it with pgisle-backup.service, whose first lines tell how.\n\n");
    let _ =
        write!(text, "[Unit]\nDescription=When the isolated databases are backed up ({})\n\n[Timer]\n", spec.settings.environment);
    for expression in schedule.on_calendar() {
        let _ = writeln!(text, "OnCalendar={expression}");
    }
    text.push_str("Persistent=true\nAccuracySec=1min\n\n[Install]\nWantedBy=timers.target\n");
    text
}
