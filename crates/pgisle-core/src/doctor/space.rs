//! Room on a disk.

use crate::diagnostic::{Code, Diagnostic};

const GB: u64 = 1 << 30;

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What it is for: `the data`.
    pub purpose: &'static str,
    /// The folder.
    pub folder: String,
    /// Free, for who is not root.
    pub free_bytes: u64,
    /// All of it.
    pub bytes: u64,
}

impl Disk {
    /// `40 GB of 252 GB free in /var/lib/postgresql`.
    #[must_use]
    pub fn seen(&self) -> String {
        format!("{} of {} free in {}", size(self.free_bytes), size(self.bytes), self.folder)
    }
}

/// What is wrong with the room.
#[must_use]
pub fn space(disk: &Disk) -> Option<Diagnostic> {
    let Disk { purpose, folder, free_bytes, bytes } = disk;
    let summary = format!("the disk with {purpose} is filling up");
    // A share alone would cry for terabytes, and a size alone for every small machine.
    let diagnostic = if *free_bytes < GB && free_bytes.saturating_mul(50) < *bytes {
        Diagnostic::error(Code::DOCTOR_SPACE, summary)
    } else if *free_bytes < 10 * GB && free_bytes.saturating_mul(10) < *bytes {
        Diagnostic::warning(Code::DOCTOR_SPACE, summary)
    } else {
        return None;
    };
    Some(
        diagnostic
            .detail(format!("{}. A server whose disk is full stops.", disk.seen()))
            .hint("Make room, or enlarge it. What takes most:")
            .command(format!("du -xh --max-depth=2 {} | sort -h | tail", shell(folder))),
    )
}

fn shell(text: &str) -> String {
    super::login::shell(text)
}

fn size(bytes: u64) -> String {
    if bytes >= GB { format!("{} GB", bytes / GB) } else { format!("{} MB", bytes >> 20) }
}
