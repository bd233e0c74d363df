//! A service's environment variables, read once into values.
//!
//! The names and defaults are those of Bookinfo's manifests. Nothing else in the services reads the environment, so
//! two services with different settings live in one process (and in one test).

use std::collections::BTreeMap;

use super::backend::Backend;

/// The variables that a service was started with.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    values: BTreeMap<String, String>,
}

/// Why a service cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A service that Bookinfo does not have.
    #[error(
        "there is no service {name:?}; the services are productpage, details, reviews and ratings"
    )]
    Service {
        /// The name that was asked for.
        name: String,
    },
    /// A version that the service does not have here.
    #[error("{service} has no version {version:?} here; use one of {known} (--version){note}")]
    Version {
        /// The service.
        service: &'static str,
        /// The version that was asked for.
        version: String,
        /// The versions there are.
        known: &'static str,
        /// A reason, where there is one to give.
        note: &'static str,
    },
    /// A variable whose value cannot be read.
    #[error("{name}={value:?} is not {expected}")]
    Value {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// A host and a port that gRPC cannot be asked at.
    #[error("{service} cannot be asked by gRPC: {reason}")]
    Target {
        /// The service.
        service: &'static str,
        /// Why.
        reason: String,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gives no random bytes: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
}

impl Settings {
    /// The process's own environment.
    pub fn from_env() -> Self {
        Self::from_pairs(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
        )
    }

    /// These variables and no others.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self {
            values: pairs
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        }
    }

    /// The value of a variable; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A `true`/`false` variable.
    ///
    /// # Errors
    /// When the value is neither.
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool, SettingsError> {
        self.number(name, "true or false", default)
    }

    /// A variable that parses.
    ///
    /// # Errors
    /// When the value does not parse.
    pub fn number<T: std::str::FromStr>(
        &self,
        name: &'static str,
        expected: &'static str,
        default: T,
    ) -> Result<T, SettingsError> {
        let Some(value) = self.get(name) else {
            return Ok(default);
        };
        value.trim().parse().map_err(|_| SettingsError::Value {
            name,
            value: value.to_owned(),
            expected,
        })
    }

    /// Where a service of Bookinfo is: `<NAME>_HOSTNAME`, `<NAME>_SERVICE_PORT` (or another port's variable, with its
    /// default) and `SERVICES_DOMAIN`.
    ///
    /// # Errors
    /// When the port is not one.
    pub fn backend(
        &self,
        service: &'static str,
        host_variable: &'static str,
        port_variable: &'static str,
        default_port: u16,
    ) -> Result<Backend, SettingsError> {
        let host = self.get(host_variable).unwrap_or(service);
        let host = match self.get("SERVICES_DOMAIN") {
            Some(domain) => format!("{host}.{domain}"),
            None => host.to_owned(),
        };
        let port = self.number(port_variable, "a port number", default_port)?;
        Ok(Backend::new(service, &host, port))
    }
}
