//! pgisle.
fn main() {}
