//! `transport_socket` of clusters: whom a connection is for and how it is secured, or that there is none. The terms are
//! those that istiod was seen to send (`/debug/config_dump` of a sidecar in auto mTLS and by DestinationRules).

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{
    DataSource, Http1ProtocolOptions, Metadata, TransportSocket, TypedExtensionConfig,
    UpstreamHttpProtocolOptions, data_source::Specifier, transport_socket::ConfigType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::{Any, BoolValue, ListValue, Struct, Value, value::Kind};
use http::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use mesh_core::cluster::Transport;
use mesh_core::tls::{Alpn, CertName, ClientTerms, RootName, TlsVersion, wanted};
use prost::Message;
use rig::{Rig, error};
use tls::common_tls_context::{
    CertificateProviderInstance, CombinedCertificateValidationContext, ValidationContextType,
};
use tls::subject_alt_name_matcher::SanType;
use tls::{
    CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
    SdsSecretConfig, SubjectAltNameMatcher, TlsParameters, UpstreamTlsContext,
};
use wire::CDS;

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const UPSTREAM: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

fn secret(name: &str) -> SdsSecretConfig {
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: None,
    }
}

fn pattern(pattern: MatchPattern) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    }
}

fn exact(text: &str) -> StringMatcher {
    pattern(MatchPattern::Exact(text.to_owned()))
}

fn prefix(text: &str) -> StringMatcher {
    pattern(MatchPattern::Prefix(text.to_owned()))
}

#[allow(deprecated, reason = "istiod sends the older form")]
fn names(names: Vec<StringMatcher>) -> CertificateValidationContext {
    CertificateValidationContext {
        match_subject_alt_names: names,
        ..CertificateValidationContext::default()
    }
}

/// What istiod sends for auto mTLS and `ISTIO_MUTUAL`.
fn mutual(context: CertificateValidationContext) -> UpstreamTlsContext {
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(context),
        validation_context_sds_secret_config: Some(secret("ROOTCA")),
        ..CombinedCertificateValidationContext::default()
    };
    UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: 3,
                tls_maximum_protocol_version: 4,
                ..TlsParameters::default()
            }),
            tls_certificate_sds_secret_configs: vec![secret("default")],
            alpn_protocols: vec!["istio-peer-exchange".to_owned(), "istio".to_owned()],
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(
                combined,
            )),
            ..CommonTlsContext::default()
        }),
        sni: "outbound_.9080_._.ratings.default.svc.cluster.local".to_owned(),
        ..UpstreamTlsContext::default()
    }
}

const RATINGS: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-ratings";

fn ratings() -> UpstreamTlsContext {
    mutual(names(vec![exact(RATINGS)]))
}

/// What it sends for `SIMPLE` without `sni`.
fn simple(roots: &str, context: CertificateValidationContext) -> UpstreamTlsContext {
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(context),
        validation_context_sds_secret_config: Some(secret(roots)),
        ..CombinedCertificateValidationContext::default()
    };
    UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(
                combined,
            )),
            ..CommonTlsContext::default()
        }),
        ..UpstreamTlsContext::default()
    }
}

fn socket(type_url: &str, value: Vec<u8>) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any {
            type_url: type_url.to_owned(),
            value,
        })),
    }
}

fn cluster(terms: &UpstreamTlsContext) -> Cluster {
    Cluster {
        transport_socket: Some(socket(UPSTREAM, terms.encode_to_vec())),
        ..wire::cluster_message("one", "")
    }
}

/// The cluster of a ServiceEntry with a DestinationRule, as istiod marks it.
fn external(terms: &UpstreamTlsContext, host: &str) -> Cluster {
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let service = Struct {
        fields: [("host".to_owned(), text(host))].into(),
    };
    let services = ListValue {
        values: vec![Value {
            kind: Some(Kind::StructValue(service)),
        }],
    };
    let istio = Struct {
        fields: [
            ("alpn_override".to_owned(), text("false")),
            (
                "services".to_owned(),
                Value {
                    kind: Some(Kind::ListValue(services)),
                },
            ),
        ]
        .into(),
    };
    let options = http::HttpProtocolOptions {
        upstream_http_protocol_options: Some(UpstreamHttpProtocolOptions {
            auto_sni: true,
            ..UpstreamHttpProtocolOptions::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::HttpProtocolOptions(
                    Http1ProtocolOptions::default(),
                )),
            },
        )),
        ..http::HttpProtocolOptions::default()
    };
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let options = Any {
        type_url: format!("type.googleapis.com/{OPTIONS}"),
        value: options.encode_to_vec(),
    };
    Cluster {
        metadata: Some(Metadata {
            filter_metadata: [("istio".to_owned(), istio)].into(),
            ..Metadata::default()
        }),
        typed_extension_protocol_options: [(OPTIONS.to_owned(), options)].into(),
        ..cluster(terms)
    }
}

/// How the endpoint of the cluster is reached, or the NACK.
fn read(cluster: &Cluster) -> Result<Transport, String> {
    let mut rig = Rig::configured();
    let answer = rig.answer(
        CDS,
        "2",
        vec![wire::any(CDS, cluster), wire::cluster("two")],
    );
    if answer.error_detail.is_some() {
        return Err(error(&answer).to_owned());
    }
    let target = rig.target("a").expect("a target");
    let cluster = target.clusters[0].clone().expect("a cluster");
    Ok(cluster.endpoints[0].transport.clone())
}

fn terms(cluster: &Cluster) -> ClientTerms {
    match read(cluster) {
        Ok(Transport::Tls(tls)) => tls.terms().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_workload_is_asked_for_by_its_account() {
    let terms = terms(&cluster(&ratings()));
    assert_eq!(&*terms.who, "transport socket of cluster \"one\"");
    assert_eq!(terms.identity, Some(CertName::Workload));
    assert_eq!(terms.roots, RootName::Workload);
    assert_eq!(wanted(&terms.peer), format!("one of [URI \"{RATINGS}\"]"),);
    assert_eq!(
        terms.sni.as_deref(),
        Some("outbound_.9080_._.ratings.default.svc.cluster.local")
    );
    assert_eq!(terms.alpn, Alpn::Istio);
    assert_eq!(terms.min, TlsVersion::V1_2);
}

#[test]
fn files_and_the_name_of_the_host_secure_what_is_outside() {
    let mut demanded = simple(
        "file-root:/etc/ca.pem",
        names(vec![exact("api.example.com")]),
    );
    let common = demanded.common_tls_context.as_mut().expect("one");
    common.tls_certificate_sds_secret_configs = vec![secret("file-cert:/etc/c.pem~/etc/k.pem")];
    let mutual = terms(&external(&demanded, "api.example.com"));
    assert_eq!(
        mutual.identity,
        Some(CertName::Files {
            chain: "/etc/c.pem".into(),
            key: "/etc/k.pem".into()
        })
    );
    assert_eq!(mutual.roots, RootName::File("/etc/ca.pem".into()));
    assert!(wanted(&mutual.peer).contains("api.example.com"));
    assert_eq!(mutual.sni.as_deref(), Some("api.example.com"));
    assert_eq!(mutual.alpn, Alpn::OfProtocol);

    // Without a list Envoy would take whatever these authorities have signed.
    let system = simple("file-root:system", names(Vec::new()));
    let unlisted = terms(&external(&system, "api.example.com"));
    assert_eq!(unlisted.identity, None);
    assert_eq!(unlisted.roots, RootName::System);
    assert_eq!(wanted(&unlisted.peer), "the host \"api.example.com\"");
    let address = terms(&external(&system, "192.0.2.1"));
    assert_eq!(
        (address.sni, wanted(&address.peer)),
        (None, "the host \"192.0.2.1\"".to_owned())
    );
}

#[test]
fn the_names_of_a_peer_have_one_type_each() {
    let typed = |kind: SanType, matcher: StringMatcher| CertificateValidationContext {
        match_typed_subject_alt_names: vec![SubjectAltNameMatcher {
            san_type: kind.into(),
            matcher: Some(matcher),
            oid: String::new(),
        }],
        ..CertificateValidationContext::default()
    };
    let domains = "a workload of one of the trust domains [\"cluster.local\", \"old.td\"]";
    let rows = [
        (names(Vec::new()), "a workload of our own trust domain"),
        (
            names(vec![
                prefix("spiffe://cluster.local/"),
                prefix("spiffe://old.td/"),
            ]),
            domains,
        ),
        (
            names(vec![prefix("spiffe://cluster.local/ns/a/")]),
            "one of [URI from \"spiffe://cluster.local/ns/a/\"]",
        ),
        (
            names(vec![prefix("spiffe://old.td/"), exact(RATINGS)]),
            &format!("one of [URI \"{RATINGS}\", URI from \"spiffe://old.td/\"]"),
        ),
        (names(vec![exact("192.0.2.1")]), "one of [IP 192.0.2.1]"),
        (
            names(vec![exact("a.example")]),
            "one of [DNS DnsPattern(\"a.example\")]",
        ),
        (
            typed(SanType::Uri, exact(RATINGS)),
            &format!("one of [URI \"{RATINGS}\"]"),
        ),
        (
            typed(SanType::Uri, prefix("spiffe://old.td/")),
            "a workload of one of the trust domains [\"old.td\"]",
        ),
        (
            typed(SanType::Dns, exact("*.example.com")),
            "one of [DNS DnsPattern(\"*.example.com\")]",
        ),
        (
            typed(SanType::IpAddress, exact("2001:db8::1")),
            "one of [IP 2001:db8::1]",
        ),
    ];
    for (context, expected) in rows {
        assert_eq!(wanted(&terms(&cluster(&mutual(context))).peer), expected);
    }
}

#[test]
fn protocols_are_offered_as_envoy_does() {
    let with = |names: &[&str]| {
        let mut terms = ratings();
        terms
            .common_tls_context
            .as_mut()
            .expect("one")
            .alpn_protocols = names.iter().map(|name| (*name).to_owned()).collect();
        terms
    };
    let rows: [(&[&str], Alpn); 4] = [
        (&["istio-peer-exchange", "istio", "h2"], Alpn::Istio),
        (&["h2"], Alpn::OfProtocol),
        (&[], Alpn::OfProtocol),
        (&["own"], Alpn::Exactly([b"own"[..].into()].into())),
    ];
    for (names, expected) in rows {
        assert_eq!(terms(&cluster(&with(names))).alpn, expected, "{names:?}");
    }
    let own = Alpn::Exactly([b"istio"[..].into()].into());
    assert_eq!(terms(&external(&with(&["istio"]), "a.example")).alpn, own);
}

#[test]
#[allow(deprecated, reason = "istiod sends both spellings")]
fn provider_instances_are_known_in_both_spellings() {
    let older = |name: &str| CertificateProviderInstance {
        instance_name: "default".to_owned(),
        certificate_name: name.to_owned(),
    };
    let newer = |name: &str| CertificateProviderPluginInstance {
        instance_name: "default".to_owned(),
        certificate_name: name.to_owned(),
    };
    let of = |own: &str, roots: &str, old: bool, new: bool| {
        let combined = CombinedCertificateValidationContext {
            default_validation_context: Some(CertificateValidationContext {
                ca_certificate_provider_instance: new.then(|| newer(roots)),
                ..names(vec![exact(RATINGS)])
            }),
            validation_context_certificate_provider_instance: old.then(|| older(roots)),
            ..CombinedCertificateValidationContext::default()
        };
        let common = CommonTlsContext {
            tls_certificate_certificate_provider_instance: old.then(|| older(own)),
            tls_certificate_provider_instance: new.then(|| newer(own)),
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(
                combined,
            )),
            ..CommonTlsContext::default()
        };
        cluster(&UpstreamTlsContext {
            common_tls_context: Some(common),
            ..UpstreamTlsContext::default()
        })
    };
    for (old, new) in [(true, true), (true, false), (false, true)] {
        let terms = terms(&of("default", "ROOTCA", old, new));
        assert_eq!(terms.identity, Some(CertName::Workload));
        assert_eq!(terms.roots, RootName::Workload);
    }
    for (own, roots) in [("other", "ROOTCA"), ("default", "other")] {
        let read = read(&of(own, roots, true, true));
        assert!(matches!(&read, Ok(Transport::Refused(why)) if why.contains("\"other\"")));
    }
}

type Edit = fn(&mut UpstreamTlsContext);

fn context(terms: &mut UpstreamTlsContext) -> &mut CertificateValidationContext {
    let common = terms.common_tls_context.as_mut().expect("one");
    match &mut common.validation_context_type {
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            combined.default_validation_context.as_mut().expect("one")
        }
        _ => panic!("another context"),
    }
}

fn common(terms: &mut UpstreamTlsContext) -> &mut CommonTlsContext {
    terms.common_tls_context.as_mut().expect("one")
}

fn extension() -> Option<TypedExtensionConfig> {
    Some(TypedExtensionConfig {
        name: "x".to_owned(),
        typed_config: None,
    })
}

/// Edits of the terms, and why nobody is called then.
#[allow(deprecated, reason = "istiod sends the older form")]
const UNSERVED: [(&str, Edit); 22] = [
    ("custom_handshaker is not served", |t| {
        common(t).custom_handshaker = extension();
    }),
    ("custom_tls_certificate_selector", |t| {
        common(t).custom_tls_certificate_selector = extension();
    }),
    ("tls_certificates is not served", |t| {
        common(t)
            .tls_certificates
            .push(tls::TlsCertificate::default());
    }),
    ("no secret that is known here", |t| {
        common(t).tls_certificate_sds_secret_configs = vec![secret("kubernetes://mine")];
    }),
    ("more than one is not served", |t| {
        common(t)
            .tls_certificate_sds_secret_configs
            .push(secret("default"));
    }),
    ("older than what is spoken", |t| {
        common(t).tls_params = Some(TlsParameters {
            tls_maximum_protocol_version: 2,
            ..TlsParameters::default()
        });
    }),
    ("names no authorities", |t| {
        common(t).validation_context_type = None;
    }),
    // `insecureSkipVerify`
    ("names no authorities", |t| {
        common(t).validation_context_type = Some(ValidationContextType::ValidationContext(
            CertificateValidationContext::default(),
        ));
    }),
    ("crl is not served", |t| {
        context(t).crl = Some(DataSource {
            specifier: Some(Specifier::Filename("/crl".to_owned())),
            ..DataSource::default()
        });
    }),
    ("trusted_ca: only a filename", |t| {
        context(t).trusted_ca = Some(DataSource {
            specifier: Some(Specifier::InlineString("PEM".to_owned())),
            ..DataSource::default()
        });
    }),
    ("the authority is named twice", |t| {
        context(t).trusted_ca = Some(DataSource {
            specifier: Some(Specifier::Filename("/ca".to_owned())),
            ..DataSource::default()
        });
    }),
    ("verify_certificate_spki", |t| {
        context(t).verify_certificate_spki.push("x".to_owned());
    }),
    ("verify_certificate_hash", |t| {
        context(t).verify_certificate_hash.push("x".to_owned());
    }),
    ("require_signed_certificate_timestamp", |t| {
        context(t).require_signed_certificate_timestamp = Some(BoolValue { value: true });
    }),
    ("custom_validator_config", |t| {
        context(t).custom_validator_config = extension();
    }),
    ("does not begin with a whole trust domain", |t| {
        context(t).match_subject_alt_names = vec![prefix("spiffe://cluster.local")];
    }),
    ("does not begin with a whole trust domain", |t| {
        context(t).match_subject_alt_names = vec![prefix("reviews.")];
    }),
    ("ignore_case", |t| {
        let mut name = exact(RATINGS);
        name.ignore_case = true;
        context(t).match_subject_alt_names = vec![name];
    }),
    ("only an exact name", |t| {
        let suffix = MatchPattern::Suffix(".example.com".to_owned());
        context(t).match_subject_alt_names = vec![pattern(suffix)];
    }),
    ("EMAIL is not served", |t| {
        context(t).match_typed_subject_alt_names = vec![SubjectAltNameMatcher {
            san_type: SanType::Email.into(),
            matcher: Some(exact("a@b")),
            oid: String::new(),
        }];
    }),
    ("is no DNS", |t| {
        context(t).match_typed_subject_alt_names = vec![SubjectAltNameMatcher {
            san_type: SanType::Dns.into(),
            matcher: Some(exact("spiffe://a/b")),
            oid: String::new(),
        }];
    }),
    ("auto_host_sni", |t| t.auto_host_sni = true),
];

#[test]
fn what_cannot_be_honoured_leaves_no_connection() {
    for (expected, edit) in UNSERVED {
        let mut edited = ratings();
        edit(&mut edited);
        let read = read(&cluster(&edited));
        let Ok(Transport::Refused(why)) = &read else {
            panic!("{expected}: {read:?}");
        };
        assert!(why.contains(expected), "{expected:?} is not in {why:?}");
        assert!(
            why.starts_with("transport socket of cluster \"one\" ("),
            "{why}"
        );
    }
}

#[test]
fn a_field_that_is_not_known_leaves_no_connection() {
    let mut bytes = ratings().encode_to_vec();
    // Field 200, varint 1.
    bytes.extend([0xc0, 0x0c, 1]);
    let cluster = Cluster {
        transport_socket: Some(socket(UPSTREAM, bytes)),
        ..wire::cluster_message("one", "")
    };
    let read = read(&cluster);
    assert!(
        matches!(&read, Ok(Transport::Refused(why)) if why.contains("does not know")),
        "{read:?}"
    );
}

#[test]
fn nobody_is_checked_by_the_name_of_many_hosts() {
    let system = simple("file-root:system", names(Vec::new()));
    for cluster in [external(&system, "*.example.com"), cluster(&system)] {
        let read = read(&cluster);
        assert!(
            matches!(&read, Ok(Transport::Refused(why)) if why.contains("to check a certificate by")),
            "{read:?}"
        );
    }
}

#[test]
fn what_is_malformed_is_refused_by_its_path() {
    let rows: [(&str, Edit); 5] = [
        ("sni: is longer than 255", |t| t.sni = "a".repeat(256)),
        ("alpn_protocols: holds a name", |t| {
            common(t).alpn_protocols = vec![String::new()];
        }),
        ("tls_minimum_protocol_version: 9 is no version", |t| {
            common(t).tls_params = Some(TlsParameters {
                tls_minimum_protocol_version: 9,
                ..TlsParameters::default()
            });
        }),
        ("san_type: 0 is no type of name", |t| {
            context(t).match_typed_subject_alt_names = vec![SubjectAltNameMatcher {
                matcher: Some(exact("a")),
                ..SubjectAltNameMatcher::default()
            }];
        }),
        ("match_pattern: is missing", |t| {
            let none = StringMatcher::default();
            *context(t) = names(vec![none]);
        }),
    ];
    for (expected, edit) in rows {
        let mut edited = ratings();
        edit(&mut edited);
        let text = read(&cluster(&edited)).expect_err("a NACK");
        assert!(text.contains(expected), "{expected:?} is not in {text:?}");
        assert!(text.contains("transport_socket.typed_config"), "{text}");
    }
    let broken = Cluster {
        transport_socket: Some(socket(UPSTREAM, vec![0x0a, 9])),
        ..wire::cluster_message("one", "")
    };
    assert!(
        read(&broken)
            .expect_err("a NACK")
            .contains("not valid protobuf")
    );
}

#[test]
fn other_sockets_are_refused_by_their_type() {
    for type_url in [
        "type.googleapis.com/envoy.extensions.transport_sockets.alts.v3.Alts",
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "",
    ] {
        let cluster = Cluster {
            transport_socket: Some(socket(type_url, Vec::new())),
            ..wire::cluster_message("one", "")
        };
        let read = read(&cluster);
        let expected: Arc<str> = format!("{type_url:?} is not served").into();
        assert!(
            matches!(&read, Ok(Transport::Refused(why)) if why.contains(&*expected)),
            "{read:?}"
        );
    }
}
