//! The file of a bearer token.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tonic::Status;
use tonic::metadata::{Ascii, MetadataValue};

/// The longest token that is read. A Kubernetes service account's has about 1 KiB; HTTP/2 servers take 8 to 64 KiB of
/// headers in all.
const LONGEST: u64 = 16 << 10;

/// A file with a bearer token, as Kubernetes projects them. It is read anew for each call, because the kubelet replaces
/// it before it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile(Arc<Path>);

impl TokenFile {
    /// A file; whether it is there is seen when it is read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into().into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The value of `authorization`. Its `Debug` does not show it, and HTTP/2 keeps it out of its tables.
    pub(super) async fn bearer(&self) -> Result<MetadataValue<Ascii>, Status> {
        let path = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        read.unwrap_or_else(|error| Err(error.to_string()))
            .map_err(|reason| Status::unavailable(format!("token file {:?}: {reason}", self.0)))
    }
}

/// No error quotes the file.
fn read(path: &Path) -> Result<MetadataValue<Ascii>, String> {
    let mut text = String::from("Bearer ");
    let begin = text.len();
    let file = File::open(path)
        .map_err(|error| format!("{error}; mount the token there, or name the file that has it"))?;
    file.take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    text.truncate(text.trim_end().len().max(begin));
    match text.len() - begin {
        0 => return Err("it is empty".to_owned()),
        length if length as u64 > LONGEST => {
            return Err(format!(
                "it is longer than {LONGEST} bytes, which no token is"
            ));
        }
        _ => {}
    }
    let bearer = MetadataValue::try_from(text);
    let mut bearer = bearer.map_err(|_| "it holds more than one line of text".to_owned())?;
    bearer.set_sensitive(true);
    Ok(bearer)
}
