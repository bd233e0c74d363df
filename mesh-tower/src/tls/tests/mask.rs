//! Checks by name, each of which a test can switch off: a check that nothing is lost without is not tested.

use mesh_core::identity::{Domains, PeerRule, SanFault, SanMatcher, Sans};
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error as RustlsError};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::tls::verify::{Refused, Wrong};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::tls) enum Check {
    /// It is a certificate, in DER.
    Encoding,
    /// Its chain ends at a root.
    Issuer,
    /// Each signature of the chain.
    Signature,
    /// By an algorithm that is taken.
    Algorithm,
    /// It has not ended.
    Ended,
    /// It has begun.
    Begun,
    /// Extended key usage.
    Usage,
    /// Key usage: it may prove who has the key.
    SignsHandshakes,
    /// Key usage: a workload signs nobody.
    SignsNobody,
    /// Key usage: what is above it may sign it.
    IssuerSigns,
    /// What it shows as its own is no authority's.
    LeafIsCa,
    /// What signs it is one.
    IssuerIsCa,
    PathLength,
    /// Of an authority that may sign certain names alone.
    NameConstraints,
    Critical,
    ChainLength,
    /// Its names can be read.
    NameList,
    NoUri,
    SeveralUris,
    UnreadableUri,
    NotSpiffe,
    Domain,
    /// It is the one that is wanted.
    Wanted,
    /// It holds the key.
    Key,
}

impl Check {
    pub(super) const ALL: [Self; 24] = [
        Self::Encoding,
        Self::Issuer,
        Self::Signature,
        Self::Algorithm,
        Self::Ended,
        Self::Begun,
        Self::Usage,
        Self::SignsHandshakes,
        Self::SignsNobody,
        Self::IssuerSigns,
        Self::LeafIsCa,
        Self::IssuerIsCa,
        Self::PathLength,
        Self::NameConstraints,
        Self::Critical,
        Self::ChainLength,
        Self::NameList,
        Self::NoUri,
        Self::SeveralUris,
        Self::UnreadableUri,
        Self::NotSpiffe,
        Self::Domain,
        Self::Wanted,
        Self::Key,
    ];

    /// Whether an error tells of it.
    pub(super) fn is_told_by(self, text: &str) -> bool {
        let said = match self {
            Self::Encoding => {
                let all = [
                    "BadEncoding",
                    "UnsupportedCertVersion",
                    "SignatureAlgorithmMismatch",
                ];
                let is_told = all.iter().any(|said| text.contains(said));
                return is_told && !Self::NameList.is_told_by(text);
            }
            Self::Issuer => "leads to none",
            Self::Signature => "a signature of its chain is wrong",
            Self::Algorithm => {
                return text.contains("signature_algorithm_id") && !Self::Key.is_told_by(text);
            }
            Self::Ended => "expired",
            Self::Begun => "is valid only in",
            Self::Usage => "extended key usage does not allow",
            Self::SignsHandshakes => "does not allow digitalSignature",
            Self::SignsNobody => "a workload's must not",
            Self::IssuerSigns => "above it does not allow keyCertSign",
            Self::LeafIsCa => "CaUsedAsEndEntity",
            Self::IssuerIsCa => "EndEntityUsedAsCa",
            Self::PathLength => "PathLenConstraintViolated",
            Self::NameConstraints => "NameConstraintViolation",
            Self::Critical => "UnsupportedCriticalExtension",
            Self::ChainLength => "more than 8 certificates",
            Self::NameList => "its alternative names",
            Self::NoUri => "no URI name",
            Self::SeveralUris => "URI names; a workload's has one",
            Self::UnreadableUri => "URI name cannot be read",
            Self::NotSpiffe => "no SPIFFE id",
            Self::Domain => "of a trust domain that is not ours",
            Self::Wanted => "none of the names",
            Self::Key => "does not hold the key",
        };
        text.contains(said)
    }

    /// The one that has refused.
    pub(super) fn of(wrong: &Wrong) -> Option<Self> {
        match &wrong.refused {
            Refused::Key(..) => Some(Self::Key),
            Refused::Unreadable(_) => Some(Self::NameList),
            Refused::Names(_, _, fault, _) => Self::of_names(fault),
            Refused::Chain(_, _, reason) => {
                let uses = [Self::SignsHandshakes, Self::SignsNobody, Self::IssuerSigns];
                let mut told = uses.into_iter().filter(|check| check.is_told_by(reason));
                told.next().or_else(|| Self::of_chain(&wrong.error))
            }
            _ => None,
        }
    }

    const fn of_names(fault: &SanFault) -> Option<Self> {
        Some(match fault {
            SanFault::NoUri => Self::NoUri,
            SanFault::SeveralUris(_) => Self::SeveralUris,
            SanFault::Unreadable => Self::UnreadableUri,
            SanFault::NotSpiffe(_) => Self::NotSpiffe,
            SanFault::ForeignDomain(_) => Self::Domain,
            SanFault::NoneMatches => Self::Wanted,
            SanFault::NoDomain | SanFault::NoHost => return None,
        })
    }

    fn of_chain(error: &RustlsError) -> Option<Self> {
        use CertificateError as C;

        let error = match error {
            RustlsError::General(_) => return Some(Self::ChainLength),
            RustlsError::InvalidCertificate(error) => error,
            _ => return None,
        };
        match error {
            C::BadEncoding => Some(Self::Encoding),
            C::UnknownIssuer => Some(Self::Issuer),
            C::BadSignature => Some(Self::Signature),
            C::UnsupportedSignatureAlgorithmContext { .. }
            | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Some(Self::Algorithm),
            C::ExpiredContext { .. } => Some(Self::Ended),
            C::NotValidYetContext { .. } => Some(Self::Begun),
            C::InvalidPurposeContext { .. } => Some(Self::Usage),
            other => {
                let text = other.to_string();
                let all = [
                    (Self::LeafIsCa, "CaUsedAsEndEntity"),
                    (Self::IssuerIsCa, "EndEntityUsedAsCa"),
                    (Self::PathLength, "PathLenConstraintViolated"),
                    (Self::NameConstraints, "NameConstraintViolation"),
                    (Self::Critical, "UnsupportedCriticalExtension"),
                    (Self::Encoding, "SignatureAlgorithmMismatch"),
                    (Self::Encoding, "UnsupportedCertVersion"),
                ];
                let named = all.iter().find(|(_, name)| text.contains(name));
                named.map(|(check, _)| *check)
            }
        }
    }

    /// Whether a certificate that was refused would pass if this check were not there, and what comes behind it were.
    pub(in crate::tls) fn lets_pass(
        self,
        wrong: &Wrong,
        leaf: &CertificateDer<'_>,
        rule: &PeerRule,
        domains: Option<&Domains>,
    ) -> bool {
        if Self::of(wrong) != Some(self) {
            return false;
        }
        let names = Names::of(leaf);
        let one = |text: String| {
            let sans = Sans {
                uri: [text.into()].into(),
                ..Sans::default()
            };
            rule.check(&sans, domains).is_ok()
        };
        match self {
            // Whoever reads no further takes what it finds.
            Self::NameList | Self::SeveralUris | Self::UnreadableUri => {
                names.uris.into_iter().any(one)
            }
            Self::NoUri => names.others.into_iter().any(one),
            Self::NotSpiffe => names.uris.iter().any(|text| begins_well(text, rule)),
            _ => true,
        }
    }
}

/// The rule for a reader who compares texts.
fn begins_well(text: &str, rule: &PeerRule) -> bool {
    match rule {
        PeerRule::OneOf(all) => all.iter().any(|matcher| match matcher {
            SanMatcher::Uri(matcher) => matcher.matches(text.as_bytes()),
            SanMatcher::Dns(_) | SanMatcher::Ip(_) => false,
        }),
        _ => text.starts_with("spiffe://cluster.local/"),
    }
}

/// All that a careless reader finds.
#[derive(Default)]
struct Names {
    uris: Vec<String>,
    others: Vec<String>,
}

impl Names {
    fn of(leaf: &CertificateDer<'_>) -> Self {
        let mut names = Self::default();
        let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
            return names;
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\u{fffd}', "");
        for common in certificate.subject().iter_common_name() {
            names.others.push(text(common.as_slice()));
        }
        for extension in certificate.extensions() {
            let ParsedExtension::SubjectAlternativeName(list) = extension.parsed_extension() else {
                names.uris.extend(uri_in(extension.value));
                continue;
            };
            for name in &list.general_names {
                match name {
                    GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                    GeneralName::Invalid(tag, bytes) if tag.0 == 6 => names.uris.push(text(bytes)),
                    GeneralName::DNSName(other) | GeneralName::RFC822Name(other) => {
                        names.others.push((*other).to_owned());
                    }
                    _ => {}
                }
            }
        }
        names
    }
}

/// The first name of a list that is none: its tag, its length and the rest is noise.
fn uri_in(list: &[u8]) -> Option<String> {
    let [0x30, _, 0x86, length, rest @ ..] = list else {
        return None;
    };
    let name = rest.get(..usize::from(*length))?;
    Some(String::from_utf8_lossy(name).into_owned())
}
