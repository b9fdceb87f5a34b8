//! Private clusters.

mod dev;
mod pooler;
mod project;
mod standby;
