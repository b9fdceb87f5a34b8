//! pgisle-engine.
