//! Until something that speaks PostgreSQL's protocol is found.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use pgisle_testkit::Cluster;

use super::{applied, assert_well, check, checkup, found, project, reaching};

/// Answers every connection in some way until the test ends; gives its port.
fn server(answer: impl Fn(std::net::TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap())));
    port
}

#[test]
fn a_name_that_leads_nowhere_is_told_and_nothing_behind_it_is_looked_at() {
    let place = reaching("nowhere.invalid", 5432);
    let commands = found(&place, "name", "failed", "PI1201", "\"nowhere.invalid\" leads nowhere");
    assert_eq!(commands, ["getent hosts nowhere.invalid"]);
    let document = checkup(&place);
    assert_eq!(document["exit_code"], 69);
    for name in ["port", "tls", "administrator", "logins", "disk"] {
        assert_eq!(
            (&check(&document, name)["outcome"], &check(&document, name)["seen"]),
            (&"skipped".into(), &"host name failed".into())
        );
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_refused_until_it_is_started() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    applied(&place);
    cluster.stop_server();
    let commands = found(&place, "port", "failed", "PI0201", "Connection refused");
    assert_eq!(commands, ["sudo systemctl start postgresql"]);
    cluster.restart().await;
    assert_well(&place, "logins");
}

#[tokio::test]
async fn packets_that_vanish_look_like_a_firewall() {
    // A queue for one that nobody takes anyone from: the system drops what comes after.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(std::time::Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        queued.push(stream);
        assert!(queued.len() < 20, "the queue takes everyone");
    }
    let place = reaching("127.0.0.1", address.port());
    let commands = found(&place, "port", "failed", "PI0201", "A firewall that drops packets looks like this");
    assert_eq!(commands, [format!("nc -vz -w 5 127.0.0.1 {}", address.port())]);
}

#[test]
fn a_web_server_is_no_postgresql() {
    let port = server(|mut stream| {
        let mut request = [0; 8];
        let _read = stream.read(&mut request);
        let _written = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let place = reaching("127.0.0.1", port);
    let commands = found(&place, "protocol", "failed", "PI1202", "HTTP/1.1 400 Bad Request");
    assert_eq!(commands.len(), 1);
    assert_eq!(checkup(&place)["exit_code"], 69);
}

#[test]
fn a_proxy_with_nothing_behind_it_is_no_postgresql() {
    // What was sent is unread when it is closed, so that the connection is reset.
    let port = server(drop);
    let place = reaching("127.0.0.1", port);
    found(&place, "protocol", "failed", "PI1202", "as a proxy does with nothing behind it");
}

#[tokio::test]
async fn a_server_that_hangs_says_nothing() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    let pid_file = std::fs::read_to_string(cluster.data_dir().join("postmaster.pid")).unwrap();
    let pid = pid_file.lines().next().and_then(|line| line.trim().parse().ok()).and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let document = checkup(&place);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    let finding = &check(&document, "protocol")["findings"][0];
    assert_eq!(finding["code"], "PI1202", "{document:#}");
    assert!(finding["summary"].as_str().unwrap().ends_with("says nothing"), "{finding:#}");
    assert_eq!(finding["commands"][0], format!("sudo ss -ltnp 'sport = :{}'", cluster.port()));
    assert_well(&place, "administrator");
}
