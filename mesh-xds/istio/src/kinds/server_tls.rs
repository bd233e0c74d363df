//! `tls` of a `Gateway`'s server: which certificate it shows, and whose it takes (`ServerTLSSettings`).

use crate::decode::{Fields, Schema, Sink};

use super::tls_settings::{file, texts};

/// How a server that ends TLS does so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerTls {
    /// `ISTIO_MUTUAL`: with the gateway's own certificate, for callers of the mesh.
    Istio {
        /// `subjectAltNames`; empty for every workload of the mesh.
        sans: Vec<String>,
    },
    /// `SIMPLE` and `MUTUAL`: with certificates in files of the gateway.
    Files(Box<ServerFiles>),
}

/// Certificates by the names of their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerFiles {
    /// `serverCertificate`
    pub(crate) chain: String,
    /// `privateKey`
    pub(crate) key: String,
    /// Under `MUTUAL`: whose certificate a client has to show.
    pub(crate) clients: Option<Clients>,
    /// `minProtocolVersion`
    pub(crate) min: Option<Version>,
    /// `maxProtocolVersion`
    pub(crate) max: Option<Version>,
}

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clients {
    /// `caCertificates`
    pub(crate) roots: String,
    /// `subjectAltNames`; empty for everyone whom these authorities know.
    pub(crate) sans: Vec<String>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V1_0,
    V1_1,
    V1_2,
    V1_3,
}

/// What `tls` says.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// `httpsRedirect`
    pub(super) redirects: bool,
    /// Nothing where it is plaintext, or wrong.
    pub(super) tls: Option<ServerTls>,
}

const TLS: Schema = Schema {
    served: &[
        "mode",
        "httpsRedirect",
        "serverCertificate",
        "privateKey",
        "caCertificates",
        "subjectAltNames",
        "minProtocolVersion",
        "maxProtocolVersion",
        "credentialName",
        "credentialNames",
        "caCertCredentialName",
        "tlsCertificates",
        "caCrl",
        "verifyCertificateSpki",
        "verifyCertificateHash",
    ],
    unserved: &["cipherSuites"],
};
const MODES: [&str; 6] = [
    "PASSTHROUGH",
    "SIMPLE",
    "MUTUAL",
    "AUTO_PASSTHROUGH",
    "ISTIO_MUTUAL",
    "OPTIONAL_MUTUAL",
];
const VERSIONS: [&str; 5] = ["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"];
/// The fields of certificates in files.
const OF_FILES: [&str; 3] = ["serverCertificate", "privateKey", "caCertificates"];
/// What would be less than is said if it were passed over.
const REFUSED: [(&str, &str); 7] = [
    ("credentialName", BY_NAME),
    ("credentialNames", BY_NAME),
    ("caCertCredentialName", BY_NAME),
    ("tlsCertificates", "a server shows one certificate"),
    ("caCrl", "lists of withdrawn certificates are not read"),
    ("verifyCertificateSpki", BY_NAMES_OF_CALLERS),
    ("verifyCertificateHash", BY_NAMES_OF_CALLERS),
];
const BY_NAME: &str = "no secret is looked up by name; name files by serverCertificate, privateKey and caCertificates";
const BY_NAMES_OF_CALLERS: &str =
    "callers are told by the names in their certificates; write subjectAltNames";

/// That of a server of plaintext, which can only send its clients away to TLS.
pub(super) fn of_plaintext(server: &Fields<'_>, sink: &mut Sink) -> Settings {
    let Some(fields) = server.sub("tls", TLS, sink) else {
        return Settings::default();
    };
    let redirects = fields.bool("httpsRedirect", sink);
    let mode = fields.word("mode", &MODES, sink);
    let ends = mode.is_some_and(|mode| !mode.ends_with("PASSTHROUGH"));
    let with = OF_FILES.iter().chain(REFUSED.iter().map(|(key, _)| key));
    let mut with = with.filter(|key| fields.get(key).is_some());
    if let Some(key) = ends.then_some(&"mode").or_else(|| with.next()) {
        let message = format!(
            "{}: a server of plaintext (HTTP) has no certificate; write protocol HTTPS",
            fields.path_of(key)
        );
        sink.error(fields.place(key), message);
    }
    Settings {
        redirects,
        tls: None,
    }
}

/// That of a server of HTTPS.
pub(super) fn of_https(server: &Fields<'_>, sink: &mut Sink) -> Settings {
    let Some(fields) = server.sub("tls", TLS, sink) else {
        if server.get("tls").is_none() {
            let message = format!("{}.tls is missing: the protocol is HTTPS", server.path);
            sink.error(server.at, message);
        }
        return Settings::default();
    };
    let redirects = fields.bool("httpsRedirect", sink);
    if redirects {
        let message = format!(
            "{} has no effect on a server of HTTPS",
            fields.path_of("httpsRedirect")
        );
        sink.note(fields.place("httpsRedirect"), message);
    }
    let tls = match fields.word("mode", &MODES, sink) {
        Some("SIMPLE") => files(&fields, false, sink),
        Some("MUTUAL") => files(&fields, true, sink),
        Some("ISTIO_MUTUAL") => istio(&fields, sink),
        mode => {
            // A word that is none is told already.
            if mode.is_some() || fields.get("mode").is_none() {
                refuse_mode(&fields, mode, sink);
            }
            None
        }
    };
    Settings { redirects, tls }
}

fn refuse_mode(fields: &Fields<'_>, mode: Option<&str>, sink: &mut Sink) {
    let path = fields.path_of("mode");
    let message = match mode {
        Some("OPTIONAL_MUTUAL") => format!(
            "{path} OPTIONAL_MUTUAL is not served: a client without a certificate would be let in; write MUTUAL or SIMPLE"
        ),
        Some(mode) => format!(
            "{path} {mode} is not served: no connection is passed on unread; write SIMPLE, MUTUAL or ISTIO_MUTUAL"
        ),
        None => format!(
            "{path} is missing, which is PASSTHROUGH: no connection is passed on unread; write SIMPLE, MUTUAL or ISTIO_MUTUAL"
        ),
    };
    sink.error(fields.place("mode"), message);
}

fn istio(fields: &Fields<'_>, sink: &mut Sink) -> Option<ServerTls> {
    let with = OF_FILES.iter().chain(REFUSED.iter().map(|(key, _)| key));
    for key in with.filter(|key| fields.get(key).is_some()) {
        let message = format!(
            "{}: under ISTIO_MUTUAL the certificate is the gateway's own",
            fields.path_of(key)
        );
        sink.error(fields.place(key), message);
    }
    for key in ["minProtocolVersion", "maxProtocolVersion"] {
        if version(fields, key, sink).is_some() {
            let message = format!("{} has no effect under ISTIO_MUTUAL", fields.path_of(key));
            sink.note(fields.place(key), message);
        }
    }
    if !sink.options.has_certificates() {
        let what = format!("{} ISTIO_MUTUAL", fields.path_of("mode"));
        sink.refuse_uncertified(fields.place("mode"), &what, "TLS");
        return None;
    }
    let sans = texts(fields, "subjectAltNames", sink);
    Some(ServerTls::Istio { sans })
}

fn files(fields: &Fields<'_>, mutual: bool, sink: &mut Sink) -> Option<ServerTls> {
    let mut refused = false;
    for (key, reason) in REFUSED {
        if fields.get(key).is_some() {
            let message = format!("{} is not served: {reason}", fields.path_of(key));
            sink.error(fields.place(key), message);
            refused = true;
        }
    }
    let mut of = |key: &str| {
        let name = file(fields, key, sink);
        // Who named a secret has been told what to write instead.
        if name.is_none() && !refused {
            let mode = if mutual { "MUTUAL" } else { "SIMPLE" };
            let path = fields.path_of("mode");
            sink.error(fields.place(key), format!("{path} {mode} needs {key}"));
        }
        name
    };
    let (chain, key) = (of("serverCertificate"), of("privateKey"));
    let roots = mutual.then(|| of("caCertificates"));
    let sans = texts(fields, "subjectAltNames", sink);
    if !mutual {
        without_clients(fields, sink);
    }
    let (min, max) = versions(fields, sink);
    let clients = match roots {
        Some(roots) => Some(Clients {
            roots: roots?,
            sans,
        }),
        None => None,
    };
    Some(ServerTls::Files(Box::new(ServerFiles {
        chain: chain?,
        key: key?,
        clients,
        min,
        max,
    })))
}

/// Under `SIMPLE` a client shows nothing that could be looked at.
fn without_clients(fields: &Fields<'_>, sink: &mut Sink) {
    for key in ["caCertificates", "subjectAltNames"] {
        if fields.get(key).is_some() {
            let message = format!(
                "{} has no effect under SIMPLE: no client is asked for a certificate; write MUTUAL",
                fields.path_of(key)
            );
            sink.note(fields.place(key), message);
        }
    }
}

/// The oldest and the newest version. TLS 1.2 is the oldest that is spoken, whatever is allowed.
fn versions(fields: &Fields<'_>, sink: &mut Sink) -> (Option<Version>, Option<Version>) {
    let min = version(fields, "minProtocolVersion", sink);
    let max = version(fields, "maxProtocolVersion", sink);
    if min.is_some_and(|min| min < Version::V1_2) {
        let path = fields.path_of("minProtocolVersion");
        let message = format!("{path}: nothing below TLS 1.2 is spoken");
        sink.note(fields.place("minProtocolVersion"), message);
    }
    let path = fields.path_of("maxProtocolVersion");
    let fault = match (min, max) {
        (_, Some(max)) if max < Version::V1_2 => Some("nothing below TLS 1.2 is spoken"),
        (Some(min), Some(max)) if max < min => Some("is below minProtocolVersion"),
        _ => None,
    };
    if let Some(fault) = fault {
        let message = format!("{path}: {fault}");
        sink.error(fields.place("maxProtocolVersion"), message);
    }
    (min, max)
}

fn version(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Option<Version> {
    match fields.word(key, &VERSIONS, sink)? {
        "TLSV1_0" => Some(Version::V1_0),
        "TLSV1_1" => Some(Version::V1_1),
        "TLSV1_2" => Some(Version::V1_2),
        "TLSV1_3" => Some(Version::V1_3),
        _ => None,
    }
}
