//! The table of diagnostic codes. A code, once released, keeps its meaning for good; `pgisle explain` prints this table.
//!
//! Ranges: `PI01` spec · `PI02` connecting and TLS · `PI03` planning · `PI04` applying · `PI05` isolation leaks · `PI06`
//! credentials and artifacts · `PI07` the dev cluster · `PI08` backup and restore · `PI09` faults of pgisle itself · `PI10` splitting · `PI11` watching · `PI12` what the doctor
//! finds.

use std::fmt;

use serde::{Serialize, Serializer};

/// A diagnostic's stable identity, such as `PI0103`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(&'static str);

impl Code {
    /// The code as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// What `pgisle explain` knows about a code.
#[derive(Debug, Clone, Copy)]
pub struct CodeInfo {
    /// The code.
    pub code: Code,
    /// A short title, without anything of the user's in it.
    pub title: &'static str,
    /// What it means, why it matters and what to do, as paragraphs.
    pub explanation: &'static str,
}

/// Declares the codes: a constant each, and the table of them all.
macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $explanation:literal;)*) => {
        impl Code {
            $(#[doc = $title] pub const $name: Self = Self($code);)*
        }

        const TABLE: &[CodeInfo] = &[
            $(CodeInfo { code: Code::$name, title: $title, explanation: $explanation },)*
        ];
    };
}

codes! {
    // Spec.
    SPEC_SYNTAX = "PI0101", "the file is not valid HCL",
        "The text cannot be read as HCL, the language of Terraform's files. The message names the line and column at which reading stopped. Often a quote or a brace is missing a little earlier.";
    SPEC_UNKNOWN_SETTING = "PI0102", "a setting has a name that pgisle does not know",
        "Settings that are not known are refused rather than ignored, because a misspelt limit that is silently dropped is worse than an error. `docs/reference/settings.md` lists them all.";
    SPEC_TYPE = "PI0103", "a value has the wrong type",
        "The setting takes another type of value than it was given: a number for a text, a list for a map, and so on.";
    SPEC_RANGE = "PI0104", "a value is out of range",
        "The setting takes only the values that the message names.";
    SPEC_DUPLICATE = "PI0105", "something is defined twice",
        "Two services, or two settings in one file, have the same name, or two services would own the same database or role.";
    SPEC_NAME = "PI0106", "a name cannot be used",
        "PostgreSQL cuts names at 63 bytes, and some names are reserved for the server. pgisle refuses what would be cut or would clash, before anything is changed.";
    SPEC_EXPRESSION = "PI0107", "the value is an expression that pgisle does not evaluate",
        "pgisle's files hold plain values: texts, numbers, true or false, lists and maps. References, function calls and interpolation belong to Terraform; write the value, or pass it with -var.";
    SPEC_MISSING = "PI0108", "something that is required is missing",
        "A value that has no default was not given anywhere.";
    SPEC_FILE = "PI0109", "a file cannot be read",
        "The file does not exist, is not readable, is not UTF-8 text, or is too large to be a spec.";
    SPEC_CONFLICT = "PI0110", "two values contradict each other",
        "Each value is fine alone, and together they cannot work.";
    SPEC_BLOCK = "PI0111", "a block is not known or has the wrong labels",
        "The only block in a spec is `service \"name\" { … }`, with exactly one label, and inside it `replica { … }`.";
    SPEC_VARIABLE = "PI0112", "a variable given on the command line or in the environment cannot be used",
        "-var takes NAME=VALUE, and PGISLE_VAR_NAME and TF_VAR_NAME name a setting. Lists and maps are written as HCL.";
    SPEC_EMPTY = "PI0113", "the spec has no service",
        "Nothing would be created. `pgisle init` writes a spec to start from.";
    SPEC_LIMIT = "PI0114", "the file is too large or too deeply nested",
        "A spec is a page of text. A file of more than a megabyte, or with values nested more than 32 deep, is something else.";

    // Connecting.
    CONNECT_REFUSED = "PI0201", "the server cannot be reached",
        "Nothing answered at the address: the server is down, the host or port is wrong, or a firewall stands between.";
    CONNECT_AUTH = "PI0202", "the server refused the login",
        "User, password or pg_hba.conf do not fit. pgisle looks for the password in postgres_password, then PGPASSWORD, then the password file.";
    CONNECT_TLS = "PI0203", "the TLS handshake failed",
        "With postgres_sslmode verify-ca or verify-full the server's certificate must be signed by a known authority, and with verify-full it must carry the name that was connected to.";
    CONNECT_POOLED = "PI0204", "the address is a connection pooler, not a server",
        "Locks, settings and roles of a session do not survive a pooler in transaction mode, so administration through one can go wrong silently. Connect to the server itself.";
    CONNECT_TOO_MANY = "PI0205", "the server has no connection left",
        "max_connections is reached. pgisle itself needs one connection and one more per database that it works on at the same time (-parallelism).";
    CONNECT_DATABASE = "PI0206", "the database to connect to does not exist",
        "pgisle connects to the maintenance database first; maintenance_database names it.";
    CONNECT_CONFIG = "PI0207", "the connection settings cannot be used",
        "A certificate, key, service or password file named in the settings is missing, unreadable or malformed.";
    CONNECT_LOST = "PI0208", "the connection was lost",
        "The server ended the session or the network did. Nothing is left half done: run the same command again.";
    QUERY_FAILED = "PI0209", "a query failed",
        "The server refused a statement; its own message follows.";
    SERVER_VERSION = "PI0210", "the server is too old",
        "pgisle supports PostgreSQL 15 and later: before that, every login may create objects in every schema public.";

    // Planning.
    PLAN_FOREIGN_DATABASE = "PI0301", "a database with this name exists and is not pgisle's",
        "pgisle never touches what it did not create. Take it over with `pgisle adopt`, or give the service another database name.";
    PLAN_FOREIGN_ROLE = "PI0302", "a role with this name exists and is not pgisle's",
        "pgisle never touches what it did not create. Take it over with `pgisle adopt`, or give the service another user name.";
    PLAN_OTHER_ENVIRONMENT = "PI0303", "the object belongs to another environment or project",
        "Its marker names another environment or name_prefix. Two environments cannot share the names of their databases on one cluster.";
    PLAN_PRIVILEGE = "PI0304", "the administrator lacks a privilege",
        "Part of the work needs more than this administrator may do. The statements that a DBA must run are printed; run them and apply again, or pass -allow-incomplete to go on without.";
    PLAN_EXTENSION_UNAVAILABLE = "PI0305", "an extension is not installed on the server",
        "CREATE EXTENSION can only use what the server's machine has. Install the package there, or take the extension out of the spec.";
    PLAN_BUDGET = "PI0306", "the pools need more connections than the server has",
        "As an error: full pools and monitoring need more than max_connections less the reserved ones, so that instances would be refused on an ordinary busy day. plan and apply refuse such a file. As a warning: full pools fit, and not beside everything that comes on top for a while, such as a rolling deployment and a backup. `pgisle budget` has the numbers, and what would fit.";
    PLAN_INVALID_DATABASE = "PI0307", "a database is the remains of an interrupted DROP DATABASE",
        "PostgreSQL marks such a database invalid; it can only be dropped again.";
    PLAN_UNREADABLE = "PI0308", "part of the cluster cannot be read",
        "Some catalogs are hidden from this administrator (managed clouds hide pg_authid, for one). What depends on them is neither planned nor proved.";
    PLAN_UNKNOWN_TARGET = "PI0309", "-target names something that does not exist",
        "Addresses look like service.users; `pgisle plan` prints them.";
    PLAN_OBJECT_OWNER = "PI0310", "objects in a service's database belong to someone else",
        "Whoever owns a table can read it and grant it away, and the service cannot alter it.";
    PLAN_LOCALE = "PI0311", "the server does not have the wanted locale",
        "CREATE DATABASE can only use locales of the server's operating system. The server's own default is used instead.";
    PLAN_DATA_LOSS = "PI0312", "the database holds data and has no backup",
        "Dropping it would lose the data for good. destroy looks for a proved backup that holds, row by row, what the database holds, while nobody is in it who could write. Make one (`pgisle backup create`), or pass -force.";
    PLAN_IMMUTABLE = "PI0313", "a difference that cannot be changed in place",
        "Encoding and locale of a database are fixed when it is created.";
    PLAN_RETIRED = "PI0314", "a service is no longer in the file and is kept, fenced",
        "Removing a service from the file never drops data. Nobody can log in to it any more; `pgisle destroy -target=service.NAME` drops it.";
    PLAN_STANDBY = "PI0315", "the server is a standby",
        "A standby is read-only. Connect to the primary.";
    PLAN_BACKED_UP = "PI0316", "a backup holds what is dropped",
        "The database was compared with the newest proved backup, row by row, so it can be dropped without -force. The backup stays listed, and can be restored once the service is there again.";
    PLAN_OTHER_SERVICE = "PI0317", "the object is another service's",
        "Its marker names another service of the same project: the service has been renamed, or a service names the database or user of one that left the file. Neither is done in passing, because whoever uses it would lose access, and a service would get data that was not meant for it. To rename a service, take the island over with `pgisle adopt` under the new name.";

    // Applying.
    APPLY_LOCKED = "PI0401", "another run holds the lock",
        "Two runs at once would undo each other's work, so only one may change the cluster. Wait for it (-lock-timeout), or end it.";
    APPLY_STALE = "PI0402", "the cluster has moved since the plan was saved",
        "What the saved plan would do is no longer what is needed. Plan again and look at the difference.";
    APPLY_STATEMENT = "PI0403", "a statement failed",
        "The server refused a step. Steps of the same database after it were not tried; other databases went on. Run apply again after mending the cause: it goes on where it stopped.";
    APPLY_NO_EFFECT = "PI0404", "a statement was accepted and did nothing",
        "PostgreSQL answers a GRANT or REVOKE that changes nothing with a mere warning (01006, 01007). pgisle takes it as the failure that it is.";
    APPLY_NOT_CONVERGED = "PI0405", "the cluster is not as planned after the apply",
        "After its work pgisle reads the privileges back. Something differs: another session changed it meanwhile, or the server ignored a statement.";
    APPLY_INCOMPLETE = "PI0406", "part of the work could not be done",
        "All that could be done is done. What is left needs the statements that are printed; -allow-incomplete turns this error into a warning.";
    APPLY_PLAN_FILE = "PI0407", "the saved plan cannot be read",
        "The file is not a plan of this version of pgisle.";
    APPLY_DECLINED = "PI0408", "not confirmed",
        "Nothing was changed. -auto-approve skips the question.";
    DESTROY_REFUSED = "PI0409", "destroy was refused",
        "destroy drops only what pgisle marked as its own, and asks for the name to be typed.";

    // Isolation.
    LEAK_CONNECT = "PI0501", "a service can connect to a database that is not its own",
        "CONNECT is granted to PUBLIC, to the login, or to a role that the login is a member of.";
    LEAK_READ = "PI0502", "a service can read another service's data",
        "A table of another service can be read. The path names the grants and memberships that lead there.";
    LEAK_CREATE = "PI0503", "a service can create objects where it should not",
        "CREATE or TEMPORARY on a foreign database or schema lets a service fill another's disk, or plant functions that others call.";
    LEAK_ROLE = "PI0504", "a service can become another role",
        "A membership lets the login SET ROLE to a role that is not its own.";
    LEAK_ATTRIBUTE = "PI0505", "a service's login has an attribute that it should not have",
        "SUPERUSER, CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS each reach beyond the island.";
    LEAK_OWNER = "PI0506", "a service can undo its own isolation",
        "A login that owns its database may grant CONNECT to PUBLIC and raise the database's connection limit.";
    LEAK_LIMIT = "PI0507", "a service can raise its own limits",
        "Limits that the limited one can change protect nobody.";
    LEAK_DEFAULT_PRIVILEGE = "PI0508", "default privileges open future objects to others",
        "Objects that are created from now on would be granted to PUBLIC or to a role outside the island.";
    LEAK_PREDEFINED_ROLE = "PI0509", "a service is a member of a predefined role",
        "pg_read_all_data, pg_write_all_data, pg_execute_server_program and their like reach into every database.";
    LEAK_LOGIN = "PI0510", "a service cannot log in to its own database",
        "The credential, the grant or the limit does not fit: the service would be down.";
    LEAK_FUNCTION = "PI0511", "a function runs with more rights than its caller",
        "A SECURITY DEFINER function that a service may call acts as its owner.";
    LEAK_FOREIGN_SERVER = "PI0512", "a service can reach out of its database",
        "dblink, foreign servers and user mappings connect to other databases from within.";
    VERIFY_NOT_PROVED = "PI0513", "something could not be proved",
        "A probe could not be run, so nothing is known about it. It counts neither as isolated nor as a leak.";
    VERIFY_BROKEN = "PI0514", "something that a service needs does not work in its own database",
        "The service gets in, and then cannot do what it should: create a table, use an extension, or leave its new objects to the owner role. The server's own message is in the path.";

    LEAK_SYSTEM = "PI0515", "a service can use the server beyond SQL",
        "A function, catalog or parameter that PostgreSQL keeps for superusers was granted by hand: pg_read_file reads any file of the server, pg_authid holds every password's verifier. The path names the grant; where nothing but a trial has shown it, the trial is in the path.";
    LOAD_REFUSED = "PI0516", "a load does not fit",
        "`verify -load` stays below what the server, the logins, the databases and PgBouncer let in, and leaves a tenth of the server's connections to others. What was asked for would not, so nothing was started. The message names the bound; -clients asks for fewer.";
    LOAD_FAILED = "PI0517", "clients failed under load, or more connections were held than the pools allow",
        "The services' clients were refused, cut off or kept waiting for a minute, or the server held more connections of the services than PgBouncer's pools have. The detail has the server's words. Compare the PgBouncer that runs with the generated pgbouncer.ini.";
    LOAD_PARTIAL = "PI0518", "a part of the load was not run",
        "Without PgBouncer there is nothing to compare with; with a single service there is no neighbour. What was measured is in the report, and what is missing proves nothing.";
    FAILOVER_REFUSED = "PI0519", "a failover cannot be tried here",
        "`verify -failover` kills the primary, so it is for the private cluster alone, with a standby that follows and PgBouncer in front: `pgisle dev up -standby`, `pgisle apply -dev`. Nothing was killed. A cluster of your own is never touched; what takes over there is what you have for it, such as Patroni, repmgr or the cloud's own.";
    FAILOVER_FAILED = "PI0520", "a failover was broken off",
        "A step of it failed or took too long. The private cluster is not left with two servers that take writes: `pgisle dev up` promotes the one that was chosen, makes the other its standby, and removes what was made for the test.";
    FAILOVER_WRONG = "PI0521", "a failover did what it must not do",
        "A write that waited for the standby is lost, one is there twice in spite of its key, a service did not come back, or the old primary took writes after it was replaced. The detail has what was seen.";
    FAILOVER_LOST = "PI0522", "acknowledged writes were lost in a failover",
        "Without synchronous replication a primary acknowledges a write when it has it itself. What the standby has not got when the primary dies is lost, and the client believes that it is there. This is no fault of the failover; -sync shows the same with commits that wait for the standby, and what that costs.";

    // Credentials and artifacts.
    CREDENTIAL_STORE = "PI0601", "the credential store cannot be used",
        "The file is unreadable, malformed, of a newer version, encrypted without a key at hand, or readable by others.";
    CREDENTIAL_MISSING = "PI0602", "a login exists and its password is not known here",
        "The cluster has the login, and this machine's store has no password for it. Copy the store from where the last apply ran, or rotate.";
    CREDENTIAL_REFUSED = "PI0603", "a stored password is refused by the server",
        "Someone changed the password behind pgisle's back. Apply sets it again.";
    ARTIFACT_EDITED = "PI0604", "a generated file was edited by hand",
        "pgisle does not overwrite what a person changed. Move the change elsewhere and delete the file, or pass -overwrite.";
    ARTIFACT_WRITE = "PI0605", "a generated file cannot be written",
        "The folder is missing, full or not writable.";
    OUTPUT_UNKNOWN = "PI0606", "there is no output of this name",
        "`pgisle output` without a name lists them.";
    ROTATE_STATE = "PI0607", "the rotation cannot go on",
        "A rotation has two halves: the new login is published, then, once no session uses the old one, the old one is disabled.";
    ARTIFACT_POOLER = "PI0608", "PgBouncer does not have the generated files",
        "It was to read them, and cannot be reached, or its aliases lead elsewhere. Copy pgbouncer.ini and userlist.txt to where it reads them, and send it RELOAD.";

    // The dev cluster.
    LOCAL_BINARIES = "PI0701", "the PostgreSQL server programs are not installed",
        "pgisle dev starts a private cluster from the programs on this machine: initdb, postgres and pg_ctl must be there.";
    LOCAL_START = "PI0702", "the private cluster did not start",
        "The server's log says why.";
    LOCAL_STATE = "PI0703", "the private cluster is not running",
        "`pgisle dev up` starts it.";
    LOCAL_MISMATCH = "PI0704", "the private cluster is not the one that was asked for",
        "It was made by another major version of PostgreSQL, or for another administrator. Major versions cannot read each other's data: remove it with `pgisle dev down -destroy`, or go on with what it is.";
    LOCAL_STANDBY = "PI0705", "the private cluster's standby cannot be used",
        "The standby could not be made or does not follow, or both servers take writes because somebody promoted the standby by hand. pgisle never starts a second server that takes writes, and removes no data that may be nowhere else. The detail has the server's words.";

    // Backups.
    BACKUP_STORE = "PI0801", "the backup store cannot be used",
        "The place that backup_storage_path names cannot be read or written: a folder is missing or not ours, the disk is full, or the S3 service refuses. Nothing that is half written is ever listed as a backup.";
    BACKUP_NONE = "PI0802", "there is no such backup",
        "The store has no whole backup of this name. `pgisle backup list` shows those that are there; what has no manifest, because its making was interrupted, is not one.";
    BACKUP_DAMAGED = "PI0803", "a backup is damaged",
        "What is in the store is not what was written there: a byte has changed, an object is missing, cut short or of another backup. It cannot be restored, and does not count for retention. Make a new one, and look at the disk.";
    BACKUP_LOCKED = "PI0804", "another backup run holds the lock",
        "Two runs at once would slow each other down and prune each other's leftovers, so only one writes to the store of a cluster. Wait for it (-lock-timeout), or end it.";
    BACKUP_DUMP = "PI0805", "a database could not be dumped",
        "pg_dump failed, was killed, or its output is not what the database holds. Nothing of this attempt is kept; earlier backups are untouched.";
    BACKUP_SPACE = "PI0806", "there is not enough space for the backup",
        "The disk that the store is on has less room than the last backup took, or, where there is none yet, than a cautious estimate. Nothing was written.";
    BACKUP_TOOLS = "PI0807", "pg_dump is missing or too old",
        "pg_dump must be of the server's major version or a later one. Install PostgreSQL's client programs of that version, or name their folder in PGISLE_PG_BIN.";
    BACKUP_KEY = "PI0808", "the encryption key of a backup is missing or does not fit",
        "Backups are encrypted to the public keys of backup_recipients, and read with a private key from PGISLE_AGE_IDENTITY, PGISLE_AGE_IDENTITY_FILE or ~/.config/pgisle/identity.txt.";
    BACKUP_MOMENT = "PI0809", "the services could not be stopped at one moment",
        "With -consistent every writer of every service is held back for the milliseconds in which the snapshots are taken, by PgBouncer's PAUSE. The message says which part could not be done; all that was paused was let go again.";
    BACKUP_LEFTOVER = "PI0810", "the store holds the rest of an interrupted backup",
        "A run was killed before it wrote the manifest. Such a rest is never taken for a backup; `pgisle backup prune` removes it when it is a day old. The parts of an upload to S3 that had not ended are called off by the next `pgisle backup create` or `pgisle backup prune`.";
    BACKUP_ABSENT = "PI0811", "a service has no database to back up",
        "The service is in the file and its database is not on the server, or is not pgisle's. `pgisle apply` makes it.";
    BACKUP_REPORT = "PI0812", "the outcome of a backup run could not be reported",
        "The backups themselves are as the message says; the status file, the log, the metrics or the command of backup_on_failure did not work.";

    // Restores.
    RESTORE_INPUT = "PI0820", "the dump cannot be restored",
        "The file is damaged, cut short, of a format that is not known, or holds what a restore must not do, such as a command for psql. It is read to its end before anything is made on the server, and the live database is untouched.";
    RESTORE_SERVICE = "PI0821", "the service is not ready to be restored into",
        "A restore puts a database in the place of the service's own, with the roles and grants that the file describes. Apply the service first.";
    RESTORE_EXTENSION = "PI0822", "an extension of the dump cannot be made",
        "The dump needs an extension that the server does not have, or that this administrator may not make. The new database is kept, empty, so that a DBA can run what is printed; the same command then goes on.";
    RESTORE_LOAD = "PI0823", "the dump could not be loaded",
        "The server refused a statement of the dump, or pg_restore failed. A restore runs as the service's owner role and never as the administrator, so what needs more rights than the service has is refused. The new database is dropped, and the live one is untouched.";
    RESTORE_DIFFERS = "PI0824", "what was restored is not what was backed up",
        "Every row, sequence and large object of the new database is compared with what the backup's manifest says. Something differs, so the new database is dropped, and the live one is untouched.";
    RESTORE_SWAP = "PI0825", "the databases could not trade places",
        "Both get their new names in one transaction, for which nobody may be connected to either. Someone stayed, or a prepared transaction did. Nothing was changed: the live database is in its place.";
    RESTORE_UNDO = "PI0826", "there is no database to put back",
        "-undo puts back what the last restore replaced, as long as it has not been pruned. `pgisle status` lists what is there.";
    RESTORE_PARTIAL = "PI0827", "part of the dump was left out",
        "Roles, publications, event triggers and the like reach beyond a service's database and are not restored with it; privileges of roles that do not exist here cannot be granted.";
    RESTORE_LEFT = "PI0828", "something of a restore is left on the cluster",
        "It could not be removed now. `pgisle status` lists it, and the next restore of the service removes it.";
    RESTORE_UNCOMPARED = "PI0829", "the content was not compared",
        "The dump does not say what it holds, as pgisle's own manifests do. That every statement of it succeeded is all that is known.";
    RESTORE_TOOLS = "PI0830", "pg_restore is missing or too old",
        "An archive can only be read by pg_restore of the version that wrote it, or a later one. Install PostgreSQL's client programs of that version, or name their folder in PGISLE_PG_BIN.";
    RESTORE_DRILL = "PI0831", "a drill failed",
        "The newest backup of a service could not be restored, or did not hold what its manifest says. Make a new one, and look into it before it is needed.";

    // Backups of the whole cluster.
    CLUSTER_PRIVILEGE = "PI0840", "the administrator may not copy the cluster",
        "pg_basebackup logs in for replication, which takes a superuser or a role with the attribute REPLICATION. The message has the command for a DBA. Backups of single services need none of this.";
    CLUSTER_SETTINGS = "PI0841", "the server does not let the cluster be copied",
        "A copy of the whole cluster needs wal_level = replica or logical, max_wal_senders above 0, and a line of pg_hba.conf that lets the administrator log in to `replication`. The message says which is missing.";
    CLUSTER_TABLESPACES = "PI0842", "the cluster has tablespaces of its own",
        "A cluster's backup is one stream, and only the data directory itself can be sent as one. Move what is in the tablespaces into pg_default, or back up the services one by one.";
    CLUSTER_INCREMENTAL = "PI0843", "no incremental backup of the cluster can be made",
        "An incremental backup takes PostgreSQL 17 or later, summarize_wal = on, and an earlier backup of the same cluster that was proved. The message says which is missing; a full backup can always be made.";
    CLUSTER_COPY = "PI0844", "the cluster could not be copied",
        "pg_basebackup or pg_dumpall failed or was killed, or what it wrote is not what the server listed. Nothing of this attempt is kept; earlier backups are untouched.";
    CLUSTER_TOOLS = "PI0845", "a program for cluster backups is missing",
        "pg_basebackup makes a cluster's backup, pg_combinebackup puts incremental ones together, and pg_verifybackup checks what was unpacked; the last two must be of the server's major version. Some systems have them in the server's package.";
    CLUSTER_UNPACK = "PI0846", "a cluster's backup cannot be unpacked",
        "The folder is not empty or cannot be written, or pg_combinebackup failed. Only an empty or new folder is unpacked into, and what was begun there is taken away again.";
    CLUSTER_CHECK = "PI0847", "what was unpacked is not a whole data directory",
        "pg_verifybackup found a file or a part of the write-ahead log that is not as the server sent it. The backup no longer counts for retention. Make a new one, and look at the disk.";
    CLUSTER_OUTSIDE = "PI0848", "the server's settings are not in the backup",
        "postgresql.conf, and most likely pg_hba.conf, lie outside of the data directory, as Debian's packages have it, and pg_basebackup copies the data directory alone. Back their folder up with the machine's other configuration.";

    // The archive of the write-ahead log, and recovery in time.
    WAL_ARCHIVE = "PI0850", "a file of the write-ahead log was not archived",
        "The file is not what its name says, or cannot be read. Whatever is in doubt is refused: the server keeps the file and asks again.";
    WAL_CONFLICT = "PI0851", "the archive holds another file of this name",
        "What is in the archive is never overwritten with something else. Two servers archive to one place, or the cluster was made anew under the same name.";
    WAL_ABSENT = "PI0852", "the archive does not hold a file of the write-ahead log",
        "A server that recovers asks for files until there is no next one, so this is no failure by itself.";
    WAL_DAMAGED = "PI0853", "an archived file of the write-ahead log is damaged",
        "It is not what was archived, so it is not handed out. A recovery cannot go past it; times after the next backup of the cluster can be recovered.";
    WAL_GAP = "PI0854", "the archive has a gap",
        "A segment that a recovery needs is missing. Times before the gap can be recovered, and times after the next backup of the cluster. Look at pg_stat_archiver, and make a backup of the cluster soon.";
    WAL_SETUP = "PI0855", "the server does not archive its write-ahead log",
        "Without the archive only the moments of backups can be restored. `pgisle backup wal-setup` says what to set, and why archiving fails.";
    RECOVER_TIME = "PI0856", "that time cannot be recovered",
        "A recovery begins with a backup of the cluster that was complete by then, and reads the archived write-ahead log up to the time. Give a time between the first backup of the cluster and now; `pgisle backup list` shows which there are.";
    RECOVER_SERVER = "PI0857", "the scratch server does not work",
        "A service is brought back to a time on a private server of its own, which needs PostgreSQL's server programs of the cluster's major version on this machine. The live database is untouched.";
    RECOVER_END = "PI0858", "the archived log ends before that time",
        "The server has archived nothing that was written later. Give an earlier time, or have the server archive what it has: SELECT pg_switch_wal().";
    RECOVER_LEFT = "PI0859", "something of a recovery is left on this machine",
        "A private server or its folder could not be removed. The next recovery removes it.";

    // Ourselves.
    USAGE = "PI0901", "the command line cannot be understood",
        "`pgisle help COMMAND` shows what a command takes.";
    IO = "PI0902", "a file of pgisle's own cannot be read or written",
        "The operating system's message follows.";
    BUG = "PI0903", "this is a bug in pgisle",
        "Please report it with the command that led here.";
    INTERRUPTED = "PI0904", "the command was interrupted",
        "Every statement is either done or not done, and a database that is half made stays closed to everyone. Run the same command again: it goes on where this one stopped.";

    // Splitting.
    SPLIT_TABLE = "PI1001", "a table that a service claims cannot be split out",
        "The table is not in the shared database, or its name is in two schemas, or it is something other than a table.";
    SPLIT_STRATEGY = "PI1002", "no way to split a service out can be used",
        "Each strategy needs something: clone that the administrator owns the shared database, stream that wal_level is logical and every table has a key. The message says what is missing.";
    SPLIT_TRANSACTION = "PI1003", "a transaction elsewhere holds a split up",
        "A transaction that has written and is still open, in whatever database, keeps a replication slot from being made, and keeps the fence from closing.";
    SPLIT_STATEMENTS = "PI1004", "joins across services cannot be looked for",
        "Catalogs show foreign keys and views, not what applications send. pg_stat_statements shows that; without it, a join that will fail after the split is found by the application.";
    SPLIT_LARGE_OBJECTS = "PI1005", "the shared database has large objects",
        "Large objects belong to no table. Those that a service's columns point to move with it; the others stay.";
    SPLIT_STATE = "PI1006", "the split is not where the command needs it",
        "A split goes from run to cutover, and from there to rollback or finalize. The journal in the shared database says where it is: pgisle split status.";
    SPLIT_TARGET = "PI1007", "the service's own database cannot take its tables",
        "The database that the tables move to must be there, pgisle's own, and without tables: what is in it already would be lost from sight.";
    SPLIT_PAUSE = "PI1008", "writers could not be held off in time",
        "A cutover waits for transactions that write to the moving tables, and all who come later wait behind it. It gives up after the time that was allowed, and everyone goes on as before.";
    SPLIT_SLOT = "PI1009", "the replication slot cannot be used",
        "Changes are followed by a logical replication slot. One that is gone, or that the server took the log away from (max_slot_wal_keep_size), cannot be followed any more: the copy has to be made again.";
    SPLIT_DIFFERS = "PI1010", "the two sides of a split do not hold the same",
        "Behind the cutover the old tables and the new ones are compared row by row, as both stood in the pause. A difference is a defect: the old tables are kept as they were, so look at those that are named, or go back with pgisle split rollback.";
    SPLIT_FAILED = "PI1011", "a step of a split failed",
        "The server refused a statement. What was before is still there: run the same command again once the cause is gone.";
    SPLIT_OWNER = "PI1012", "the administrator cannot act for the owner of the tables",
        "Fences, locks and foreign keys are the table owner's to set. A superuser may do all of it, and so may a member of the owner's role.";
    SPLIT_LATE = "PI1013", "someone still writes to the old tables",
        "The tables have moved, and a session that was not told tries to write to the old ones. It gets an error that says where they are, and nothing is lost. pgisle split status names those that are still connected.";

    WATCH_LOGIN = "PI1101", "there is no monitoring login to watch with",
        "Watching needs one connection, and takes the monitoring login's: it reads statistics and no data. Set create_monitoring_user = true and apply.";
    WATCH_LISTEN = "PI1102", "the page cannot be served there",
        "Another program has the port, or the address is none of this machine's. Choose another one with -listen.";
    WATCH_TOKEN = "PI1103", "who may see the page is not settled",
        "On any other address than this machine's own, pgisle serves only those who know a token. It comes from a file of mode 0600, or from the environment variable PGISLE_SERVE_TOKEN, and has 16 characters at least.";

    DOCTOR_NAME = "PI1201", "the host's name leads nowhere",
        "Neither DNS nor /etc/hosts knows the name in postgres_host, so there is no address to connect to. It may be mistyped, or known only inside of another network.";
    DOCTOR_STRANGER = "PI1202", "something else than PostgreSQL answers",
        "The port takes connections, and what is behind it does not speak PostgreSQL's protocol, or ends them at once: a web server, a proxy with nothing behind it, another database. postgres_port is probably another one.";
    DOCTOR_EXPOSED = "PI1203", "others can read a file with a password in it",
        "A generated file that holds passwords is readable by other accounts of this machine. pgisle writes them with mode 0600. Take the rights away, and if others can have read it, rotate.";
    DOCTOR_STALE = "PI1204", "generated files are out of date",
        "The files in generated/ are not what this spec and these logins would make. Services that are deployed with them may use old names, limits or passwords. pgisle apply writes them.";
    DOCTOR_SETTING = "PI1205", "a setting of the server is in the way",
        "The server runs, and one of its settings will do harm: a line of pg_hba.conf that it cannot read, a change that waits for a restart, a wal_level that a split cannot use, or a safeguard that is off.";
    DOCTOR_EXTENSION = "PI1206", "an extension and the server do not go together",
        "An extension was created in a database, and the server's machine has another version of it, or its library or its files are gone, as after an upgrade of the system without the extension's package.";
    DOCTOR_COLLATION = "PI1207", "the system sorts otherwise than when the indexes were made",
        "The C library or ICU of the server's machine is of another version than when the database was made, as after an upgrade of the operating system or a restore of the files elsewhere. Indexes on texts may be wrong until they are made anew.";
    DOCTOR_CONNECTIONS = "PI1208", "connections are running out",
        "The server, a database or a login has most of its connections in use, or all. Whoever comes next is refused. Smaller pools, or PgBouncer in transaction mode, need fewer; pgisle budget adds them up.";
    DOCTOR_HELD = "PI1209", "a session holds others up",
        "A session has a transaction open that others wait for, or that was left open and does nothing. It holds locks, and keeps dead rows from being removed.";
    DOCTOR_POOLER = "PI1210", "PgBouncer is in the way",
        "Services come through PgBouncer, and it does not run, does not know a login or an alias, is paused, or has its pool full. Most of the time it runs on older files than those that pgisle has generated.";
    DOCTOR_CLOCK = "PI1211", "the clocks differ",
        "The server's clock and this machine's are more than five seconds apart. Times of backups and recoveries are not what they seem then, and certificates begin and end at other times.";
    DOCTOR_SPACE = "PI1212", "a disk is filling up",
        "There is little room left on the disk of the server's data or of the backups. A server whose disk is full stops taking writes.";
    DOCTOR_LOG = "PI1213", "the write-ahead log piles up or is lost",
        "A replication slot keeps the log for somebody who does not come, or has lost what it needs; or the log cannot be archived, so that the server keeps all of it, and nothing can be recovered to a time since.";
    DOCTOR_LOGIN = "PI1214", "a service does not get into its database",
        "The service's login, with the password that pgisle has stored, was refused by the server. The server's words tell why; most of the time pgisle apply puts right what someone has changed.";
}

/// All codes, in order.
#[must_use]
pub fn all_codes() -> &'static [CodeInfo] {
    TABLE
}

/// Looks a code up by its text, in any case.
#[must_use]
pub fn code_info(text: &str) -> Option<&'static CodeInfo> {
    TABLE.iter().find(|info| info.code.as_str().eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ordered() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} before {}", pair[0].code, pair[1].code);
        }
    }

    #[test]
    fn a_code_is_found_in_any_case() {
        assert_eq!(code_info("pi0103").map(|info| info.code), Some(Code::SPEC_TYPE));
        assert!(code_info("PI9999").is_none());
    }
}
