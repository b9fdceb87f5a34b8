//! The override for Docker Compose: each service gets its environment file, and PgBouncer stands before the server.
//!
//! Paths in it are relative to the folder of the *first* file that Compose is given, so they name this environment's folder from
//! there, and `PGISLE_GENERATED` says otherwise.

use crate::artifact::environment;
use crate::artifact::escape::compose_text;
use crate::artifact::naming::application_names;
use crate::artifact::yaml::Yaml;
use crate::artifact::{Artifact, Endpoint, header};
use crate::spec::Spec;

/// The file's path.
pub(crate) const PATH: &str = "docker-compose.db-isolation.yml";

pub(crate) fn artifact(spec: &Spec, endpoint: &Endpoint) -> Artifact {
    let folder = format!("${{PGISLE_GENERATED:-./generated/{}}}", spec.settings.environment);
    let mut services = Vec::new();
    for (service, application) in application_names(spec) {
        let file = compose_text(&environment::path(service.as_str()));
        let mut definition = vec![("env_file", Yaml::List(vec![Yaml::text(format!("{folder}/{file}"))]))];
        if endpoint.pooler.is_some() {
            definition.push(("depends_on", Yaml::List(vec![Yaml::text("pgbouncer")])));
        }
        services.push((format!("{application}-svc"), Yaml::map(definition)));
    }
    if let Some(pooler) = &endpoint.pooler {
        let port = pooler.port;
        let definition = Yaml::map([
            ("image", Yaml::text("${PGBOUNCER_IMAGE:-edoburu/pgbouncer:latest}")),
            // userlist.txt is readable by its owner alone, and PgBouncer refuses to run as root.
            ("user", Yaml::text("${PGISLE_UID:-1000}:${PGISLE_GID:-1000}")),
            ("entrypoint", Yaml::List(vec![Yaml::text("pgbouncer")])),
            ("command", Yaml::List(vec![Yaml::text(compose_text(&format!("{}/pgbouncer.ini", pooler.directory)))])),
            ("volumes", Yaml::List(vec![Yaml::text(format!("{folder}/pgbouncer:{}:ro", compose_text(&pooler.directory)))])),
            ("ports", Yaml::List(vec![Yaml::text(format!("127.0.0.1:{port}:{port}"))])),
            ("restart", Yaml::text("unless-stopped")),
        ]);
        services.push(("pgbouncer".to_owned(), definition));
    }
    let document = Yaml::map([("services", Yaml::map(services))]);
    let usage = "#\n\
        #   export PGISLE_UID=$(id -u) PGISLE_GID=$(id -g)    # whoever owns pgbouncer/userlist.txt\n\
        #   docker compose -f docker-compose.yml -f generated/ENVIRONMENT/docker-compose.db-isolation.yml up\n\
        #\n\
        # Paths start at the folder of docker-compose.yml; PGISLE_GENERATED names another place.\n\
        # The base file's services are expected to be called user-svc for the service users, chat-svc for chat, and so on.\n"
        .replace("ENVIRONMENT", spec.settings.environment.as_str());
    Artifact::open(PATH, header(spec, "#") + &usage + &document.render())
}
