//! What a run generates, by subject.

/// A subject of generation and comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Feature {
    /// Virtual hosts, their domains and their names; paths; forwarding to one cluster.
    Core,
    /// `RouteConfiguration.ignore_port_in_host_matching`
    IgnorePort,
    /// `RouteMatch.headers`
    Header,
    /// Regular expressions with characters beyond ASCII, which Envoy reads as Latin-1.
    RegexBeyondAscii,
    /// `RouteMatch.runtime_fraction`
    Fraction,
    /// `RouteMatch.query_parameters`
    Query,
    /// `RouteAction.weighted_clusters`
    Weighted,
    /// `Route.direct_response`
    Direct,
    /// The headers that Envoy gives a direct response: `content-type` with a body, `location` with 201 and 3xx.
    DirectHeaders,
    /// Clusters that do not exist, and some without endpoints.
    Absent,
    /// Headers added and removed.
    Mutation,
    /// `prefix_rewrite` and `regex_rewrite`
    PathRewrite,
    /// `host_rewrite_literal`, `host_rewrite_header` and `host_rewrite_path_regex`
    HostRewrite,
    /// `Route.redirect`
    Redirect,
    /// Redirects whose rewrite leaves no slash at the beginning: Envoy puts one there.
    RedirectToNoPath,
    /// `RouteAction.timeout` and its kin: that they do no harm.
    Timeout,
    /// `RouteAction.hash_policy`: that it does no harm.
    Hash,
    /// `typed_per_filter_config` with faults: aborts and delays of none or of all.
    Fault,
    /// `request_mirror_policies`: copies of none or of all.
    Mirror,
    /// Paths are normalised before any rule sees them, in one of Istio's ways; a run of its own, because
    /// then the plain reading of the rules says nothing.
    Normalized,
    /// Configurations that one of both may refuse.
    Nack,
}

use Feature::{
    Absent, Core, Direct, DirectHeaders, Fault, Fraction, Hash, Header, HostRewrite, IgnorePort,
    Mirror, Mutation, Nack, Normalized, PathRewrite, Query, Redirect, RedirectToNoPath,
    RegexBeyondAscii, Timeout, Weighted,
};

/// What our side does now. Turning a subject on is moving it here from [`WAITING`].
const GREEN: &[Feature] = &[
    Core,
    IgnorePort,
    Header,
    RegexBeyondAscii,
    Fraction,
    Query,
    Weighted,
    Direct,
    DirectHeaders,
    Absent,
    Mutation,
    PathRewrite,
    HostRewrite,
    Redirect,
    RedirectToNoPath,
    Timeout,
    Hash,
    Fault,
    Mirror,
    Nack,
];

/// What is generated with `--all` or `--cases` only, until our side does it.
const WAITING: &[Feature] = &[];

impl Feature {
    /// Its name on the command line and in what is printed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Core => "core",
            IgnorePort => "ignore-port",
            Header => "header",
            RegexBeyondAscii => "regex-beyond-ascii",
            Fraction => "fraction",
            Query => "query",
            Weighted => "weighted",
            Direct => "direct",
            DirectHeaders => "direct-headers",
            Absent => "absent",
            Mutation => "mutation",
            PathRewrite => "path-rewrite",
            HostRewrite => "host-rewrite",
            Redirect => "redirect",
            RedirectToNoPath => "redirect-to-no-path",
            Timeout => "timeout",
            Hash => "hash",
            Fault => "fault",
            Mirror => "mirror",
            Normalized => "normalized",
            Nack => "nack",
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        GREEN.iter().chain(WAITING).copied()
    }
}

/// The subjects of one run.
#[derive(Debug, Clone)]
pub(crate) struct Features(Vec<Feature>);

impl Features {
    /// What our side does now, or everything; or the named ones, which always include [`Feature::Core`].
    pub(crate) fn of(all: bool, cases: Option<&str>) -> Result<Self, String> {
        let Some(cases) = cases else {
            return Ok(Self(if all {
                Feature::all().collect()
            } else {
                GREEN.to_vec()
            }));
        };
        let mut features = vec![Core];
        for name in cases.split(',').filter(|name| !name.is_empty()) {
            let found = Feature::all().find(|feature| feature.name() == name);
            features.push(found.ok_or_else(|| {
                let names: Vec<_> = Feature::all().map(Feature::name).collect();
                format!("no case is called {name:?}; there are {}", names.join(", "))
            })?);
        }
        Ok(Self(features))
    }

    /// The same for paths that are normalised: without what is drawn.
    pub(crate) fn normalized(mut self) -> Self {
        self.0.retain(|feature| !matches!(feature, Fraction | Nack));
        self.0.push(Normalized);
        self
    }

    /// Whether a subject is on.
    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }

    /// Their names.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|feature| feature.name()).collect();
        names.join(",")
    }
}
