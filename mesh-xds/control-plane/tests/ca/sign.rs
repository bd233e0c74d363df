//! What is signed, and what is not.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use mesh_control_plane::ca::{Csr, InvalidCsr, SignError};
use rcgen::{KeyPair, PublicKeyData};

use crate::kit::{
    HOUR, REVIEWS, THIEF, authority, caller, certificates, csr, id, leads_to, now, request, said,
};

const DAY: i64 = 24 * 3600;
const WANTS_ALL: &str = include_str!("requests/p256-wants-all.pem");
const RSA: &str = include_str!("requests/rsa-2048.pem");
const P384: &str = include_str!("requests/p384-sha256.pem");

/// Whether the bytes of a PEM text hold another text.
fn holds(pem: &str, text: &str) -> bool {
    use rustls_pki_types::CertificateSigningRequestDer;
    use rustls_pki_types::pem::PemObject;
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap();
    der.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn the_caller_gets_its_own_name_whatever_the_request_says() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    for text in [request(&key, THIEF), WANTS_ALL.to_owned()] {
        // It does ask for another one.
        assert!(holds(&text, THIEF));
        let csr = Csr::from_pem(&text).unwrap();
        let chain = authority
            .sign(&csr, &caller(REVIEWS), Duration::ZERO, now())
            .unwrap();
        let said = said(&chain[0]);
        assert_eq!(
            (&said.uris[..], said.other_names),
            (&[REVIEWS.to_owned()][..], 0)
        );
        assert!(
            said.names_are_critical && said.subject.is_empty(),
            "{said:?}"
        );
        assert!(!said.is_ca && !said.signs_certificates, "{said:?}");
        assert!(
            said.server_and_client_only && said.digital_signature,
            "{said:?}"
        );
    }
    let csr = Csr::from_pem(&request(&key, THIEF)).unwrap();
    let chain = authority.sign(&csr, &caller(REVIEWS), HOUR, now()).unwrap();
    assert_eq!(said(&chain[0]).key, key.subject_public_key_info());
}

#[test]
fn a_chain_is_the_leaf_first_and_the_root_last_and_leads_there() {
    let authority = authority();
    let chain = authority
        .sign(&csr(THIEF), &caller(REVIEWS), HOUR, now())
        .unwrap();
    assert_eq!(chain.len(), 2);
    assert!(chain.iter().all(|text| certificates(text).len() == 1));
    assert_eq!(chain[1], authority.roots());
    leads_to(&chain[0], &authority.roots(), now()).unwrap();
    let other = crate::kit::authority();
    leads_to(&chain[0], &other.roots(), now()).unwrap_err();
}

#[test]
fn it_is_valid_from_two_minutes_ago_for_as_long_as_was_asked() {
    let authority = authority();
    let signed = |ttl| {
        let chain = authority.sign(&csr(THIEF), &caller(REVIEWS), ttl, now())?;
        let said = said(&chain[0]);
        Ok::<_, SignError>((said.from, said.to))
    };
    assert_eq!(signed(Duration::ZERO), Ok((-120, DAY)));
    assert_eq!(signed(HOUR), Ok((-120, 3600)));
    assert_eq!(signed(24 * HOUR * 90), Ok((-120, 90 * DAY)));
    for absurd in [24 * HOUR * 90 + Duration::from_secs(1), Duration::MAX] {
        let error = signed(absurd).unwrap_err();
        assert!(matches!(error, SignError::TooLong { .. }), "{error}");
    }
    let strict = crate::kit::authority().with_longest(HOUR);
    let chain = strict
        .sign(&csr(THIEF), &caller(REVIEWS), Duration::ZERO, now())
        .unwrap();
    assert_eq!(said(&chain[0]).to, 3600);
}

#[test]
fn nothing_outlives_the_authority_or_is_signed_after_it() {
    let authority = authority();
    let root = 10 * 365 * DAY;
    let seconds = |days: i64| Duration::from_secs(u64::try_from(days * DAY).unwrap());
    let late = now() + seconds(10 * 365 - 1);
    let chain = authority
        .sign(&csr(THIEF), &caller(REVIEWS), 48 * HOUR, late)
        .unwrap();
    assert_eq!(said(&chain[0]).to, root);
    let error = authority.issue(&id(REVIEWS), HOUR, now() + seconds(10 * 365));
    assert!(matches!(error.unwrap_err(), SignError::Expired(_)));
    for absurd in [
        UNIX_EPOCH - HOUR,
        UNIX_EPOCH + Duration::from_secs(300_000_000_000),
    ] {
        authority.issue(&id(REVIEWS), HOUR, absurd).unwrap_err();
    }
}

#[test]
fn no_two_serial_numbers_are_the_same_even_for_one_key() {
    let (authority, csr, caller) = (authority(), csr(THIEF), caller(REVIEWS));
    let serials: BTreeSet<_> = (0..64)
        .map(|_| {
            let chain = authority.sign(&csr, &caller, HOUR, now()).unwrap();
            said(&chain[0]).serial
        })
        .collect();
    assert_eq!(serials.len(), 64);
    assert!(
        serials
            .iter()
            .all(|serial| serial[0] < 0x80 && serial.len() >= 8)
    );
}

#[test]
fn of_another_trust_domain_nobody_is_signed_for() {
    let foreign = "spiffe://cluster.local.evil/ns/default/sa/bookinfo-reviews";
    let error = authority().sign(&csr(REVIEWS), &caller(foreign), HOUR, now());
    assert!(matches!(
        error.unwrap_err(),
        SignError::ForeignDomain { .. }
    ));
    let error = authority().issue(&id(foreign), HOUR, now()).unwrap_err();
    assert!(error.to_string().contains("cluster.local.evil"), "{error}");
}

#[test]
fn usual_keys_are_signed_for() {
    let authority = authority();
    for (text, rsa) in [(RSA, true), (P384, false), (WANTS_ALL, false)] {
        let csr = Csr::from_pem(text).unwrap();
        let chain = authority.sign(&csr, &caller(REVIEWS), HOUR, now()).unwrap();
        leads_to(&chain[0], &authority.roots(), now()).unwrap();
        let said = said(&chain[0]);
        assert_eq!(said.key_encipherment, rsa);
        // The key of the request, byte by byte.
        let key = &said.key;
        let der = crate::kit::der(text);
        assert!(der.windows(key.len()).any(|part| part == key));
    }
}

#[test]
fn weak_and_unusual_keys_are_not() {
    for (text, word) in [
        (include_str!("requests/rsa-1024.pem"), "1024 bits"),
        (include_str!("requests/secp256k1.pem"), "1.3.132.0.10"),
        (include_str!("requests/p521.pem"), "1.3.132.0.35"),
        (include_str!("requests/ed25519.pem"), "1.3.101.112"),
    ] {
        let error = Csr::from_pem(text).unwrap_err();
        assert!(matches!(error, InvalidCsr::Key(_)), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = Csr::from_pem(include_str!("requests/p256-sha1.pem")).unwrap_err();
    assert_eq!(error, InvalidCsr::Signature);
}

/// Where in a request the part is that its signature covers.
fn signed(der: &[u8]) -> std::ops::Range<usize> {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer;
    let (_, request) = X509CertificationRequest::from_der(der).unwrap();
    let info = request.certification_request_info.raw;
    let from = der.windows(info.len()).position(|part| part == info);
    from.map(|from| from..from + info.len()).unwrap()
}

#[test]
fn a_request_whose_signature_is_not_its_keys_is_not_signed() {
    for text in [WANTS_ALL, RSA, P384] {
        let der = crate::kit::der(text);
        let bit_off = |at: usize| {
            let mut der = der.clone();
            der[at] ^= 1;
            crate::kit::pem("CERTIFICATE REQUEST", &der)
        };
        // Nothing changed: taken. So what is changed below is what it is refused for.
        let good = Csr::from_pem(&crate::kit::pem("CERTIFICATE REQUEST", &der)).unwrap();
        let signed = signed(&der);
        for at in 0..der.len() {
            // What is not signed holds nothing that is taken; some of its bits mean nothing to a reader.
            let same = Csr::from_pem(&bit_off(at)).is_ok_and(|csr| csr == good);
            assert!(!same || !signed.contains(&at), "byte {at}");
            assert!(same || Csr::from_pem(&bit_off(at)).is_err(), "byte {at}");
        }
        let last = Csr::from_pem(&bit_off(der.len() - 1)).unwrap_err();
        assert_eq!(last, InvalidCsr::Signature);
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let authority = authority();
    let long = format!("{}{WANTS_ALL}", "# a comment\n".repeat(6000));
    let half = &WANTS_ALL[..WANTS_ALL.len() / 2];
    for text in ["", "hello", &authority.roots(), &long, half] {
        let error = Csr::from_pem(text).unwrap_err();
        assert!(matches!(error, InvalidCsr::Unreadable(_)), "{error}");
    }
    let mut der = crate::kit::der(WANTS_ALL);
    der.push(0);
    let error = Csr::from_pem(&crate::kit::pem("CERTIFICATE REQUEST", &der)).unwrap_err();
    assert!(error.to_string().contains("bytes follow it"), "{error}");
}

#[test]
fn what_the_launcher_is_given_holds_together() {
    let authority = authority();
    let issued = authority.issue(&id(REVIEWS), HOUR, now()).unwrap();
    leads_to(issued.chain(), issued.roots(), now()).unwrap();
    assert_eq!(said(issued.chain()).uris, [REVIEWS]);
    // Nothing that is printed holds the key.
    let shown = format!("{issued:?} {authority:?}");
    assert!(!shown.contains("PRIVATE"), "{shown}");
}
