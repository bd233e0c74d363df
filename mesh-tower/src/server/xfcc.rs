//! `x-forwarded-client-cert`, by which an application, or the next proxy, learns of the client's certificate.

use http::HeaderValue;
use mesh_core::identity::{PeerCertificate, SpiffeId};

/// The element that tells of a certificate, in Envoy's order: who received it, its digest, and what Istio asks for
/// (`set_current_client_cert_details` with `subject`, `uri` and `dns`).
pub(super) fn element(by: Option<&SpiffeId>, of: &PeerCertificate) -> Option<HeaderValue> {
    let mut text = String::with_capacity(256);
    if let Some(by) = by {
        pair(&mut text, "By", by.as_str());
    }
    let digest: String = of.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    pair(&mut text, "Hash", &digest);
    // It is in quotes even if it is empty. A distinguished name escapes its own.
    text.push_str(";Subject=\"");
    text.push_str(&of.subject);
    text.push('"');
    for uri in &of.sans.uri {
        pair(&mut text, "URI", uri);
    }
    if of.sans.uri.is_empty() {
        pair(&mut text, "URI", "");
    }
    for dns in &of.sans.dns {
        pair(&mut text, "DNS", dns);
    }
    // Names that no header can hold are told by nobody.
    HeaderValue::from_str(&text).ok()
}

/// A value with a separator in it is quoted, so that it cannot look like another element.
fn pair(text: &mut String, key: &str, value: &str) {
    if !text.is_empty() {
        text.push(';');
    }
    text.push_str(key);
    text.push('=');
    match value.contains([',', ';', '=', '"', '\\']) {
        false => text.push_str(value),
        true => {
            text.push('"');
            text.push_str(&value.replace('\\', "\\\\").replace('"', "\\\""));
            text.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_core::identity::Sans;

    fn certificate(subject: &str, uri: &[&str], dns: &[&str]) -> PeerCertificate {
        let boxed = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        let sans = Sans {
            uri: boxed(uri),
            dns: boxed(dns),
            ..Sans::default()
        };
        PeerCertificate::new(sans, subject, [0xab; 32], 0)
    }

    #[test]
    fn it_is_what_envoy_writes() {
        let by = "spiffe://cluster.local/ns/default/sa/reviews".parse().ok();
        let of = certificate("", &["spiffe://cluster.local/ns/default/sa/page"], &["a.b"]);
        let told = element(by.as_ref(), &of);
        let digest = "ab".repeat(32);
        let expected = format!(
            "By=spiffe://cluster.local/ns/default/sa/reviews;Hash={digest};Subject=\"\";URI=spiffe://cluster.local/ns/default/sa/page;DNS=a.b"
        );
        assert_eq!(told, HeaderValue::from_str(&expected).ok());
    }

    #[test]
    fn no_name_looks_like_another_element() {
        let of = certificate("", &["spiffe://td/a;By=x,URI=\"y"], &[]);
        let told = element(None, &of);
        let told = told.as_ref().and_then(|value| value.to_str().ok());
        let uri = r#"URI="spiffe://td/a;By=x,URI=\"y""#;
        assert!(told.is_some_and(|told| told.ends_with(uri)), "{told:?}");
        assert_eq!(element(None, &certificate("", &["a\nb"], &[])), None);
    }
}
