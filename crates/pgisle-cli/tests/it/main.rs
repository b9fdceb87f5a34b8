//! The command line from the outside: exit code, standard output and standard error of the real program, each run in a home
//! and a folder of its own and with nothing else in its environment.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod backup;
mod basics;
mod bouncer;
mod budget;
mod cluster;
mod cluster_backup;
mod components;
mod connections;
mod docs;
mod doctor;
mod examples;
mod export;
mod failover;
mod faults;
mod limits;
mod load;
mod program;
mod recovery;
mod reference;
mod reload;
mod restore;
mod serve;
mod split;
mod uploads;
mod wrong_files;
