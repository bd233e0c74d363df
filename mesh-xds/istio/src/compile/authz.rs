//! `AuthorizationPolicy` as Envoy's RBAC filters: one for each action that a workload has policies of, in Istio's order.
//!
//! A rule that speaks of HTTP says less where only connections are seen: what it says of requests is left out of policies
//! that deny or tell, and the whole rule out of those that allow, so that more is denied and less allowed.

mod custom;
mod from;
mod grpc;
mod matcher;
mod to;

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::rbac::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;

use super::proto;

use crate::decode::Labels;
use crate::kinds::authorization_policy::{Action, AuthorizationPolicy, Rule};
use crate::registry::{Named, Registry};
use custom::Asked;

/// The policies of a workload by action.
pub(super) struct Policies<'a> {
    of: BTreeMap<Action, Vec<&'a Named<AuthorizationPolicy>>>,
    registry: &'a Registry,
}

/// What a filter sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Requests,
    Connections,
}

impl<'a> Policies<'a> {
    /// Those of the root namespace and of the workload's own that are for it.
    pub(super) fn of(registry: &'a Registry, namespace: &'a str, labels: &'a Labels) -> Self {
        let mut of: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for policy in registry.policies(namespace, labels) {
            of.entry(policy.spec.action).or_default().push(policy);
        }
        Self { of, registry }
    }

    /// The filters of a chain that speaks HTTP, behind those that read tokens.
    pub(super) fn http(&self) -> Vec<http::HttpFilter> {
        let own = self
            .of
            .iter()
            .filter(|(action, _)| **action != Action::Custom);
        let filter = |(action, policies): (&Action, &Vec<_>)| {
            let built = self.built(*action, policies, Seen::Requests);
            let prefix = built.prefix();
            http_filter(http_rbac(built.rules, prefix, built.shadow))
        };
        own.map(filter).collect()
    }

    /// Those before them, which ask others.
    pub(super) fn http_custom(&self) -> Vec<http::HttpFilter> {
        let ask = |asked: &Asked<'_>| {
            Some(custom::filter(
                "envoy.filters.http.ext_authz",
                &asked.http_filter(),
            ))
        };
        let all = self.custom(Seen::Requests, http_rbac, ask);
        all.into_iter().map(http_filter).collect()
    }

    /// The filters of a chain that sees only connections.
    pub(super) fn tcp(&self) -> Vec<listener::Filter> {
        let ask = |asked: &Asked<'_>| {
            let config = asked.network_filter()?;
            Some(custom::filter("envoy.filters.network.ext_authz", &config))
        };
        let custom = self.custom(Seen::Connections, network_rbac, ask);
        let own = self
            .of
            .iter()
            .filter(|(action, _)| **action != Action::Custom);
        let filter = |(action, policies): (&Action, &Vec<_>)| {
            let built = self.built(*action, policies, Seen::Connections);
            let prefix = built.prefix();
            network_rbac(built.rules, prefix, built.shadow)
        };
        let all = custom.into_iter().chain(own.map(filter));
        all.map(network_filter).collect()
    }

    /// For each provider the rules that are tried, and who asks. Where that cannot be, and where a workload has several, the
    /// rules refuse, as in istiod (its flag for several providers is off by default).
    fn custom(
        &self,
        seen: Seen,
        rbac: impl Fn(Option<Rules>, &str, Option<Rules>) -> custom::Filter,
        ask: impl Fn(&Asked<'_>) -> Option<custom::Filter>,
    ) -> Vec<custom::Filter> {
        let policies = self.of.get(&Action::Custom).into_iter().flatten();
        let mut by_provider: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for policy in policies {
            let provider = policy.spec.provider.as_deref().unwrap_or_default();
            by_provider.entry(provider).or_default().push(*policy);
        }
        let is_sole = by_provider.len() == 1;
        let mut out = Vec::new();
        for (provider, policies) in by_provider {
            let rules = self.built(Action::Custom, &policies, seen).rules;
            match Asked::of(self.registry, provider).filter(|_| is_sole) {
                None => out.push(rbac(rules.map(custom::refusing), "", None)),
                Some(asked) => {
                    if let Some(ask) = ask(&asked) {
                        out.extend([rbac(None, custom::SHADOW, rules), ask]);
                    }
                }
            }
        }
        out
    }

    fn built(&self, action: Action, policies: &[&Named<AuthorizationPolicy>], seen: Seen) -> Built {
        let empty = || Rules {
            action: match action {
                Action::Allow => pb::rbac::Action::Allow.into(),
                Action::Deny | Action::Custom => pb::rbac::Action::Deny.into(),
                Action::Audit => pb::rbac::Action::Log.into(),
            },
            policies: BTreeMap::new(),
        };
        let mut built = Built::default();
        for policy in policies {
            let Named {
                name,
                namespace,
                spec,
            } = policy;
            let rules = match spec.dry_run {
                true => &mut built.shadow,
                false => &mut built.rules,
            };
            let into = &mut rules.get_or_insert_with(empty).policies;
            let name = |at: usize| {
                let name = format!("ns[{namespace}]-policy[{name}]-rule[{at}]");
                match &spec.provider {
                    None => name,
                    Some(provider) => custom::name(provider, &name),
                }
            };
            for (at, rule) in spec.rules.iter().enumerate() {
                into.extend(self.policy(action, rule, seen).map(|rule| (name(at), rule)));
            }
            if spec.rules.is_empty() {
                into.insert(name(0), matches_never());
            }
        }
        built
    }

    /// A rule; nothing where it allows by what is not seen.
    fn policy(&self, action: Action, rule: &Rule, seen: Seen) -> Option<pb::Policy> {
        let is_hidden = |is_http: bool| is_http && seen == Seen::Connections;
        let hides_from = |terms: &Vec<_>| terms.iter().any(|term| is_hidden(from::is_http(term)));
        let hides_to = |terms: &Vec<_>| terms.iter().any(|term| is_hidden(to::is_http(term)));
        let hides = rule.from.iter().any(hides_from) || rule.to.iter().any(hides_to);
        if action == Action::Allow && hides {
            return None;
        }
        let principals = rule.from.iter().map(|terms| {
            let seen = terms.iter().filter(|term| !is_hidden(from::is_http(term)));
            from::principal(seen, &self.registry.mesh.trust_domains)
        });
        let permissions = rule.to.iter().map(|terms| {
            let seen = terms.iter().filter(|term| !is_hidden(to::is_http(term)));
            to::permission(seen)
        });
        Some(pb::Policy {
            permissions: permissions.collect(),
            principals: principals.collect(),
            ..pb::Policy::default()
        })
    }
}

fn http_rbac(rules: Option<Rules>, prefix: &str, shadow: Option<Rules>) -> custom::Filter {
    let config = HttpRbac {
        rules,
        shadow_rules: shadow,
        shadow_rules_stat_prefix: prefix.to_owned(),
    };
    (
        "envoy.filters.http.rbac",
        "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC".to_owned(),
        config.encode_to_vec(),
    )
}

fn network_rbac(rules: Option<Rules>, prefix: &str, shadow: Option<Rules>) -> custom::Filter {
    let config = NetworkRbac {
        rules,
        shadow_rules: shadow,
        stat_prefix: "tcp.".to_owned(),
        shadow_rules_stat_prefix: prefix.to_owned(),
    };
    (
        "envoy.filters.network.rbac",
        "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC".to_owned(),
        config.encode_to_vec(),
    )
}

fn http_filter((name, type_url, value): custom::Filter) -> http::HttpFilter {
    http::HttpFilter {
        name: name.to_owned(),
        config_type: Some(http::http_filter::ConfigType::TypedConfig(Any {
            type_url,
            value,
        })),
        ..http::HttpFilter::default()
    }
}

fn network_filter((name, type_url, value): custom::Filter) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(Any {
            type_url,
            value,
        })),
    }
}

/// What a policy without rules is: there is one, and it matches nobody.
fn matches_never() -> pb::Policy {
    pb::Policy {
        permissions: vec![to::not(to::any())],
        principals: vec![from::not(from::any())],
        ..pb::Policy::default()
    }
}

/// The policies of one action.
#[derive(Default)]
struct Built {
    rules: Option<Rules>,
    shadow: Option<Rules>,
}

impl Built {
    /// istiod's name for what is only tried, also where nothing is.
    fn prefix(&self) -> &'static str {
        let deny = i32::from(pb::rbac::Action::Deny);
        match &self.shadow {
            Some(rules) if rules.action == deny => "istio_dry_run_deny_",
            _ => "istio_dry_run_allow_",
        }
    }
}

/// `envoy.config.rbac.v3.RBAC`, its policies in order: two compilations must give the same bytes.
#[derive(Clone, PartialEq, Message)]
struct Rules {
    #[prost(enumeration = "pb::rbac::Action", tag = "1")]
    action: i32,
    #[prost(btree_map = "string, message", tag = "2")]
    policies: BTreeMap<String, pb::Policy>,
}

/// `envoy.extensions.filters.http.rbac.v3.RBAC`
#[derive(Clone, PartialEq, Message)]
struct HttpRbac {
    #[prost(message, optional, tag = "1")]
    rules: Option<Rules>,
    #[prost(message, optional, tag = "2")]
    shadow_rules: Option<Rules>,
    #[prost(string, tag = "3")]
    shadow_rules_stat_prefix: String,
}

/// `envoy.extensions.filters.network.rbac.v3.RBAC`
#[derive(Clone, PartialEq, Message)]
struct NetworkRbac {
    #[prost(message, optional, tag = "1")]
    rules: Option<Rules>,
    #[prost(message, optional, tag = "2")]
    shadow_rules: Option<Rules>,
    #[prost(string, tag = "3")]
    stat_prefix: String,
    #[prost(string, tag = "5")]
    shadow_rules_stat_prefix: String,
}
