//! The one place that connects to PostgreSQL.
//!
//! [`ConnectOptions`] says how, [`Session`] is a connection of the administrator's, [`inspect`](inspect::inspect) reads the whole
//! cluster, and [`RunLock`] keeps two runs from changing it at once.

pub mod connect;
pub mod conninfo;
pub(crate) mod execute;
pub mod inspect;
mod libpq;
pub mod lock;
mod passfile;
mod servicefile;
pub mod session;
pub mod tls;

pub use connect::ConnectError;
pub use conninfo::{ConnectOptions, Host, Resolved, Surroundings};
pub use inspect::{InspectError, Progress, Request, inspect, inspect_contents, inspect_data_bytes, inspect_inside, inspect_shared};
pub use lock::{Holder, LockError, RunLock, Scope};
pub use session::{Notice, Session};
