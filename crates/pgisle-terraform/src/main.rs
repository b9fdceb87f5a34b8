//! The provider's program. Terraform starts it; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgisle_terraform::run(std::env::args_os())
}
