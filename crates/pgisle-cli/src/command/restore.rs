//! `pgisle restore`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use pgisle_core::backup::wal::PointInTime;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::spec::Service;
use pgisle_core::verify::{Bounds, Report as Proof, Verdict};
use pgisle_engine::backup::recover::{self, RecoverError, Recovered};
use pgisle_engine::backup::restore::{self, Input, Opening, Restored, Stream};
use pgisle_engine::backup::{Backup, BackupStore, catalog};
use pgisle_engine::credential::IdentitySource;
use pgisle_engine::event::Event;
use pgisle_engine::verify::{self, Options, Request};

use super::change::{self, Approval, Change, Site};
use crate::progress::Progress;
use crate::project::{HERE, Project};
use crate::report::Report;
use crate::session::Session;
use crate::view::human;

/// Restore a service from a backup or a dump.
///
/// The dump is loaded into a new database, as the service's owner role and never as the administrator; compared with what was
/// backed up; and put in the place of the live one, which is kept, closed. Until that moment the service goes on with the live
/// database, and nothing is ever written into it. Names, logins, passwords and grants stay what they were.
///
/// Without BACKUP the newest one is taken. A FILE is what pg_dump writes, in its custom format or as plain SQL, also compressed
/// by gzip or zstd.
///
/// With -at the service is brought back to what it was at that time, to the transaction, and all others go on: a private server is
/// made on this machine from a backup of the cluster, replays the archived write-ahead log up to the time, and the service's
/// database is taken from it. Needs PostgreSQL's server programs of the cluster's major version here.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:

  $ pgisle restore users                    # the newest backup
  $ pgisle restore users 20250119T0200      # the one whose name begins so
  $ pgisle restore users /var/backups/postgresql/link_users_backup_20250119.sql.gz
  $ pgisle restore users -at '2025-01-19 13:59:30+01:00'
  $ pgisle restore users -undo              # puts back what the last restore replaced
  $ pgisle restore users -prune             # drops what restores replaced long ago")]
pub(crate) struct Args {
    /// The service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// A backup's name or its beginning, or a dump's path.
    #[arg(value_name = "BACKUP|FILE", conflicts_with_all = ["undo", "prune"])]
    source: Option<String>,
    /// What the service was at this time: `2025-01-19T12:59:30Z`, or with a space, a fraction, a zone; without a zone it is UTC.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["source", "undo", "prune"])]
    at: Option<String>,
    /// Put back the database that the last restore replaced; the present one is kept in its place.
    #[arg(long, conflicts_with = "prune")]
    undo: bool,
    /// Drop the databases that restores replaced more than backup_retention_days ago, and what interrupted restores left.
    #[arg(long)]
    prune: bool,
    /// With -prune: drop what was replaced more than so many days ago; 0 drops all.
    #[arg(long, value_name = "DAYS", requires = "prune")]
    keep_days: Option<u32>,
    /// Do not prove the isolation afterwards.
    #[arg(long)]
    no_verify: bool,
    /// Do not ask.
    #[arg(long)]
    auto_approve: bool,
}

pub(crate) async fn run(session: &Session, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let site = Site::open(session).await?;
    let name = change::services(&site.project, std::slice::from_ref(&args.service))?;
    let Some(service) = name.first().and_then(|name| site.project.spec.services.get(name)).cloned() else {
        return Err(Vec::new());
    };
    if args.prune {
        return prune(session, &site, &service, args).await;
    }
    let wanted = Wanted::of(&site.project, &service, args).await?;
    let what = wanted.words();
    session.console.show(&human::restore::intent(&service, &what));
    let approval = if args.auto_approve { Approval::Given } else { Approval::Yes };
    if let Err(refusal) = change::ask(&session.console, &approval) {
        return Ok(Report::failure(refusal));
    }
    let swept = swept(&site.project);
    let report = match wanted {
        Wanted::Source(source) => load(session, site, &service, &source, args).await,
        Wanted::Time(at) => go_back(session, site, &service, at, args).await,
        Wanted::Replaced => undo(session, site, &service, args).await,
    };
    report.map(|report| report.diagnostics(swept))
}

/// What the service goes back to.
enum Wanted {
    Source(Source),
    Time(PointInTime),
    Replaced,
}

impl Wanted {
    async fn of(project: &Project, service: &Service, args: &Args) -> Result<Self, Vec<Diagnostic>> {
        if args.undo {
            return Ok(Self::Replaced);
        }
        let Some(text) = &args.at else {
            return Source::find(project, service, args.source.as_deref()).await.map(Self::Source);
        };
        point(text).map(Self::Time).map_err(|error| vec![error])
    }

    fn words(&self) -> String {
        match self {
            Self::Source(source) => source.words(),
            Self::Time(at) => format!("what it was at {at}"),
            Self::Replaced => "what the last restore replaced".to_owned(),
        }
    }
}

/// Reads what `-at` was given.
pub(super) fn point(text: &str) -> Result<PointInTime, Diagnostic> {
    PointInTime::parse(text).ok_or_else(|| {
        Diagnostic::error(Code::USAGE, format!("-at cannot be \"{}\"", text.escape_debug()))
            .detail("A time is like 2025-01-19T12:59:30Z, or like '2025-01-19 13:59:30.5+01:00'. Without a zone it is UTC.")
    })
}

/// Removes what a recovery left that was killed.
fn swept(project: &Project) -> Option<Diagnostic> {
    let error = recover::sweep(Path::new(HERE), project.spec.settings.environment).err()?;
    Some(left(&error))
}

pub(super) fn left(error: &RecoverError) -> Diagnostic {
    let inner = error.diagnostic();
    let detail = inner.detail.map_or_else(String::new, |detail| format!(": {detail}"));
    Diagnostic::warning(Code::RECOVER_LEFT, "something of a recovery is left on this machine")
        .detail(format!("{}{detail}", inner.summary))
        .hint("The next restore or drill to a time removes it.")
}

/// Recovers the service on a private server, and restores what was there.
async fn go_back(
    session: &Session,
    site: Site<'_>,
    service: &Service,
    at: PointInTime,
    args: &Args,
) -> Result<Report, Vec<Diagnostic>> {
    let store = site.project.backups()?;
    let identities = Project::identities();
    let recovered = {
        let progress = Progress::new(&session.console, "recovering");
        let events = |event: Event<'_>| progress.event(&event);
        let request = recover::Request {
            spec: &site.project.spec,
            connect: &site.connect,
            store: &store,
            identities: &identities,
            services: std::slice::from_ref(&service.name),
            at,
            project: Path::new(HERE),
        };
        let work = recover::recover(&request, &events);
        let about = |error: RecoverError| error.diagnostic().about(format!("service \"{}\"", service.name));
        progress.watch(Box::pin(work)).await.map_err(|error| vec![about(error)])?
    };
    let reached = recovered.reached.clone();
    let source = Source::Past { at, recovered: Box::new(recovered), identities };
    let report = load(session, site, service, &source, args).await?;
    let Source::Past { mut recovered, .. } = source else { return Ok(report) };
    let warnings = std::mem::take(&mut recovered.warnings);
    let left = recovered.remove().err().map(|error| left(&error));
    let human = format!("{}{}", human::restore::reached(&reached), report.human);
    Ok(Report { human, ..report }.member("recovered", &reached).diagnostics(warnings).diagnostics(left))
}

async fn load(
    session: &Session,
    site: Site<'_>,
    service: &Service,
    source: &Source,
    args: &Args,
) -> Result<Report, Vec<Diagnostic>> {
    let change = Change::default();
    let restored: Restored = {
        let progress = Progress::new(&session.console, "restoring");
        let events = |event: Event<'_>| progress.event(&event);
        let open = || source.open();
        let request = site.request(&change);
        let input = source.input(&open);
        let work = restore::restore(&request, service, &input, &events);
        progress.watch(Box::pin(work)).await.map_err(|error| vec![error.diagnostic()])?
    };
    let proof = prove(session, &site, args).await?;
    let members = serde_json::json!({
        "service": service.name, "source": restored.source, "database": restored.database, "replaced": restored.replaced,
        "compared": restored.compared, "rows": restored.rows, "pause_ms": human::restore::milliseconds(restored.pause),
    });
    Ok(Report::new()
        .human(human::restore::restored(service, &restored, proof.as_ref()))
        .member("restored", members)
        .member("proof", &proof)
        .diagnostics(restored.diagnostics)
        .diagnostics(leaks(proof.as_ref()))
        .diagnostics(site.project.warnings))
}

async fn undo(session: &Session, site: Site<'_>, service: &Service, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let change = Change::default();
    let undone = {
        let progress = Progress::new(&session.console, "restoring");
        let events = |event: Event<'_>| progress.event(&event);
        let request = site.request(&change);
        let work = restore::undo(&request, service, &events);
        progress.watch(Box::pin(work)).await.map_err(|error| vec![error.diagnostic()])?
    };
    let proof = prove(session, &site, args).await?;
    let members = serde_json::json!({
        "service": service.name, "database": undone.database, "was": undone.was, "replaced": undone.replaced,
        "pause_ms": human::restore::milliseconds(undone.pause),
    });
    Ok(Report::new()
        .human(human::restore::undone(service, &undone, proof.as_ref()))
        .member("undone", members)
        .member("proof", &proof)
        .diagnostics(undone.diagnostics)
        .diagnostics(leaks(proof.as_ref()))
        .diagnostics(site.project.warnings))
}

async fn prune(session: &Session, site: &Site<'_>, service: &Service, args: &Args) -> Result<Report, Vec<Diagnostic>> {
    let days = args.keep_days.unwrap_or(site.project.spec.settings.backup_retention_days);
    let change = Change::default();
    let progress = Progress::new(&session.console, "pruning");
    let events = |event: Event<'_>| progress.event(&event);
    let request = site.request(&change);
    let work = restore::prune(&request, service, days, &events);
    let pruned = progress.watch(Box::pin(work)).await.map_err(|error| vec![error.diagnostic()])?;
    Ok(Report::new().human(human::restore::pruned(&pruned, days)).member("dropped", &pruned.dropped).member("kept", &pruned.kept))
}

/// Proves that the service is as isolated as it was.
async fn prove(session: &Session, site: &Site<'_>, args: &Args) -> Result<Option<Proof>, Vec<Diagnostic>> {
    if args.no_verify {
        return Ok(None);
    }
    let spec = &site.project.spec;
    let credentials = site.store.load().map_err(|error| vec![error.diagnostic()])?;
    let services = verify::service_address(&site.connect, &spec.settings);
    let parallelism = usize::from(session.global.parallelism);
    let options = Options { dynamic: true, canary: false, bounds: Bounds::USUAL, parallelism };
    let request = Request {
        spec,
        credentials: &credentials,
        connect: &site.connect,
        services: &services,
        options,
        lock_timeout: session.global.lock_timeout,
    };
    let progress = Progress::new(&session.console, "proving");
    let advance = |step: verify::Progress| progress.update(step.done, step.total, "logging in as each service");
    let proof = progress.watch(Box::pin(verify::run(&request, &advance))).await.map_err(|error| vec![error.diagnostic()])?;
    Ok(Some(proof))
}

fn leaks(proof: Option<&Proof>) -> Vec<Diagnostic> {
    proof.filter(|proof| proof.verdict != Verdict::Isolated).map(Proof::diagnostics).unwrap_or_default()
}

/// What is restored.
pub(super) enum Source {
    /// A dump that lies somewhere.
    File(PathBuf),
    /// What a service was at a time, dumped from a private server.
    Past { at: PointInTime, recovered: Box<Recovered>, identities: IdentitySource },
    /// One of our own.
    Backup { store: BackupStore, backup: Box<Backup>, identities: IdentitySource },
}

impl Source {
    /// A file where there is one of this name, else a backup: the newest, or one whose name begins so.
    pub(super) async fn find(project: &Project, service: &Service, wanted: Option<&str>) -> Result<Self, Vec<Diagnostic>> {
        if let Some(path) = wanted.map(Path::new).filter(|path| path.exists() || path.components().count() > 1) {
            let metadata = path.metadata().map_err(|source| vec![unreadable(path, &format!("the system says: {source}"))])?;
            if metadata.is_dir() {
                let why = "it is a folder, as pg_dump -Fd writes; only pg_dump's custom format and plain SQL can be restored";
                return Err(vec![unreadable(path, why)]);
            }
            return Ok(Self::File(path.to_owned()));
        }
        let store = project.backups()?;
        let found = catalog::find(&store, &service.name, wanted).await.map_err(|error| vec![error.diagnostic()])?;
        let identities = IdentitySource::from_environment(|name| std::env::var_os(name));
        Ok(Self::Backup { store, backup: Box::new(found), identities })
    }

    fn words(&self) -> String {
        match self {
            Self::File(path) => format!("file {}", path.display()),
            Self::Past { at, .. } => format!("what it was at {at}"),
            Self::Backup { backup, .. } => format!("backup {} of {}", backup.id(), backup.manifest.snapshot.taken),
        }
    }

    /// What the engine is given.
    pub(super) fn input<'a>(&'a self, open: &'a (dyn Fn() -> Opening<'a> + Sync)) -> Input<'a> {
        match self {
            Self::File(path) => Input { name: path.display().to_string(), open, manifest: None },
            Self::Past { at, recovered, .. } => Input { name: at.to_string(), open, manifest: Some(&recovered.backup.manifest) },
            Self::Backup { backup, .. } => Input { name: backup.id().to_string(), open, manifest: Some(&backup.manifest) },
        }
    }

    /// Begins to read it.
    pub(super) fn open(&self) -> Opening<'_> {
        Box::pin(async move {
            match self {
                Self::File(path) => File::open(path).map(|file| Box::new(file) as Stream),
                Self::Past { recovered, identities, .. } => {
                    let Recovered { backup, store, .. } = recovered.as_ref();
                    let reader = backup.open(store, identities).await.map_err(io::Error::other)?;
                    Ok(Box::new(reader) as Stream)
                }
                Self::Backup { store, backup, identities } => {
                    let reader = backup.open(store, identities).await.map_err(io::Error::other)?;
                    Ok(Box::new(reader) as Stream)
                }
            }
        })
    }
}

fn unreadable(path: &Path, why: &str) -> Diagnostic {
    Diagnostic::error(Code::RESTORE_INPUT, format!("\"{}\" cannot be restored", path.display())).detail(format!("{why}."))
}
