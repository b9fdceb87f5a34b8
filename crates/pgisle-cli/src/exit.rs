//! How a command ends, as a number: the one table from diagnostic codes to exit codes.

use std::process::ExitCode;

use pgisle_core::diagnostic::{Code, Diagnostic, Severity};

/// The exit codes. From 64 on they are those of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Something failed; the diagnostics say what.
    Failed = 1,
    /// `plan -detailed-exitcode`: there are changes to apply.
    Changes = 2,
    /// The command line cannot be understood.
    Usage = 64,
    /// The files cannot be understood.
    Spec = 65,
    /// The server cannot be used.
    Unavailable = 69,
    /// pgisle itself is at fault.
    Bug = 70,
    /// Another run holds the lock, or the cluster has moved since the plan: try again.
    Busy = 75,
}

impl Exit {
    /// All of them with their meaning, for the reference and the manual.
    pub(crate) const ALL: &[(Self, &str)] = &[
        (Self::Done, "done, or nothing to do"),
        (Self::Failed, "something failed, and the diagnostics say what"),
        (Self::Changes, "changes are pending (`plan -detailed-exitcode` only)"),
        (Self::Usage, "the command line cannot be understood"),
        (Self::Spec, "the files cannot be understood"),
        (Self::Unavailable, "the server cannot be reached, logged in to or used"),
        (Self::Bug, "a bug in pgisle"),
        (Self::Busy, "another run holds the lock, or the saved plan is stale: try again"),
    ];

    /// The number.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// How a command with these findings ends; none when none of them is an error. The first error decides, because what
    /// comes after may follow from it; a bug is never hidden behind another error.
    pub(crate) fn of(diagnostics: &[Diagnostic]) -> Option<Self> {
        let mut exits =
            diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).map(|error| Self::of_code(error.code));
        let first = exits.next()?;
        Some(if exits.any(|exit| exit == Self::Bug) { Self::Bug } else { first })
    }

    /// How an error with this code ends.
    pub(crate) fn of_code(code: Code) -> Self {
        TABLE.iter().find(|(codes, _)| codes.contains(&code)).map_or(Self::Failed, |(_, exit)| *exit)
    }
}

/// Every code that does not simply end in [`Exit::Failed`].
const TABLE: &[(&[Code], Exit)] = &[
    (&[Code::USAGE, Code::PLAN_UNKNOWN_TARGET, Code::OUTPUT_UNKNOWN], Exit::Usage),
    (
        &[
            Code::SPEC_SYNTAX,
            Code::SPEC_UNKNOWN_SETTING,
            Code::SPEC_TYPE,
            Code::SPEC_RANGE,
            Code::SPEC_DUPLICATE,
            Code::SPEC_NAME,
            Code::SPEC_EXPRESSION,
            Code::SPEC_MISSING,
            Code::SPEC_FILE,
            Code::SPEC_CONFLICT,
            Code::SPEC_BLOCK,
            Code::SPEC_VARIABLE,
            Code::SPEC_EMPTY,
            Code::SPEC_LIMIT,
            Code::CONNECT_CONFIG,
        ],
        Exit::Spec,
    ),
    (
        &[
            Code::CONNECT_REFUSED,
            Code::CONNECT_AUTH,
            Code::CONNECT_TLS,
            Code::CONNECT_POOLED,
            Code::CONNECT_TOO_MANY,
            Code::CONNECT_DATABASE,
            Code::CONNECT_LOST,
            Code::SERVER_VERSION,
            Code::PLAN_STANDBY,
            Code::LOCAL_STATE,
            Code::DOCTOR_NAME,
            Code::DOCTOR_STRANGER,
        ],
        Exit::Unavailable,
    ),
    (&[Code::BUG], Exit::Bug),
    (&[Code::APPLY_LOCKED, Code::APPLY_STALE, Code::BACKUP_LOCKED], Exit::Busy),
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

#[cfg(test)]
mod tests {
    use pgisle_core::diagnostic::all_codes;

    use super::*;

    #[test]
    fn every_spec_code_is_a_bad_spec() {
        for info in all_codes().iter().filter(|info| info.code.as_str().starts_with("PI01")) {
            // A warning's code may be in the range too; as an error it would still be the file's fault.
            assert_eq!(Exit::of_code(info.code), Exit::Spec, "{} is missing from the table", info.code);
        }
    }

    #[test]
    fn no_code_is_in_the_table_twice() {
        let mut codes: Vec<Code> = TABLE.iter().flat_map(|(codes, _)| codes.iter().copied()).collect();
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] != pair[1]), "{codes:?}");
    }

    #[test]
    fn the_first_error_decides_and_a_bug_is_never_hidden() {
        let locked = || Diagnostic::error(Code::APPLY_LOCKED, "x");
        let failed = || Diagnostic::error(Code::APPLY_STATEMENT, "x");
        let warning = || Diagnostic::warning(Code::SPEC_TYPE, "x");
        let bug = || Diagnostic::error(Code::BUG, "x");
        assert_eq!(Exit::of(&[]), None);
        assert_eq!(Exit::of(&[warning()]), None);
        assert_eq!(Exit::of(&[warning(), locked(), failed()]), Some(Exit::Busy));
        assert_eq!(Exit::of(&[failed(), locked()]), Some(Exit::Failed));
        assert_eq!(Exit::of(&[failed(), bug()]), Some(Exit::Bug));
    }
}
