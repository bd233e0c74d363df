//! Host names of Istio: short names, wildcards, validity (RFC 1123).

use std::net::IpAddr;

/// The DNS domain of a mesh on Kubernetes, and istiod's `--domain` default.
const DOMAIN: &str = "cluster.local";

/// The full name of a host in a rule of this namespace: a name without a dot is a service of the namespace.
pub(crate) fn resolve(host: &str, namespace: &str) -> String {
    if host.is_empty() || host == "*" || host.contains('.') || host.parse::<IpAddr>().is_ok() {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.{DOMAIN}")
    }
}

/// The shorter names under which a workload of `namespace` can call a service, besides its full name.
pub(crate) fn short_names(fqdn: &str, namespace: &str) -> Vec<String> {
    let mut names = Vec::new();
    if fqdn.parse::<IpAddr>().is_err() {
        // istiod's absolute form of the name.
        names.push(format!("{fqdn}."));
    }
    let Some(prefix) = fqdn.strip_suffix(&format!(".svc.{DOMAIN}")) else {
        return names;
    };
    let Some((name, its_namespace)) = prefix.split_once('.') else {
        return names;
    };
    if name == "*" || its_namespace.contains('.') {
        return names;
    }
    if its_namespace == namespace {
        names.push(name.to_owned());
    }
    names.push(format!("{name}.{its_namespace}"));
    names.push(format!("{name}.{its_namespace}.svc"));
    names
}

/// Whether a pattern (`*`, `*.example.com` or a name) covers a host, which may be a pattern itself.
pub(crate) fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => {
            let host = host.strip_prefix('*').unwrap_or(host);
            host.len() >= suffix.len() && host.ends_with(suffix)
        }
        None => pattern == host,
    }
}

/// The narrower of two patterns where one covers the other.
pub(crate) fn intersection<'a>(a: &'a str, b: &'a str) -> Option<&'a str> {
    if covers(a, b) {
        Some(b)
    } else if covers(b, a) {
        Some(a)
    } else {
        None
    }
}

/// What is wrong with a host name that may start with `*` or `*.`, if anything is.
pub(crate) fn check_wildcard(host: &str) -> Result<(), String> {
    if host == "*" {
        return Ok(());
    }
    check(host.strip_prefix("*.").unwrap_or(host))
        .map_err(|reason| format!("{host:?} is no host name: {reason}"))
}

/// What is wrong with a plain host name.
pub(crate) fn check(host: &str) -> Result<(), String> {
    if host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if host.is_empty() || host.len() > 253 {
        return Err("it must have 1 to 253 characters".to_owned());
    }
    host.strip_suffix('.')
        .unwrap_or(host)
        .split('.')
        .try_for_each(check_label)
}

/// What is wrong with one label of a host name.
pub(crate) fn check_label(label: &str) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if label.is_empty() || label.len() > 63 {
        Err("each part between dots must have 1 to 63 characters".to_owned())
    } else if !label.bytes().all(good) || label.starts_with('-') || label.ends_with('-') {
        Err(format!(
            "the part {label:?} may hold only letters, digits and '-', and '-' not at its ends"
        ))
    } else {
        Ok(())
    }
}
