//! Finds the descriptors that the envoy-types crate ships beside its code.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../../../Cargo.lock");
    // Nothing is fetched: what is asked about is being built already.
    let out = Command::new(std::env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(["--filter-platform", &std::env::var("TARGET")?])
        .output()?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into());
    }
    let metadata: Value = serde_json::from_slice(&out.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata does not list envoy-types")?;
    let types = Path::new(manifest).with_file_name("src/generated/types.bin");
    if !types.is_file() {
        return Err(format!("{} is not there", types.display()).into());
    }
    println!("cargo::rustc-env=ENVOY_DESCRIPTORS={}", types.display());
    Ok(())
}
