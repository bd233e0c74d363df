//! What a bootstrap says of the workload's certificate: `certificate_providers` (gRPC A29).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value as Json;

use super::or_default;

/// The instance that istiod's resources name.
const WORKLOAD: &str = "default";
const FILE_WATCHER: &str = "file_watcher";

/// The files of the workload's certificate, each in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `certificate_file`: the certificate, and those up to the authority.
    pub certificate: PathBuf,
    /// `private_key_file`
    pub private_key: PathBuf,
    /// `ca_certificate_file`: by whose authorities others are judged.
    pub ca_certificate: PathBuf,
}

/// An instance of a plugin.
#[derive(Deserialize)]
#[serde(expecting = "an object with a plugin_name")]
pub(super) struct Provider {
    plugin_name: String,
    #[serde(default)]
    config: Json,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object of files")]
struct Files {
    #[serde(default, deserialize_with = "or_default")]
    certificate_file: PathBuf,
    #[serde(default, deserialize_with = "or_default")]
    private_key_file: PathBuf,
    #[serde(default, deserialize_with = "or_default")]
    ca_certificate_file: PathBuf,
}

/// The instance of the workload, if there is one. Reasons begin with the field that they are of.
pub(super) fn workload(
    mut providers: BTreeMap<String, Provider>,
) -> Result<Option<CertificateFiles>, String> {
    let at = format!("certificate_providers.{WORKLOAD}");
    let Some(Provider {
        plugin_name,
        config,
    }) = providers.remove(WORKLOAD)
    else {
        return Ok(None);
    };
    let files = match &*plugin_name {
        FILE_WATCHER => Option::<Files>::deserialize(config)
            .map_err(|error| format!("{at}.config: {error}"))?
            .unwrap_or_default(),
        other => {
            tracing::warn!(
                "{at}.plugin_name: {other:?} is not served, {FILE_WATCHER:?} is: the bootstrap names no certificate"
            );
            return Ok(None);
        }
    };
    let fields = [
        ("certificate_file", &files.certificate_file),
        ("private_key_file", &files.private_key_file),
        ("ca_certificate_file", &files.ca_certificate_file),
    ];
    let mut unnamed = fields
        .iter()
        .filter(|(_, file)| file.as_os_str().is_empty());
    if let Some((field, _)) = unnamed.next() {
        tracing::warn!(
            "{at}.config.{field} is not named: the bootstrap names no certificate, as certificate, key and authorities go together here"
        );
        return Ok(None);
    }
    Ok(Some(CertificateFiles {
        certificate: files.certificate_file,
        private_key: files.private_key_file,
        ca_certificate: files.ca_certificate_file,
    }))
}
