//! Disks that fill.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use pgisle_engine::process::Invocation;
use pgisle_testkit::Cluster;

/// A small file system of its own, taken away again at the end.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one; none where that is not allowed.
    pub(super) async fn mount(megabytes: u32) -> Option<Self> {
        Self::mount_with(&format!("size={megabytes}m")).await
    }

    async fn mount_with(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Invocation::new("mount").arguments(["-t", "tmpfs", "-o", options, "tmpfs"]);
        mount.argument(folder.path()).run().await.ok()?;
        Some(Self(folder))
    }

    /// Moves a folder of a cluster's data to a small disk.
    pub(crate) async fn under(cluster: &Cluster, name: &str, megabytes: u32) -> Option<Self> {
        let folder = cluster.data_dir().join(name);
        let owner = fs::metadata(&folder).unwrap();
        let options = format!("size={megabytes}m,mode=0700,uid={},gid={}", owner.uid(), owner.gid());
        let disk = Self::mount_with(&options).await?;
        cluster.stop_server();
        let copy = Invocation::new("cp").arguments(["-a", "--"]).argument(folder.join(".")).argument(disk.path());
        copy.run().await.unwrap();
        fs::remove_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(disk.path(), &folder).unwrap();
        cluster.restart().await;
        Some(disk)
    }

    /// Gives it more room.
    pub(crate) async fn grow(&self, megabytes: u32) {
        let mount = Invocation::new("mount").arguments(["-o", &format!("remount,size={megabytes}m")]);
        mount.argument(self.path()).run().await.unwrap();
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the small disk stays mounted");
    }
}
