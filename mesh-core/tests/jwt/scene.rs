//! An issuer with its keys, a provider that trusts it, and requests with tokens. Signatures are made up: whoever knows
//! a public key can make them, so that every mistake in choosing a key shows.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use mesh_core::RequestView;
use mesh_core::jwt::{
    Alg, Audiences, Expiration, HeaderPlace, Jwk, Jwks, Keys, Outcome, Places, Provider,
    Requirement, Rule, Rules, Verify, check,
};
use mesh_core::matcher::{PathMatcher, StringMatcher};

/// In seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://issuer.example";

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key of the scene, with what a reader has to know of it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) kid: Option<&'static str>,
    pub(crate) alg: Option<&'static str>,
    pub(crate) kind: &'static str,
    pub(crate) usage: Option<&'static str>,
    seed: u8,
}

impl Key {
    fn new(kid: &'static str, kind: &'static str, seed: u8) -> Self {
        Self {
            kid: Some(kid),
            alg: None,
            kind,
            usage: None,
            seed,
        }
    }

    /// The members that are the key itself.
    fn material(&self) -> String {
        let bytes = |length: usize, more: u8| {
            let mut bytes = vec![self.seed.wrapping_add(more) | 1; length];
            bytes[0] |= 0x80;
            encoded(bytes)
        };
        match self.kind {
            "RSA" => format!(r#""kty":"RSA","n":"{}","e":"AQAB""#, bytes(256, 0)),
            "P-256" => format!(
                r#""kty":"EC","crv":"P-256","x":"{}","y":"{}""#,
                bytes(32, 0),
                bytes(32, 9)
            ),
            "P-384" => format!(
                r#""kty":"EC","crv":"P-384","x":"{}","y":"{}""#,
                bytes(48, 0),
                bytes(48, 9)
            ),
            "P-521" => format!(
                r#""kty":"EC","crv":"P-521","x":"{}","y":"{}""#,
                bytes(66, 0),
                bytes(66, 9)
            ),
            _ => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, bytes(32, 0)),
        }
    }

    fn json(&self) -> String {
        let mut json = self.material();
        for (name, value) in [("kid", self.kid), ("alg", self.alg), ("use", self.usage)] {
            if let Some(value) = value {
                json.push_str(&format!(r#","{name}":"{value}""#));
            }
        }
        format!("{{{json}}}")
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        let set = format!(r#"{{"keys":[{{{}}}]}}"#, self.material());
        let set = Jwks::parse(set.as_bytes()).expect("a key set");
        set.keys()[0].public_key().to_vec()
    }

    /// What this key signs.
    pub(crate) fn sign(&self, alg: &str, signed: &str) -> Vec<u8> {
        made_up(alg, &self.public(), signed.as_bytes())
    }
}

/// All keys in the set, also those that must not be used.
pub(crate) fn keys() -> Vec<Key> {
    vec![
        Key::new("r1", "RSA", 1),
        Key {
            alg: Some("RS256"),
            ..Key::new("r2", "RSA", 3)
        },
        Key::new("e1", "P-256", 5),
        Key::new("e3", "P-384", 7),
        Key::new("e5", "P-521", 9),
        Key::new("d1", "Ed25519", 11),
        Key {
            usage: Some("enc"),
            ..Key::new("encrypts", "RSA", 13)
        },
    ]
}

pub(crate) fn key(kid: &str) -> Key {
    let mut all = keys().into_iter();
    all.find(|key| key.kid == Some(kid))
        .expect("a key of the scene")
}

/// A key that nobody here trusts.
pub(crate) fn stranger() -> Key {
    Key::new("r1", "RSA", 99)
}

pub(crate) fn key_set() -> String {
    let mut all: Vec<String> = keys().iter().map(Key::json).collect();
    all.push(r#"{"kty":"oct","kid":"secret","k":"c2VjcmV0"}"#.to_owned());
    format!(r#"{{"keys":[{}]}}"#, all.join(","))
}

/// 64 bytes that hang on everything.
pub(crate) fn made_up(alg: &str, public: &[u8], signed: &[u8]) -> Vec<u8> {
    let part = |number: u8| {
        let mut hasher = DefaultHasher::new();
        (alg, public, signed, number).hash(&mut hasher);
        hasher.finish().to_be_bytes()
    };
    (0..8).flat_map(part).collect()
}

pub(crate) struct MadeUp;

impl Verify for MadeUp {
    fn verify(&self, alg: Alg, key: &Jwk, message: &[u8], signature: &[u8]) -> bool {
        made_up(alg.name(), key.public_key(), message) == signature
    }
}

/// Trusts [`ISSUER`] and its keys, for the audience `api` and users, and tokens that end.
pub(crate) fn provider() -> Provider {
    let place = |name: &'static str, prefix: &str| HeaderPlace {
        name: HeaderName::from_static(name),
        prefix: prefix.into(),
    };
    let keys = Jwks::parse(key_set().as_bytes()).expect("a key set");
    Provider {
        name: "origins-0".into(),
        issuer: Some(ISSUER.into()),
        audiences: Audiences::of(["api"]),
        subjects: Some(StringMatcher::Prefix(b"user-".as_slice().into())),
        expiration: Expiration::Required,
        clock_skew: mesh_core::jwt::DEFAULT_CLOCK_SKEW,
        keys: Keys::Local(Arc::new(keys)),
        places: Places {
            headers: Box::new([place("authorization", "Bearer "), place("x-token", "")]),
            params: Box::new(["access_token".into()]),
            cookies: Box::new(["token".into()]),
        },
        forward: false,
        payload_header: None,
        claim_to_headers: Box::default(),
        payload_in_metadata: Some("payload".into()),
        header_in_metadata: None,
        space_delimited_claims: Box::default(),
    }
}

/// The rules that ask every request for something.
pub(crate) fn rules(
    providers: impl IntoIterator<Item = Arc<Provider>>,
    requires: Requirement,
) -> Rules {
    let rule = Rule {
        path: PathMatcher::Prefix("/".into()),
        headers: Box::default(),
        query: Box::default(),
        cookies: Box::default(),
        requires,
    };
    Rules::new(providers, [rule], false, false)
}

pub(crate) fn demanding(provider: Provider) -> Rules {
    let provider = Arc::new(provider);
    rules([provider.clone()], Requirement::Provider(provider))
}

/// A request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) query: Option<String>,
}

impl Sent {
    /// With a token where nothing is taken off around it.
    pub(crate) fn token(token: impl Into<String>) -> Self {
        Self::default().header("x-token", token)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn query(mut self, query: impl Into<String>) -> Self {
        self.query = Some(query.into());
        self
    }

    pub(crate) fn parts(&self) -> http::request::Parts {
        let uri = match &self.query {
            None => "/".to_owned(),
            Some(query) => format!("/?{query}"),
        };
        let mut request = http::Request::new(());
        *request.uri_mut() = uri.parse().expect("a URI");
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header");
            request.headers_mut().append(*name, value);
        }
        request.into_parts().0
    }

    pub(crate) fn judged(&self, rules: &Rules) -> Outcome {
        let parts = self.parts();
        judged(rules, &parts.method, &parts.uri, &parts.headers)
    }
}

pub(crate) fn judged(rules: &Rules, method: &Method, uri: &Uri, headers: &HeaderMap) -> Outcome {
    let request = RequestView::of(method, uri, headers);
    check(rules, &request, NOW, &(), &MadeUp)
}

/// The parts of a token, each with what can be done to it.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) header: String,
    pub(crate) claims: String,
    pub(crate) signed_as: &'static str,
    pub(crate) by: Key,
}

impl Draft {
    /// A good token of RS256.
    pub(crate) fn good() -> Self {
        Self::of("RS256", "r1")
    }

    /// A good token by any algorithm.
    pub(crate) fn of(alg: &'static str, kid: &str) -> Self {
        Self {
            header: format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT"}}"#),
            claims: claims(&[]),
            signed_as: alg,
            by: key(kid),
        }
    }

    pub(crate) fn header(mut self, header: impl Into<String>) -> Self {
        self.header = header.into();
        self
    }

    pub(crate) fn claims(mut self, claims: impl Into<String>) -> Self {
        self.claims = claims.into();
        self
    }

    pub(crate) fn by(mut self, key: Key) -> Self {
        self.by = key;
        self
    }

    pub(crate) fn token(&self) -> String {
        self.spelled(&encoded(&self.header), &encoded(&self.claims))
    }

    /// The token with its first two parts as they are given.
    pub(crate) fn spelled(&self, header: &str, claims: &str) -> String {
        let signed = format!("{header}.{claims}");
        let signature = encoded(self.by.sign(self.signed_as, &signed));
        format!("{signed}.{signature}")
    }
}

/// The claims of a good token, with some of them changed: each a name with its JSON, or with nothing to be left out.
pub(crate) fn claims(changed: &[(&str, &str)]) -> String {
    let issuer = format!("\"{ISSUER}\"");
    let (past, end) = ((NOW - 10).to_string(), (NOW + 600).to_string());
    let good = [
        ("iss", &*issuer),
        ("sub", "\"user-1\""),
        ("aud", "[\"other\",\"api\"]"),
        ("iat", &*past),
        ("nbf", &*past),
        ("exp", &*end),
    ];
    let kept = good
        .iter()
        .filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
    let all = kept.chain(changed).filter(|(_, value)| !value.is_empty());
    let all: Vec<String> = all
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", all.join(","))
}
