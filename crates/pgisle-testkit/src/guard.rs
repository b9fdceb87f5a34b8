//! A process that outlives the test's and removes the cluster when the test process ends without having done so.

use std::path::Path;
use std::process::Child;

use pgisle_engine::process::Invocation;

use crate::nursery::account;

/// `$1` is the cluster's folder. The read ends when the test process does, for whatever reason: the pipe has no other writer. A lock
/// file that a killed server left may name somebody else's process by now, so where there is a /proc, the process must work there.
const SCRIPT: &str = r#"
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -d /proc/self ] && [ "$(readlink "/proc/$pid/cwd")" != "$1/data" ]; then pid=; fi
if [ -n "$pid" ]; then
    kill -QUIT "$pid"
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
    kill -KILL "$pid" 2>/dev/null
fi
rm -rf -- "$1"
"#;

/// The guard of one cluster.
pub(crate) struct Guard(Child);

impl Guard {
    /// Sets a guard before the server is started, so that there is no moment without.
    pub(crate) fn set(folder: &Path) -> Self {
        let guard = Invocation::new("/bin/sh").arguments(["-c", SCRIPT, "pgisle-testkit-guard"]).argument(folder);
        let guard = guard.clean_environment().run_as(account()).directory("/").start_tethered();
        Self(guard.unwrap_or_else(|error| panic!("{error}")))
    }
}

/// Dismisses the guard: the cluster is gone.
impl Drop for Guard {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}
