//! `--mtls`: how calls between services are secured.

/// How calls between services are secured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mtls {
    /// No workload has a certificate, and all calls are plaintext.
    Off,
    /// Each has one; services take mutual TLS and plaintext, as Istio's do where nobody says otherwise.
    #[default]
    Permissive,
    /// Each has one; services take mutual TLS alone: a `PeerAuthentication` STRICT is put on the mesh.
    Strict,
}

/// The stand-in stands for a host that is in no mesh: it takes plaintext, whatever the mesh demands of its own.
const STAND_IN: &str = "\
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: googleapis
  namespace: default
spec:
  selector:
    matchLabels:
      app: googleapis
  mtls:
    mode: PERMISSIVE
";

impl Mtls {
    /// What the configuration says of it, beside what it is; `own` if the control plane is ours.
    pub(super) fn rules(self, own: bool) -> Option<String> {
        match self {
            // Ours is told that there are no certificates. Another one takes a service account for one.
            Self::Off => (!own).then(|| mesh_wide("DISABLE")),
            Self::Permissive => Some(STAND_IN.to_owned()),
            Self::Strict => Some(mesh_wide("STRICT") + STAND_IN),
        }
    }

    /// What rules are compiled with.
    pub(super) fn compiling(self) -> mesh_istio::Options {
        mesh_istio::Options::default().certificates(self.certificates())
    }

    /// Whether workloads have certificates.
    pub(super) const fn certificates(self) -> bool {
        !matches!(self, Self::Off)
    }
}

/// The rule of the whole mesh: in Istio's root namespace, for everybody.
fn mesh_wide(mode: &str) -> String {
    format!(
        "# By --mtls of the launcher, removed when it ends.\n\
         apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata:\n  name: default\n  namespace: istio-system\nspec:\n  mtls:\n    mode: {mode}\n"
    )
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn all_rules_can_be_in_force() {
        for mtls in Mtls::value_variants() {
            for own in [true, false] {
                let rules = mtls.rules(own).unwrap_or_default();
                // Without certificates nothing of it would have an effect in our own control plane.
                let options = if own {
                    mtls.compiling()
                } else {
                    Mtls::Strict.compiling()
                };
                let loaded = options.parse([("mtls.yaml".into(), rules)]).unwrap();
                assert!(loaded.notes.is_empty(), "{mtls:?}: {:?}", loaded.notes);
            }
        }
    }
}
