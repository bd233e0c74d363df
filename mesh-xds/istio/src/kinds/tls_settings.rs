//! `trafficPolicy.tls`: how connections to a host are secured (`ClientTLSSettings`).

use crate::decode::{Fields, Schema, Sink};

/// A checked `ClientTLSSettings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientTls {
    /// `DISABLE`, also where no mode is said.
    Disable,
    /// `ISTIO_MUTUAL`: with the workload's own certificate.
    Istio(Names),
    /// `SIMPLE` and `MUTUAL`: with certificates in files.
    Files(Box<Files>),
}

/// Who is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// `sni`; empty where it is not said.
    pub(crate) sni: String,
    /// `subjectAltNames`; empty where they are not said.
    pub(crate) sans: Vec<String>,
}

/// Certificates by the names of their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) names: Names,
    /// `caCertificates`; the system's where it is not said.
    pub(crate) roots: Option<String>,
    /// `clientCertificate` and `privateKey`, under `MUTUAL`.
    pub(crate) own: Option<(String, String)>,
}

const TLS: Schema = Schema {
    served: &[
        "mode",
        "clientCertificate",
        "privateKey",
        "caCertificates",
        "subjectAltNames",
        "sni",
        "credentialName",
        "insecureSkipVerify",
        "caCrl",
    ],
    unserved: &[],
};

/// Reads `tls`. Without certificates anything but `DISABLE` is refused.
pub(super) fn decode(parent: &Fields<'_>, sink: &mut Sink) -> Option<ClientTls> {
    let fields = parent.sub("tls", TLS, sink)?;
    let modes = &["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"];
    let mode = fields.word("mode", modes, sink).unwrap_or("DISABLE");
    let names = Names {
        sni: fields.string("sni", sink).unwrap_or_default(),
        sans: texts(&fields, "subjectAltNames", sink),
    };
    let roots = file(&fields, "caCertificates", sink);
    let own = (
        file(&fields, "clientCertificate", sink),
        file(&fields, "privateKey", sink),
    );
    if mode == "DISABLE" {
        return Some(ClientTls::Disable);
    }
    if !sink.options.has_certificates() {
        let what = format!("{} {mode}", fields.path_of("mode"));
        sink.refuse_uncertified(fields.place("mode"), &what, "TLS");
        return None;
    }
    if mode == "ISTIO_MUTUAL" {
        return Some(ClientTls::Istio(names));
    }
    refuse(&fields, sink);
    let own = match (mode, own) {
        ("MUTUAL", (Some(certificate), Some(key))) => Some((certificate, key)),
        ("MUTUAL", _) => {
            let message = format!(
                "{} MUTUAL needs clientCertificate and privateKey",
                fields.path_of("mode")
            );
            sink.error(fields.place("mode"), message);
            None
        }
        _ => None,
    };
    Some(ClientTls::Files(Box::new(Files { names, roots, own })))
}

/// What would be less than the rule says if it were passed over.
fn refuse(fields: &Fields<'_>, sink: &mut Sink) {
    for (key, reason) in [
        (
            "credentialName",
            "no secret is looked up by name; name files by caCertificates, clientCertificate and privateKey",
        ),
        ("caCrl", "lists of withdrawn certificates are not read"),
    ] {
        if fields
            .string(key, sink)
            .is_some_and(|text| !text.is_empty())
        {
            let message = format!("{} is not served: {reason}", fields.path_of(key));
            sink.error(fields.place(key), message);
        }
    }
    if fields.bool("insecureSkipVerify", sink) {
        let path = fields.path_of("insecureSkipVerify");
        let message = format!("{path} is not served: a server that proves nothing can be anyone");
        sink.error(fields.place("insecureSkipVerify"), message);
    }
}

pub(super) fn texts(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Vec<String> {
    let texts = fields.strings(key, sink).into_iter();
    texts.map(|(text, _)| text).collect()
}

/// The name of a file. istiod writes two of them into one name with `~` between.
pub(super) fn file(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Option<String> {
    let name = fields.string(key, sink).filter(|name| !name.is_empty())?;
    if name.contains('~') {
        let message = format!("{} must not hold '~'", fields.path_of(key));
        sink.error(fields.place(key), message);
    }
    Some(name)
}
