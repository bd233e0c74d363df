//! Who calls: in plaintext, by TLS alone, or with a certificate of these names.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::model::{End, World};
use crate::support::tls::Authority;

pub(super) type Sender = SendRequest<Empty<Bytes>>;

const X: &str = "spiffe://td/ns/a/sa/x";
const BAD: &str = "spiffe://td/ns/bad/sa/x";

/// With how each of them connects; none is plaintext.
pub(super) fn all(authority: &Authority) -> Vec<(End, Option<TlsConnector>)> {
    let named = |uri: &[&'static str], dns: &[&'static str], subject| End::Certificate {
        uri: uri.into(),
        dns: dns.into(),
        subject,
        unreadable: 0,
    };
    let ends = [
        End::Plaintext,
        End::Anonymous,
        named(&[X], &[], ""),
        named(&[BAD], &[], ""),
        named(&["spiffe://td.evil/ns/a/sa/x"], &[], ""),
        named(&[X], &["a.example"], "CN=x"),
        named(&[X, BAD], &[], ""),
        named(&["a.example"], &[], ""),
        named(&[], &["a.example"], "CN=x"),
        named(&[], &[], "CN=x"),
    ];
    let ways = ends.map(|end| {
        let connector = connector(authority, &end);
        (end, connector)
    });
    ways.into()
}

fn connector(authority: &Authority, end: &End) -> Option<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match end {
        End::Plaintext => return None,
        End::Anonymous => builder.with_no_client_auth(),
        End::Certificate {
            uri, dns, subject, ..
        } => {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            if let Some(name) = subject.strip_prefix("CN=") {
                params.distinguished_name.push(DnType::CommonName, name);
            }
            let uri = uri
                .iter()
                .map(|name| SanType::URI((*name).try_into().unwrap()));
            let dns = dns
                .iter()
                .map(|name| SanType::DnsName((*name).try_into().unwrap()));
            params.subject_alt_names = uri.chain(dns).collect();
            let (chain, key) = authority.issue(&params).der();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    Some(TlsConnector::from(Arc::new(config)))
}

/// A connection from and to where the world says, which the PROXY protocol tells Envoy.
pub(super) async fn connect(
    to: std::net::SocketAddr,
    world: &World,
    way: Option<&TlsConnector>,
) -> Sender {
    let mut tcp = TcpStream::connect(to).await.unwrap();
    let family = if world.remote.contains(':') { 6 } else { 4 };
    let (ip, port) = world.local;
    let line = format!("PROXY TCP{family} {} {ip} 4000 {port}\r\n", world.remote);
    tcp.write_all(line.as_bytes()).await.unwrap();
    let Some(way) = way else {
        return http(tcp).await;
    };
    // An address is a name that is not sent.
    let name = ServerName::try_from(world.sni.unwrap_or("127.0.0.1")).unwrap();
    http(way.connect(name, tcp).await.unwrap()).await
}

async fn http(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
    let (sender, connection) = handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}
