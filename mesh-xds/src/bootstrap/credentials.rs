//! What a bootstrap says of the way to a control plane: `channel_creds` (gRPC A27, A65) and `call_creds` (A97).

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value as Json;

use super::or_default;
use crate::ads::{InvalidServer, Server};
use crate::link::CredentialFiles;

/// One of a list: a type, and what only this type reads.
#[derive(Deserialize)]
#[serde(expecting = "an object with a type")]
pub(super) struct Credential {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    config: Json,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object of files")]
struct TlsConfig {
    #[serde(default, deserialize_with = "or_default")]
    ca_certificate_file: PathBuf,
    #[serde(default, deserialize_with = "or_default")]
    certificate_file: PathBuf,
    #[serde(default, deserialize_with = "or_default")]
    private_key_file: PathBuf,
    /// Ours, not A65's: the name that the server's certificate has, if it is not the host of its address.
    #[serde(default, deserialize_with = "or_default")]
    server_name: String,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object with jwt_token_file")]
struct TokenConfig {
    #[serde(default, deserialize_with = "or_default")]
    jwt_token_file: PathBuf,
}

/// The server at `uri`. The first type of `channel` that is known counts, the others are skipped (A27); all of `call` that
/// are known are applied (A97). Reasons begin with the field that they are of.
pub(super) fn server(
    uri: &str,
    channel: &[Credential],
    call: &[Credential],
) -> Result<Server, String> {
    let at_uri = |e: InvalidServer| format!("server_uri: {e}");
    let known = channel
        .iter()
        .find(|creds| matches!(&*creds.kind, "insecure" | "tls"));
    let server = match known {
        Some(creds) if creds.kind == "insecure" => Server::insecure(uri).map_err(at_uri)?,
        Some(creds) => tls(uri, creds)?,
        None => return Err(unknown(channel)),
    };
    let mut tokens = call.iter().filter(|creds| creds.kind == "jwt_token_file");
    let Some(token) = tokens.next() else {
        return Ok(server);
    };
    if tokens.next().is_some() {
        return Err("call_creds lists jwt_token_file twice, and a call has one token".to_owned());
    }
    let file = token.config::<TokenConfig>("call_creds")?.jwt_token_file;
    if file.as_os_str().is_empty() {
        return Err("call_creds: jwt_token_file is not named".to_owned());
    }
    server
        .with_token_file(file)
        .map_err(|error| format!("call_creds: {error}"))
}

fn tls(uri: &str, creds: &Credential) -> Result<Server, String> {
    let config: TlsConfig = creds.config("channel_creds")?;
    let named = |path: PathBuf| Some(path).filter(|path| !path.as_os_str().is_empty());
    let identity = match (
        named(config.certificate_file),
        named(config.private_key_file),
    ) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        _ => {
            return Err(
                "channel_creds: certificate_file and private_key_file go together; name both or neither (gRPC A65)"
                    .to_owned(),
            );
        }
    };
    let files = CredentialFiles {
        ca_certificate: named(config.ca_certificate_file),
        identity,
    };
    let server = Server::with_files(uri, files).map_err(|error| format!("server_uri: {error}"))?;
    Ok(match config.server_name.is_empty() {
        true => server,
        false => server.with_server_name(&config.server_name),
    })
}

fn unknown(channel: &[Credential]) -> String {
    let reason = match channel.first().map(|creds| &*creds.kind) {
        None => "is empty".to_owned(),
        Some("google_default") => {
            "asks for google_default, which is for Google's own control planes and is not served"
                .to_owned()
        }
        Some(kind) => format!(
            "has no type that is served ({kind:?} is not), and plaintext in its place would be unsafe"
        ),
    };
    format!(
        "channel_creds {reason}; list {{\"type\": \"tls\"}}, or {{\"type\": \"insecure\"}} for a plaintext control plane"
    )
}

impl Credential {
    fn config<T: for<'de> Deserialize<'de> + Default>(&self, list: &str) -> Result<T, String> {
        let config = Option::<T>::deserialize(&self.config);
        config
            .map(Option::unwrap_or_default)
            .map_err(|error| format!("{list}: config of type {:?}: {error}", self.kind))
    }
}
