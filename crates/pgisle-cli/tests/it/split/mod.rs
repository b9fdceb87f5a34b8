//! Splits by the program, while the service writes: killed at every point, and refused before harm.

mod killed;
mod others;
mod points;
mod pooler;
mod refused;
mod stand;
