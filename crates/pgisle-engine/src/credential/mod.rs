//! The logins that pgisle made: making their passwords, keeping them, and replacing them.
//!
//! [`ensure`] adds what a spec needs and does not have, [`rotation`] replaces a login while its service runs, and a [`Store`]
//! keeps the whole set in one file that only its owner reads, encrypted if the spec says so. The order is always the same:
//! the store is written first, then the server and the generated files are made to follow it. Whatever is killed in between,
//! the next run finds the password that it needs.

mod encryption;
mod ensure;
mod error;
mod format;
mod password;
pub mod rotation;
mod store;

pub use encryption::IdentitySource;
pub(crate) use encryption::{Identities, Recipients};
pub use ensure::{console_user, ensure};
pub use error::StoreError;
pub use password::{PASSWORD_CHARS, restored, system_random};
pub use store::Store;
