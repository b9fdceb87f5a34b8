//! The protocol with a provider of the tests' own (`examples/fake.rs`): driven by a real Terraform, and by callers that mean no good.
//! And pgisle's own provider, with a real Terraform and real servers (`islands`).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod caller;
mod islands;
mod life;
mod place;
mod strangers;
mod trouble;
