//! Explanations agree with the decisions: what is named as chosen is chosen, and each reason against the rest holds by
//! itself.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use mesh_core::RequestView;
use mesh_core::cluster::{Cluster, Endpoint, Health, Protocol};
use mesh_core::explain::{
    ActionSeen, Candidates, Condition, Explanation, NotChosen, RouteSeen, Verdict, Way, cluster,
    routes,
};
use mesh_core::lb::locality::{Locality, LocalityWeights};
use mesh_core::lb::{InPanic, LbConfig, LbPolicy, Overprovisioning, Panic};
use mesh_core::matcher::{
    CookieMatcher, HeaderMatcher, HeaderTest, PathMatcher, QueryMatcher, QueryTest, StringMatcher,
};
use mesh_core::request::HeaderKey;
use mesh_core::route::{
    Abort, AbortBy, AbortStatus, Action, Choice, ClusterIndex, Delay, DelayBy, Denominator, Domain,
    Fault, Forward, Fraction, Mirror, MirrorHost, PathRewrite, Redirect, Route, RouteMatch, Split,
    Timeouts, VirtualHost,
};
use mesh_core::snapshot::{Table, Target};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::TryRng;
use rand::rngs::StdRng;

#[allow(dead_code, reason = "only heads are of use here")]
#[path = "support/parts.rs"]
mod parts;
#[path = "support/property.rs"]
mod property;
#[allow(
    dead_code,
    reason = "only the reading without a mistake is of use here"
)]
#[path = "support/spread.rs"]
mod spread;

fn route(name: &str, matches: RouteMatch, action: Action) -> Route {
    Route {
        name: name.into(),
        matches,
        action,
        source: None,
        fault: None,
    }
}

fn target(clusters: &[(&str, Option<Cluster>)], routes: Vec<Route>) -> Target {
    let names: Vec<Arc<str>> = clusters.iter().map(|(name, _)| (*name).into()).collect();
    let models = clusters.iter();
    Target {
        host: Arc::new(VirtualHost::new("reviews:9080".into(), [], names, routes)),
        clusters: models.map(|(_, it)| it.as_ref().map(copy)).collect(),
        waiting_for: None,
    }
}

fn copy(it: &Cluster) -> Arc<Cluster> {
    let name = Arc::clone(&it.name);
    let (lb, endpoints) = (it.lb.clone(), it.endpoints.clone());
    Arc::new(Cluster::new(
        name,
        it.protocol,
        it.connect_timeout,
        lb,
        endpoints,
    ))
}

fn model(name: &str, lb: impl Into<LbConfig>, endpoints: &[Endpoint]) -> Cluster {
    Cluster::new(name.into(), Protocol::Http1, Duration::ZERO, lb, endpoints)
}

fn at(port: u16) -> Endpoint {
    Endpoint::new(SocketAddr::from(([10, 0, 0, 1], port)))
}

fn view(head: &Parts) -> RequestView<'_> {
    RequestView::of(&head.method, &head.uri, &head.headers)
}

/// Draws the lowest numbers, or the highest.
struct Always(u64);

impl TryRng for Always {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0 as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.0 as u8);
        Ok(())
    }
}

/// Whether an explanation says what the search does with a request.
fn agrees(seen: &[RouteSeen], host: &VirtualHost, head: &Parts, seed: u64) -> Result<(), String> {
    let request = &view(head);
    let same = |found: Option<&Arc<Route>>, told: Option<&RouteSeen>| {
        let (found, told) = (found.map(|it| &it.name), told.map(|it| &it.name));
        let said = format!("found {found:?}, told {told:?}");
        if found == told { Ok(()) } else { Err(said) }
    };
    let possible = || seen.iter().filter(|it| it.probability() > 0.0);
    // Every fraction says yes: the first of the possible; every one says no: the last, if that takes all.
    same(host.find(request, &mut Always(0)), possible().next())?;
    let takes_rest = |it: &&RouteSeen| {
        let Verdict::Takes { takes_rest, .. } = it.verdict else {
            return false;
        };
        takes_rest
    };
    let certain = possible().find(takes_rest);
    same(host.find(request, &mut Always(u64::MAX)), certain)?;
    for seed in seed..seed + 8 {
        let found = host.find(request, &mut StdRng::seed_from_u64(seed));
        let is_told = match found {
            Some(found) => possible().any(|it| it.name == found.name),
            None => certain.is_none(),
        };
        if !is_told {
            return Err(format!("found {:?}", found.map(|it| &it.name)));
        }
    }
    let mut all_taken = false;
    for (seen, route) in seen.iter().zip(host.routes()) {
        match &seen.verdict {
            Verdict::NotAsked if all_taken => {}
            Verdict::NotAsked => return Err(format!("{} is asked", route.name)),
            Verdict::Takes { .. } => {
                all_taken = route.matches.fraction.is_none_or(|it| it == 1_000_000);
            }
            Verdict::Fails(unmet) => fails(&route.matches, request, unmet.condition)?,
        }
    }
    Ok(())
}

/// Whether this condition fails by itself, and none before it.
fn fails(
    matches: &RouteMatch,
    request: &RequestView<'_>,
    condition: Condition,
) -> Result<(), String> {
    let mut all = vec![(Condition::Path, matches.path.matches(request.path))];
    let headers = (0..).zip(&matches.headers);
    all.extend(headers.map(|(at, it)| (Condition::Header(at), it.matches(request))));
    let query = (0..).zip(&matches.query);
    all.extend(query.map(|(at, it)| (Condition::Query(at), it.matches(request.query))));
    let cookies = (0..).zip(&matches.cookies);
    all.extend(cookies.map(|(at, it)| (Condition::Cookie(at), it.matches(request.headers))));
    all.push((Condition::Fraction, matches.fraction != Some(0)));
    let first = all.iter().find(|(_, holds)| !holds).map(|(one, _)| *one);
    if first == Some(condition) {
        Ok(())
    } else {
        Err(format!("{first:?} fails first, not {condition:?}"))
    }
}

fn paths() -> impl Strategy<Value = String> {
    let letters = prop::sample::select(vec!['/', 'a', 'b']);
    prop::collection::vec(letters, 0..4)
        .prop_map(|letters| format!("/{}", letters.into_iter().collect::<String>()))
}

fn matches() -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        1 => paths().prop_map(|path| PathMatcher::Exact(path.into())),
        3 => paths().prop_map(|path| PathMatcher::Prefix(path.into())),
        3 => Just(PathMatcher::Prefix("/".into())),
        1 => paths().prop_map(|path| PathMatcher::PrefixIgnoreCase(path.into())),
    ];
    let value = || prop::sample::select(vec!["1", "2"]);
    let exact = |value: &str| StringMatcher::Exact(value.as_bytes().into());
    let name = prop::sample::select(vec!["x", "y", ":method"]);
    let header =
        (name, value(), any::<bool>()).prop_map(move |(name, value, invert)| HeaderMatcher {
            name: HeaderKey::parse(name).expect("a header name"),
            test: HeaderTest::String(exact(value)),
            invert,
            missing_is_empty: false,
        });
    let query = any::<bool>().prop_map(|present| QueryMatcher {
        name: b"p"[..].into(),
        test: QueryTest::Present(present),
    });
    let cookie = (value(), any::<bool>()).prop_map(move |(value, invert)| CookieMatcher {
        name: b"c"[..].into(),
        test: exact(value),
        invert,
    });
    let fraction = prop::sample::select(vec![0_u32, 300_000, 999_999, 1_000_000]);
    let parts = (
        path,
        prop::collection::vec(header, 0..2),
        prop::collection::vec(query, 0..2),
        prop::collection::vec(cookie, 0..2),
        prop::option::weighted(0.6, fraction),
    );
    parts.prop_map(|(path, headers, query, cookies, fraction)| RouteMatch {
        path,
        headers: headers.into(),
        query: query.into(),
        cookies: cookies.into(),
        fraction,
    })
}

fn heads() -> impl Strategy<Value = Parts> {
    let lines = prop::sample::select(vec![("x", "1"), ("x", "2"), ("y", "1"), ("cookie", "c=1")]);
    let query = prop::sample::select(vec!["", "?p", "?q"]);
    let parts = (paths(), query, prop::collection::vec(lines, 0..4));
    parts.prop_map(|(path, query, lines)| {
        parts::parts(&format!("http://reviews:9080{path}{query}"), &lines)
    })
}

#[test]
fn the_search_does_what_is_told_of_each_route() {
    let inputs = (
        prop::collection::vec(matches(), 0..12),
        heads(),
        heads(),
        any::<u32>(),
    );
    let seen = Cell::new([0_u32; 5]);
    property::holds(91, 3000, &inputs, |(matches, head, other, seed)| {
        let named = (0..).zip(matches);
        let list = named.map(|(at, matches): (usize, _)| {
            route(&at.to_string(), matches, Action::forward(ClusterIndex(0)))
        });
        let target = target(&[("cluster", None)], list.collect());
        let told = routes(&target, &head);
        agrees(&told, &target.host, &head, seed.into()).map_err(TestCaseError::fail)?;
        // What is told of another request must not pass for this one's.
        let wrong = agrees(&told, &target.host, &other, seed.into()).is_err();
        let possible = told.iter().filter(|it| it.probability() > 0.0).count();
        let count = |verdict: fn(&Verdict) -> bool| told.iter().any(|it| verdict(&it.verdict));
        let mut counts = seen.get();
        for (count, is) in counts.iter_mut().zip([
            possible > 1,
            possible == 0,
            count(|it| matches!(it, Verdict::Fails(_))),
            count(|it| matches!(it, Verdict::NotAsked)),
            wrong,
        ]) {
            *count += u32::from(is);
        }
        seen.set(counts);
        Ok(())
    });
    eprintln!("several, none, failing, not asked, wrong: {:?}", seen.get());
    assert!(
        seen.get().iter().all(|count| *count > 150),
        "{:?}",
        seen.get()
    );
}

/// How good a domain is for a host, by its text.
fn rank(domain: &str, host: &str) -> Option<(u8, usize)> {
    let longer = |rest: &str| host.len() > rest.len();
    match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(""), _) => Some((0, 0)),
        (Some(rest), _) => (host.ends_with(rest) && longer(rest)).then_some((2, rest.len())),
        (_, Some(rest)) => (host.starts_with(rest) && longer(rest)).then_some((1, rest.len())),
        _ => (domain == host).then_some((3, domain.len())),
    }
}

#[test]
fn the_domain_that_is_told_is_the_best_and_the_others_are_worse() {
    let text = || {
        let letters = prop::sample::select(vec!['a', '.']);
        prop::collection::vec(letters, 1..4).prop_map(|all| all.into_iter().collect::<String>())
    };
    let domain = prop_oneof![
        text(),
        text().prop_map(|text| format!("*{text}")),
        text().prop_map(|text| format!("{text}*")),
        Just("*".to_owned()),
    ];
    let domains = prop::collection::btree_set(domain, 1..12);
    let seen = Cell::new((0_u32, 0_u32));
    property::holds(92, 2000, &(domains, text()), |(domains, host)| {
        let mut table = Table::new("1".into(), true);
        for domain in &domains {
            let parsed = Domain::parse(domain).expect("a domain");
            let host = Arc::new(VirtualHost::new(domain.as_str().into(), [parsed], [], []));
            let target = Target {
                host: Arc::clone(&host),
                clusters: Box::default(),
                waiting_for: None,
            };
            table.insert(&host, Arc::new(target));
        }
        let ranked = || {
            let ranks = domains.iter();
            ranks.filter_map(|domain| Some((rank(domain, &host)?, domain)))
        };
        let Some(found) = table.find(&format!("{host}:9080")) else {
            prop_assert_eq!(ranked().count(), 0);
            return Ok(());
        };
        let told = Candidates::of(&table, &format!("{host}:9080"), &found.host);
        let best = ranked().max().expect("one is found").1;
        prop_assert_eq!(&told.chosen.domain, best);
        let less = told.others.iter();
        let less = less.filter(|(_, why)| *why == NotChosen::LessSpecific);
        let less: Vec<_> = less.map(|(host, _)| host.domain.clone()).collect();
        let mut expected: Vec<_> = ranked().filter(|(_, domain)| *domain != best).collect();
        expected.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        expected.truncate(5);
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(_, domain)| domain.clone())
            .collect();
        prop_assert_eq!(&less, &expected);
        prop_assert_eq!(told.count, domains.len());
        let (some, several) = seen.get();
        seen.set((some + 1, several + u32::from(less.len() > 1)));
        Ok(())
    });
    assert!(seen.get().0 > 500 && seen.get().1 > 100, "{:?}", seen.get());
}

fn zone(zone: &str) -> Option<Arc<Locality>> {
    Some(Arc::new(Locality {
        region: "r".into(),
        zone: zone.into(),
        sub_zone: "".into(),
    }))
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let health = prop::sample::select(vec![
        Health::Healthy,
        Health::Healthy,
        Health::Degraded,
        Health::Unhealthy,
        Health::Draining,
    ]);
    let place = prop::sample::select(vec![None, zone("a"), zone("b")]);
    let one = (0_u32..3, health, place).prop_map(|(priority, health, locality)| Endpoint {
        priority,
        health,
        locality,
        ..at(9080)
    });
    prop::collection::vec(one, 0..7)
}

#[test]
fn an_endpoint_is_passed_over_exactly_if_it_gets_nothing() {
    let config = (
        prop::sample::select(vec![
            Overprovisioning::default(),
            Overprovisioning::Envoy { factor: 60 },
            Overprovisioning::Strict,
        ]),
        prop::sample::select(vec![0_u8, 50]),
        prop::sample::select(vec![InPanic::AllEndpoints, InPanic::NoEndpoint]),
        any::<bool>(),
    );
    let config = config.prop_map(|(overprovisioning, threshold, then, weighted)| {
        let mut weights = LocalityWeights::default();
        weights.insert(0, zone("a"), 3);
        weights.insert(1, zone("b"), 1);
        LbConfig {
            overprovisioning,
            panic: Panic { threshold, then },
            locality_weights: weighted.then_some(weights),
            ..LbPolicy::RoundRobin.into()
        }
    });
    let reasons = Cell::new([0_u32; 4]);
    property::holds(93, 3000, &(config, endpoints()), |(config, endpoints)| {
        let expected = spread::probabilities(&config, &endpoints, spread::Mistake::None);
        let seen = cluster(
            &"c".into(),
            Some(&model("c", config, &endpoints)),
            StatusCode::NOT_FOUND,
        );
        let used = seen.endpoints.iter().map(|it| it.passed_over.is_none());
        let used: Vec<_> = used.collect();
        let gets: Vec<_> = expected.iter().map(|share| *share > 0.0).collect();
        prop_assert_eq!(&used, &gets);
        prop_assert_eq!(seen.refusal.is_some(), !used.contains(&true));
        let mut counts = reasons.get();
        for (endpoint, reason) in (seen.endpoints.iter())
            .filter_map(|endpoint| Some((endpoint, endpoint.passed_over.as_deref()?)))
        {
            let texts = ["unhealthy", "draining", "takes no traffic", "no weight"];
            for (count, text) in counts.iter_mut().zip(texts) {
                *count += u32::from(reason.contains(text));
            }
            let is = |health| endpoint.health == health;
            // What fails in panic has no health that counts.
            if !reason.contains("panics") {
                prop_assert_eq!(reason.contains("is unhealthy"), is(Health::Unhealthy));
            }
        }
        reasons.set(counts);
        Ok(())
    });
    eprintln!("{:?}", reasons.get());
    assert!(
        reasons.get().iter().all(|count| *count > 50),
        "{:?}",
        reasons.get()
    );
}

fn choice(cluster: u32) -> Choice {
    Choice::plain(ClusterIndex(cluster))
}

fn fault() -> Fault {
    Fault {
        delay: Some(Delay {
            by: DelayBy::Fixed(Duration::from_secs(5)),
            fraction: Fraction::new(10, Denominator::Hundred),
        }),
        abort: Some(Abort::new(
            AbortBy::Status(AbortStatus::Http(StatusCode::IM_A_TEAPOT)),
            Fraction::new(50, Denominator::Hundred),
        )),
        ..Fault::default()
    }
}

fn jason() -> RouteMatch {
    RouteMatch {
        headers: Box::new([HeaderMatcher {
            name: HeaderKey::parse("end-user").expect("a header name"),
            test: HeaderTest::String(StringMatcher::Exact(b"jason"[..].into())),
            invert: false,
            missing_is_empty: false,
        }]),
        ..RouteMatch::path(PathMatcher::Prefix("/".into()))
    }
}

/// A split over what is there and what is not, with all that a route can do.
fn full() -> Target {
    let weights = [(choice(0), 90), (choice(1), 9), (choice(2), 1)];
    let path = PathMatcher::Prefix("/v1/".into());
    let forward = Forward {
        path: PathRewrite::prefix(&path, "/v2/"),
        mirrors: Box::new([Mirror {
            cluster: ClusterIndex(1),
            fraction: Fraction::new(25, Denominator::Hundred),
            host: MirrorHost::Marked,
        }]),
        ..Forward::split(Split::new(weights).expect("weights"))
    };
    let forward = forward.with_timeouts(Timeouts {
        route: Some(Duration::from_secs(3)),
        ..Timeouts::default()
    });
    let all = Route {
        fault: Some(Arc::new(fault())),
        source: Some("/virtual-service/reviews".into()),
        ..route(
            "all",
            RouteMatch::path(path),
            Action::Forward(Box::new(forward)),
        )
    };
    let moved = Action::Redirect(Box::new(Redirect::permanent()));
    let rest = RouteMatch::path(PathMatcher::Prefix("/".into()));
    let down = Endpoint {
        health: Health::Unhealthy,
        ..at(2)
    };
    let v1 = "outbound|9080|v1|reviews";
    target(
        &[
            (v1, Some(model(v1, LbPolicy::Random, &[at(1), at(3)]))),
            (
                "none",
                Some(model(
                    "none",
                    LbConfig {
                        overprovisioning: Overprovisioning::Strict,
                        ..LbPolicy::Random.into()
                    },
                    &[down],
                )),
            ),
            ("absent", None),
        ],
        vec![
            route("jason", jason(), Action::forward(ClusterIndex(0))),
            all,
            route("rest", rest, moved),
        ],
    )
}

fn explained(target: &Target, head: &Parts) -> Explanation {
    let mut table = Table::new("7".into(), true);
    let shared = Arc::new(Target {
        host: Arc::clone(&target.host),
        clusters: target.clusters.clone(),
        waiting_for: None,
    });
    table.insert(&target.host, shared);
    let candidates = Candidates::of(&table, "reviews:9080", &target.host);
    Explanation {
        method: head.method.clone(),
        uri: head.uri.to_string(),
        generation: 4,
        table: Some(("9080".into(), "7".into())),
        way: Way::Routes(candidates, routes(target, head)),
    }
}

#[test]
fn everything_that_a_route_does_is_told() {
    let target = full();
    let head = parts::parts("http://reviews:9080/v1/0", &[("end-user", "maria")]);
    let told = explained(&target, &head);
    let text = told.to_string();
    for said in [
        "generation 4, route configuration 9080, version 7\n",
        "route \"jason\": does not match: expected header end-user \"jason\", found \"maria\"\n",
        "route \"all\" of /virtual-service/reviews: taken by 100 %\n",
        "split over 3 clusters by a draw",
        "  90 %, weight 90:\n    cluster \"outbound|9080|v1|reviews\", subset v1, RANDOM\n",
        "      10.0.0.1:1 healthy, priority 0, weight 1\n",
        "    sent as http://reviews:9080/v2/0\n",
        "    header x-envoy-original-path: /v1/0\n",
        "    fault: delay 5s for 10 %\n    fault: HTTP 418 for 50 %\n",
        "    fails with 503 UH: none of the cluster's 1 endpoints is healthy\n      10.0.0.1:2 unhealthy, priority 0, weight 1: not used: it is unhealthy\n",
        "    cluster \"absent\"\n    fails with 503 NC: there is no such cluster",
        "  copies, 25 %, nobody waits for them:\n    cluster \"none\"",
        "  timeout: response 3s\n",
        "route \"rest\": not asked",
        // Of 90 % half are aborted; the others have no endpoint.
        "=> 45 % of such requests get somewhere\n",
    ] {
        assert!(text.contains(said), "{said:?} in\n{text}");
    }
    assert!((told.reaches() - 0.45).abs() < 1e-9);

    let head = parts::parts("http://reviews:9080/x", &[]);
    let redirected = explained(&target, &head);
    let Way::Routes(_, list) = &redirected.way else {
        panic!("{redirected}");
    };
    let Verdict::Takes { action, .. } = &list[2].verdict else {
        panic!("{redirected}");
    };
    let ActionSeen::Answer { location, .. } = &**action else {
        panic!("{redirected}");
    };
    assert_eq!(location.as_deref(), Some("http://reviews:9080/x"));
    let text = redirected.to_string();
    assert!(
        text.contains("found none")
            && text.contains("expected path with prefix \"/v1/\", found \"/x\""),
        "{text}"
    );
    let names: BTreeSet<_> = list.iter().map(|route| &*route.name).collect();
    assert_eq!(names.len(), 3);
}

#[test]
fn what_a_fraction_leaves_has_no_route() {
    let half = RouteMatch {
        fraction: Some(250_000),
        ..RouteMatch::path(PathMatcher::Prefix("/".into()))
    };
    let up = Some(model("up", LbPolicy::Random, &[at(1)]));
    let list = vec![route("half", half, Action::forward(ClusterIndex(0)))];
    let told = explained(
        &target(&[("up", up)], list),
        &parts::parts("http://reviews:9080/", &[]),
    );
    let (probability, refusal) = told.unrouted().expect("three of four have no route");
    assert!((probability - 0.75).abs() < 1e-9);
    assert_eq!(
        (refusal.status, refusal.flags),
        (StatusCode::NOT_FOUND, "NR")
    );
    assert!((told.reaches() - 0.25).abs() < 1e-9);
}
