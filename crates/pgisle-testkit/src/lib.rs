//! pgisle-testkit.
