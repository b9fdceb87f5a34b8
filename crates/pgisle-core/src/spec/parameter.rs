//! PostgreSQL's own settings, as far as a service may have them.

use crate::name::ParameterName;

/// Settings that would undo the isolation or what it is built on, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("role", "pgisle sets it itself: every session of the service acts as the owner role."),
    ("session_authorization", "It would make the session another role's."),
    ("session_preload_libraries", "It loads code into every session; that is for the server's administrator."),
    ("local_preload_libraries", "It loads code into every session; that is for the server's administrator."),
    ("shared_preload_libraries", "It belongs to the whole server."),
    ("session_replication_role", "It turns off triggers and foreign keys; set it in a session where it is needed."),
    ("max_connections", "It belongs to the whole server. Use connection_limit."),
    ("superuser_reserved_connections", "It belongs to the whole server."),
    ("reserved_connections", "It belongs to the whole server."),
    ("shared_buffers", "It belongs to the whole server."),
    ("wal_level", "It belongs to the whole server."),
    ("max_wal_senders", "It belongs to the whole server."),
    ("max_replication_slots", "It belongs to the whole server."),
    ("listen_addresses", "It belongs to the whole server."),
    ("port", "It belongs to the whole server."),
    ("ssl", "It belongs to the whole server. Use postgres_sslmode."),
    ("client_encoding", "Drivers set it, and a default would be overruled."),
];

/// Checks a setting's name, and gives it in lower case: PostgreSQL does not tell the cases apart.
pub(super) fn check(name: &str) -> Result<ParameterName, String> {
    // As valid_custom_variable_name in src/backend/utils/misc/guc.c, ASCII only: there is no other in PostgreSQL.
    let is_word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
    };
    if !name.split('.').all(is_word) {
        return Err("It is not the name of a PostgreSQL setting: letters, digits, _ and $, with a dot between an extension's name and its setting.".to_owned());
    }
    let name = name.to_ascii_lowercase();
    if let Some((_, why)) = FORBIDDEN.iter().find(|(forbidden, _)| *forbidden == name) {
        return Err((*why).to_owned());
    }
    ParameterName::new(name).map_err(|error| format!("{error}.").replacen("the", "The", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_put_in_lower_case() {
        assert_eq!(check("Statement_Timeout").map(|name| name.to_string()), Ok("statement_timeout".to_owned()));
        assert_eq!(check("pg_stat_statements.track").map(|name| name.to_string()), Ok("pg_stat_statements.track".to_owned()));
        for name in ["", ".", "a.", "a b", "role", "ROLE", "session_authorization", "x; drop", "größe", "1a"] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
