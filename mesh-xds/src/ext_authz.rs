//! `envoy.service.auth.v3.Authorization/Check` in wire form: what an authorizer is asked, and what it answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
    attribute_context as pb, check_response::HttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::Timestamp;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use mesh_core::request::Seen;
use mesh_core::server::ask::{
    Answer, Ask, Changes, Denial, HeaderChange, Malformed, PARTIAL_BODY, Put,
};
use prost::Message;

/// Path of the method.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What an authorizer is told.
#[derive(Debug, Clone, Copy)]
pub struct Check<'a> {
    /// The head of the request as policies see it.
    pub seen: Seen<'a>,
    /// The protocol that it came by.
    pub version: Version,
    /// The peer's end of the connection.
    pub source: SocketAddr,
    /// Ours.
    pub destination: SocketAddr,
    /// Whom the peer has proven to be; empty for nobody.
    pub source_principal: &'a str,
    /// Whom we prove to be; empty for nobody.
    pub destination_principal: &'a str,
    /// The server name that the peer asked for.
    pub sni: Option<&'a str>,
    /// What of the body is shown, and whether that is not all of it.
    pub body: Option<(&'a Bytes, bool)>,
    /// Now.
    pub time: SystemTime,
}

impl Check<'_> {
    /// The message `CheckRequest`. As Envoy's it has the pseudo-headers among the headers, and several lines of one name as
    /// one.
    pub fn encode(&self, ask: &Ask) -> Vec<u8> {
        let peer = |address, principal: &str| pb::Peer {
            address: Some(socket(address)),
            principal: principal.to_owned(),
            ..pb::Peer::default()
        };
        let sni = self.sni.filter(|_| ask.tells_sni);
        let attributes = AttributeContext {
            source: Some(peer(self.source, self.source_principal)),
            destination: Some(peer(self.destination, self.destination_principal)),
            request: Some(pb::Request {
                time: Some(timestamp(self.time)),
                http: Some(self.http(ask)),
            }),
            metadata_context: Some(core::Metadata::default()),
            route_metadata_context: Some(core::Metadata::default()),
            tls_session: sni.map(|sni| pb::TlsSession {
                sni: sni.to_owned(),
            }),
            ..AttributeContext::default()
        };
        let request = CheckRequest {
            attributes: Some(attributes),
        };
        request.encode_to_vec()
    }

    fn http(&self, ask: &Ask) -> pb::HttpRequest {
        let view = self.seen.view();
        let path = self.seen.path_and_query();
        let mut headers = told(ask, view.headers);
        let pseudo = [
            (":authority", view.authority),
            (":method", view.method.as_str()),
            (":path", path),
            (":scheme", view.scheme),
        ];
        for (name, value) in pseudo.into_iter().filter(|(name, _)| ask.tells(name)) {
            headers.insert(name.to_owned(), value.to_owned());
        }
        let (mut body, mut raw_body) = (String::new(), Vec::new());
        if let Some((bytes, partial)) = self.body {
            headers.insert(PARTIAL_BODY.to_string(), partial.to_string());
            match ask.body.is_some_and(|rule| rule.as_bytes) {
                true => raw_body = bytes.to_vec(),
                false => body = clean(bytes),
            }
        }
        pb::HttpRequest {
            method: view.method.to_string(),
            path: path.to_owned(),
            host: view.authority.to_owned(),
            scheme: view.scheme.to_owned(),
            size: self.body.map_or(0, |(bytes, _)| bytes.len() as i64),
            protocol: protocol(self.version).to_owned(),
            headers,
            body,
            raw_body,
            ..pb::HttpRequest::default()
        }
    }
}

/// Headers that Envoy tells nobody of: its codec has `:authority` for `Host`, and the others are about one connection.
const UNTOLD: [&str; 4] = ["connection", "host", "keep-alive", "proxy-connection"];

fn told(ask: &Ask, headers: &HeaderMap) -> HashMap<String, String> {
    let names = headers.keys().map(http::HeaderName::as_str);
    let names = names.filter(|name| !UNTOLD.contains(name) && ask.tells(name));
    names
        .map(|name| {
            let lines = headers.get_all(name).iter();
            let lines: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
            (name.to_owned(), clean(&lines.join(&b","[..])))
        })
        .collect()
}

/// What is no UTF-8 is told as `!`, byte by byte, as Envoy does.
fn clean(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

fn socket(address: SocketAddr) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_canonical().to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
                address.port().into(),
            )),
            ..core::SocketAddress::default()
        })),
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO);
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

/// Reads the message `CheckResponse`. A status that is not said is OK, as in Envoy: protobuf has no other word for it.
///
/// # Errors
/// When it is none, or says what no request and no answer can be.
pub fn answer(bytes: &[u8]) -> Result<Answer, Malformed> {
    let response = CheckResponse::decode(bytes)
        .map_err(|error| Malformed::Message(error.to_string().into()))?;
    let is_ok = response.status.as_ref().is_none_or(|it| it.code == 0);
    match (is_ok, response.http_response) {
        (_, Some(HttpResponse::ErrorResponse(error))) => Ok(Answer::Failed(
            "it answered that it has an error of its own".into(),
            Some(Box::new(denial(error)?)),
        )),
        (true, Some(HttpResponse::OkResponse(ok))) => Ok(Answer::Allowed(Box::new(changes(&ok)?))),
        (true, _) => Ok(Answer::Allowed(Box::default())),
        (false, Some(HttpResponse::DeniedResponse(denied))) => {
            Ok(Answer::Denied(Box::new(denial(denied)?)))
        }
        (false, _) => Ok(Answer::Denied(Box::new(denial(
            DeniedHttpResponse::default(),
        )?))),
    }
}

fn changes(ok: &OkHttpResponse) -> Result<Changes, Malformed> {
    let all = [
        ok.headers.len(),
        ok.headers_to_remove.len(),
        ok.response_headers_to_add.len(),
        ok.query_parameters_to_set.len(),
        ok.query_parameters_to_remove.len(),
    ];
    Malformed::unless_few(all.iter().sum())?;
    let mut changes = Changes {
        request: of_request(&ok.headers)?,
        response: of_response(&ok.response_headers_to_add)?,
        remove_params: ok
            .query_parameters_to_remove
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
        set_params: ok
            .query_parameters_to_set
            .iter()
            .map(|it| (it.key.as_str().into(), it.value.as_str().into()))
            .collect(),
        ..Changes::default()
    };
    for name in &ok.headers_to_remove {
        changes.remove(name);
    }
    Ok(changes)
}

fn denial(denied: DeniedHttpResponse) -> Result<Denial, Malformed> {
    Malformed::unless_few(denied.headers.len())?;
    let status = match denied.status {
        None | Some(HttpStatus { code: 0 }) => None,
        Some(HttpStatus { code }) => {
            let status = u16::try_from(code).ok();
            let status = status.and_then(|code| StatusCode::from_u16(code).ok());
            let status = status.filter(|status| !status.is_informational());
            Some(status.ok_or_else(|| Malformed::Status(code.into()))?)
        }
    };
    // Several of one name stand beside one another, as cookies do.
    let mut all = Vec::with_capacity(denied.headers.len());
    for option in &denied.headers {
        all.extend(change(option, Put::Append)?);
    }
    Ok(Denial {
        status,
        headers: all,
        body: denied.body.into(),
    })
}

/// Headers of the request. Envoy looks at `append` alone, which is false where it is not said, and not at `append_action`:
/// what a client sent stays only where the authorizer says so.
fn of_request(wire: &[core::HeaderValueOption]) -> Result<Vec<HeaderChange>, Malformed> {
    let mut all = Vec::with_capacity(wire.len());
    for option in wire {
        let put = match appends(option) {
            Some(true) => Put::Join,
            Some(false) | None => Put::Set,
        };
        all.extend(change(option, put)?);
    }
    Ok(all)
}

/// Headers of the response: where `append` is not said, `append_action` may say more.
fn of_response(wire: &[core::HeaderValueOption]) -> Result<Vec<HeaderChange>, Malformed> {
    use core::header_value_option::HeaderAppendAction as Action;
    let mut all = Vec::with_capacity(wire.len());
    for option in wire {
        let put = match (appends(option), Action::try_from(option.append_action)) {
            (Some(true), _) => Put::Append,
            (None, Ok(Action::AddIfAbsent)) => Put::IfAbsent,
            (None, Ok(Action::OverwriteIfExists)) => Put::IfPresent,
            (Some(false) | None, _) => Put::Set,
        };
        all.extend(change(option, put)?);
    }
    Ok(all)
}

#[allow(deprecated, reason = "authorizers use it more than what came after it")]
fn appends(option: &core::HeaderValueOption) -> Option<bool> {
    option.append.as_ref().map(|flag| flag.value)
}

/// `None` for a header that no authorizer changes.
fn change(option: &core::HeaderValueOption, put: Put) -> Result<Option<HeaderChange>, Malformed> {
    let Some(header) = &option.header else {
        return Ok(None);
    };
    let value = match &*header.raw_value {
        [] => header.value.as_bytes(),
        raw => raw,
    };
    HeaderChange::new(put, &header.key, value)
}
