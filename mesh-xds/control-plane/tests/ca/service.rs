//! The authority over gRPC: a caller without proof gets nothing, one with a proof gets its own certificate.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use mesh_control_plane::ca::{Authority, Tokens};
use mesh_control_plane::{ControlPlane, Options};
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::kit::{HOUR, REVIEWS, THIEF, certificates, id, leads_to, request, said};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Asked {
    #[prost(string, tag = "1")]
    csr: String,
    #[prost(int64, tag = "3")]
    validity_duration: i64,
    #[prost(message, optional, tag = "4")]
    metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(string, repeated, tag = "1")]
    cert_chain: Vec<String>,
}

struct Stage {
    dir: tempfile::TempDir,
    control_plane: ControlPlane,
    roots: String,
    token: String,
    line: String,
}

impl Stage {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        std::fs::create_dir(&config).unwrap();
        let now = SystemTime::now();
        let domain = "cluster.local".parse().unwrap();
        let authority = Authority::self_signed(&domain, now).unwrap();
        let roots = authority.roots();
        let (token, line) = Tokens::mint(&id(REVIEWS), HOUR, now).unwrap();
        let tokens = dir.path().join("tokens");
        std::fs::write(&tokens, &line).unwrap();
        let options = Options::default().authority(authority, Some(tokens));
        let any = "127.0.0.1:0".parse().unwrap();
        let control_plane = ControlPlane::start_with(&config, any, options)
            .await
            .unwrap();
        Self {
            dir,
            control_plane,
            roots,
            token: token.text().to_owned(),
            line,
        }
    }

    fn tokens(&self) -> PathBuf {
        self.dir.path().join("tokens")
    }

    async fn asks(&self, asked: Asked, proofs: &[String]) -> Result<Vec<String>, Status> {
        ask(&self.control_plane, asked, proofs).await
    }

    fn bearer(&self) -> [String; 1] {
        [format!("Bearer {}", self.token)]
    }
}

async fn ask(
    control_plane: &ControlPlane,
    asked: Asked,
    proofs: &[String],
) -> Result<Vec<String>, Status> {
    let uri = format!("http://{}", control_plane.local_addr());
    let channel: Channel = Endpoint::new(uri).unwrap().connect().await.unwrap();
    call(channel, asked, proofs).await
}

pub(crate) async fn call(
    channel: Channel,
    asked: Asked,
    proofs: &[String],
) -> Result<Vec<String>, Status> {
    let mut request = Request::new(asked);
    for proof in proofs {
        let value = proof.parse().unwrap();
        request.metadata_mut().append("authorization", value);
    }
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let path = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
    let codec: ProstCodec<Asked, Answer> = ProstCodec::default();
    let answer = client.unary(request, path.parse().unwrap(), codec).await?;
    Ok(answer.into_inner().cert_chain)
}

pub(crate) fn asked(name: &str) -> Asked {
    let key = KeyPair::generate().unwrap();
    Asked {
        csr: request(&key, name),
        ..Asked::default()
    }
}

/// How long the first certificate of a text is valid, in seconds.
fn life(text: &str) -> i64 {
    let der: CertificateDer<'static> = certificates(text).remove(0);
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    let validity = leaf.validity();
    validity.not_after.timestamp() - validity.not_before.timestamp()
}

#[tokio::test]
async fn the_authority_signs_for_the_caller_and_not_for_the_request() {
    let stage = Stage::new().await;
    for name in [THIEF, REVIEWS] {
        let chain = stage.asks(asked(name), &stage.bearer()).await.unwrap();
        assert_eq!(said(&chain[0]).uris, [REVIEWS]);
        assert_eq!(chain.last(), Some(&stage.roots));
        leads_to(&chain[0], &stage.roots, SystemTime::now()).unwrap();
        assert_eq!(life(&chain[0]), 24 * 3600 + 120);
    }
    let short = Asked {
        validity_duration: 60,
        ..asked(REVIEWS)
    };
    let chain = stage.asks(short, &stage.bearer()).await.unwrap();
    assert_eq!(life(&chain[0]), 180);
}

#[tokio::test]
async fn who_proves_nothing_gets_nothing() {
    let stage = Stage::new().await;
    let token = &stage.token;
    let (other, _) = Tokens::mint(&id(REVIEWS), HOUR, SystemTime::now()).unwrap();
    let (late, line) = Tokens::mint(&id(THIEF), Duration::ZERO, SystemTime::now()).unwrap();
    std::fs::write(stage.tokens(), format!("{}{line}", stage.line)).unwrap();
    let bearer = |text: &str| format!("Bearer {text}");
    for proofs in [
        vec![],
        vec![bearer("")],
        vec![bearer(other.text())],
        vec![bearer(late.text())],
        vec![bearer(stage.line.split(' ').next().unwrap())],
        vec![format!("Basic {token}")],
        vec![token.clone()],
        vec![bearer(token), bearer(token)],
        vec![bearer(token), bearer(other.text())],
    ] {
        let error = stage.asks(asked(REVIEWS), &proofs).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{proofs:?}: {error}");
        assert!(!error.message().contains(token), "{error}");
    }
    stage.asks(asked(REVIEWS), &stage.bearer()).await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_taken_back_counts_no_more() {
    let stage = Stage::new().await;
    stage.asks(asked(REVIEWS), &stage.bearer()).await.unwrap();
    std::fs::write(stage.tokens(), "# none\n").unwrap();
    let error = stage.asks(asked(REVIEWS), &stage.bearer()).await;
    assert_eq!(error.unwrap_err().code(), Code::Unauthenticated);
    for broken in ["nonsense\n", ""] {
        std::fs::write(stage.tokens(), broken).unwrap();
        stage
            .asks(asked(REVIEWS), &stage.bearer())
            .await
            .unwrap_err();
    }
    std::fs::remove_file(stage.tokens()).unwrap();
    let error = stage.asks(asked(REVIEWS), &stage.bearer()).await;
    assert_eq!(error.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn what_cannot_be_signed_is_said_to_the_caller() {
    let stage = Stage::new().await;
    let metadata = |key: &str| {
        let value = Value {
            kind: Some(Kind::StringValue(THIEF.to_owned())),
        };
        Some(Struct {
            fields: HashMap::from([(key.to_owned(), value)]),
        })
    };
    let good = asked(REVIEWS);
    let with = |csr: &str, validity_duration, key: Option<&str>| Asked {
        csr: csr.to_owned(),
        validity_duration,
        metadata: key.and_then(metadata),
    };
    let weak = include_str!("requests/rsa-1024.pem");
    for (asked, code) in [
        (with("", 0, None), Code::InvalidArgument),
        (with(weak, 0, None), Code::InvalidArgument),
        (with(&good.csr, -1, None), Code::InvalidArgument),
        (with(&good.csr, i64::MIN, None), Code::InvalidArgument),
        (with(&good.csr, i64::MAX, None), Code::InvalidArgument),
        (with(&good.csr, 91 * 86400, None), Code::InvalidArgument),
        (
            with(&good.csr, 0, Some("ImpersonatedIdentity")),
            Code::PermissionDenied,
        ),
        (
            with(&good.csr, 0, Some("CertSigner")),
            Code::PermissionDenied,
        ),
        (with(&"x".repeat(1 << 18), 0, None), Code::OutOfRange),
    ] {
        let error = stage.asks(asked, &stage.bearer()).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    let other = with(&good.csr, 90 * 86400, Some("another"));
    stage.asks(other, &stage.bearer()).await.unwrap();
}

#[tokio::test]
async fn a_token_of_another_mesh_is_denied() {
    let stage = Stage::new().await;
    let foreign = id("spiffe://other.mesh/ns/default/sa/bookinfo-reviews");
    let (token, line) = Tokens::mint(&foreign, HOUR, SystemTime::now()).unwrap();
    std::fs::write(stage.tokens(), line).unwrap();
    let proof = [format!("bearer {}", token.text())];
    let error = stage.asks(asked(REVIEWS), &proof).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied, "{error}");
}

#[tokio::test]
async fn without_an_authority_there_is_no_such_service() {
    let dir = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let control_plane = ControlPlane::start(dir.path(), any).await.unwrap();
    let error = ask(&control_plane, asked(REVIEWS), &[]).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented, "{error}");
}
