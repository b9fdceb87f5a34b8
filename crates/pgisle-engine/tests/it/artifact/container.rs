//! Docker Compose, `docker run` and Kubernetes' schemas.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use pgisle_core::artifact::{Endpoint, application_names, generate};
use pgisle_core::spec::Access;
use pgisle_engine::local::find_program;
use pgisle_engine::process::Invocation;
use pgisle_testkit::skip;
use serde_json::Value;

use super::{NASTY, credentials, link, nasty_passwords, service_name, text_of, with_password, written};

/// What Compose makes of some files, with its doubling of `$` undone.
async fn compose_config(program: &std::path::Path, folder: &std::path::Path, files: &[&str]) -> Value {
    let files = files.iter().flat_map(|file| ["-f", file]);
    let run = Invocation::new(program).arguments(files).arguments(["config", "--format", "json"]).directory(folder);
    let output = run.clean_environment().environment("HOME", folder).run().await.unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&output.text().replace("$$", "$")).unwrap()
}

#[tokio::test]
async fn compose_takes_the_override_over_a_base_file() {
    let Some(program) = find_program("docker-compose") else { skip!("Docker Compose is not installed") };
    let folder = tempfile::tempdir().unwrap();
    let spec = link();
    let endpoint = Endpoint::of(&spec.settings);
    let credentials = credentials(&spec, |service| format!("{}{NASTY}", service.name));
    written(&spec, &endpoint, &credentials, &folder.path().join("generated/development"));
    let mut base = String::from("services:\n");
    for application in application_names(&spec).values() {
        let _ = write!(base, "  {application}-svc:\n    image: example/{application}\n");
    }
    fs::write(folder.path().join("docker-compose.yml"), base).unwrap();
    let files = ["docker-compose.yml", "generated/development/docker-compose.db-isolation.yml"];
    let config = compose_config(&program, folder.path(), &files).await;
    assert_eq!(config["services"].as_object().unwrap().len(), spec.services.len() + 1);
    assert_eq!(config["services"]["user-svc"]["environment"]["PGDATABASE"], "link_users");
    for (name, application) in application_names(&spec) {
        let service = &config["services"][format!("{application}-svc")];
        let (environment, logins) = (&service["environment"], &credentials.services[&name]);
        assert_eq!(environment["PGPASSWORD"], logins.active.secret.expose());
        assert_eq!(environment["PGUSER"], logins.active.role.as_str());
        assert_eq!(environment["PGDATABASE"], spec.services[&name].database.as_str());
        assert_eq!(service["image"], format!("example/{application}"), "the base file's own settings stay");
        assert_eq!(service["depends_on"]["pgbouncer"]["condition"], "service_started");
    }
    let volume = &config["services"]["pgbouncer"]["volumes"][0];
    let source = folder.path().canonicalize().unwrap().join("generated/development/pgbouncer");
    assert_eq!((volume["source"].as_str(), volume["target"].as_str()), (source.to_str(), Some("/etc/pgbouncer")));
    assert_eq!(config["services"]["pgbouncer"]["ports"][0]["published"], "6432");
}

#[tokio::test]
async fn compose_reads_every_password_back() {
    let Some(program) = find_program("docker-compose") else { skip!("Docker Compose is not installed") };
    let folder = tempfile::tempdir().unwrap();
    let spec = link();
    let passwords = nasty_passwords(200);
    let any = credentials(&spec, |_| String::new());
    let mut base = String::from("services:\n");
    for (index, password) in passwords.iter().enumerate() {
        let artifacts = generate(&spec, &Endpoint::of(&spec.settings), &with_password(any.clone(), password));
        fs::write(folder.path().join(format!("{index}.env")), text_of(&artifacts, ".env/.env.users")).unwrap();
        let _ = write!(base, "  s{index}:\n    image: example/x\n    env_file: [\"./{index}.env\"]\n");
    }
    fs::write(folder.path().join("docker-compose.yml"), base).unwrap();
    let files = ["docker-compose.yml"];
    let run = Invocation::new(&program).arguments(["-f", files[0], "config", "--format", "json"]).directory(folder.path());
    let config: Value = serde_json::from_str(&run.run().await.unwrap().text()).unwrap();
    for (index, password) in passwords.iter().enumerate() {
        let read = config["services"][format!("s{index}")]["environment"]["PGPASSWORD"].as_str().unwrap();
        assert_eq!(read.replace("$$", "$"), *password, "Compose doubles each $ when it prints");
    }
}

/// Stands in for Docker's engine, as far as `docker run` tells it what to create: returns that request's environment.
fn environment_that_docker_sends(listener: &TcpListener) -> Vec<String> {
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let mut request = String::new();
            if reader.read_line(&mut request).unwrap() == 0 {
                break;
            }
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            if request.contains("/containers/create") {
                stream.write_all(b"HTTP/1.1 500 Enough\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                return body["Env"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK").unwrap();
        }
    }
}

#[tokio::test]
async fn docker_run_reads_the_unquoted_files() {
    let Some(program) = find_program("docker") else { skip!("docker's command line is not installed") };
    let folder = tempfile::tempdir().unwrap();
    let mut spec = link();
    spec.services.retain(|name, _| name.as_str() == "users");
    let any = credentials(&spec, |_| String::new());
    for password in nasty_passwords(8) {
        let credentials = with_password(any.clone(), &password);
        let artifacts = generate(&spec, &Endpoint::of(&spec.settings), &credentials);
        let file = folder.path().join("file");
        fs::write(&file, text_of(&artifacts, ".env/docker/.env.users")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let engine = format!("tcp://{}", listener.local_addr().unwrap());
        let stand_in = std::thread::spawn(move || environment_that_docker_sends(&listener));
        let run =
            Invocation::new(&program).arguments(["run", "--env-file"]).argument(&file).argument("example/x").clean_environment();
        let run =
            run.environment("HOME", folder.path()).environment("DOCKER_HOST", engine).environment("DOCKER_API_VERSION", "1.41");
        let _refused = run.run_to_end().await.unwrap();
        let environment = stand_in.join().unwrap();
        assert!(environment.contains(&format!("PGPASSWORD={password}")), "{password}");
        assert!(environment.contains(&"PGDATABASE=link_users".to_owned()));
        assert_eq!(environment.len(), 13, "{environment:?}");
    }
}

#[tokio::test]
async fn kubernetes_schemas_accept_the_secrets() {
    let Some(program) = find_program("kubernetes-validate") else { skip!("kubernetes-validate is not installed") };
    let folder = tempfile::tempdir().unwrap();
    let mut spec = link();
    spec.services.get_mut(&service_name("ai")).unwrap().access = Access::Split;
    spec.settings.tags = BTreeMap::from([("Größe/1".to_owned(), "x y".repeat(40)), ("…".to_owned(), String::new())]);
    let mut credentials = credentials(&spec, |_| NASTY.to_owned());
    let ai = credentials.services.get_mut(&service_name("ai")).unwrap();
    ai.migrator = Some(super::credential(spec.services[&service_name("ai")].migrator(), NASTY));
    written(&spec, &Endpoint::of(&spec.settings), &credentials, folder.path());
    let files: Vec<_> = fs::read_dir(folder.path().join("k8s-secrets")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), spec.services.len() + 1);
    Invocation::new(&program).arguments(["--strict", "--no-warn"]).arguments(&files).run().await.unwrap();
    // And it would have noticed.
    let wrong = fs::read_to_string(&files[0]).unwrap().replace("\ndata:", "\nsurprise:");
    fs::write(folder.path().join("wrong.yaml"), wrong).unwrap();
    let run = Invocation::new(&program).arguments(["--strict", "wrong.yaml"]).directory(folder.path());
    assert!(!run.run_to_end().await.unwrap().status.success());
}
