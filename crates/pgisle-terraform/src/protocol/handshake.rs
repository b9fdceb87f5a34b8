//! The first words between Terraform and a plugin: cookie and certificate in the environment, one line on standard output.

use std::ffi::OsString;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::json;

/// Set by Terraform. It is no secret: it keeps people from starting a plugin by hand and wondering.
const COOKIE_VARIABLE: &str = "TF_PLUGIN_MAGIC_COOKIE";
const COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";

/// The certificate that Terraform will show, as PEM.
const CLIENT_CERTIFICATE_VARIABLE: &str = "PLUGIN_CLIENT_CERT";

/// The protocols that Terraform speaks, as `5,6`.
const PROTOCOLS_VARIABLE: &str = "PLUGIN_PROTOCOL_VERSIONS";

/// go-plugin's own version, in which the line is written.
const CORE_VERSION: u32 = 1;

/// tfplugin6.
const PROTOCOL_VERSION: u32 = 6;

/// How the process was started.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// By Terraform, which will show this certificate.
    Plugin {
        /// As PEM.
        client_certificate: Vec<u8>,
    },
    /// By a person, who will start Terraform.
    Debug,
}

/// Why it does not serve.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Started by hand.
    #[error(
        "this is a Terraform provider: Terraform starts it, it is not used by itself\n\
         Put it into a filesystem mirror or name its folder in dev_overrides of the CLI configuration, then run terraform.\n\
         With -debug it serves a Terraform that you start yourself."
    )]
    ByHand,
    /// The two have no protocol in common.
    #[error("this provider speaks plugin protocol {PROTOCOL_VERSION}, which this Terraform does not: use Terraform 1.0 or later")]
    Protocol,
    /// Without a certificate anyone could call.
    #[error(
        "no client certificate is announced in {CLIENT_CERTIFICATE_VARIABLE}, so it could not be known who calls: Terraform announces one"
    )]
    NoCertificate,
}

/// Looks at how the process was started.
pub(super) fn look(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Start, Refused> {
    if arguments.into_iter().skip(1).any(|argument| argument == "-debug" || argument == "--debug") {
        return Ok(Start::Debug);
    }
    if variable(COOKIE_VARIABLE).is_none_or(|cookie| cookie != COOKIE) {
        return Err(Refused::ByHand);
    }
    let own = PROTOCOL_VERSION.to_string();
    let speaks = |versions: OsString| versions.to_string_lossy().split(',').any(|version| version.trim() == own);
    if variable(PROTOCOLS_VARIABLE).is_some_and(|versions| !speaks(versions)) {
        return Err(Refused::Protocol);
    }
    let certificate = variable(CLIENT_CERTIFICATE_VARIABLE).filter(|certificate| !certificate.is_empty());
    let certificate = certificate.ok_or(Refused::NoCertificate)?;
    Ok(Start::Plugin { client_certificate: certificate.into_encoded_bytes() })
}

/// What Terraform reads: where to connect, and whom it will find there.
pub(super) fn line(socket: &Path, certificate: &[u8]) -> String {
    let certificate = STANDARD_NO_PAD.encode(certificate);
    format!("{CORE_VERSION}|{PROTOCOL_VERSION}|unix|{}|grpc|{certificate}\n", socket.display())
}

/// What a person gives to a shell before starting Terraform.
pub(super) fn reattach(address: &str, socket: &Path) -> String {
    let provider = json!({
        "Protocol": "grpc",
        "ProtocolVersion": PROTOCOL_VERSION,
        "Pid": std::process::id(),
        // With it Terraform leaves the process alone when it ends.
        "Test": true,
        "Addr": { "Network": "unix", "String": socket.display().to_string() },
    });
    let text = json!({ address: provider }).to_string().replace('\'', r"'\''");
    format!("TF_REATTACH_PROVIDERS='{text}'\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Start, Refused> {
        let arguments = ["provider"].iter().chain(arguments).map(OsString::from);
        look(arguments, |name| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn only_terraform_is_served_and_only_with_a_certificate() {
        let cookie = (COOKIE_VARIABLE, COOKIE);
        let certificate = (CLIENT_CERTIFICATE_VARIABLE, "pem");
        let served = Ok(Start::Plugin { client_certificate: b"pem".to_vec() });
        assert_eq!(looked(&[], &[cookie, certificate, (PROTOCOLS_VARIABLE, "5,6")]), served);
        assert_eq!(looked(&[], &[cookie, certificate]), served);
        assert_eq!(looked(&[], &[cookie, certificate, (PROTOCOLS_VARIABLE, "5,16")]), Err(Refused::Protocol));
        assert_eq!(looked(&[], &[cookie]), Err(Refused::NoCertificate));
        assert_eq!(looked(&[], &[cookie, (CLIENT_CERTIFICATE_VARIABLE, "")]), Err(Refused::NoCertificate));
        assert_eq!(looked(&[], &[certificate]), Err(Refused::ByHand));
        assert_eq!(looked(&[], &[(COOKIE_VARIABLE, "other"), certificate]), Err(Refused::ByHand));
        assert_eq!(looked(&["-debug"], &[]), Ok(Start::Debug));
        assert_eq!(looked(&["--debug"], &[cookie, certificate]), Ok(Start::Debug));
    }

    #[test]
    fn the_lines_are_as_terraform_and_a_shell_read_them() {
        assert_eq!(line(Path::new("/tmp/s"), &[0xff, 0xff]), "1|6|unix|/tmp/s|grpc|//8\n");
        let reattach = reattach("example.com/a/b", Path::new("/tmp/it's"));
        let json = reattach.strip_prefix("TF_REATTACH_PROVIDERS='").and_then(|rest| rest.strip_suffix("'\n"));
        let json = json.expect("a quoted text").replace(r"'\''", "'");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["example.com/a/b"]["Addr"]["String"], "/tmp/it's");
        assert_eq!(json["example.com/a/b"]["ProtocolVersion"], 6);
    }
}
