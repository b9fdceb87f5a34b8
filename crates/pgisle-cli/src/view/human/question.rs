//! Questions, in Terraform's words where it has them.

use super::style::{STRONG, harmless, paint};

/// Before something is changed.
pub(crate) fn yes() -> String {
    format!(
        "{}\n  pgisle will do what is shown above.\n  Only 'yes' will be accepted.\n\n  Enter a value: ",
        paint(STRONG, "Do you want to make these changes?")
    )
}

/// Before something is dropped.
pub(crate) fn name(name: &str) -> String {
    let name = harmless(name);
    format!(
        "{}\n  What is shown above is dropped for good. There is no way back.\n  Type its name, {name}, to confirm.\n\n  Enter a value: ",
        paint(STRONG, format_args!("Do you really want to drop \"{name}\"?"))
    )
}
