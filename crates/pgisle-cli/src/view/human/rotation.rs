//! What `rotate` shows.

use std::fmt::Write as _;
use std::path::Path;

use pgisle_engine::artifact::{Change, ChangeKind};
use pgisle_engine::rotate::Rotated;

use super::style::{GOOD, NAME, harmless, paint};
use super::table::{left, render};
use super::text::count;

/// After the first half: both logins work.
pub(crate) fn begun(rotated: &Rotated, folder: &Path, files: &[Change]) -> String {
    let logins = rotated.services.iter().filter_map(|name| Some((name, rotated.credentials.services.get(name)?)));
    let rows: Vec<Vec<String>> = logins
        .map(|(name, logins)| {
            let old = logins.draining.as_ref().map(|credential| harmless(credential.role.as_str())).unwrap_or_default();
            vec![name.to_string(), harmless(logins.active.role.as_str()), old]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!("{} Both logins work until the old one is shut out.\n\n", paint(GOOD.bold(), "Rotated."));
    text.push_str(&render(&[left("service"), left("new login"), left("old login")], &rows));
    let written = files.iter().filter(|change| matches!(change.kind, ChangeKind::Create | ChangeKind::Update)).count();
    let names: Vec<&str> = rotated.services.iter().map(|name| name.as_str()).collect();
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        text,
        "\n{} written in {}. Deploy them, then:\n\n      {}",
        count(written, "file"),
        folder.display(),
        paint(NAME, format_args!("pgisle rotate -finish -wait=10m {}", names.join(" ")))
    );
    text
}

/// After the second half: the old logins are shut out.
pub(crate) fn finished(rotated: &Rotated) -> String {
    match rotated.services.len() {
        0 if rotated.applied.failures.is_empty() => "Nothing to do. No old login is left.\n".to_owned(),
        0 => String::new(),
        number => {
            format!("{} The old login of {} can no longer log in.\n", paint(GOOD.bold(), "Finished."), count(number, "service"))
        }
    }
}
