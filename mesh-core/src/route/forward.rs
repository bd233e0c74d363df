//! `envoy.config.route.v3.RouteAction`: where a request goes, and what is changed on the way.

use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use rand::Rng;

use super::action::ClusterIndex;
use super::fault::Fault;
use super::hash::HashPolicies;
use super::mirror::Mirror;
use super::mutate::{Mutation, set};
use super::rewrite::{HostRewrite, InvalidRewrite, PathRewrite, authority};
use super::split::Split;
use super::template::Values;
use super::timeout::{Requested, Timeouts};
use crate::request::RequestView;

const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Forwards to one cluster of a split.
#[derive(Debug, Clone)]
pub struct Forward {
    /// The clusters by weight.
    pub split: Split<Choice>,
    /// What decides among them.
    pub by: SplitBy,
    /// `prefix_rewrite`, `regex_rewrite`, `path_rewrite`
    pub path: PathRewrite,
    /// `timeout`, `idle_timeout`, `max_stream_duration`
    pub timeouts: Timeouts,
    /// [`Timeouts::expected`], made once.
    pub expected: Option<HeaderValue>,
    /// `hash_policy`
    pub hash: HashPolicies,
    /// `request_mirror_policies`
    pub mirrors: Box<[Mirror]>,
    /// `cluster_not_found_response_code`: what a call gets whose cluster does not exist.
    pub cluster_not_found: StatusCode,
}

/// One cluster of a split, with all that is done to a request that goes there: the rules of the
/// cluster's entry, of its route, of the virtual host and of the route configuration are one list.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The cluster.
    pub cluster: ClusterIndex,
    /// What is done to the request's headers.
    pub request_headers: Mutation,
    /// What is done to the response's headers.
    pub response_headers: Mutation,
    /// `host_rewrite_literal` and its kin, of the route. That of the cluster's entry comes before it, in
    /// `request_headers`.
    pub host: HostRewrite,
    /// `append_x_forwarded_host`: a host that is rewritten is appended to `x-forwarded-host`.
    pub append_forwarded_host: bool,
    /// The faults of the cluster's own entry, in place of [`Route::fault`](super::Route::fault).
    pub fault: Option<Arc<Fault>>,
}

/// What decides among the clusters of a split (`WeightedCluster.random_value_specifier`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitBy {
    /// A draw for each request.
    Random,
    /// `use_hash_policy`: the request's hash; a draw for a request that has none.
    Hash,
    /// `header_name`: the value of a header that is there once, a decimal number; else a draw.
    Header(HeaderName),
}

impl Forward {
    /// Everything to one cluster, unchanged, without limits of time.
    pub fn to(cluster: ClusterIndex) -> Self {
        Self::split(Split::one(Choice::plain(cluster)))
    }

    /// By a split, unchanged, without limits of time.
    pub fn split(split: Split<Choice>) -> Self {
        Self {
            split,
            by: SplitBy::Random,
            path: PathRewrite::Keep,
            timeouts: Timeouts::default(),
            expected: None,
            hash: HashPolicies::default(),
            mirrors: Box::default(),
            cluster_not_found: StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The same with these limits.
    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            expected: timeouts.expected(),
            ..self
        }
    }

    /// The cluster of one request. Once per request, never per attempt: a retry stays in its cluster.
    pub fn choose(&self, request: &RequestView<'_>, rng: &mut impl Rng) -> &Choice {
        match self.number(request) {
            Some(number) => self.split.at(number),
            None => self.split.draw(rng),
        }
    }

    /// What decides for a request without a draw.
    pub(crate) fn number(&self, request: &RequestView<'_>) -> Option<u64> {
        match &self.by {
            SplitBy::Random => None,
            SplitBy::Hash => self.hash.of(request),
            SplitBy::Header(name) => number(request.headers, name),
        }
    }

    /// Whether no request that goes to this choice is changed, but for the timeouts that a caller may ask
    /// for in headers. Quick.
    pub const fn is_plain(&self, choice: &Choice) -> bool {
        self.path.is_keep()
            && choice.host.is_keep()
            && choice.request_headers.is_empty()
            && self.expected.is_none()
    }

    /// Whether [`Forward::rewrite`] would leave a request that asks for this as it is.
    pub fn leaves(&self, choice: &Choice, requested: &Requested) -> bool {
        self.is_plain(choice) && self.timeouts.is_silent(requested)
    }

    /// Makes of a request what is sent: timeouts told to the next hop, headers changed, host and path
    /// rewritten, in Envoy's order. `route` and `cluster` are their names. Allocates nothing for what
    /// stays as it is. [`Requested::of`] must be asked before.
    ///
    /// # Errors
    /// When a rewrite comes out as something that cannot be sent. The request may be half changed.
    pub fn rewrite(
        &self,
        choice: &Choice,
        parts: &mut Parts,
        route: &str,
        cluster: &str,
    ) -> Result<(), InvalidRewrite> {
        let requested = Requested::of(&parts.headers);
        if !self.timeouts.is_silent(&requested) {
            let own = self.expected.as_ref();
            self.timeouts.announce(&requested, &mut parts.headers, own);
        }
        let Parts {
            method,
            uri,
            version,
            headers,
            ..
        } = parts;
        let mut values = Values {
            version: *version,
            route,
            cluster,
            ..Values::default()
        };
        let host = choice
            .request_headers
            .apply_to_request(headers, |template, headers, host| {
                let mut request = RequestView::of(method, uri, headers);
                if let Some(host) = host {
                    request.authority = host.as_str();
                }
                template.value(&Values {
                    request: Some(request),
                    ..values
                })
            });
        if let Some(host) = host {
            set_host(uri, headers, host)?;
        }
        values.request = Some(RequestView::of(method, uri, headers));
        let host = choice.host.rewritten(&values)?;
        let path = self.path.rewritten(&values)?;
        if let Some(host) = host {
            choice.replace_host(uri, headers, &host)?;
        }
        if let Some(path) = path {
            if let Some(old) = uri.path_and_query()
                && let Ok(old) = HeaderValue::try_from(old.as_str())
            {
                set(headers, &ORIGINAL_PATH, old);
            }
            let mut new = uri.clone().into_parts();
            let text = path.as_str().as_bytes().to_vec();
            new.path_and_query = Some(path);
            *uri = Uri::from_parts(new).map_err(|_| InvalidRewrite::new("path", &text))?;
        }
        Ok(())
    }
}

impl Choice {
    /// A cluster to which requests go unchanged.
    pub fn plain(cluster: ClusterIndex) -> Self {
        Self {
            cluster,
            request_headers: Mutation::default(),
            response_headers: Mutation::default(),
            host: HostRewrite::Keep,
            append_forwarded_host: false,
            fault: None,
        }
    }

    /// `auto_host_rewrite`: the host becomes that of the endpoint that was picked. Only for a choice whose
    /// `host` is [`HostRewrite::Endpoint`], and an endpoint that has a name.
    ///
    /// # Errors
    /// When the name is no authority.
    pub fn rewrite_host_to(
        &self,
        uri: &mut Uri,
        headers: &mut HeaderMap,
        name: &str,
    ) -> Result<(), InvalidRewrite> {
        let host = authority(name.as_bytes())?;
        self.replace_host(uri, headers, &host)
    }

    fn replace_host(
        &self,
        uri: &mut Uri,
        headers: &mut HeaderMap,
        host: &Authority,
    ) -> Result<(), InvalidRewrite> {
        if let Some(old) = uri.authority()
            && let Ok(old) = HeaderValue::try_from(old.as_str())
        {
            if self.append_forwarded_host {
                append_forwarded(headers, &old);
            }
            set(headers, &ORIGINAL_HOST, old);
        }
        set_host(uri, headers, host)
    }
}

/// The number in a header. Several values would choose now this, now that, so they count as none.
fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let one = values.next()?;
    let text = values.next().is_none().then(|| one.to_str().ok())??;
    text.trim().parse().ok()
}

pub(super) fn set_host(
    uri: &mut Uri,
    headers: &mut HeaderMap,
    host: &Authority,
) -> Result<(), InvalidRewrite> {
    let mut new = uri.clone().into_parts();
    new.authority = Some(host.clone());
    // One host only: a header that says another would win on HTTP/1.1.
    headers.remove(HOST);
    *uri =
        Uri::from_parts(new).map_err(|_| InvalidRewrite::new("host", host.as_str().as_bytes()))?;
    Ok(())
}

/// One value with commas, as Envoy writes it; nothing when the host is its last already.
fn append_forwarded(headers: &mut HeaderMap, host: &HeaderValue) {
    let lines = headers.get_all(FORWARDED_HOST).iter();
    let mut all = lines.map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let last = all
        .last()
        .and_then(|line| line.rsplit(|byte| *byte == b',').next());
    if last == Some(host.as_bytes()) {
        return;
    }
    all.push(host.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&all.join(&b","[..])) {
        set(headers, &FORWARDED_HOST, value);
    }
}
