//! `JwtProvider`

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::http_uri::HttpUpstreamType;
use envoy_types::pb::envoy::config::core::v3::{DataSource, HttpUri};
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtClaimToHeader, JwtHeader, JwtProvider, RemoteJwks as PbRemote,
    jwt_provider::JwksSourceSpecifier,
};
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use http::HeaderName;
use mesh_core::jwt::{
    Audiences, ClaimToHeader, DEFAULT_CLOCK_SKEW, Expiration, HeaderPlace, Jwks, Keys,
    PayloadHeader, Places, Provider, RemoteJwks,
};

use super::unserved;
use crate::decode::{self, Faults, Invalid, matcher};

/// `cache_duration` and `failed_refetch_duration`, where they are not set.
const CACHED: Duration = Duration::from_secs(600);
const FETCHED_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn decode(name: &str, wire: &JwtProvider) -> Result<Provider, Invalid> {
    let mut faults = Faults::default();
    if !wire.failed_status_in_metadata.is_empty() {
        faults.add(unserved("failed_status_in_metadata"));
    }
    let subjects = wire.subjects.as_ref().map(matcher::string).transpose();
    let subjects = faults.take(subjects.map_err(|error| error.within("subjects")));
    let expiration = faults.take(expiration(wire));
    let keys = faults.take(keys(wire.jwks_source_specifier.as_ref()));
    let places = faults.take(places(wire));
    let payload_header = faults.take(payload_header(wire));
    let claims = each(
        "claim_to_headers",
        &wire.claim_to_headers,
        claim_to_header,
        &mut faults,
    );
    let scalars = subjects.zip(expiration).zip(keys);
    let decoded = scalars.zip(places.zip(payload_header));
    let (((subjects, expiration), keys), (places, payload_header)) = faults.or(decoded)?;
    let named = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Box::from);
    let normalized = wire.normalize_payload_in_metadata.iter();
    let delimited = normalized.flat_map(|it| &it.space_delimited_claims);
    Ok(Provider {
        name: name.into(),
        issuer: named(&wire.issuer),
        audiences: Audiences::of(wire.audiences.iter().map(String::as_str)),
        subjects,
        expiration,
        clock_skew: match wire.clock_skew_seconds {
            0 => DEFAULT_CLOCK_SKEW,
            seconds => seconds.into(),
        },
        keys,
        places,
        forward: wire.forward,
        payload_header,
        claim_to_headers: claims,
        payload_in_metadata: named(&wire.payload_in_metadata),
        header_in_metadata: named(&wire.header_in_metadata),
        space_delimited_claims: delimited.map(|name| name.as_str().into()).collect(),
    })
}

/// Decodes all of a list, and tells what is wrong with each.
fn each<P, T>(
    field: &str,
    list: &[P],
    decode: impl Fn(&P) -> Result<T, Invalid>,
    faults: &mut Faults,
) -> Box<[T]> {
    let decoded = list.iter().enumerate().filter_map(|(at, one)| {
        let decoded = decode(one);
        faults.take(decoded.map_err(|error| error.within(format_args!("{field}[{at}]"))))
    });
    decoded.collect()
}

fn expiration(wire: &JwtProvider) -> Result<Expiration, Invalid> {
    match &wire.max_lifetime {
        Some(most) => Ok(Expiration::Within(
            duration("max_lifetime", most)?.as_secs(),
        )),
        None if wire.require_expiration => Ok(Expiration::Required),
        None => Ok(Expiration::Optional),
    }
}

fn duration(field: &str, wire: &PbDuration) -> Result<Duration, Invalid> {
    decode::duration(wire).ok_or_else(|| Invalid::new(field, "is negative or malformed"))
}

fn keys(wire: Option<&JwksSourceSpecifier>) -> Result<Keys, Invalid> {
    match wire {
        Some(JwksSourceSpecifier::LocalJwks(source)) => {
            local(source).map_err(|error| error.within("local_jwks"))
        }
        Some(JwksSourceSpecifier::RemoteJwks(remote)) => {
            let remote = self::remote(remote).map_err(|error| error.within("remote_jwks"))?;
            Ok(Keys::Remote(Arc::new(remote)))
        }
        None => Err(Invalid::new("jwks_source_specifier", "is missing")),
    }
}

/// Keys of which none can be used are no reason to refuse the listener: in Envoy they refuse the tokens. istiod sends a
/// key that nobody has where it could not fetch any.
fn local(source: &DataSource) -> Result<Keys, Invalid> {
    if source.watched_directory.is_some() {
        return Err(unserved("watched_directory"));
    }
    let text = match &source.specifier {
        Some(Specifier::InlineString(text)) => text.as_bytes(),
        Some(Specifier::InlineBytes(bytes)) => bytes,
        Some(Specifier::Filename(_)) => return Err(unserved("filename")),
        Some(Specifier::EnvironmentVariable(_)) => return Err(unserved("environment_variable")),
        None => return Err(Invalid::new("specifier", "is missing")),
    };
    Ok(match Jwks::parse(text) {
        Ok(keys) => Keys::Local(Arc::new(keys)),
        Err(why) => Keys::Unusable(why.to_string().into()),
    })
}

fn remote(wire: &PbRemote) -> Result<RemoteJwks, Invalid> {
    let uri = wire.http_uri.as_ref();
    let uri = uri.ok_or_else(|| Invalid::new("http_uri", "is missing"))?;
    let (cluster, timeout) = upstream(uri).map_err(|error| error.within("http_uri"))?;
    let cached = wire
        .cache_duration
        .as_ref()
        .map(|it| duration("cache_duration", it));
    let cache_duration = cached.transpose()?.unwrap_or(CACHED);
    if cache_duration < Duration::from_millis(1) {
        return Err(Invalid::new("cache_duration", "is under 1 ms"));
    }
    let again = |wire: &PbDuration| duration("async_fetch.failed_refetch_duration", wire);
    let async_fetch = wire.async_fetch.as_ref().map(|fetch| {
        let set = fetch.failed_refetch_duration.as_ref();
        set.map_or(Ok(FETCHED_AGAIN), again)
    });
    Ok(RemoteJwks {
        uri: uri.uri.as_str().into(),
        cluster: cluster.into(),
        timeout,
        cache_duration,
        async_fetch: async_fetch.transpose()?,
    })
}

fn upstream(wire: &HttpUri) -> Result<(&str, Duration), Invalid> {
    let uri: Option<http::Uri> = wire.uri.parse().ok();
    let scheme = uri.as_ref().and_then(http::Uri::scheme_str);
    if !matches!(scheme, Some("http" | "https")) {
        return Err(Invalid::new(
            "uri",
            format_args!("{:?} is no http(s) URI", wire.uri),
        ));
    }
    let cluster = match &wire.http_upstream_type {
        Some(HttpUpstreamType::Cluster(name)) if !name.is_empty() => name,
        _ => return Err(Invalid::new("cluster", "is missing")),
    };
    let timeout = wire.timeout.as_ref();
    let timeout = timeout.ok_or_else(|| Invalid::new("timeout", "is missing"))?;
    Ok((cluster, duration("timeout", timeout)?))
}

/// Without any, those that Envoy has by default.
fn places(wire: &JwtProvider) -> Result<Places, Invalid> {
    let mut faults = Faults::default();
    let headers = each(
        "from_headers",
        &wire.from_headers,
        header_place,
        &mut faults,
    );
    let params = each("from_params", &wire.from_params, non_empty, &mut faults);
    let cookies = each("from_cookies", &wire.from_cookies, non_empty, &mut faults);
    let places = match headers.is_empty() && params.is_empty() && cookies.is_empty() {
        true => Places::default(),
        false => Places {
            headers,
            params,
            cookies,
        },
    };
    faults.or(Some(places))
}

#[expect(clippy::ptr_arg, reason = "one of a list of the wire")]
fn non_empty(name: &String) -> Result<Box<str>, Invalid> {
    match name.is_empty() {
        true => Err(Invalid::new("", "is empty")),
        false => Ok(name.as_str().into()),
    }
}

fn header_place(wire: &JwtHeader) -> Result<HeaderPlace, Invalid> {
    Ok(HeaderPlace {
        name: header_name("name", &wire.name)?,
        prefix: wire.value_prefix.as_str().into(),
    })
}

fn header_name(field: &str, name: &str) -> Result<HeaderName, Invalid> {
    let invalid = |_| Invalid::new(field, format_args!("{name:?} is no header name"));
    HeaderName::try_from(name).map_err(invalid)
}

fn payload_header(wire: &JwtProvider) -> Result<Option<PayloadHeader>, Invalid> {
    if wire.forward_payload_header.is_empty() {
        return Ok(None);
    }
    Ok(Some(PayloadHeader {
        name: header_name("forward_payload_header", &wire.forward_payload_header)?,
        padded: wire.pad_forward_payload_header,
    }))
}

fn claim_to_header(wire: &JwtClaimToHeader) -> Result<ClaimToHeader, Invalid> {
    let name = header_name("header_name", &wire.header_name)?;
    let path: Box<[Box<str>]> = match (&*wire.claim_name, &*wire.claim_path) {
        ("", []) => {
            return Err(Invalid::new(
                "claim_name",
                "is missing, and so is claim_path",
            ));
        }
        (name, []) => name.split('.').map(Box::from).collect(),
        ("", path) => path
            .iter()
            .map(|segment| segment.key.as_str().into())
            .collect(),
        _ => return Err(Invalid::new("claim_name", "is set, and so is claim_path")),
    };
    if path.iter().any(|key| key.is_empty()) {
        return Err(Invalid::new(
            "claim_name",
            "has an empty part, or claim_path has one",
        ));
    }
    Ok(ClaimToHeader { name, path })
}
