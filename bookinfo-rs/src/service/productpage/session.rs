//! Who is signed in: a user name in a cookie, signed so that it cannot be edited.
//!
//! `session=<base64url(name)>.<base64url(HMAC-SHA256(key, name))>`

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::COOKIE;
use sha2::Sha256;

use crate::service::dice::random;
use crate::service::settings::SettingsError;

const NAME: &str = "session";
const ATTRIBUTES: &str = "Path=/; HttpOnly; SameSite=Lax";

/// The key that signs sessions.
pub struct Sessions {
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// Sessions signed with this key (replicas of productpage share it), or with a random one.
    ///
    /// # Errors
    /// When there is no key and no randomness.
    pub fn new(key: Option<&str>) -> Result<Self, SettingsError> {
        let key = match key {
            Some(key) => key.as_bytes().to_vec(),
            None => random::<32>()?.to_vec(),
        };
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes a key of any length");
        Ok(Self { mac })
    }

    /// The `Set-Cookie` value that signs `user` in.
    pub fn cookie(&self, user: &str) -> String {
        let name = URL_SAFE_NO_PAD.encode(user);
        let signature =
            URL_SAFE_NO_PAD.encode(self.mac.clone().chain_update(user).finalize().into_bytes());
        format!("{NAME}={name}.{signature}; {ATTRIBUTES}")
    }

    /// Who a request's cookie says is signed in, if we signed it.
    pub fn user(&self, headers: &HeaderMap) -> Option<String> {
        let cookies = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut pairs = cookies
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs.find_map(|(name, value)| {
            if name == NAME {
                self.verify(value)
            } else {
                None
            }
        })
    }

    fn verify(&self, value: &str) -> Option<String> {
        let (name, signature) = value.split_once('.')?;
        let name = URL_SAFE_NO_PAD.decode(name).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac
            .clone()
            .chain_update(&name)
            .verify_slice(&signature)
            .ok()?;
        String::from_utf8(name).ok()
    }
}

/// The `Set-Cookie` value that signs out.
pub fn forget() -> String {
    format!("{NAME}=; {ATTRIBUTES}; Max-Age=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cookie(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, format!("a=b; {value}; c=d").parse().unwrap())])
    }

    #[test]
    fn a_cookie_brings_its_user_back_and_an_edited_one_nobody() {
        let sessions = Sessions::new(Some("key")).unwrap();
        let cookie = sessions.cookie("jason");
        let (pair, _) = cookie.split_once(';').unwrap();
        assert_eq!(sessions.user(&with_cookie(pair)).as_deref(), Some("jason"));
        assert_eq!(
            Sessions::new(Some("other"))
                .unwrap()
                .user(&with_cookie(pair)),
            None
        );
        let (_, signature) = pair.split_once('.').unwrap();
        let forged = format!("session={}.{signature}", URL_SAFE_NO_PAD.encode("admin"));
        assert_eq!(sessions.user(&with_cookie(&forged)), None);
        for garbage in ["session=", "session=.", "session=!.!", "session=a.b.c"] {
            assert_eq!(sessions.user(&with_cookie(garbage)), None, "{garbage}");
        }
        assert!(!format!("{sessions:?}").contains("key"));
    }
}
