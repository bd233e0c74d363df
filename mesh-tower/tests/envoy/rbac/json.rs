//! Policies as Envoy's configuration has them. Written from the model, not from what our engine was given.

use mesh_core::authz::Value as Claimed;
use serde_json::{Value, json};

use crate::model::{
    Action, Claim, EXPRESSIONS, Foreign, Header, Rule, Rules, Test, Text, Wanted, What, Who,
};
use crate::proxy::typed;

/// `envoy.extensions.filters.http.rbac.v3.RBAC`
pub(super) fn filter(enforced: Option<&Rules>, tried: Option<&Rules>) -> Value {
    let mut filter = json!({ "shadow_rules_stat_prefix": "dry_" });
    for (name, all) in [("rules", enforced), ("shadow_rules", tried)] {
        if let Some(all) = all {
            filter[name] = rules(all);
        }
    }
    filter
}

fn rules(rules: &Rules) -> Value {
    let action = match rules.action {
        Action::Allow => "ALLOW",
        Action::Deny => "DENY",
        Action::Log => "LOG",
    };
    let mut policies = json!({});
    for policy in &rules.policies {
        let permissions = policy.permissions.iter();
        let permissions: Vec<_> = permissions.map(|one| rule(one, "rule", &what)).collect();
        let principals = policy.principals.iter();
        let principals: Vec<_> = principals.map(|one| rule(one, "id", &who)).collect();
        policies[policy.name] = json!({ "permissions": permissions, "principals": principals });
    }
    json!({ "action": action, "policies": policies })
}

fn rule<T>(tree: &Rule<T>, of: &str, leaf: &impl Fn(&T) -> Value) -> Value {
    let each = |word: &str, all: &[Rule<T>]| {
        let all: Vec<_> = all.iter().map(|one| rule(one, of, leaf)).collect();
        let list = format!("{of}s");
        json!({ format!("{word}_{list}"): { list: all } })
    };
    match tree {
        Rule::Any => json!({ "any": true }),
        Rule::And(all) => each("and", all),
        Rule::Or(all) => each("or", all),
        Rule::Not(inner) => json!({ format!("not_{of}"): rule(inner, of, leaf) }),
        Rule::Is(one) => leaf(one),
    }
}

fn what(what: &What) -> Value {
    match what {
        What::Header(wanted) => json!({ "header": header(wanted) }),
        What::UrlPath(wanted) => json!({ "url_path": { "path": text(wanted) } }),
        What::Template(template) => {
            let fields = json!({ "path_template": template.text() });
            let config = "path.match.uri_template.v3.UriTemplateMatchConfig";
            json!({ "uri_template": { "name": "t", "typed_config": typed(config, fields) } })
        }
        What::DestinationIp(prefix, length) => json!({ "destination_ip": range(prefix, *length) }),
        What::DestinationPort(port) => json!({ "destination_port": port }),
        What::Ports(start, end) => {
            json!({ "destination_port_range": { "start": start, "end": end } })
        }
        What::ServerName(wanted) => json!({ "requested_server_name": text(wanted) }),
        What::Metadata(wanted) => claim(wanted),
    }
}

fn who(who: &Who) -> Value {
    match who {
        Who::Authenticated(None) => json!({ "authenticated": {} }),
        Who::Authenticated(Some(name)) => {
            json!({ "authenticated": { "principal_name": text(name) } })
        }
        Who::Direct(prefix, length) => json!({ "direct_remote_ip": range(prefix, *length) }),
        Who::Remote(prefix, length) => json!({ "remote_ip": range(prefix, *length) }),
        Who::Header(wanted) => json!({ "header": header(wanted) }),
        Who::UrlPath(wanted) => json!({ "url_path": { "path": text(wanted) } }),
        Who::Metadata(wanted) => claim(wanted),
    }
}

fn range(prefix: &str, length: u32) -> Value {
    json!({ "address_prefix": prefix, "prefix_len": length })
}

fn text(text: &Text) -> Value {
    match text {
        Text::Exact(text, ignoring) => json!({ "exact": text, "ignore_case": ignoring }),
        Text::Prefix(text, ignoring) => json!({ "prefix": text, "ignore_case": ignoring }),
        Text::Suffix(text, ignoring) => json!({ "suffix": text, "ignore_case": ignoring }),
        Text::Contains(text, ignoring) => json!({ "contains": text, "ignore_case": ignoring }),
        Text::Regex(at) => json!({ "safe_regex": { "regex": EXPRESSIONS[*at].0 } }),
    }
}

fn header(header: &Header) -> Value {
    let mut json = match &header.test {
        Test::Present(wanted) => json!({ "present_match": wanted }),
        Test::Text(wanted) => json!({ "string_match": text(wanted) }),
        Test::Range(start, end) => json!({ "range_match": { "start": start, "end": end } }),
    };
    json["name"] = json!(header.name);
    json["invert_match"] = json!(header.invert);
    json["treat_missing_header_as_empty"] = json!(header.missing_is_empty);
    json
}

fn claim(claim: &Claim) -> Value {
    let filter = match claim.is_foreign {
        Some(Foreign::Filter) => "envoy.filters.http.rbac",
        _ => super::CLAIMS,
    };
    let path: Vec<_> = claim.path.iter().map(|key| json!({ "key": key })).collect();
    let matcher = json!({
        "filter": filter, "path": path, "value": wanted(&claim.value), "invert": claim.invert,
    });
    match claim.is_foreign {
        Some(Foreign::Route) => json!({
            "sourced_metadata": { "metadata_matcher": matcher, "metadata_source": "ROUTE" },
        }),
        _ => json!({ "metadata": matcher }),
    }
}

fn wanted(value: &Wanted) -> Value {
    match value {
        Wanted::Null => json!({ "null_match": {} }),
        Wanted::Range(start, end) => {
            json!({ "double_match": { "range": { "start": start, "end": end } } })
        }
        Wanted::Number(number) => json!({ "double_match": { "exact": number } }),
        Wanted::Text(wanted) => json!({ "string_match": text(wanted) }),
        Wanted::Bool(wanted) => json!({ "bool_match": wanted }),
        Wanted::Present(wanted) => json!({ "present_match": wanted }),
        Wanted::OneOf(inner) => json!({ "list_match": { "one_of": wanted(inner) } }),
        Wanted::Or(each) => {
            let each: Vec<_> = each.iter().map(wanted).collect();
            json!({ "or_match": { "value_matchers": each } })
        }
    }
}

/// What a token says.
pub(super) fn claimed(value: &Claimed) -> Value {
    match value {
        Claimed::Null => Value::Null,
        Claimed::Bool(value) => json!(value),
        Claimed::Number(value) => json!(value),
        Claimed::Text(value) => json!(**value),
        Claimed::List(all) => all.iter().map(claimed).collect(),
        Claimed::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(key, value)| (key.to_string(), claimed(value)));
            Value::Object(fields.collect())
        }
    }
}
