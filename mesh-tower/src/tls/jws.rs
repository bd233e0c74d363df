//! Signatures of tokens (RFC 7515), by the cryptography that TLS has.

use std::fmt;

use mesh_core::jwt::{Alg, Curve, Jwk, KeyType, Verify};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{AlgorithmIdentifier, SignatureVerificationAlgorithm, alg_id};

/// What a provider knows of the algorithms of tokens.
#[derive(Clone)]
pub(crate) struct Jws {
    known: [(Alg, Option<&'static dyn SignatureVerificationAlgorithm>); Alg::ALL.len()],
}

impl Jws {
    /// Picks out of a provider's algorithms those that tokens are signed by.
    pub(crate) fn of(provider: &CryptoProvider) -> Self {
        let all = provider.signature_verification_algorithms.all;
        let known = Alg::ALL.map(|alg| {
            let (key, signature) = identifiers(alg);
            let mut all = all.iter().copied();
            let is_it = |it: &&dyn SignatureVerificationAlgorithm| {
                it.public_key_alg_id() == key && it.signature_alg_id() == signature
            };
            (alg, all.find(is_it))
        });
        Self { known }
    }

    /// The algorithms that the provider lacks: tokens that are signed by them are refused. ring has no P-521, which
    /// `ES512` is of.
    pub(crate) fn lacking(&self) -> impl Iterator<Item = Alg> {
        let lacking = self.known.iter().filter(|(_, known)| known.is_none());
        lacking.map(|(alg, _)| *alg)
    }
}

impl fmt::Debug for Jws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lacking: Vec<Alg> = self.lacking().collect();
        f.debug_struct("Jws").field("lacking", &lacking).finish()
    }
}

impl Verify for Jws {
    fn verify(&self, alg: Alg, key: &Jwk, message: &[u8], signature: &[u8]) -> bool {
        let known = self.known.iter().find(|(known, _)| *known == alg);
        let Some((_, Some(algorithm))) = known else {
            return false;
        };
        if !key.key_type().fits(alg) {
            return false;
        }
        let verified = match key.key_type() {
            KeyType::Ec(curve) => match in_der(curve, signature) {
                Some(signature) => {
                    algorithm.verify_signature(key.public_key(), message, &signature)
                }
                None => return false,
            },
            KeyType::Rsa | KeyType::Ed25519 => {
                algorithm.verify_signature(key.public_key(), message, signature)
            }
        };
        verified.is_ok()
    }
}

/// What an algorithm is in certificates: of the key, and of the signature. Those of RSA-PSS have a salt as long as the
/// hash, which is what RFC 7518, 3.5 demands.
const fn identifiers(alg: Alg) -> (AlgorithmIdentifier, AlgorithmIdentifier) {
    match alg {
        Alg::RS256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA256),
        Alg::RS384 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA384),
        Alg::RS512 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA512),
        Alg::PS256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA256),
        Alg::PS384 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA384),
        Alg::PS512 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA512),
        Alg::ES256 => (alg_id::ECDSA_P256, alg_id::ECDSA_SHA256),
        Alg::ES384 => (alg_id::ECDSA_P384, alg_id::ECDSA_SHA384),
        Alg::ES512 => (alg_id::ECDSA_P521, alg_id::ECDSA_SHA512),
        Alg::EdDSA => (alg_id::ED25519, alg_id::ED25519),
    }
}

/// The two numbers of an ECDSA signature, which in a token are of the same length and in a row (RFC 7518, 3.4), as
/// cryptography takes them: a sequence of two integers in DER.
fn in_der(curve: Curve, signature: &[u8]) -> Option<Vec<u8>> {
    let length = curve.coordinate();
    let (r, s) = signature.split_at_checked(length)?;
    if s.len() != length {
        return None;
    }
    let mut numbers = Vec::with_capacity(2 * (length + 3));
    for number in [r, s] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeros..];
        // Zero is no part of a signature: with it, any message would be signed (CVE-2022-21449).
        let sign = usize::from(*number.first()? >= 0x80);
        numbers.extend([0x02, (sign + number.len()) as u8]);
        numbers.extend(std::iter::repeat_n(0, sign));
        numbers.extend_from_slice(number);
    }
    // Two numbers of P-521 have 138 bytes at most: the length is one byte, or two.
    let mut der = Vec::with_capacity(numbers.len() + 3);
    der.push(0x30);
    if numbers.len() >= 0x80 {
        der.push(0x81);
    }
    der.push(numbers.len() as u8);
    der.append(&mut numbers);
    Some(der)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use mesh_core::RequestView;
    use mesh_core::jwt::{
        DEFAULT_CLOCK_SKEW, Expiration, Jwks, Keys, Outcome, Places, Provider, Requirement, Rule,
        Rules, Why, check,
    };
    use mesh_core::matcher::PathMatcher;
    use rcgen::{KeyPair, PublicKeyData, RsaKeySize};
    use rustls::SignatureScheme;
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn jws() -> Jws {
        Jws::of(&rustls::crypto::aws_lc_rs::default_provider())
    }

    fn encoded(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decoded(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn jwk(key: &str) -> Jwk {
        let set = Jwks::parse(format!(r#"{{"keys":[{key}]}}"#).as_bytes());
        set.unwrap().keys()[0].clone()
    }

    /// The published examples: RFC 7515, A.2 to A.4, and RFC 8037, A.4.
    const EXAMPLES: [(Alg, &str, &str); 4] = [
        (
            Alg::RS256,
            r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#,
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            Alg::ES256,
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            Alg::ES512,
            r#"{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}"#,
            "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
        ),
        (
            Alg::EdDSA,
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ];

    #[test]
    fn published_examples_verify() {
        for (alg, key, token) in EXAMPLES {
            let (message, signature) = token.rsplit_once('.').unwrap();
            let (key, signature) = (jwk(key), decoded(signature));
            let verifies = |message: &str, signature: &[u8]| {
                jws().verify(alg, &key, message.as_bytes(), signature)
            };
            assert!(verifies(message, &signature), "{alg:?}");
            assert!(!verifies(&message[1..], &signature), "{alg:?}");
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut other = signature.clone();
                other[at] ^= 1;
                assert!(!verifies(message, &other), "{alg:?}, byte {at}");
            }
        }
    }

    /// A key of an algorithm: what signs, and its JWK.
    fn pair(alg: Alg) -> (KeyPair, String) {
        let (kind, rsa) = match alg {
            Alg::ES256 => (&rcgen::PKCS_ECDSA_P256_SHA256, false),
            Alg::ES384 => (&rcgen::PKCS_ECDSA_P384_SHA384, false),
            Alg::ES512 => (&rcgen::PKCS_ECDSA_P521_SHA512, false),
            Alg::EdDSA => (&rcgen::PKCS_ED25519, false),
            _ => (&rcgen::PKCS_RSA_SHA256, true),
        };
        let pair = match rsa {
            true => KeyPair::generate_rsa_for(kind, RsaKeySize::_2048).unwrap(),
            false => KeyPair::generate_for(kind).unwrap(),
        };
        let public = pair.der_bytes();
        let jwk = match alg {
            Alg::EdDSA => format!(
                r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#,
                encoded(public)
            ),
            Alg::ES256 | Alg::ES384 | Alg::ES512 => {
                let (x, y) = public[1..].split_at(public.len() / 2);
                let curve = [("P-256", 32), ("P-384", 48), ("P-521", 66)];
                let (curve, _) = curve
                    .into_iter()
                    .find(|(_, length)| *length == x.len())
                    .unwrap();
                format!(
                    r#"{{"kty":"EC","crv":"{curve}","x":"{}","y":"{}"}}"#,
                    encoded(x),
                    encoded(y)
                )
            }
            // Of 2048 bits and AQAB: 9 bytes of tags, lengths and a sign, the modulus, and 5 of the exponent.
            _ => format!(
                r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#,
                encoded(&public[9..9 + 256])
            ),
        };
        (pair, jwk)
    }

    /// Signs as a token is signed.
    fn signed(alg: Alg, pair: &KeyPair, message: &str) -> Vec<u8> {
        let scheme = match alg {
            Alg::RS256 => SignatureScheme::RSA_PKCS1_SHA256,
            Alg::RS384 => SignatureScheme::RSA_PKCS1_SHA384,
            Alg::RS512 => SignatureScheme::RSA_PKCS1_SHA512,
            Alg::PS256 => SignatureScheme::RSA_PSS_SHA256,
            Alg::PS384 => SignatureScheme::RSA_PSS_SHA384,
            Alg::PS512 => SignatureScheme::RSA_PSS_SHA512,
            Alg::ES256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Alg::ES384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            Alg::ES512 => SignatureScheme::ECDSA_NISTP521_SHA512,
            Alg::EdDSA => SignatureScheme::ED25519,
        };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let signature = key
            .choose_scheme(&[scheme])
            .unwrap()
            .sign(message.as_bytes())
            .unwrap();
        match alg {
            Alg::ES256 => in_a_row(&signature, 32),
            Alg::ES384 => in_a_row(&signature, 48),
            Alg::ES512 => in_a_row(&signature, 66),
            _ => signature,
        }
    }

    /// The numbers of a signature in DER, each of a length.
    fn in_a_row(der: &[u8], length: usize) -> Vec<u8> {
        let numbers = if der[1] == 0x81 { &der[3..] } else { &der[2..] };
        let (r, s) = numbers[2..].split_at(numbers[1].into());
        [r, &s[2..]]
            .iter()
            .flat_map(|number| {
                let number = &number[number.len().saturating_sub(length)..];
                let zeros = length - number.len();
                std::iter::repeat_n(0, zeros).chain(number.iter().copied())
            })
            .collect()
    }

    #[test]
    fn every_algorithm_verifies_by_its_key_alone() {
        let pairs = Alg::ALL.map(|alg| (alg, pair(alg)));
        let strangers = Alg::ALL.map(pair);
        for ((alg, (pair, key)), (_, stranger)) in pairs.iter().zip(strangers) {
            let key = jwk(key);
            assert_eq!(
                key.public_key(),
                pair.der_bytes(),
                "{alg:?}: as in a certificate"
            );
            // Often enough for numbers with a zero or a high bit in front.
            for round in 0..if matches!(key.key_type(), KeyType::Rsa) {
                2
            } else {
                40
            } {
                let message = format!("message {round}");
                let signature = signed(*alg, pair, &message);
                assert!(
                    jws().verify(*alg, &key, message.as_bytes(), &signature),
                    "{alg:?} {round}"
                );
                assert!(
                    !jws().verify(*alg, &key, b"another", &signature),
                    "{alg:?} {round}"
                );
                assert!(
                    !jws().verify(*alg, &jwk(&stranger), message.as_bytes(), &signature),
                    "{alg:?} {round}"
                );
                for other in Alg::ALL.into_iter().filter(|other| other != alg) {
                    let believed = jws().verify(other, &key, message.as_bytes(), &signature);
                    assert!(!believed, "{alg:?} as {other:?}");
                }
            }
        }
    }

    #[test]
    fn signatures_of_zeros_and_of_another_length_are_none() {
        for (alg, length) in [
            (Alg::ES256, 64),
            (Alg::ES384, 96),
            (Alg::ES512, 132),
            (Alg::EdDSA, 64),
            (Alg::RS256, 256),
        ] {
            let (pair, key) = pair(alg);
            let key = jwk(&key);
            let good = signed(alg, &pair, "m");
            assert_eq!(good.len(), length);
            assert!(jws().verify(alg, &key, b"m", &good));
            let half = [&good[..length / 2], &vec![0; length / 2]].concat();
            let longer = [&[0], &*good].concat();
            for bad in [
                &[][..],
                &vec![0; length],
                &half,
                &good[1..],
                &good[..length - 1],
                &longer,
                &[1; 600],
            ] {
                assert!(
                    !jws().verify(alg, &key, b"m", bad),
                    "{alg:?} of {} bytes",
                    bad.len()
                );
            }
            if let Some(der) = match key.key_type() {
                KeyType::Ec(curve) => in_der(curve, &good),
                _ => None,
            } {
                assert!(!jws().verify(alg, &key, b"m", &der), "{alg:?} in DER");
            }
        }
    }

    #[test]
    fn points_that_are_not_on_the_curve_verify_nothing() {
        let off = format!(
            r#"{{"kty":"EC","crv":"P-256","x":"{0}","y":"{0}"}}"#,
            encoded([1; 32])
        );
        assert!(!jws().verify(Alg::ES256, &jwk(&off), b"m", &[1; 64]));
    }

    #[test]
    fn what_a_provider_lacks_is_told_and_refused() {
        assert_eq!(jws().lacking().count(), 0);
        let none = Jws {
            known: Alg::ALL.map(|alg| (alg, None)),
        };
        assert_eq!(none.lacking().collect::<Vec<_>>(), Alg::ALL);
        let (alg, key, token) = EXAMPLES[1];
        let (message, signature) = token.rsplit_once('.').unwrap();
        assert!(!none.verify(alg, &jwk(key), message.as_bytes(), &decoded(signature)));
        assert!(format!("{none:?}").contains("ES512"));
    }

    #[cfg(feature = "ring")]
    #[test]
    fn ring_lacks_p_521_alone() {
        let ring = Jws::of(&rustls::crypto::ring::default_provider());
        assert_eq!(ring.lacking().collect::<Vec<_>>(), [Alg::ES512]);
        for (alg, key, token) in EXAMPLES {
            let (message, signature) = token.rsplit_once('.').unwrap();
            let believed = ring.verify(alg, &jwk(key), message.as_bytes(), &decoded(signature));
            assert_eq!(believed, alg != Alg::ES512, "{alg:?}");
        }
    }

    #[test]
    fn a_request_with_a_token_is_believed() {
        let (alg, pair, key) = (Alg::PS384, pair(Alg::PS384), "k");
        let (pair, material) = pair;
        let set = format!(
            r#"{{"keys":[{}]}}"#,
            material.replace("\"kty\"", &format!("\"kid\":\"{key}\",\"kty\""))
        );
        let provider = Arc::new(Provider {
            name: "origins-0".into(),
            issuer: Some("iss".into()),
            audiences: None,
            subjects: None,
            expiration: Expiration::Required,
            clock_skew: DEFAULT_CLOCK_SKEW,
            keys: Keys::Local(Arc::new(Jwks::parse(set.as_bytes()).unwrap())),
            places: Places::default(),
            forward: true,
            payload_header: None,
            claim_to_headers: Box::default(),
            payload_in_metadata: Some("payload".into()),
            header_in_metadata: None,
            space_delimited_claims: Box::default(),
        });
        let rule = Rule {
            path: PathMatcher::Prefix("/".into()),
            headers: Box::default(),
            query: Box::default(),
            cookies: Box::default(),
            requires: Requirement::Provider(provider.clone()),
        };
        let rules = Rules::new([provider], [rule], false, false);
        let header = encoded(format!(r#"{{"alg":"{}","kid":"{key}"}}"#, alg.name()));
        let message = format!("{header}.{}", encoded(r#"{"iss":"iss","exp":1000}"#));
        let token = format!("{message}.{}", encoded(signed(alg, &pair, &message)));
        let judged = |token: &str, now| {
            let request = http::Request::get("http://reviews/")
                .header("authorization", format!("Bearer {token}"));
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let view = RequestView::of(&parts.method, &parts.uri, &parts.headers);
            check(&rules, &view, now, &(), &jws())
        };
        assert!(matches!(judged(&token, 1000), Outcome::Verified(_)));
        assert_eq!(judged(&token, 1061), Outcome::Refused(Why::Expired));
        let forged = token.replace(
            &header,
            &encoded(format!(r#"{{"alg":"PS256","kid":"{key}"}}"#)),
        );
        assert_eq!(judged(&forged, 1000), Outcome::Refused(Why::Verification));
    }
}
