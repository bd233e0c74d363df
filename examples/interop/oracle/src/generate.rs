//! Random route configurations, and requests that hit and nearly hit their rules.

mod action;
mod domains;
pub(crate) mod fault;
pub(crate) mod fraction;
mod header;
mod mirror;
mod mutation;
mod path;
mod policy;
mod query;
mod redirect;
mod regexes;
mod rewrite;
mod strings;

use envoy_types::pb::envoy::config::core::v3::{DataSource, Metadata, data_source::Specifier};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::google::protobuf::{BoolValue, Struct, Value, value::Kind};

use crate::ads::TABLE;
use crate::backend::{WANT_HEADER, WANT_STATUS};
use crate::dice::Dice;
use crate::feature::{Feature, Features};
use crate::reference::Regexes;
use crate::request::Ask;

/// Virtual hosts of a round.
const HOSTS: usize = 120;
/// Requests for each of them.
const REQUESTS: usize = 14;
/// The path by which a host tells the round that it belongs to.
pub(crate) const PROBE: &str = "/.oracle/round";

/// What generation depends on beside the dice.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// What is generated.
    pub(crate) features: &'a Features,
    /// Whether routes may lead to a cluster that does not exist.
    pub(crate) unknown_clusters: bool,
    /// The round, which goes into the names.
    pub(crate) round: u64,
    /// For looking whether a header fits.
    pub(crate) regexes: &'a Regexes,
}

/// A configuration whose every host tells its round.
pub(crate) fn configuration(d: &mut Dice, context: &Context<'_>) -> RouteConfiguration {
    let mut taken = domains::Taken::default();
    let mut configuration = RouteConfiguration {
        name: TABLE.to_owned(),
        virtual_hosts: (0..HOSTS)
            .map(|at| host(d, context, at, &mut taken))
            .collect(),
        // By the round, so that a run of a few rounds has both.
        ignore_port_in_host_matching: context.features.has(Feature::IgnorePort)
            && context.round % 3 == 1,
        validate_clusters: *d.of(&[None, Some(BoolValue { value: false })]),
        ..RouteConfiguration::default()
    };
    if context.features.has(Feature::Mutation) {
        mutation::of_configuration(d, &mut configuration);
    }
    if context.features.has(Feature::Fault) {
        fault::of_configuration(d, context, &mut configuration);
    }
    if context.features.has(Feature::Mirror) {
        configuration.request_mirror_policies = mirror::policies(d, 4);
    }
    configuration
}

/// The name of a host of a round. Names never come back: an old host must not pass for a new one.
pub(crate) fn own_domain(at: usize) -> String {
    format!("v{at}.own")
}

fn host(d: &mut Dice, context: &Context<'_>, at: usize, taken: &mut domains::Taken) -> VirtualHost {
    let name = format!("r{}v{at}", context.round);
    let mut routes = vec![probe(context.round)];
    for nth in 0..=d.below(5) {
        routes.push(route(d, context, &name, at, nth));
    }
    let mut host = VirtualHost {
        domains: domains::domains(d, &own_domain(at), taken),
        routes,
        name,
        ..VirtualHost::default()
    };
    if context.features.has(Feature::Mutation) {
        mutation::of_host(d, &mut host);
    }
    if context.features.has(Feature::Fault) {
        fault::of_host(d, context, &mut host);
    }
    if context.features.has(Feature::Mirror) {
        host.request_mirror_policies = mirror::policies(d, 8);
    }
    host
}

/// A route that answers with the round.
pub(crate) fn probe(round: u64) -> Route {
    Route {
        name: format!("probe{round}"),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Path(PROBE.to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(Action::DirectResponse(DirectResponseAction {
            status: 200,
            body: Some(DataSource {
                specifier: Some(Specifier::InlineString(round.to_string())),
                ..DataSource::default()
            }),
            ..DirectResponseAction::default()
        })),
        typed_per_filter_config: fault::none(),
        ..Route::default()
    }
}

fn route(d: &mut Dice, context: &Context<'_>, host: &str, at: usize, nth: usize) -> Route {
    let on = |feature| context.features.has(feature);
    let mut matches = RouteMatch::default();
    path::specify(d, &mut matches);
    if on(Feature::Header) {
        let count = *d.of(&[0, 1, 1, 1, 2]);
        matches.headers = (0..count)
            .map(|_| header::matcher(d, context.features))
            .collect();
    }
    if on(Feature::Query) && d.once_in(3) {
        matches.query_parameters = (0..=d.below(2))
            .map(|_| query::matcher(d, context.features))
            .collect();
    }
    if on(Feature::Fraction) && d.once_in(5) {
        matches.runtime_fraction = Some(fraction::fraction(d));
    }
    let mut route = Route {
        // A nameless route now and then; else its name tells which one was taken.
        name: if d.once_in(20) {
            String::new()
        } else {
            format!("{host}.{nth}")
        },
        r#match: Some(matches),
        action: Some(action::action(d, context, at + nth)),
        metadata: d.once_in(4).then(metadata),
        ..Route::default()
    };
    if on(Feature::Mutation) {
        mutation::of_route(d, &mut route);
    }
    if on(Feature::Fault) {
        fault::of_route(d, context, &mut route);
    }
    route
}

/// What Istio writes to name the rule that a route comes from.
fn metadata() -> Metadata {
    let text = Value {
        kind: Some(Kind::StringValue("/apis/oracle".to_owned())),
    };
    let fields = Struct {
        fields: [("config".to_owned(), text)].into(),
    };
    Metadata {
        filter_metadata: [("istio".to_owned(), fields)].into(),
        ..Metadata::default()
    }
}

/// Requests for every host of a configuration.
pub(crate) fn requests(
    d: &mut Dice,
    context: &Context<'_>,
    configuration: &RouteConfiguration,
) -> Vec<Ask> {
    let hosts = configuration.virtual_hosts.iter();
    hosts
        .flat_map(|host| {
            (0..REQUESTS)
                .map(|_| request(d, context, host))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A request for a host: half of them as one of its routes asks, the others beside it.
pub(crate) fn request(d: &mut Dice, context: &Context<'_>, host: &VirtualHost) -> Ask {
    let authority = authority(d, host);
    if d.once_in(10) {
        let mut ask = Ask::get(authority, path::any(d));
        ask.method = header::method(d);
        header::disturb(d, &mut ask);
        header::disturb(d, &mut ask);
        return finished(d, ask);
    }
    let mut ask = Ask::get(authority, "/");
    // The first only tells the round.
    let routes = &host.routes[usize::from(host.routes.len() > 1)..];
    if let Some(matches) = &d.of(routes).r#match {
        ask.path = path::aim(d, matches);
        // One header that does not fit, with all else that does, shows most.
        let unfit = d.below(2 * matches.headers.len().max(1));
        for (at, matcher) in matches.headers.iter().enumerate() {
            header::aim(d, context.regexes, matcher, &mut ask, at != unfit);
        }
        for matcher in &matches.query_parameters {
            query::aim(d, matcher, &mut ask);
        }
    }
    match d.below(8) {
        7 if context.features.has(Feature::Normalized) => ask.path = path::abnormal(d),
        0 => ask.path = path::near(d, &ask.path),
        1 => header::disturb(d, &mut ask),
        2 if context.features.has(Feature::Query) => query::disturb(d, &mut ask),
        3 | 4 if context.features.has(Feature::Fault) => fault::disturb(d, &mut ask),
        _ => {}
    }
    finished(d, ask)
}

fn authority(d: &mut Dice, host: &VirtualHost) -> String {
    match d.below(8) {
        0..=3 => host.domains[1].clone(),
        4 => host.domains[0].clone(),
        5 | 6 => {
            let domain = d.of(&host.domains).clone();
            domains::aim(d, &domain)
        }
        _ => domains::any(d),
    }
}

/// What has nothing to do with matching: a body, other headers, and what the backend shall answer.
fn finished(d: &mut Dice, mut ask: Ask) -> Ask {
    if d.once_in(6) && ask.method != "GET" {
        ask.body = d.text(&["a", "some text"]);
    }
    let mut add = |name: &str, value: String| ask.headers.push((name.to_owned(), value));
    if d.once_in(6) {
        add(WANT_STATUS, d.text(&["201", "302", "404", "500", "503"]));
    }
    if d.once_in(6) {
        add(
            WANT_HEADER,
            d.text(&["x-r=backend", "x-up=1", "set-cookie=a=1", "location=/else"]),
        );
        add(
            WANT_HEADER,
            d.text(&["x-r=again", "set-cookie=b=2", "x-other=\"q\""]),
        );
    }
    if d.once_in(6) {
        add("user-agent", "oracle".to_owned());
        add("accept", d.text(&["*/*", "text/html, */*;q=0.1"]));
    }
    if d.once_in(2) {
        let host = d.text(&["from-header.test", "From.Header:81", "a"]);
        ask.headers.push((rewrite::HOST_HEADER.to_owned(), host));
    }
    // A doubtful configuration may ask for what no request can be, or what Envoy's codec refuses.
    if ask.to_ours(0).is_err() || !ask.path.is_ascii() {
        ask.path = "/a".to_owned();
    }
    if ask.to_ours(0).is_err() {
        ask.authority = "a.test:9080".to_owned();
    }
    ask
}
