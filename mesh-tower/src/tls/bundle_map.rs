//! The file of a SPIFFE trust bundle map (gRPC A87): a JSON object of SPIFFE bundles by their trust domains.

use mesh_core::identity::TrustDomain;
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value};

use super::keys::{InvalidPem, certificates};

type Bundle = (TrustDomain, Vec<CertificateDer<'static>>);

/// Each trust domain with its certificates, of which there is at least one.
pub(super) fn read(json: &[u8]) -> Result<Vec<Bundle>, InvalidPem> {
    let map: Value = serde_json::from_slice(json)
        .map_err(|error| InvalidPem(format!("the text is not valid JSON: {error}")))?;
    let domains = field(&map, "trust_domains").and_then(Value::as_object);
    let domains = domains.ok_or_else(|| {
        InvalidPem("the text has no object \"trust_domains\" of SPIFFE bundles".to_owned())
    })?;
    domains
        .iter()
        .map(|(domain, bundle)| {
            let wrong = |what: String| InvalidPem(format!("trust domain {domain:?}: {what}"));
            let name = domain.parse();
            let name: TrustDomain = name.map_err(|_| wrong("it is no trust domain".to_owned()))?;
            Ok((name, bundle_of(bundle).map_err(wrong)?))
        })
        .collect()
}

fn bundle_of(bundle: &Value) -> Result<Vec<CertificateDer<'static>>, String> {
    let keys = field(bundle, "keys").and_then(Value::as_array);
    let mut all = Vec::new();
    for (at, key) in keys.ok_or("it has no list \"keys\"")?.iter().enumerate() {
        let wrong = |what: &str| format!("keys[{at}]: {what}");
        match field(key, "use").and_then(Value::as_str) {
            Some("x509-svid") => {}
            // SPIFFE bundles, 4.2.2: what is not known is passed over; `jwt-svid` is for tokens.
            _ => continue,
        }
        let chain = field(key, "x5c").and_then(Value::as_array);
        let Some([Value::String(one)]) = chain.map(Vec::as_slice) else {
            return Err(wrong("\"x5c\" is no list of one certificate"));
        };
        all.extend(certificate(one).map_err(|error| wrong(&error.to_string()))?);
    }
    match all.is_empty() {
        true => Err("it has no key of use \"x509-svid\"".to_owned()),
        false => Ok(all),
    }
}

/// Base64 of DER is PEM without its edges.
fn certificate(base64: &str) -> Result<Vec<CertificateDer<'static>>, InvalidPem> {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    if !base64.bytes().all(is_base64) {
        return Err(InvalidPem("\"x5c\" is no base64".to_owned()));
    }
    let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    certificates(pem.as_bytes())
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.as_object().and_then(|map: &Map<_, _>| map.get(name))
}
